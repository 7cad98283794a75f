//! A finding names the process that caused it, or says why that is not known.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Dappscope, signal, try_http, until};
use crate::upstream::{Upstream, read_head};

/// Receipts are asked for as often, all in vain: five are a finding.
const POLLS: usize = 10;
const POLL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_getTransactionReceipt","params":["0x5fbdb2315678afecb367f032d93f642f64180aa35fbdb2315678afecb367f032"]}"#;

/// A node that knows no receipt, and takes its time to say so.
fn node(time: Duration) -> Upstream {
    const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":null}"#;
    Upstream::with(move |stream| {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some(length) = read_head(&mut reader)? {
            let mut body = String::new();
            (&mut reader).take(length).read_to_string(&mut body)?;
            if body.contains("eth_getTransactionReceipt") {
                std::thread::sleep(time);
            }
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{ANSWER}", ANSWER.len())?;
        }
        Ok(())
    })
}

/// One poll on a connection of its own, by this process.
fn poll(relay: SocketAddr) {
    let headers = [("Content-Type", "application/json")];
    let answer = try_http(relay, "POST", "/", &headers, POLL.as_bytes()).unwrap();
    assert_eq!(answer.status, 200);
}

/// The first finding, once there is one.
fn finding(scope: &Dappscope) -> Value {
    until("the finding", || {
        let answer = scope.ask("dappscope_findings", &json!({"kind": "receipt_polling"}));
        answer["findings"].get(0).cloned()
    })
}

fn names_this_process(finding: &Value) -> bool {
    let own = format!("({})", std::process::id());
    finding["process"].as_str().is_some_and(|process| process.ends_with(&own))
}

#[test]
fn a_client_with_a_connection_for_each_call_is_named() {
    let node = node(Duration::from_millis(100));
    let scope = Dappscope::start(node.address, None, "");
    (0..POLLS).for_each(|_| poll(scope.rpc));
    let found = finding(&scope);
    assert!(names_this_process(&found), "{found:#}");
    assert_eq!(found["process_unknown"], Value::Null);
    assert!(scope.stop().success());
}

#[test]
fn a_client_that_is_gone_before_it_is_seen_is_unknown_with_a_reason() {
    let node = node(Duration::ZERO);
    let scope = Dappscope::start(node.address, None, "");
    // Stopped, so that all connections are closed before dappscope can look.
    signal(scope.pid(), "STOP");
    for _ in 0..POLLS {
        let mut client = TcpStream::connect(scope.rpc).unwrap();
        let length = POLL.len();
        let head =
            format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n", scope.rpc);
        client.write_all((head + POLL).as_bytes()).unwrap();
    }
    signal(scope.pid(), "CONT");
    let found = finding(&scope);
    let process = (&found["process"], &found["process_unknown"]);
    assert_eq!(process, (&Value::Null, &json!("connection_closed")), "{found:#}");
    let who = found["who"].as_str().unwrap();
    assert!(who.starts_with("unknown process (it closed the connection at once)"), "{who}");
    assert!(scope.stop().success());
}

#[test]
fn a_quick_client_is_named_or_unknown_with_a_reason() {
    let node = node(Duration::ZERO);
    let scope = Dappscope::start(node.address, None, "");
    (0..50 * POLLS).for_each(|_| poll(scope.rpc));
    let found = finding(&scope);
    let closed = found["process"].is_null() && found["process_unknown"] == "connection_closed";
    let named = names_this_process(&found) && found["process_unknown"].is_null();
    assert!(named || closed, "{found:#}");
    assert!(scope.stop().success());
}
