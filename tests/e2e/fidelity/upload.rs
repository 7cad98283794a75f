//! An upload of a gigabyte takes the proxy no memory.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::servers::Server;
use crate::harness::{Dappscope, marketplace, memory_kib};
use crate::upstream::Upstream;

/// The pieces of 1 MiB that make a gigabyte.
const PIECES: u64 = 1024;
/// What the proxy may grow by meanwhile, in KiB.
const MOST_KIB: u64 = 32 * 1024;

/// Uploads so many pieces with `requests`, with a length or in chunks; what the app counted.
fn uploaded(address: SocketAddr, pieces: u64, how: &str) -> Value {
    let output = Command::new(marketplace().join(".venv/bin/python"))
        .arg(marketplace().join("fidelity/upload_session.py"))
        .args([&format!("http://{address}/upload"), how, &pieces.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn uploads_of_a_gigabyte_arrive_whole_and_take_under_32_mib() {
    let node = Upstream::start();
    let server = Server::gunicorn();
    let scope = Dappscope::start(node.address, Some(server.address), "");
    let api = scope.api.unwrap();
    // What any upload takes once.
    uploaded(api, 8, "chunked");
    let before = memory_kib(scope.pid(), "VmRSS");
    for how in ["length", "chunked"] {
        let told = uploaded(api, PIECES, how);
        assert_eq!(told["size"], json!(PIECES << 20), "{how}");
        assert_eq!(told["sent"], told["crc"], "{how}");
        let most = memory_kib(scope.pid(), "VmHWM");
        println!("{how}: {before} KiB before, {most} KiB at most");
        assert!(most.saturating_sub(before) < MOST_KIB, "{how}: {before} KiB, then {most} KiB");
    }
    let metrics = scope.settled();
    let route = [("http_route", "/upload")];
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let expected = ((2 * PIECES + 8) << 20) as f64;
    assert_eq!(metrics.sum("http_server_request_body_size_bytes_sum", &route), expected);
    assert!(scope.stop().success());
}
