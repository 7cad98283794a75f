//! Upstreams that are down, slow, rude or gone, and clients that leave.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use dappscope::model::{ConnectionEvent, End};

use crate::support::{Api, PATIENCE, Peer, Proxy, get, ok, post};

#[test]
fn a_page_at_another_origin_can_read_why_the_api_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(address);
    let ask = |method: &str, host: &str, origin: &str| {
        proxy.client().send(format!(
            "{method} /api/nfts HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: content-type\r\n\r\n"
        ))
    };
    let allowed = |response: &crate::support::Message| {
        response.header("access-control-allow-origin").unwrap_or_default()
    };
    let page = "http://localhost:3000";
    let response = ask("GET", "localhost", page);
    assert_eq!((response.status(), &*allowed(&response)), (502, page));
    assert_eq!(response.header("access-control-allow-credentials").as_deref(), Some("true"));
    let response = ask("OPTIONS", "localhost", page);
    assert_eq!((response.status(), &*allowed(&response)), (200, page));
    assert_eq!(response.header("access-control-allow-methods").as_deref(), Some("POST"));
    assert_eq!(response.header("access-control-allow-headers").as_deref(), Some("content-type"));
    let response = ask("GET", "shop.example", page);
    assert_eq!((response.status(), &*allowed(&response)), (403, page));
    let response = ask("GET", "localhost", "http://evil.example");
    assert_eq!((response.status(), &*allowed(&response)), (403, ""));
}

#[test]
fn an_api_that_is_down_is_told_in_words_and_used_again_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(address);
    let mut client = proxy.client();
    let response = client.send(get("/"));
    assert_eq!(response.status(), 502);
    assert_eq!(response.header("content-type").as_deref(), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains(&address.to_string()) && message.contains("flask run"), "{message}");
    assert!(!proxy.await_event(|_, event| match event {
        ConnectionEvent::Upstream { reachable, .. } => Some(*reachable),
        _ => None,
    }));
    let told = proxy.await_request();
    assert_eq!((told.status, told.end), (502, End::Unreachable));

    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 4_096]);
        std::io::Write::write_all(&mut stream, ok("back").as_bytes()).unwrap();
        let _ = stream.read(&mut [0; 1]);
    });
    assert_eq!(client.send(get("/")).text(), "back");
    assert!(proxy.await_event(|_, event| match event {
        ConnectionEvent::Upstream { reachable, .. } => Some(*reachable),
        _ => None,
    }));
}

#[test]
fn a_pooled_connection_that_the_api_closed_while_idle_is_not_used() {
    for rude in [false, true] {
        let (closed, closings) = channel();
        let api = Api::start(move |mut peer: Peer| {
            let request = peer.read_message().unwrap();
            peer.write(ok(request.text()));
            if rude {
                peer.reset();
            } else {
                drop(peer);
            }
            closed.send(()).unwrap();
        });
        let proxy = Proxy::start(api.address);
        let mut client = proxy.client();
        for i in 0..200 {
            let response = client.send(post("/", &i.to_string()));
            assert_eq!((response.status(), response.text()), (200, i.to_string().as_str()));
            // The upstream closes right after it answered, and over loopback that has arrived when
            // its call returns.
            closings.recv_timeout(PATIENCE).expect("the API closes");
        }
        assert_eq!(api.connections(), 200);
    }
}

