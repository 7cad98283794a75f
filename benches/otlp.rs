//! What the receiver of spans takes: spans per second of the whole program on one core, and the CPU
//! time of the receiver's and the recorder's thread per span, by encoding and compression.
//!
//!     cargo bench --bench otlp [-- --seconds 3]
//!
//! Needs Linux, two cores and `taskset`. The program is pinned to one core, the exporters to
//! another; they send what `opentelemetry-instrument` sends of a Flask app, 507 spans at a time.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PROTOBUF: &[u8] = include_bytes!("../tests/fixtures/otlp/flask.pb");
const JSON: &[u8] = include_bytes!("../tests/fixtures/otlp/flask.json");
/// Spans in the fixtures.
const SPANS: usize = 13;
/// The fixtures are told so many times in an export: SDKs send up to 512 spans.
const TIMES: usize = 39;
/// Exports that differ in their ids.
const EXPORTS: usize = 64;
const CONNECTIONS: usize = 4;
const PROGRAM_CORE: usize = 0;
const LOAD_CORE: usize = 1;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = arguments.iter().position(|it| it == "--seconds");
    let seconds = match at.map(|at| arguments.get(at + 1).map(|it| it.parse())) {
        None => 3,
        Some(Some(Ok(seconds))) => seconds,
        Some(_) => bail!("--seconds needs a number"),
    };
    ensure!(std::thread::available_parallelism()?.get() >= 2, "two cores are needed");
    taskset(&["-a", "-c", "-p", &LOAD_CORE.to_string(), &std::process::id().to_string()])?;
    println!(
        "| export | bytes/span | spans/s | receiver µs/span | recorder µs/span | program µs/span | lost |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (kind, content_type, exports) in [
        ("protobuf", "application/x-protobuf", protobuf_exports()?),
        ("JSON", "application/json", json_exports()?),
    ] {
        for zip in [false, true] {
            let coding = if zip { "Content-Encoding: gzip\r\n" } else { "" };
            let requests = exports
                .iter()
                .map(|body| {
                    let body = if zip { zipped(body)? } else { body.clone() };
                    let head = format!(
                        "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n\
                         {coding}Content-Length: {}\r\n\r\n",
                        body.len()
                    );
                    Ok([head.as_bytes(), &body].concat())
                })
                .collect::<anyhow::Result<Vec<_>>>()?;
            let name = if zip { format!("{kind}, gzip") } else { kind.to_owned() };
            measure(&name, requests, Duration::from_secs(seconds))?;
        }
    }
    Ok(())
}

/// Measures a program of its own with these requests, and prints a line.
fn measure(name: &str, requests: Vec<Vec<u8>>, length: Duration) -> anyhow::Result<()> {
    let program = Program::start()?;
    let bytes = requests.iter().map(Vec::len).sum::<usize>() as f64;
    let per_span = bytes / (requests.len() * TIMES * SPANS) as f64;
    let requests = std::rc::Rc::new(requests);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let drive = |length| {
        let end = Instant::now() + length;
        let address = program.otlp;
        let requests = std::rc::Rc::clone(&requests);
        local.block_on(&runtime, async move {
            let exporters: Vec<_> = (0..CONNECTIONS)
                .map(|first| {
                    let requests = std::rc::Rc::clone(&requests);
                    tokio::task::spawn_local(export(address, requests, first, end))
                })
                .collect();
            let mut sent = 0;
            for exporter in exporters {
                sent += exporter.await??;
            }
            anyhow::Ok(sent)
        })
    };
    drive(Duration::from_millis(500))?;
    program.settle()?;
    let (before, known) = (program.cpu()?, program.sum("dappscope_samples_total")?);
    let begun = Instant::now();
    let spans = drive(length)? * TIMES * SPANS;
    let took = begun.elapsed();
    // What the recorder does later is part of the price.
    program.settle()?;
    let after = program.cpu()?;
    let lost = program.sum("dappscope_samples_dropped_total")?;
    let recorded = program.sum("dappscope_samples_total")? - known;
    ensure!(recorded + lost >= spans as f64 / 2.0, "{recorded} samples came of {spans} spans");
    let micros = |at: usize| (after[at] - before[at]).as_secs_f64() * 1e6 / spans as f64;
    println!(
        "| {name} | {per_span:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {lost:.0} |",
        spans as f64 / took.as_secs_f64(),
        micros(1),
        micros(2),
        micros(0),
    );
    Ok(())
}

/// Sends one export after the other until `end`; how many.
async fn export(
    address: SocketAddr,
    requests: std::rc::Rc<Vec<Vec<u8>>>,
    first: usize,
    end: Instant,
) -> anyhow::Result<usize> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    for count in 0.. {
        if Instant::now() >= end {
            return Ok(count);
        }
        let request = &requests[(first + count * CONNECTIONS) % requests.len()];
        stream.write_all(request).await?;
        let read = stream.read(&mut buffer).await?;
        let answer = String::from_utf8_lossy(&buffer[..read]);
        ensure!(answer.starts_with("HTTP/1.1 200 "), "answered {answer:?}");
    }
    unreachable!("the numbers do not end")
}

/// The fixture with other ids, again and again: messages of protobuf are joined by putting them
/// one behind the other.
fn protobuf_exports() -> anyhow::Result<Vec<Vec<u8>>> {
    let ids = ids()?;
    let export = |export: usize| {
        let mut bytes = Vec::new();
        for time in 0..TIMES {
            let mut told = PROTOBUF.to_vec();
            for id in &ids {
                replace(&mut told, id, &changed(id, export * TIMES + time));
            }
            bytes.extend(told);
        }
        bytes
    };
    Ok((0..EXPORTS).map(export).collect())
}

