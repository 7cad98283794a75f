//! What is under way when dappscope is asked to end and the time to finish is over: it is cut, and it
//! is told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};

use crate::harness::{Dappscope, PATIENCE};
use crate::upstream::Upstream;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_syncing","params":[]}"#;
const BEGUN: &str = "data: 1\n\n";

#[test]
fn what_the_shutdown_cuts_is_told_as_cut_by_it() {
    let (arrived, arrivals) = mpsc::channel();
    let arrived = Mutex::new(arrived);
    // Both the node and the API: they begin to answer what is to be cut, and never end.
    let upstream = Upstream::with(move |mut stream| {
        let mut request = [0; 1024];
        let count = stream.read(&mut request)?;
        let begun = match request.get(..9) {
            Some(b"GET /even") => {
                format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{BEGUN}")
            }
            Some(b"GET /long") => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_owned(),
            Some(b"GET /slow" | b"POST /slo") => String::new(),
            // The chain watcher.
            _ => return stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
        };
        stream.write_all(begun.as_bytes())?;
        arrived.lock().unwrap().send(count).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
    });
    let own = tempfile::tempdir().unwrap();
    let data = own.path().join("data");
    let start = || Dappscope::start_in(&data, upstream.address, Some(upstream.address), "", &[]);
    let scope = start();
    let api = scope.api.unwrap();
    let mut clients = Vec::new();
    for (path, begun) in [("/events", BEGUN), ("/long", "abc"), ("/slow", "")] {
        let mut client = ask(api, &format!("GET {path} HTTP/1.1\r\nHost: {api}\r\n\r\n"));
        // What is told as sent to the client is with the client.
        let mut read = Vec::new();
        while !begun.is_empty() && !read.windows(begun.len()).any(|it| it == begun.as_bytes()) {
            let mut some = [0; 1024];
            let count = client.read(&mut some).unwrap();
            assert!(count > 0, "{path} broke off");
            read.extend_from_slice(&some[..count]);
        }
        clients.push(client);
    }
    let (rpc, length) = (scope.rpc, CALL.len());
    let head = format!("POST /slow HTTP/1.1\r\nHost: {rpc}\r\nContent-Length: {length}\r\n\r\n");
    clients.push(ask(rpc, &(head + CALL)));
    for _ in &clients {
        arrivals.recv_timeout(PATIENCE).expect("all are under way");
    }
    assert!(scope.stop().success());
    drop(clients);

    let scope = start();
    let requests = scope.ask("dappscope_requests", &json!({}));
    let requests = requests["requests"].as_array().unwrap();
    let told = |path: &str| {
        let told: Vec<_> = requests.iter().filter(|it| it["path"] == path).collect();
        assert_eq!(told.len(), 1, "{path} in {requests:?}");
        let told = told[0];
        assert!(told["total_us"].as_u64().unwrap() > 5_000_000, "it waited: {told}");
        (told["end"].clone(), told["status"].clone(), told["response_bytes"].clone())
    };
    let stopped = Value::from("stopped");
    assert_eq!(told("/events"), (stopped.clone(), 200.into(), BEGUN.len().into()));
    assert_eq!(told("/long"), (stopped.clone(), 200.into(), 3.into()));
    assert_eq!(told("/slow"), (stopped, 0.into(), 0.into()));
    let calls = scope.ask("dappscope_calls", &json!({"method": "eth_syncing"}));
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(1), "{calls}");
    assert_eq!(calls["calls"][0]["outcome"], "stopped");
    // Nobody failed but dappscope.
    let overview = scope.ask("dappscope_overview", &json!({}));
    assert_eq!(overview["requests"]["errors"], 0, "{overview}");
}

fn ask(proxy: SocketAddr, request: &str) -> TcpStream {
    let mut client = TcpStream::connect(proxy).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    client
}
