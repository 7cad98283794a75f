//! A million different paths and methods: labels, the page of metrics and memory stay bounded, and
//! every request is accounted for.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use crate::harness::{Dappscope, Metrics, memory_kib};
use crate::upstream::{Upstream, read_head};

/// Requests, no two of which have the same path.
const REQUESTS: usize = 1_000_000;
const CONNECTIONS: usize = 8;
/// Requests that a connection sends before it reads their answers.
const PIPELINED: usize = 100;
/// What the program may grow by, in KiB: what waits to be recorded and the store's cache.
const MOST_KIB: u64 = 160 * 1024;
/// Methods that are told by their names.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"];

/// Answers each request at once: every eleventh with a 404, every thirteenth with a 500.
fn api() -> Upstream {
    Upstream::with(|mut stream| {
        let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
        let (mut head, mut count) = (Vec::new(), 0_u64);
        loop {
            head.clear();
            while !head.ends_with(b"\r\n\r\n") {
                if reader.read_until(b'\n', &mut head)? == 0 {
                    return Ok(());
                }
            }
            count += 1;
            let status = match count {
                n if n % 11 == 0 => "404 Not Found",
                n if n % 13 == 0 => "500 Internal Server Error",
                _ => "200 OK",
            };
            let body = if head.starts_with(b"HEAD ") { "" } else { "ok" };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{body}")?;
        }
    })
}

/// A path that no other number has: of every shape, at every depth.
fn path(n: usize) -> String {
    match n % 8 {
        0 => format!("/{n}"),
        1 => format!("/word{n:x}/list"),
        2 => format!("/api/nfts/{n}"),
        3 => format!("/api/owners/0x{n:040x}"),
        4 => format!("/api/v{}/a{n}/b/c", n % 1_000),
        5 => format!("/{}/{}/{n}", n % 300, n % 70),
        6 => format!("/search-{}?q={n}&filter=%22{n}%22", n / 8),
        _ => format!("/d{0}/e{0}/f{0}/g{0}/h{0}/i{0}/j{0}/k{0}/l{0}/{n}", n % 50),
    }
}

/// Every other method is invented, and no two of those are the same. Each shape of path meets all.
fn method(n: usize) -> String {
    let turn = n / 8 % 16;
    METHODS.get(turn).map_or_else(|| format!("M{n}"), |known| (*known).to_owned())
}

/// Sends the requests from `first` on, so many apart, as a pipelining client.
fn ask(proxy: SocketAddr, first: usize) {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone().unwrap());
    let numbers: Vec<usize> = (first..REQUESTS).step_by(CONNECTIONS).collect();
    for group in numbers.chunks(PIPELINED) {
        let mut text = String::new();
        for n in group {
            text += &format!("{} {} HTTP/1.1\r\nHost: localhost\r\n\r\n", method(*n), path(*n));
        }
        stream.write_all(text.as_bytes()).unwrap();
        for n in group {
            let length = read_head(&mut reader).unwrap().expect("an answer");
            let length = if method(*n) == "HEAD" { 0 } else { length };
            std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).unwrap();
        }
    }
}

fn values(metrics: &Metrics, name: &str, label: &str) -> BTreeSet<String> {
    metrics.matching(name, &[]).map(|(labels, _)| labels[label].clone()).collect()
}

#[test]
fn a_million_paths_and_methods_leave_labels_page_and_memory_bounded() {
    let node = Upstream::start();
    let api = api();
    let scope = Dappscope::start(node.address, Some(api.address), "");
    let proxy = scope.api.unwrap();
    let before = memory_kib(scope.pid(), "VmRSS");
    let begun = std::time::Instant::now();
    std::thread::scope(|threads| {
        for first in 0..CONNECTIONS {
            threads.spawn(move || ask(proxy, first));
        }
    });
    println!("{REQUESTS} requests in {:?}", begun.elapsed());

    let metrics = scope.settled();
    let most = memory_kib(scope.pid(), "VmHWM");
    let text = scope.metrics_text();
    println!("{before} KiB before, {most} KiB at most; the page has {} bytes", text.len());
    assert!(most - before < MOST_KIB, "{before} KiB before, {most} KiB at most");
    assert!(text.len() < 2_000_000, "the page has {} bytes", text.len());
    promtool_has_nothing_to_mend(&text);

    let family = "http_server_request_duration_seconds_count";
    let routes = values(&metrics, family, "http_route");
    println!("{} routes: {routes:?}", routes.len());
    assert!(routes.contains("_OTHER") && routes.contains("_unmatched"), "{routes:?}");
    assert!(routes.len() <= 102 && routes.len() > 20, "{} routes: {routes:?}", routes.len());
    let methods = values(&metrics, family, "http_request_method");
    let known = METHODS.into_iter().chain(["_OTHER"]).map(str::to_owned);
    assert_eq!(methods, known.collect(), "eight are known, all others are one");

    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let requests = REQUESTS as f64;
    let of_requests = [("kind", "request")];
    assert_eq!(metrics.sum("dappscope_samples_total", &of_requests), requests);
    let seen = metrics.sum("dappscope_samples_total", &[]);
    let stored = metrics.sum("dappscope_samples_stored_total", &[]);
    // By reason, not by kind: on a busy machine the store may fall behind, and says so.
    let dropped = metrics.sum("dappscope_samples_dropped_total", &[]);
    let lost = metrics.sum("dappscope_observations_dropped_total", &[]);
    println!("{seen} seen, {stored} stored, {dropped} dropped; {lost} observations lost");
    assert_eq!(seen, stored + dropped);
    assert_eq!(metrics.sum(family, &[]), requests);
    assert!(scope.stop().success());
}

fn promtool_has_nothing_to_mend(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: apt-get install prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && words.is_empty(), "{}", String::from_utf8_lossy(&words));
}
