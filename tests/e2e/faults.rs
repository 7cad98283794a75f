//! What may go wrong around dappscope: the node is down, the disk is full, the process is killed, the
//! input is bad. Forwarding goes on, nothing that was stored is lost, and the words help.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Dappscope, Hardhat, PATIENCE, call, free_port, http, try_http, until};
use crate::upstream::{Caller, Upstream};

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

#[test]
fn a_node_that_is_down_is_told_in_words_and_works_once_it_is_up() {
    let node = nowhere();
    let scope = Dappscope::start(node, None, "");
    let body = br#"{"jsonrpc":"2.0","id":7,"method":"eth_chainId","params":[]}"#;
    let answer = http(scope.rpc, "POST", "/", &[("Content-Type", "application/json")], body);
    assert_eq!(answer.status, 502);
    let error = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains(&node.to_string()), "the node is named in {error:?}");

    let hardhat = Hardhat::start_on(node.port());
    let answer = call(scope.rpc, "/", "eth_chainId", &json!([]));
    assert_eq!(answer["result"], "0x7a69");
    until("the node to count as up", || {
        (scope.metrics().sum("evm_node_up", &[]) > 0.5).then_some(())
    });

    drop(hardhat);
    until("the node to count as down", || {
        (scope.metrics().sum("evm_node_up", &[]) < 0.5).then_some(())
    });
    assert_eq!(http(scope.rpc, "POST", "/", &[], body).status, 502);
    let metrics = scope.settled();
    let failed = metrics.sum(
        "rpc_server_call_duration_seconds_count",
        &[("rpc_method", "eth_chainId"), ("error_type", "connect")],
    );
    assert_eq!(failed, 2.0);
    assert!(scope.stop().success());
}

#[test]
fn a_full_disk_costs_samples_but_no_call_and_recording_resumes() {
    let upstream = Upstream::start();
    let own = tempfile::tempdir().unwrap();
    // A limit on the size of files is the full disk that needs no rights to make.
    let wrapper = ["prlimit", "--fsize=262144:unlimited"];
    let scope = Dappscope::start_in(&own.path().join("data"), upstream.address, None, "", &wrapper);
    let mut caller = Caller::connect(scope.rpc).unwrap();
    let mut calls: u64 = 0;
    until("the store to run into the limit", || {
        for _ in 0..2_000 {
            caller.call().expect("forwarding goes on");
            calls += 1;
        }
        let dropped =
            scope.metrics().sum("dappscope_samples_dropped_total", &[("reason", "store_failed")]);
        (dropped > 0.0).then_some(())
    });
    let status = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &scope.pid().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    let stored =
        |s: &Dappscope| s.metrics().sum("dappscope_samples_stored_total", &[("kind", "call")]);
    let before = stored(&scope);
    until("recording to resume", || {
        caller.call().expect("forwarding goes on");
        calls += 1;
        std::thread::sleep(Duration::from_millis(100));
        (stored(&scope) > before).then_some(())
    });
    let metrics = scope.settled();
    let seen = metrics.sum("dappscope_samples_total", &[]);
    let done = metrics.sum("dappscope_samples_stored_total", &[])
        + metrics.sum("dappscope_samples_dropped_total", &[]);
    assert_eq!(seen, done);
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
    let calls = calls as f64;
    assert_eq!(metrics.sum("dappscope_samples_total", &[("kind", "call")]), calls);
    assert!(scope.stop().success());
}