#[test]
fn a_post_that_may_have_been_acted_upon_is_not_repeated() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let api = Api::start(move |mut peer: Peer| {
        while let Some(request) = peer.read_message() {
            if counted.fetch_add(1, SeqCst) % 2 == 1 {
                // Read, acted upon, and gone.
                if request.text() == "reset" {
                    peer.reset();
                }
                return;
            }
            peer.write(ok("done"));
        }
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    for (i, body) in ["close", "reset", "close"].into_iter().enumerate() {
        assert_eq!(client.send(post("/mint", body)).text(), "done");
        let response = client.send(post("/mint", body));
        assert_eq!(response.status(), 502, "{}", response.text());
        assert!(response.text().contains("not repeated"), "{}", response.text());
        assert_eq!(count.load(SeqCst), 2 * (i + 1));
        assert_eq!(proxy.await_request().end, End::Complete);
        assert_eq!(proxy.await_request().end, End::UpstreamGone);
    }
}

#[test]
fn a_response_that_breaks_off_is_cut_for_the_client_too() {
    for (head, broken) in [
        ("Content-Length: 100", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
        ("Transfer-Encoding: chunked", "20\r\nhalf"),
    ] {
        let api = Api::start(move |mut peer: Peer| {
            peer.read_message();
            peer.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{broken}"));
        });
        let proxy = Proxy::start(api.address);
        let mut client = proxy.client();
        client.write(get("/"));
        // Whatever arrived, it is neither a whole body nor a last chunk.
        if let Some(head) = client.read_head() {
            assert!(client.read_rest_quietly(head).is_none());
        }
        let told = proxy.await_request();
        assert_eq!((told.status, told.end), (200, End::UpstreamGone));
    }
}

#[test]
fn what_came_before_a_response_broke_off_reaches_the_client() {
    for (framing, part) in [
        ("Content-Length: 100", "a beginning"),
        ("Transfer-Encoding: chunked", "b\r\na beginning\r\n"),
    ] {
        // Head, beginning and end are there at once.
        let api = Api::start(move |mut peer: Peer| {
            peer.read_message();
            peer.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}"));
        });
        let proxy = Proxy::start(api.address);
        for _ in 0..50 {
            let mut client = proxy.client();
            client.write(get("/"));
            let head = client.read_head().expect("the head");
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            let rest = String::from_utf8(client.read_to_end().unwrap()).unwrap();
            assert!(rest.contains("a beginning") && !rest.ends_with("0\r\n\r\n"), "{rest}");
            let told = proxy.await_request();
            assert_eq!((told.end, told.response_bytes), (End::UpstreamGone, 11));
        }
    }
}

#[test]
fn an_api_that_does_not_begin_to_answer_is_given_up() {
    let api = Api::start(|mut peer: Peer| {
        peer.read_message();
        peer.read_message();
    });
    let limit = Duration::from_millis(300);
    let proxy = Proxy::with(api.address, |s| s.first_byte_timeout = Some(limit));
    let started = Instant::now();
    let mut client = proxy.client();
    let response = client.send(get("/"));
    assert_eq!(response.status(), 504);
    assert!(started.elapsed() >= limit && started.elapsed() < limit * 10);
    assert!(response.text().contains("api.response_timeout_ms"), "{}", response.text());
    assert_eq!(proxy.await_request().end, End::TimedOut);
}

#[test]
fn a_slow_upload_is_not_the_apis_delay() {
    let api = Api::answering(|request| ok(request.text()));
    let limit = Duration::from_secs(1);
    let proxy = Proxy::with(api.address, |s| s.first_byte_timeout = Some(limit));
    let mut client = proxy.client();
    client.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        // Together longer than the limit.
        std::thread::sleep(limit / 9);
        client.write("x");
    }
    assert_eq!(client.read_message().unwrap().text(), "xxxxxxxxxx");
}

#[test]
fn what_is_not_http_is_a_bad_gateway() {
    let api = Api::start(|mut peer: Peer| {
        peer.read_message();
        peer.write("SSH-2.0-OpenSSH_9.2\r\n");
    });
    let proxy = Proxy::start(api.address);
    let response = proxy.client().send(get("/"));
    assert_eq!(response.status(), 502);
    assert!(response.text().contains("not an HTTP/1.1 response"), "{}", response.text());
}

