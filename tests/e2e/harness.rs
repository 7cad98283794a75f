//! Starts and ends the parts: dappscope, Hardhat, Flask; asks them over plain HTTP.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use crate::support_patience::{Lateness, PATIENCE};

/// The marketplace, as `tests/marketplace/setup.sh` left it.
pub fn marketplace() -> PathBuf {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/marketplace");
    assert!(
        place.join("node_modules/.setup-stamp").is_file(),
        "run tests/run.sh or tests/marketplace/setup.sh first"
    );
    place
}

/// A port that is free, and stays so: below those that the system gives to clients, and another one
/// at each call.
pub fn free_port() -> u16 {
    const PORTS: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Suites that run at the same time begin far apart.
    let first = std::process::id().wrapping_mul(7_919);
    let mut tried = 0..PORTS;
    let free = tried.find_map(|_| {
        let at = first.wrapping_add(NEXT.fetch_add(1, Relaxed)) % PORTS;
        let port = u16::try_from(12_000 + at).unwrap();
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    });
    free.expect("one of 20,000 ports is free")
}

/// Waits until a node or server that was just started listens; ends the test with what it printed if
/// it has ended instead.
pub fn until_listening(running: &mut Running, address: SocketAddr, log: &Path) {
    until("a server to listen", || {
        if let Some(status) = running.child.try_wait().unwrap() {
            let printed = |name| std::fs::read_to_string(log.join(name)).unwrap_or_default();
            panic!("it ended with {status}: {}{}", printed("out"), printed("err"));
        }
        TcpStream::connect(address).ok()
    });
}

/// Waits until `condition` answers something.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child that ends when it goes out of scope.
pub struct Running {
    pub child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running dappscope.
pub struct Dappscope {
    process: Running,
    log: Arc<Mutex<Vec<String>>>,
    pub rpc: SocketAddr,
    pub api: Option<SocketAddr>,
    pub otlp: Option<SocketAddr>,
    pub page: SocketAddr,
    _own: Option<TempDir>,
}

impl Dappscope {
    /// In front of `node` and `api`, with a data directory of its own and `settings` (TOML).
    pub fn start(node: SocketAddr, api: Option<SocketAddr>, settings: &str) -> Self {
        let own = tempfile::tempdir().unwrap();
        let mut started = Self::start_in(&own.path().join("data"), node, api, settings, &[]);
        started._own = Some(own);
        started
    }

    /// With its data in `data`, which outlives it. `wrapper` runs the program: `["prlimit", …]`.
    pub fn start_in(
        data: &Path,
        node: SocketAddr,
        api: Option<SocketAddr>,
        settings: &str,
        wrapper: &[&str],
    ) -> Self {
        let settings_file = data.with_extension("toml");
        let json_log = "[log]\nfilter = \"info\"\nformat = \"json\"\n";
        let no_api = if api.is_none() && !settings.contains("[api]") {
            "[api]\nenabled = false\n"
        } else {
            ""
        };
        std::fs::write(&settings_file, format!("{settings}\n{json_log}{no_api}")).unwrap();
        let program = env!("CARGO_BIN_EXE_dappscope");
        let mut command = match wrapper {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
            .args(["run", "--config"])
            .arg(&settings_file)
            .args(["--rpc-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"])
            .args(["--otlp-listen", "127.0.0.1:0"])
            .args(["--rpc-upstream", &format!("http://{node}")])
            .arg("--data-dir")
            .arg(data)
            .current_dir(data.parent().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(api) = api {
            command.args([
                "--api-listen",
                "127.0.0.1:0",
                "--api-upstream",
                &format!("http://{api}"),
            ]);
        }
        if !settings.contains("artifacts") {
            command.arg("--artifacts").arg(marketplace().join("artifacts"));
        }
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().unwrap(), &log);
        collect(child.stderr.take().unwrap(), &log);
        let mut process = Running { child };
        let line = until("dappscope to say where it listens", || {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("dappscope ended at once ({status}): {}", log.lock().unwrap().join("\n"));
            }
            let lines = log.lock().unwrap();
            lines.iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                line["fields"]["page"].is_string().then_some(line)
            })
        });
        let address = |name: &str| -> Option<SocketAddr> {
            line["fields"][name].as_str().and_then(|text| text.parse().ok())
        };
        Self {
            process,
            log,
            rpc: address("rpc").unwrap(),
            api: address("api"),
            otlp: address("otlp"),
            page: address("page").unwrap(),
            _own: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it has logged so far, a JSON object a line.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The first line of its log that `is_it` knows, once it is there.
    pub fn await_log(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        until(what, || {
            let lines = self.log.lock().unwrap();
            lines.iter().filter_map(|line| serde_json::from_str(line).ok()).find(|line| is_it(line))
        })
    }

    /// The scrape, as text.
    pub fn metrics_text(&self) -> String {
        let answer = http(self.page, "GET", "/metrics", &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// The scrape's series, by name with labels as they are written.
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.metrics_text())
    }

    /// A method of dappscope's own API; panics on an error.
    pub fn ask(&self, method: &str, params: &Value) -> Value {
        let answer = call(self.page, "/rpc", method, &json!([params]));
        assert!(answer["error"].is_null(), "{method} answered {answer}");
        answer["result"].clone()
    }

    /// The scrape once every sample that was seen is stored or dropped.
    pub fn settled(&self) -> Metrics {
        let mut last = None;
        until("the recorder to settle", || {
            let metrics = self.metrics();
            let seen = metrics.sum("dappscope_samples_total", &[]);
            let done = metrics.sum("dappscope_samples_stored_total", &[])
                + metrics.sum("dappscope_samples_dropped_total", &[]);
            let quiet = last == Some(seen) && (seen - done).abs() < 0.5;
            last = Some(seen);
            quiet.then_some(metrics).or_else(|| {
                std::thread::sleep(Duration::from_millis(300));
                None
            })
        })
    }

    /// Asks it to end, and waits.
    pub fn stop(self) -> ExitStatus {
        self.ask_to_stop();
        self.ended()
    }

    pub fn ask_to_stop(&self) {
        signal(self.pid(), "TERM");
    }

    /// Waits until it has ended.
    pub fn ended(mut self) -> ExitStatus {
        until("dappscope to end", || self.process.child.try_wait().unwrap())
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }
}

/// A line of `/proc/<pid>/status`, in KiB.
pub fn memory_kib(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|it| it.strip_prefix(line)).unwrap();
    found.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends a signal to a process that a test started.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

fn collect(stream: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
}

/// A running Hardhat node.
pub struct Hardhat {
    process: Running,
    pub address: SocketAddr,
    log: TempDir,
}

impl Hardhat {
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    pub fn start_on(port: u16) -> Self {
        let log = tempfile::tempdir().unwrap();
        let child = Command::new("node")
            .args(["--require", "./keep_alive.cjs"])
            .arg("node_modules/hardhat/internal/cli/bootstrap.js")
            .args(["node", "--hostname", "127.0.0.1", "--port", &port.to_string()])
            .current_dir(marketplace())
            .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
            .stdin(Stdio::null())
            .stdout(File::create(log.path().join("out")).unwrap())
            .stderr(File::create(log.path().join("err")).unwrap())
            .spawn()
            .unwrap();
        let mut process = Running { child };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until_listening(&mut process, address, log.path());
        Self { process, address, log }
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.log.path().join("out")).unwrap()
    }
}