#[test]
fn killed_fifty_times_under_load_the_store_opens_and_a_quarter_second_is_lost_at_most() {
    let upstream = Upstream::start();
    let own = tempfile::tempdir().unwrap();
    let data = own.path().join("data");
    let mut expected_at_least: u64 = 0;
    let mut lost = Vec::new();
    for round in 0..50 {
        let scope = Dappscope::start_in(&data, upstream.address, None, "", &[]);
        let stored = scope.metrics();
        assert_eq!(stored.sum("dappscope_store_quarantined_total", &[]), 0.0);
        // What the rounds before left behind.
        let recounted = count_calls(&scope);
        assert!(
            recounted >= expected_at_least,
            "round {round}: {recounted} calls are stored, {expected_at_least} have to be"
        );
        let mut caller = Caller::connect(scope.rpc).unwrap();
        let mut done: Vec<Instant> = Vec::new();
        let length = Duration::from_millis(300 + (round * 37) % 500);
        let slowness = Slowness::measure(own.path());
        let begun = Instant::now();
        while begun.elapsed() < length {
            caller.call().unwrap();
            done.push(Instant::now());
        }
        let killed = Instant::now();
        scope.kill();
        let slow = slowness.end();
        let safe = killed - STALL - slow;
        expected_at_least = recounted + done.iter().filter(|at| **at < safe).count() as u64;
        let reopened = Dappscope::start_in(&data, upstream.address, None, "", &[]);
        let kept = count_calls(&reopened) - recounted;
        reopened.stop();
        let kept = usize::try_from(kept).unwrap();
        let missing = done.get(kept).map_or(Duration::ZERO, |first| killed - *first);
        lost.push(missing.saturating_sub(slow));
        expected_at_least = expected_at_least.min(recounted + kept as u64);
        assert!(missing <= STALL + slow, "round {round}: {missing:?} are missing, {slow:?} slow");
    }
    lost.sort();
    println!("a kill cost {:?} of samples at the median, {:?} at most", lost[25], lost[49]);
    // Beside browsers and uploads on two cores a commit comes late now and then, not as a rule.
    assert!(lost[37] <= PROMISED, "a quarter of 50 kills cost more: {:?}", &lost[37..]);
}

/// How slow the disk and the processors are besides, measured on a thread of its own: a write that
/// has to reach the disk may take as long for dappscope too.
struct Slowness(Arc<AtomicBool>, std::thread::JoinHandle<Duration>);

impl Slowness {
    fn measure(dir: &Path) -> Self {
        const PAUSE: Duration = Duration::from_millis(20);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut file) = (Arc::clone(&stop), tempfile::tempfile_in(dir).unwrap());
        let thread = std::thread::spawn(move || {
            let mut most = Duration::ZERO;
            while !stopped.load(SeqCst) {
                let begun = Instant::now();
                std::thread::sleep(PAUSE);
                file.write_all(&[0; 4_096]).unwrap();
                file.sync_data().unwrap();
                most = most.max(begun.elapsed() - PAUSE);
            }
            most
        });
        Self(stop, thread)
    }

    fn end(self) -> Duration {
        self.0.store(true, SeqCst);
        self.1.join().unwrap()
    }
}

/// What a kill may cost.
const PROMISED: Duration = Duration::from_millis(250);
/// What it may cost once, when the machine has stalled.
const STALL: Duration = Duration::from_secs(1);

fn count_calls(scope: &Dappscope) -> u64 {
    let overview = scope.ask("dappscope_overview", &json!({"last": "1d"}));
    overview["calls"]["count"].as_u64().unwrap_or(0)
}

#[test]
fn a_taken_port_is_named_with_its_holder() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let own = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dappscope"))
        .args([
            "run",
            "--rpc-listen",
            &address,
            "--listen",
            "127.0.0.1:0",
            "--api-listen",
            "127.0.0.1:0",
            "--otlp-listen",
            "127.0.0.1:0",
        ])
        .current_dir(own.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let me = std::process::id().to_string();
    for part in [address.as_str(), "taken", me.as_str(), "--rpc-listen"] {
        assert!(words.contains(part), "{part:?} in {words}");
    }
}

