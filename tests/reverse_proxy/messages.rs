//! What is passed on unchanged, what is added and what is taken away.

use std::time::Duration;

use dappscope::model::{Flights, TraceContext};

use crate::support::{Api, Peer, Proxy, get, ok, post};

#[test]
fn a_request_and_its_response_pass() {
    let api = Api::answering(|request| ok(&format!("{}{}", request.head, request.text())));
    let proxy = Proxy::start(api.address);
    let response = proxy.client().send(post("/api/nfts?owner=0x1", "{\"a\":1}"));
    assert_eq!(response.status(), 200);
    let seen = response.text();
    assert!(seen.starts_with("POST /api/nfts?owner=0x1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.ends_with("{\"a\":1}"), "{seen}");
    assert!(seen.contains("host: localhost\r\n"), "{seen}");
}

#[test]
fn a_kept_alive_client_reuses_one_upstream_connection() {
    let api = Api::answering(|_| ok("hi"));
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.send(get("/")).text(), "hi");
    }
    for _ in 0..10 {
        assert_eq!(proxy.client().send(get("/")).text(), "hi");
    }
    assert_eq!(api.connections(), 1);
}

#[test]
fn every_kind_of_ending_gives_the_connection_back() {
    let api = Api::answering(|request| {
        let path = request.head.split(' ').nth(1).unwrap();
        match path {
            "/chunked" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
            }
            "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        }
        .to_owned()
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    for path in ["/length", "/chunked", "/empty"] {
        assert_eq!(client.send(get(path)).status(), 200);
    }
    for path in ["/204", "/304"] {
        client.write(get(path));
        let head = client.read_head().unwrap();
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    }
    client.write("HEAD /head HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.read_head().unwrap();
    assert!(head.contains("content-length: 12345\r\n"), "{head}");
    for request in [post("/length", "x"), post("/length", ""), get("/length")] {
        assert_eq!(client.send(request).text(), "hi");
    }
    assert_eq!(api.connections(), 1);
}

#[test]
fn the_api_is_told_who_the_client_is() {
    let api = Api::answering(|request| ok(&request.head));
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let seen = client.send("GET / HTTP/1.1\r\nHost: LocalHost:5001\r\n\r\n");
    let seen = seen.text();
    assert!(seen.contains("host: LocalHost:5001\r\n"), "{seen}");
    assert!(
        seen.contains("forwarded: for=127.0.0.1;host=\"LocalHost:5001\";proto=http\r\n"),
        "{seen}"
    );
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
    assert!(seen.contains("x-forwarded-proto: http\r\n"), "{seen}");
    assert!(seen.contains("x-forwarded-host: LocalHost:5001\r\n"), "{seen}");
    let seen = client.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 10.0.0.1\r\n\
         Forwarded: for=10.0.0.1\r\n\r\n",
    );
    let seen = seen.text();
    assert!(seen.contains("x-forwarded-for: 10.0.0.1, 127.0.0.1\r\n"), "{seen}");
    assert!(seen.contains("forwarded: for=10.0.0.1, for=127.0.0.1;"), "{seen}");
}

#[test]
fn what_a_tls_end_before_the_proxy_says_of_the_browser_stays() {
    let api = Api::answering(|request| ok(&request.head));
    let proxy = Proxy::start(api.address);
    let seen = proxy.client().send(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:5001\r\nX-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\r\n",
    );
    let seen = seen.text();
    let told: Vec<&str> = seen.lines().filter(|line| line.contains("forwarded")).collect();
    assert_eq!(
        told,
        [
            "x-forwarded-for: 10.0.0.1, 127.0.0.1",
            "x-forwarded-proto: https",
            "x-forwarded-host: shop.example",
        ]
    );
}

#[test]
fn what_is_meant_for_one_hop_stays_there() {
    let api = Api::answering(|request| {
        let seen = &request.head;
        format!(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Back\r\nX-Back: 1\r\nX-Kept: 2\r\n\
             Keep-Alive: timeout=5\r\nServer: Werkzeug\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Content-Length: {}\r\n\r\n{seen}",
            seen.len()
        )
    });
    let proxy = Proxy::start(api.address);
    let response = proxy.client().send(
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, X-Secret-Hop\r\n\
         X-Secret-Hop: 1\r\nTE: gzip\r\nProxy-Connection: keep-alive\r\nKeep-Alive: 300\r\n\
         Accept-Encoding: gzip\r\nCookie: a=b\r\nUpgrade: h2c\r\n\r\n",
    );
    let seen = response.text().to_ascii_lowercase();
    for gone in ["x-secret-hop", "connection:", "te:", "keep-alive", "upgrade"] {
        assert!(!seen.lines().any(|line| line.starts_with(gone)), "{gone} in {seen}");
    }
    assert!(seen.contains("accept-encoding: gzip\r\n") && seen.contains("cookie: a=b\r\n"));
    assert_eq!(response.header("x-back"), None);
    assert_eq!(response.header("keep-alive"), None);
    assert_eq!(response.header("x-kept").as_deref(), Some("2"));
    assert_eq!(response.header("server").as_deref(), Some("Werkzeug"));
    assert_eq!(response.header("date").as_deref(), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
}

#[test]
fn nothing_is_invented_where_the_api_said_nothing() {
    let api = Api::answering(|_| ok("hi"));
    let proxy = Proxy::with(api.address, |settings| settings.server_timing = false);
    let response = proxy.client().send(get("/"));
    assert_eq!(response.head, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
}

#[test]
fn names_keep_their_case_and_unknown_reasons_their_words() {
    let api = Api::answering(|request| {
        assert!(request.head.contains("\r\nx-ODD-Case: 1\r\n"), "{}", request.head);
        "HTTP/1.1 299 Rather Fine\r\nx-BACK-Case: 1\r\nContent-Length: 0\r\n\r\n".to_owned()
    });
    let proxy = Proxy::with(api.address, |settings| settings.preserve_header_case = true);
    let response =
        proxy.client().send("GET / HTTP/1.1\r\nHost: localhost\r\nx-ODD-Case: 1\r\n\r\n");
    assert!(response.head.starts_with("HTTP/1.1 299 Rather Fine\r\n"), "{}", response.head);
    assert!(response.head.contains("\r\nx-BACK-Case: 1\r\n"), "{}", response.head);
}

#[test]
fn server_timing_is_appended_to_the_apis_own() {
    let api = Api::answering(|_| {
        "HTTP/1.1 200 OK\r\nServer-Timing: db;dur=1.5\r\nContent-Length: 0\r\n\r\n".to_owned()
    });
    let proxy = Proxy::start(api.address);
    let timing = proxy.client().send(get("/")).header("server-timing").unwrap();
    let own = timing.strip_prefix("db;dur=1.5, proxy;dur=").expect("both");
    assert!(own.parse::<f64>().unwrap() < 1_000.0, "{own}");
}

#[test]
fn server_timing_tells_the_calls_that_named_the_requests_trace() {
    let flights = Flights::default();
    let node = flights.clone();
    let api = Api::answering(move |request| {
        let header = request.head.lines().find_map(|line| line.strip_prefix("traceparent: "));
        let trace = TraceContext::parse(header.expect("the proxy's").as_bytes()).unwrap();
        for _ in 0..3 {
            node.made(trace.trace_id, Duration::from_micros(2_750));
        }
        node.made(trace.trace_id ^ 1, Duration::from_secs(1));
        ok("")
    });
    let proxy = Proxy::with(api.address, |settings| settings.flights = flights.clone());
    let timing = proxy.client().send(get("/")).header("server-timing").unwrap();
    let (_, calls) = timing.split_once(", ").expect("the proxy's own comes first");
    assert_eq!(calls, "rpc;dur=8.250;desc=\"3 calls\"");
}

#[test]
fn a_trace_is_continued_or_begun() {
    let api = Api::answering(|request| ok(&request.head));
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let response = client.send(format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\
         tracestate: a=b\r\n\r\n"
    ));
    let told = proxy.await_request().trace;
    assert_eq!(format!("{:032x}", told.trace_id), trace);
    assert!(response.text().contains(&format!("traceparent: {}\r\n", told.header())));
    assert!(response.text().contains("tracestate: a=b\r\n"));
    let response = client.send(get("/"));
    let told = proxy.await_request().trace;
    assert!(
        response
            .text()
            .to_ascii_lowercase()
            .contains(&format!("traceparent: {}\r\n", told.header()))
    );
}

#[test]
fn an_old_client_is_served_and_its_connection_closed() {
    let api = Api::answering(|request| {
        assert!(request.head.contains("HTTP/1.1\r\n") && request.head.contains("host: 127.0.0.1:"));
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned()
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write("GET / HTTP/1.0\r\n\r\n");
    let response = String::from_utf8(client.read_to_end().unwrap()).unwrap();
    assert!(response.starts_with("HTTP/1.0 200 OK\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\nhi"), "{response}");
}

#[test]
fn an_upstream_that_closes_every_connection_serves_a_kept_alive_client() {
    let api = Api::start(|mut peer: Peer| {
        peer.read_message();
        peer.write("HTTP/1.0 200 OK\r\nServer: Werkzeug\r\nConnection: close\r\n\r\nhello");
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    for _ in 0..20 {
        let response = client.send(get("/"));
        assert_eq!((response.status(), response.text()), (200, "hello"));
        assert_eq!(response.header("connection"), None);
    }
    assert_eq!(api.connections(), 20);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let api = Api::answering(|request| ok(request.head.split(' ').nth(1).unwrap()));
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let burst: String = (0..40).map(|i| get(&format!("/{i}"))).collect();
    client.write(burst);
    for i in 0..40 {
        assert_eq!(client.read_message().unwrap().text(), format!("/{i}"));
    }
}

#[test]
fn options_for_the_whole_server_and_an_absolute_target_pass() {
    let api = Api::answering(|request| ok(request.head.lines().next().unwrap()));
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let response = client.send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(response.text(), "OPTIONS * HTTP/1.1");
    let response = client.send("GET http://localhost:1/a?b HTTP/1.1\r\nHost: localhost:1\r\n\r\n");
    assert_eq!(response.text(), "GET /a?b HTTP/1.1");
}

#[test]
fn a_get_with_a_chunked_body_keeps_it() {
    let api = Api::answering(|request| ok(request.text()));
    let proxy = Proxy::start(api.address);
    let response = proxy.client().send(
        "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nquery\r\n0\r\n\r\n",
    );
    assert_eq!(response.text(), "query");
}

#[test]
fn heads_of_ninety_fields_pass_both_ways_and_longer_ones_are_answered() {
    let many: String = (0..90).map(|i| format!("X-Field-{i}: {i}\r\n")).collect();
    let sent = many.clone();
    let api = Api::answering(move |request| {
        let seen = (0..90).filter(|i| request.header(&format!("x-field-{i}")).is_some()).count();
        let body = seen.to_string();
        format!("HTTP/1.1 200 OK\r\n{sent}Content-Length: {}\r\n\r\n{body}", body.len())
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let response = client.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"));
    assert_eq!((response.status(), response.text()), (200, "90"));
    assert_eq!(response.header("x-field-89").as_deref(), Some("89"));
    let response = client.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}{many}\r\n"));
    assert_eq!(response.status(), 431);
}

#[test]
fn an_early_hint_is_left_out_and_the_final_answer_whole() {
    let api = Api::answering(|_| {
        format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n\
             HTTP/1.1 102 Processing\r\n\r\n{}",
            ok("final")
        )
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.send(get("/"));
        assert_eq!((response.status(), response.text()), (200, "final"));
        assert_eq!(response.header("link"), None);
        assert_eq!(proxy.await_request().status, 200);
    }
    assert_eq!(api.connections(), 1);
}