fn json_exports() -> anyhow::Result<Vec<Vec<u8>>> {
    let ids = ids()?;
    let fixture: serde_json::Value = serde_json::from_slice(JSON)?;
    let resources = fixture["resourceSpans"].to_string();
    let inside = resources.trim_start_matches('[').trim_end_matches(']');
    let export = |export: usize| {
        let told = (0..TIMES).map(|time| {
            let mut text = inside.as_bytes().to_vec();
            for id in &ids {
                replace(
                    &mut text,
                    hex(id).as_bytes(),
                    hex(&changed(id, export * TIMES + time)).as_bytes(),
                );
            }
            String::from_utf8(text).context("hexadecimal is text")
        });
        let told = told.collect::<anyhow::Result<Vec<_>>>()?.join(",");
        Ok(format!("{{\"resourceSpans\":[{told}]}}").into_bytes())
    };
    (0..EXPORTS).map(export).collect()
}

/// The ids of traces and spans in the fixtures.
fn ids() -> anyhow::Result<Vec<Vec<u8>>> {
    let fixture: serde_json::Value = serde_json::from_slice(JSON)?;
    let mut ids = std::collections::BTreeSet::new();
    let of =
        |value: &serde_json::Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    for resource in of(&fixture, "resourceSpans") {
        for scope in of(&resource, "scopeSpans") {
            for span in of(&scope, "spans") {
                for name in ["traceId", "spanId"] {
                    let text = span[name].as_str().context("an id")?;
                    let bytes = (0..text.len()).step_by(2);
                    let bytes = bytes.map(|at| u8::from_str_radix(&text[at..at + 2], 16));
                    ids.insert(bytes.collect::<Result<Vec<_>, _>>()?);
                }
            }
        }
    }
    Ok(ids.into_iter().collect())
}

/// An id that no other number has, made of `id`.
fn changed(id: &[u8], number: usize) -> Vec<u8> {
    let number = u32::try_from(number + 1).expect("exports are few").to_be_bytes();
    id.iter().enumerate().map(|(at, byte)| byte ^ number.get(at).copied().unwrap_or(0)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let found: Vec<usize> = memchr::memmem::find_iter(bytes, from).collect();
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}

fn zipped(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// dappscope on one core, with files of its own; it ends with us.
struct Program {
    child: Child,
    otlp: SocketAddr,
    page: SocketAddr,
    _files: tempfile::TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start() -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let (otlp, page) = (free()?, free()?);
        let child = Command::new("taskset")
            .args(["-c", &PROGRAM_CORE.to_string(), env!("CARGO_BIN_EXE_dappscope"), "run"])
            .args(["--rpc-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"])
            .args(["--rpc-upstream", "http://127.0.0.1:9", "--log", "error"])
            .args(["--otlp-listen", &otlp.to_string(), "--listen", &page.to_string()])
            .current_dir(files.path())
            .stdout(Stdio::null())
            .spawn()
            .context("taskset: apt-get install util-linux")?;
        let mut program = Self { child, otlp, page, _files: files };
        let begun = Instant::now();
        while TcpStream::connect(otlp).is_err() || TcpStream::connect(page).is_err() {
            if let Some(status) = program.child.try_wait()? {
                bail!("dappscope ended at once: {status}");
            }
            ensure!(begun.elapsed() < Duration::from_secs(10), "it does not listen on {otlp}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(program)
    }

    /// CPU time used so far: by all, by the receiver's thread, by the recorder's.
    fn cpu(&self) -> anyhow::Result<[Duration; 3]> {
        let mut used = [Duration::ZERO; 3];
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?.path();
            let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
            let stat = fs::read_to_string(task.join("schedstat"))?;
            let nanos = stat.split(' ').next().context("a time in schedstat")?.parse()?;
            let nanos = Duration::from_nanos(nanos);
            used[0] += nanos;
            match name.trim() {
                "otlp" => used[1] += nanos,
                "recorder" => used[2] += nanos,
                _ => {}
            }
        }
        Ok(used)
    }

    /// Waits until all that was received is recorded and stored, or was given up.
    fn settle(&self) -> anyhow::Result<()> {
        let mut last = None;
        let begun = Instant::now();
        loop {
            let seen = self.sum("dappscope_samples_total")?;
            let done = self.sum("dappscope_samples_stored_total")?
                + self.sum("dappscope_samples_dropped_total")?;
            if last == Some(seen) && seen <= done {
                return Ok(());
            }
            ensure!(begun.elapsed() < Duration::from_secs(60), "{seen} samples seen, {done} done");
            last = Some(seen);
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The sum of a counter's series.
    fn sum(&self, name: &str) -> anyhow::Result<f64> {
        let mut stream = TcpStream::connect(self.page)?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut text)?;
        let text = String::from_utf8_lossy(&text);
        let of_it =
            |line: &&str| line.strip_prefix(name).is_some_and(|it| it.starts_with(['{', ' ']));
        let values = text.lines().filter(of_it).filter_map(|line| line.rsplit(' ').next());
        Ok(values.filter_map(|value| value.parse::<f64>().ok()).sum())
    }
}

/// A port that was free a moment ago.
fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn taskset(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("taskset").args(arguments).stdout(Stdio::null()).status();
    ensure!(status.context("taskset: apt-get install util-linux")?.success(), "taskset failed");
    Ok(())
}