#[test]
fn bad_settings_are_all_told_and_nothing_starts() {
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("bad.toml");
    std::fs::write(
        &file,
        "[rpc]\nlistn = 1\nupstream = \"localhost\"\n[store]\nretention_days = -1\n",
    )
    .unwrap();
    for command in ["run", "check"] {
        let output = Command::new(env!("CARGO_BIN_EXE_dappscope"))
            .args([command, "--config"])
            .arg(&file)
            .current_dir(own.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in ["listn", "rpc.upstream", "store.retention_days", "bad.toml:2"] {
            assert!(words.contains(part), "{part:?} in {words}");
        }
    }
    assert!(!own.path().join(".dappscope").exists());
}

#[test]
fn what_the_settings_name_is_judged_alike_by_run_and_check() {
    let own = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(own.path().join(name), text).unwrap();
    write("openapi.json", "[]");
    write("routes.txt", "Usage: flask [OPTIONS]\n");
    write(
        "bad.toml",
        "[api]\nroutes = [\"/a/{id}\", \"api/nfts\"]\nopenapi = \"openapi.json\"\n\
         flask_routes = \"routes.txt\"\n[host]\ndatabases = [\"\", \".\"]\n",
    );
    let [run, check] = ["run", "check"].map(|command| {
        let output = Command::new(env!("CARGO_BIN_EXE_dappscope"))
            .args([command, "--config", "bad.toml"])
            .current_dir(own.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    });
    // A run says first where its settings are from.
    assert!(run.ends_with(&check), "run: {run}\ncheck: {check}");
    for part in [
        "5 mistakes in the configuration",
        "api.routes[1]: expected a path",
        "api.openapi: openapi.json: expected an OpenAPI document",
        "api.flask_routes: routes.txt: expected what `flask routes` prints",
        "host.databases[0]: expected a database's file, found an empty text",
        "host.databases[1]: expected a database's file, found the directory \".\"",
    ] {
        assert!(check.contains(part), "{part:?} in {check}");
    }
    assert!(!own.path().join(".dappscope").exists());
}

#[test]
fn a_second_dappscope_on_the_same_data_is_refused_in_words() {
    let upstream = Upstream::start();
    let own = tempfile::tempdir().unwrap();
    let data = own.path().join("data");
    let first = Dappscope::start_in(&data, upstream.address, None, "", &[]);
    let output = Command::new(env!("CARGO_BIN_EXE_dappscope"))
        .args([
            "run",
            "--rpc-listen",
            "127.0.0.1:0",
            "--listen",
            "127.0.0.1:0",
            "--api-listen",
            "127.0.0.1:0",
            "--otlp-listen",
            "127.0.0.1:0",
        ])
        .arg("--data-dir")
        .arg(&data)
        .current_dir(own.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains(&data.display().to_string()), "{words}");
    assert!(first.stop().success());
}

#[test]
fn an_upstream_that_speaks_something_else_passes_through_and_is_counted() {
    let banner = Upstream::with(|mut stream| {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request)?;
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")
    });
    let scope = Dappscope::start(banner.address, None, "");
    let mut client = TcpStream::connect(scope.rpc).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", scope.rpc);
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"SSH-2.0-OpenSSH_9.2\r\n");
    assert!(scope.stop().success());
}

