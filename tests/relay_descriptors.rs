//! The relay with no file descriptors left. A process of its own: the limit is the process's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support_relay;

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support_relay::*;

/// The relay's thread, once it has given itself its name.
fn relay_thread() -> PathBuf {
    let is_relay = |path: &PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "relay-0")
    };
    loop {
        let mut tasks = std::fs::read_dir("/proc/self/task").unwrap();
        if let Some(path) = tasks.find_map(|task| task.ok().map(|t| t.path()).filter(is_relay)) {
            return path;
        }
        std::thread::yield_now();
    }
}

/// CPU time that a thread has used, in nanoseconds.
fn cpu_ns(thread: &Path) -> u64 {
    let schedstat = std::fs::read_to_string(thread.join("schedstat")).unwrap();
    schedstat.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn without_descriptors_it_waits_without_spinning_and_then_goes_on() {
    let relay = Running::new(answering(b"HTTP/1.1 204 No Content\r\n\r\n"));
    let thread = relay_thread();
    let before = cpu_ns(&thread);
    let limited = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string(), "--nofile=64:64"])
        .status()
        .unwrap();
    assert!(limited.success());
    let mut clients = Vec::new();
    let error = loop {
        match TcpStream::connect(relay.address) {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
    };
    assert_ne!(error.kind(), ErrorKind::ConnectionRefused);
    // The time itself is what is measured: spinning would fill it.
    std::thread::sleep(Duration::from_millis(500));
    clients.truncate(4);
    let mut client = relay.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(read_until(&mut client, b"\r\n\r\n").starts_with(b"HTTP/1.1 204 "));
    let used = Duration::from_nanos(cpu_ns(&thread) - before);
    assert!(used < Duration::from_millis(150), "used {used:?} of CPU");
}
