//! Requests that two readers could understand in two ways, and requests of foreign pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use dappscope::model::ConnectionEvent;

use crate::support::{Api, Proxy, get, ok, post};

fn counting() -> (Api, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let api = Api::answering(move |_| {
        counted.fetch_add(1, SeqCst);
        ok("hi")
    });
    (api, count)
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_never_reaches_the_api() {
    let (api, reached) = counting();
    let proxy = Proxy::start(api.address);
    let host = "Host: localhost\r\n";
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{host}Host: evil.com\r\n\r\n"), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n".to_owned(), 405),
        (format!("GET http://evil.com/ HTTP/1.1\r\n{host}\r\n"), 421),
        (format!("GET https://localhost/ HTTP/1.1\r\n{host}\r\n"), 421),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n"), 400),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), 400),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            400,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            400,
        ),
        (format!("POST / HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\nhello"), 400),
        (format!("POST / HTTP/1.1\r\n{host}Content-Length : 5\r\n\r\nhello"), 400),
        (format!("POST / HTTP/1.1\r\n{host}X: a\r\n Content-Length: 5\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{host}X: a\rb\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{host}X: a\nY: b\r\n\r\n"), 400),
        ("GET / HTTP/1.1\nHost: localhost\n\n".to_owned(), 400),
        (format!("GET /a#b HTTP/1.1\r\n{host}\r\n"), 400),
        (format!("GET / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
    ] {
        let mut client = proxy.client();
        // What a second reader would take for a request of its own.
        client.write(format!("{request}{}", get("/smuggled")));
        let answer = client.read_to_end().unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} "))
                || answer.starts_with("HTTP/1.0 400 "),
            "{request:?} {answer}"
        );
        assert_eq!(
            answer.lines().filter(|line| line.starts_with("HTTP/1.")).count(),
            1,
            "{request:?} {answer}"
        );
        let told = proxy.await_event(|_, event| match event {
            ConnectionEvent::Refused { status, .. } => Some(*status),
            _ => None,
        });
        assert_eq!(told, status, "{request:?}");
    }
    assert_eq!(reached.load(SeqCst), 0);
    assert_eq!(proxy.client().send(get("/")).text(), "hi");
}

#[test]
fn foreign_names_and_pages_are_refused_in_words() {
    let (api, reached) = counting();
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let response = client.send("GET / HTTP/1.1\r\nHost: evil.com\r\n\r\n");
    assert_eq!(response.status(), 403);
    assert!(response.text().contains("allowed_hosts"), "{}", response.text());
    for origin in ["http://evil.com", "null", "http://localhost\r\nOrigin: http://localhost"] {
        let response =
            client.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"));
        assert_eq!(response.status(), 403, "{origin}");
        assert!(response.text().contains("allowed_origins"), "{}", response.text());
    }
    let local = "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n\r\n";
    assert_eq!(client.send(local).status(), 200);
    assert_eq!(reached.load(SeqCst), 1);
}

#[test]
fn a_refused_upload_does_not_become_the_next_request() {
    let (api, reached) = counting();
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let inner = post("/smuggled", "x");
    client.write(format!(
        "POST / HTTP/1.1\r\nHost: evil.com\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    ));
    assert_eq!(client.read_message().unwrap().status(), 403);
    assert_eq!(client.send(get("/")).text(), "hi");
    assert_eq!(reached.load(SeqCst), 1);
}

#[test]
fn a_response_with_a_length_beside_chunks_reaches_the_client_with_one_meaning() {
    let api = Api::answering(|_| {
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n"
            .to_owned()
    });
    let proxy = Proxy::start(api.address);
    let response = proxy.client().send(get("/"));
    assert_eq!(response.header("content-length"), None);
    assert_eq!(response.text(), "hello");
}