#[test]
fn a_client_that_leaves_is_told_and_its_request_dropped() {
    let ((gone, left), (arrived, arrivals)) = (channel(), channel());
    let api = Api::start(move |mut peer: Peer| {
        let request = peer.read_message().unwrap();
        arrived.send(()).unwrap();
        if request.head.contains("/stream") {
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
        }
        assert!(peer.read_message().is_none());
        gone.send(()).unwrap();
    });
    let proxy = Proxy::start(api.address);
    for (path, status) in [("/waiting", 0), ("/stream", 200)] {
        let mut client = proxy.client();
        client.write(get(path));
        arrivals.recv_timeout(PATIENCE).expect("the API has the request");
        if status == 200 {
            client.read_head().unwrap();
            client.read_chunk().unwrap();
        }
        drop(client);
        left.recv_timeout(PATIENCE).expect("the upstream's connection is closed");
        let told = proxy.await_request();
        assert_eq!((told.status, told.end), (status, End::ClientGone), "{path}");
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_upload_is_told() {
    let (arrived, arrivals) = channel();
    let api = Api::start(move |mut peer: Peer| {
        peer.read_head();
        peer.read_exact(4);
        arrived.send(()).unwrap();
        let _ = peer.read_to_end();
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf");
    arrivals.recv_timeout(PATIENCE).expect("the API has the half");
    drop(client);
    let told = proxy.await_request();
    assert_eq!((told.end, told.request_bytes), (End::ClientGone, 4));
}

#[test]
fn requests_in_flight_finish_when_the_proxy_stops() {
    let ((go, wait), (arrived, arrivals)) = (channel::<()>(), channel());
    let wait = std::sync::Mutex::new(wait);
    let api = Api::start(move |mut peer: Peer| {
        while peer.read_message().is_some() {
            arrived.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
            peer.write(ok("finished"));
        }
    });
    let mut proxy = Proxy::start(api.address);
    let (mut busy, mut idle) = (proxy.client(), proxy.client());
    busy.write(get("/"));
    go.send(()).unwrap();
    go.send(()).unwrap();
    idle.send(get("/"));
    busy.read_message().unwrap();
    busy.write(get("/"));
    for _ in 0..3 {
        arrivals.recv_timeout(PATIENCE).expect("the API has all three requests");
    }
    proxy.ask_to_stop();
    assert_eq!(idle.read_to_end().unwrap(), b"", "an idle connection is closed");
    assert!(std::net::TcpStream::connect(proxy.address).is_err(), "nobody is accepted any more");
    go.send(()).unwrap();
    let last = busy.read_message().unwrap();
    assert_eq!(last.text(), "finished");
    assert_eq!(last.header("connection").as_deref(), Some("close"));
    assert_eq!(proxy.stop().cut, 0);
}

#[test]
fn stopping_does_not_wait_for_ever() {
    let (api, arrivals) = Api::silent();
    let mut proxy = Proxy::with(api.address, |s| s.drain = Duration::from_millis(200));
    let mut client = proxy.client();
    client.write(get("/"));
    arrivals.recv_timeout(PATIENCE).expect("the API has the request");
    let started = Instant::now();
    assert_eq!(proxy.stop().cut, 1);
    assert!(started.elapsed() < Duration::from_secs(5));
    let told = proxy.await_request();
    assert_eq!(told.end, End::Stopped);
    assert!(told.timing.total() >= Duration::from_millis(200), "it waited: {:?}", told.timing);
}

#[test]
fn stopping_does_not_wait_for_the_rest_of_a_head() {
    let api = Api::answering(|_| ok("hi"));
    let mut proxy = Proxy::start(api.address);
    let (mut first, mut later, mut other) = (proxy.client(), proxy.client(), proxy.client());
    first.write("GET / HTTP/1.1\r\nHost: a");
    later.send(get("/"));
    later.write("GET / HT");
    // Served by the same thread, after it has read what was sent before.
    other.send(get("/"));
    let started = Instant::now();
    assert_eq!(proxy.stop().cut, 0);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_head_that_is_never_finished_is_given_up_and_told() {
    let api = Api::answering(|_| ok("hi"));
    let limit = Duration::from_millis(300);
    for half in ["GET / HT", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Half"] {
        let proxy = Proxy::with(api.address, |s| s.head_timeout = limit);
        let mut client = proxy.client();
        // A whole request first: what counts is the time since the half one began.
        assert_eq!(client.send(get("/")).text(), "hi");
        let started = Instant::now();
        client.write(half);
        let answer = String::from_utf8(client.read_to_end().unwrap()).unwrap();
        assert!(started.elapsed() >= limit, "{:?}", started.elapsed());
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert!(answer.contains("head_timeout"), "{answer}");
        let told = proxy.await_event(|_, event| match event {
            ConnectionEvent::Refused { status, reason, .. } => Some((*status, *reason)),
            _ => None,
        });
        assert_eq!(told, (408, "head_timeout"));
    }
}

#[test]
fn the_time_for_a_head_counts_neither_idle_connections_nor_responses_under_way() {
    let limit = Duration::from_millis(1_500);
    let api = Api::answering(move |request| {
        if request.head.contains("/slow") {
            std::thread::sleep(limit * 3);
        }
        ok("hi")
    });
    let proxy = Proxy::with(api.address, |s| s.head_timeout = limit);
    let mut silent = proxy.client();
    let mut client = proxy.client();
    client.write(format!("{}GET / HTTP/1.1\r\n", get("/slow")));
    assert_eq!(client.read_message().unwrap().text(), "hi");
    client.write("Host: localhost\r\n\r\n");
    assert_eq!(client.read_message().unwrap().text(), "hi");
    assert_eq!(silent.send(get("/")).text(), "hi", "it was idle for three times the limit");
}

#[test]
fn a_body_whose_chunks_are_malformed_is_answered_and_told() {
    let (arrived, arrivals) = channel();
    let api = Api::start(move |mut peer: Peer| {
        if peer.read_head().is_some() {
            let _ = arrived.send(());
        }
        let _ = peer.read_to_end();
    });
    let proxy = Proxy::start(api.address);
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (together, body) in [
        (true, "zz\r\n"),
        (false, "zz\r\n"),
        (true, "3\r\nabc\r\nzz\r\n"),
        (false, "3\r\nabc\r\nzz\r\n"),
        (true, "3\r\nabcdef\r\n"),
    ] {
        let mut client = proxy.client();
        // Arrivals of earlier connections.
        while arrivals.try_recv().is_ok() {}
        client.write(if together { format!("{head}{body}") } else { head.to_owned() });
        if !together {
            arrivals.recv_timeout(PATIENCE).expect("the API has the head");
            client.write(body);
        }
        let answer = String::from_utf8(client.read_to_end().unwrap()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{body:?} {answer:?}");
        assert!(answer.contains("malformed_body"), "{body:?} {answer:?}");
        let told = proxy.await_request();
        assert_eq!((told.status, told.end), (400, End::Complete), "{body:?}");
    }
}