#[test]
fn large_and_strange_bodies_pass_intact() {
    let upstream = Upstream::echo();
    let scope = Dappscope::start(upstream.address, None, "");
    let batch = {
        let item = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
        format!("[{}]", vec![item; 100_000].join(",")).into_bytes()
    };
    let deep = "[".repeat(1_000_000).into_bytes();
    let invalid = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}".to_vec();
    let large: Vec<u8> =
        (0..100_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let before = resident(scope.pid());
    for (what, body) in [
        ("a batch of 100,000", batch),
        ("a million [", deep),
        ("invalid UTF-8", invalid),
        ("100 MB", large),
    ] {
        let answer = http(scope.rpc, "POST", "/", &[("Content-Type", "application/json")], &body);
        assert!(answer.status == 200 && answer.body == body, "{what} was changed");
    }
    let grown = resident(scope.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "memory grew by {} MiB", grown >> 20);
    // Of the batch 10,000 items are read, and the rest is one call that says of how many it is; the
    // others are no JSON-RPC, and counted so.
    let metrics = scope.settled();
    let calls = "rpc_server_call_duration_seconds_count";
    assert_eq!(metrics.sum(calls, &[("rpc_method", "_OTHER"), ("error_type", "uninspected")]), 1.0);
    assert_eq!(metrics.sum("rpc_server_calls_uninspected_total", &[]), 90_000.0);
    let unreadable = metrics.sum("dappscope_parse_failures_total", &[("kind", "rpc_request")]);
    assert_eq!(unreadable, 2.0);
    assert!(scope.stop().success());
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_slow_reader_gets_everything_and_costs_little_memory() {
    let size: usize = 50_000_000;
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    let upstream = Upstream::with(move |mut stream| {
        let mut request = [0; 1024];
        let read = stream.read(&mut request)?;
        if !request[..read].starts_with(b"GET /large ") {
            return Ok(()); // the chain watcher
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")?;
        let chunk = vec![b'x'; 100_000];
        for _ in 0..size / chunk.len() {
            stream.write_all(&chunk)?;
            counted.fetch_add(chunk.len(), SeqCst);
        }
        Ok(())
    });
    let scope = Dappscope::start(upstream.address, None, "");
    let before = resident(scope.pid());
    let mut client = TcpStream::connect(scope.rpc).unwrap();
    let request =
        format!("GET /large HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", scope.rpc);
    client.write_all(request.as_bytes()).unwrap();
    // Nothing is read until the upstream cannot write any more: the relay and the sockets are full.
    let mut seen = (0, Instant::now());
    until("the relay to be stuffed", || {
        let now = written.load(SeqCst);
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        (now > 0 && seen.1.elapsed() > STUCK).then_some(())
    });
    assert!(written.load(SeqCst) < size, "somebody took the whole response in");
    let grown = resident(scope.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "memory grew by {} KiB for one slow reader", grown >> 10);
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(bytes.len() - head, size);
    assert!(scope.stop().success());
}

/// An upstream that has not written for so long waits for a reader.
const STUCK: Duration = Duration::from_millis(300);

#[test]
fn asked_to_end_it_finishes_what_is_under_way() {
    let (arrived, has_arrived) = std::sync::mpsc::channel();
    let (answer, may_answer) = std::sync::mpsc::channel();
    let may_answer = Mutex::new(may_answer);
    let upstream = Upstream::with(move |mut stream| {
        let mut request = [0; 1024];
        // The chain watcher asks too; the call that counts is the one with this path.
        let read = stream.read(&mut request)?;
        if request[..read].starts_with(b"POST /slow ") {
            arrived.send(()).unwrap();
            may_answer.lock().unwrap().recv().unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    });
    let scope = Dappscope::start(upstream.address, None, "");
    let rpc = scope.rpc;
    let slow = std::thread::spawn(move || {
        try_http(rpc, "POST", "/slow", &[], b"{}").map(|answer| answer.text())
    });
    has_arrived.recv_timeout(PATIENCE).expect("the call is under way");
    scope.ask_to_stop();
    until("new clients to be turned away", || TcpStream::connect(rpc).err());
    answer.send(()).unwrap();
    assert_eq!(slow.join().unwrap().unwrap(), "ok");
    assert!(scope.ended().success());
}

#[test]
fn who_is_refused_is_told_in_the_log_and_what_lets_them_in() {
    let upstream = Upstream::start();
    let scope = Dappscope::start(upstream.address, None, "");
    let foreign = [("Origin", "https://evil.example")];
    assert_eq!(http(scope.rpc, "POST", "/", &foreign, b"{}").status, 403);
    let told = scope.await_log("the refusal", |line| line["fields"]["reason"].is_string());
    assert_eq!(told["level"], "WARN");
    let fields = &told["fields"];
    assert_eq!(fields["proxy"], "rpc");
    assert_eq!((&fields["status"], &fields["reason"]), (&json!(403), &json!("origin_not_allowed")));
    let words = fields["message"].as_str().unwrap();
    assert!(words.contains("[rpc]") && words.contains("allowed_origins"), "{words}");
    assert!(!scope.log().contains("evil.example"), "what a stranger sends is not repeated");
    assert!(scope.stop().success());
}

#[test]
fn a_foreign_page_cannot_reach_the_node_through_the_relay() {
    let upstream = Upstream::start();
    let scope = Dappscope::start(upstream.address, None, "");
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"eth_accounts"}"#;
    let foreign = [("Origin", "https://evil.example"), ("Content-Type", "text/plain")];
    assert_eq!(http(scope.rpc, "POST", "/", &foreign, body).status, 403);
    assert_eq!(http(scope.rpc, "POST", "/", &[("Host", "evil.example")], body).status, 403);
    assert_eq!(http(scope.page, "GET", "/metrics", &[("Host", "evil.example")], b"").status, 403);
    let own = [("Origin", "http://localhost:3000")];
    assert_eq!(http(scope.rpc, "POST", "/", &own, body).status, 200);
    assert!(scope.stop().success());
}