/// An HTTP answer.
pub struct Answer {
    pub status: u16,
    /// `Server-Timing`, its lines joined.
    pub server_timing: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// One request on a connection of its own.
pub fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_http(address, method, path, headers, body)
        .unwrap_or_else(|error| panic!("{method} {address}{path}: {error}"))
}

pub fn try_http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    // In one piece, as clients send small calls. Of a large one an answer may begin before it has
    // ended, and who writes all first may wait for ever.
    let first = body.len().min(32 * 1024);
    stream.write_all(&[(head + "\r\n").as_bytes(), &body[..first]].concat())?;
    let body = &body[first..];
    let mut sending = stream.try_clone()?;
    std::thread::scope(|scope| {
        scope.spawn(move || sending.write_all(body));
        read_answer(BufReader::new(stream), method == "HEAD")
    })
}

fn read_answer(mut reader: impl BufRead, bodiless: bool) -> std::io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Err(std::io::Error::other(format!("no response, but {head:?}")));
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(&head).map_err(std::io::Error::other)?;
    let field = |name: &str| {
        let found = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        found.map(|h| String::from_utf8_lossy(h.value).into_owned())
    };
    let status = response.code.unwrap_or(0);
    let timings = response.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("server-timing"));
    let timings: Vec<_> = timings.map(|h| String::from_utf8_lossy(h.value)).collect();
    let server_timing = timings.join(", ");
    let mut body = Vec::new();
    if bodiless || matches!(status, 204 | 304) {
        // Nothing follows.
    } else if let Some(length) = field("content-length") {
        body.resize(length.parse().map_err(std::io::Error::other)?, 0);
        reader.read_exact(&mut body)?;
    } else {
        reader.read_to_end(&mut body)?;
        if field("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            body = unchunk(&body).ok_or_else(|| std::io::Error::other("bad chunks"))?;
        }
    }
    Ok(Answer { status, server_timing, body })
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..line]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        bytes = &bytes[line + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
}

/// One JSON-RPC call over HTTP; the whole answer object.
pub fn call(address: SocketAddr, path: &str, method: &str, params: &Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let headers = [("Content-Type", "application/json")];
    http(address, "POST", path, &headers, body.as_bytes()).json()
}

/// The series of a scrape.
#[derive(Debug)]
pub struct Metrics(Vec<(String, BTreeMap<String, String>, f64)>);

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self(series.map(parse_series).collect())
    }

    /// The sum over the series of this name that carry all of these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|(_, value)| value).sum()
    }

    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a BTreeMap<String, String>, f64)> {
        self.0.iter().filter(move |(known, ..)| known == name).filter_map(move |(_, own, value)| {
            let fits = labels.iter().all(|(k, v)| own.get(*k).map_or("", String::as_str) == *v);
            fits.then_some((own, *value))
        })
    }
}

fn parse_series(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (key, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap();
    let Some((name, labels)) = key.split_once('{') else {
        return (key.to_owned(), BTreeMap::new(), value);
    };
    let labels = labels.trim_end_matches('}');
    let pairs = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once("=\"").unwrap();
        (key.to_owned(), value.trim_end_matches('"').to_owned())
    });
    (name.to_owned(), pairs.collect(), value)
}
