//! Bodies on their way: nothing is kept, nothing waits for what is not needed.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::{Api, Peer, Proxy, get, ok};

/// This process's resident memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1_024
}

#[test]
fn an_event_arrives_before_the_next_is_sent() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let api = Api::start(move |mut peer: Peer| {
        peer.read_message();
        peer.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for i in 0..5 {
            peer.write(format!("9\r\ndata: {i}\n\n\r\n"));
            wait.lock().unwrap().recv().unwrap();
        }
        peer.write("0\r\n\r\n");
        peer.read_message();
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write(get("/events"));
    client.read_head().unwrap();
    for i in 0..5 {
        assert_eq!(client.read_chunk().unwrap(), format!("data: {i}\n\n").into_bytes());
        go.send(()).unwrap();
    }
    assert_eq!(client.read_chunk().unwrap(), b"");
    let told = proxy.await_request();
    assert_eq!((told.status, told.response_bytes), (200, 45));
}

#[test]
fn an_upload_of_256_mb_takes_no_memory_and_arrives_whole() {
    const PIECE: usize = 1 << 16;
    const PIECES: usize = 4_096;
    let api = Api::start(|mut peer: Peer| {
        peer.read_head();
        let (mut total, mut sum) = (0_usize, 0_u64);
        loop {
            let chunk = peer.read_chunk().unwrap();
            if chunk.is_empty() {
                break;
            }
            total += chunk.len();
            sum = chunk.iter().fold(sum, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b)));
        }
        peer.read_head();
        peer.write(ok(&format!("{total} {sum}")));
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write("POST /up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let before = resident();
    let (mut most, mut sum) = (0, 0_u64);
    for piece in 0..PIECES {
        #[expect(clippy::cast_possible_truncation, reason = "a pattern")]
        let bytes: Vec<u8> = (0..PIECE).map(|i| (i * 7 + piece) as u8).collect();
        sum = bytes.iter().fold(sum, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b)));
        client.write(format!("{PIECE:x}\r\n"));
        client.write(&bytes);
        client.write("\r\n");
        most = most.max(resident());
    }
    client.write("0\r\n\r\n");
    let response = client.read_message().unwrap();
    assert_eq!(response.text(), format!("{} {sum}", PIECE * PIECES));
    assert_eq!(proxy.await_request().request_bytes, (PIECE * PIECES) as u64);
    // Other tests run in this process too; a kept body would be eight times this.
    assert!(most.saturating_sub(before) < 32 << 20, "{} more", most - before);
}

#[test]
fn a_slow_reader_of_a_large_download_takes_no_memory() {
    const SIZE: usize = 200 << 20;
    let api = Api::start(|mut peer: Peer| {
        peer.read_message();
        peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let piece = vec![7; 1 << 16];
        for _ in 0..SIZE >> 16 {
            peer.write(&piece);
        }
        peer.read_message();
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write(get("/down"));
    client.read_head().unwrap();
    let before = resident();
    // Long enough for a proxy without back pressure to have read everything.
    std::thread::sleep(Duration::from_millis(700));
    assert!(resident().saturating_sub(before) < 32 << 20);
    let mut left = SIZE;
    while left > 0 {
        let count = left.min(1 << 20);
        assert!(client.read_exact(count).iter().all(|b| *b == 7));
        left -= count;
    }
    assert_eq!(proxy.await_request().response_bytes, SIZE as u64);
}

#[test]
fn trailers_pass_both_ways() {
    let api = Api::answering(|request| {
        assert!(request.trailers.to_ascii_lowercase().contains("x-sum: 1\r\n"), "{request:?}");
        assert_eq!(request.header("te").as_deref(), Some("trailers"));
        "HTTP/1.1 200 OK\r\nTrailer: X-Back\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Back: 2\r\n\r\n"
            .to_owned()
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.send(
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: TE\r\nTE: trailers\r\n\
             Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
        );
        assert_eq!(response.text(), "hi");
        assert!(response.trailers.to_ascii_lowercase().contains("x-back: 2\r\n"), "{response:?}");
    }
    assert_eq!(api.connections(), 1);
}

#[test]
fn the_client_is_told_to_send_when_the_api_agrees() {
    let (agree, agreed) = mpsc::channel::<()>();
    let agreed = std::sync::Mutex::new(agreed);
    let api = Api::start(move |mut peer: Peer| {
        let head = peer.read_head().unwrap();
        assert!(head.to_ascii_lowercase().contains("expect: 100-continue"), "{head}");
        agreed.lock().unwrap().recv().unwrap();
        peer.write("HTTP/1.1 100 Continue\r\n\r\n");
        let body = peer.read_exact(5);
        peer.write(ok(std::str::from_utf8(&body).unwrap()));
        peer.read_message();
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(client.read_line(), "", "nothing before the API agrees");
    client.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    agree.send(()).unwrap();
    assert_eq!(client.read_head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.send("hello").text(), "hello");
}

#[test]
fn a_refused_expectation_reaches_the_client_before_its_body() {
    let api = Api::start(|mut peer: Peer| {
        peer.read_head();
        peer.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
        peer.read_message();
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let response = client.send(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(response.status(), 413);
    let told = proxy.await_request();
    assert_eq!((told.status, told.request_bytes), (413, 0));
}

#[test]
fn an_api_that_never_says_continue_gets_the_body_all_the_same() {
    let api = Api::answering(|request| ok(request.text()));
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let started = Instant::now();
    client.write(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.read_head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.send("hello").text(), "hello");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_answer_before_the_upload_is_over_is_read_whole() {
    const SIZE: usize = 1 << 20;
    let api = Api::start(|mut peer: Peer| {
        peer.read_head();
        // A large refusal while the client is still sending; then the rest is read and dropped.
        peer.write(format!("HTTP/1.1 413 Content Too Large\r\nContent-Length: {SIZE}\r\n\r\n"));
        peer.write(vec![b'x'; SIZE]);
        let _ = peer.read_to_end();
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n");
    // All of it is sent before anything is read.
    client.write(vec![b'y'; 8_000_000]);
    let response = client.read_message().unwrap();
    assert_eq!((response.status(), response.body.len()), (413, SIZE));
}

#[test]
fn both_ways_stream_at_once() {
    let api = Api::start(|mut peer: Peer| {
        peer.read_head();
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Some(chunk) = peer.read_chunk() {
            peer.write(format!("{:x}\r\n", chunk.len()));
            peer.write(&chunk);
            peer.write("\r\n");
            if chunk.is_empty() {
                break;
            }
        }
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.read_head().unwrap();
    for i in 0..50 {
        client.write(format!("3\r\n{i:03}\r\n"));
        assert_eq!(client.read_chunk().unwrap(), format!("{i:03}").into_bytes());
    }
    client.write("0\r\n\r\n");
    assert_eq!(client.read_chunk().unwrap(), b"");
}
