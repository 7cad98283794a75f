//! What the observer is told.

use std::time::Duration;

use dappscope::decode::routes::Patterns;
use dappscope::model::{CacheOutcome, ConnectionEvent, End, Flights, Flow, Observation, Timing};

use crate::support::{Api, PATIENCE, Peer, Proxy, get, measured_once, ok, post};

#[test]
fn an_exchange_is_told_with_its_path_sizes_and_times() {
    let api = Api::start(|mut peer: Peer| {
        while let Some(request) = peer.read_message() {
            std::thread::sleep(Duration::from_millis(30));
            let body = request.text().repeat(3);
            peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            std::thread::sleep(Duration::from_millis(20));
            peer.write(body);
        }
    });
    let proxy = Proxy::start(api.address);
    let ms = Duration::from_millis;
    measured_once(
        || timing_of_an_exchange(&proxy),
        |t| t.first_byte() < ms(45) && t.upstream() < ms(80) && t.overhead() < ms(10),
    );
}

/// Makes a request that takes its time, checks its record, and returns the times in it.
fn timing_of_an_exchange(proxy: &Proxy) -> Timing {
    let mut client = proxy.client();
    client.send(post("/api/nfts/17?key=secret", "hello"));
    let told = proxy.await_request();
    assert_eq!(&*told.path, "/api/nfts/17");
    assert_eq!(told.http_method.as_str(), "POST");
    assert_eq!((told.status, told.end), (200, End::Complete));
    assert_eq!((told.request_bytes, told.response_bytes), (5, 15));
    let t = told.timing;
    let order = [
        t.request_started,
        t.request_read,
        t.request_written,
        t.response_started,
        t.response_forwarded,
        t.response_read,
        t.response_written,
    ];
    assert!(order.is_sorted(), "{order:?}");
    let ms = Duration::from_millis;
    assert!(t.first_byte() >= ms(30), "{:?}", t.first_byte());
    assert!(t.upstream() >= ms(50), "{:?}", t.upstream());
    assert!(t.total() >= t.upstream(), "{t:?}");
    t
}

#[test]
fn a_request_is_in_flight_until_its_response_has_ended() {
    let in_flight = Flights::default();
    let seen = in_flight.clone();
    let api = Api::answering(move |_| ok(&seen.count().to_string()));
    let proxy = Proxy::with(api.address, |settings| settings.flights = in_flight.clone());
    assert_eq!(in_flight.count(), 0);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.send(get("/")).text(), "1");
        proxy.await_request();
        assert_eq!(in_flight.count(), 0);
    }
}

#[test]
fn a_client_that_leaves_without_its_answer_is_not_counted_for_ever() {
    let (api, arrivals) = Api::silent();
    let in_flight = Flights::default();
    let proxy = Proxy::with(api.address, |settings| settings.flights = in_flight.clone());
    let mut client = proxy.client();
    client.write(get("/"));
    arrivals.recv_timeout(PATIENCE).expect("the API has the request");
    assert_eq!(in_flight.count(), 1);
    let waited = Duration::from_millis(30);
    std::thread::sleep(waited);
    drop(client);
    let told = proxy.await_request();
    assert_eq!((told.end, told.status), (End::ClientGone, 0));
    let timing = told.timing;
    assert!(timing.total() >= waited && timing.upstream() >= waited, "{timing:?}");
    assert!(timing.first_byte().is_zero(), "{timing:?}");
    assert!(timing.overhead() <= timing.total() - waited, "{timing:?}");
    assert_eq!(in_flight.count(), 0);
}

#[test]
fn every_request_is_told_once() {
    let api = Api::answering(|request| ok(request.text()));
    let proxy = Proxy::start(api.address);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let mut client = proxy.client();
            std::thread::spawn(move || {
                for i in 0..500_usize {
                    let body = "x".repeat(i);
                    assert_eq!(client.send(post("/a", &body)).text(), body);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let (mut requests, mut bytes, mut opened, mut closed) = (0, 0, 0, 0);
    while closed < 8 {
        match proxy.await_observation(|o| Some(o.clone())) {
            Observation::Request(told) => {
                assert_eq!(told.end, End::Complete);
                requests += 1;
                bytes += told.response_bytes;
            }
            Observation::Connection(_, _, ConnectionEvent::Opened { .. }) => opened += 1,
            Observation::Connection(_, _, ConnectionEvent::Closed { .. }) => closed += 1,
            _ => {}
        }
    }
    assert_eq!((requests, opened), (4_000, 8));
    assert_eq!(bytes, 8 * (0..500).sum::<u64>());
}

#[test]
fn a_full_queue_delays_nobody() {
    let api = Api::answering(|_| ok("hi"));
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    // Nobody takes anything from the queue here; it holds 100,000.
    for _ in 0..200 {
        assert_eq!(client.send(get("/")).status(), 200);
    }
    assert!(proxy.queue.depth() >= 200);
}

#[test]
fn what_a_response_tells_of_cache_and_time_is_taken_down() {
    let api = Api::answering(|request| {
        let told = match request.head.split(' ').nth(1).unwrap() {
            "/hit" => "Cache-Status: a; fwd=miss\r\nCache-Status: b; hit\r\nX-Cache: MISS\r\n",
            "/timed" => "Server-Timing: db;dur=1\r\nServer-Timing: fn.a;dur=2, cache;desc=miss\r\n",
            "/flask" => "hit_cache: True\r\n",
            "/old" => "Age: 7\r\n",
            "/not-text" => "X-Cache: \u{e9}\r\n",
            _ => "",
        };
        format!("HTTP/1.1 200 OK\r\n{told}Content-Length: 2\r\n\r\nok")
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    let mut tell = |path: &str| {
        client.send(get(path));
        proxy.await_request()
    };
    assert_eq!(tell("/hit").cache, CacheOutcome::Hit);
    assert_eq!(tell("/flask").cache, CacheOutcome::Hit);
    assert_eq!(tell("/old").cache, CacheOutcome::Hit);
    assert_eq!(tell("/not-text").cache, CacheOutcome::Unknown);
    let silent = tell("/");
    assert_eq!((silent.cache, silent.flow), (CacheOutcome::Unknown, Flow::Response));
    // The proxy's own entry, which the client gets, is not what the API told.
    assert_eq!(silent.server_timing, None);
    let timed = tell("/timed");
    assert_eq!(timed.cache, CacheOutcome::Miss);
    assert_eq!(timed.server_timing.as_deref(), Some("db;dur=1,fn.a;dur=2, cache;desc=miss"));
}

#[test]
fn a_stream_of_events_is_told_apart_when_its_client_leaves() {
    let api = Api::start(|mut peer: Peer| {
        peer.read_message();
        peer.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n");
        loop {
            peer.write("data: 1\n\n");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write(get("/events"));
    client.read_head().unwrap();
    while !client.read_line().contains("data") {}
    drop(client);
    let told = proxy.await_request();
    assert_eq!((told.flow, told.end), (Flow::Events, End::ClientGone));
    assert!(told.timing.first_byte() > Duration::ZERO && told.response_bytes > 0);
}

#[test]
fn a_long_poll_is_told_apart_from_what_somebody_waits_for() {
    let api = Api::answering(|_| ok("hi"));
    let proxy = Proxy::with(api.address, |settings| {
        settings.long_polls = std::sync::Arc::new(Patterns::new(&["/events/{topic}/next"]));
    });
    for (path, flow) in [
        ("/socket.io/?EIO=4&transport=polling&t=1", Flow::LongPoll),
        ("/socket.io/?EIO=4&transport=websocket", Flow::Response),
        ("/events/sales/next", Flow::LongPoll),
        ("/events/sales", Flow::Response),
    ] {
        assert_eq!(proxy.client().send(get(path)).status(), 200);
        assert_eq!(proxy.await_request().flow, flow, "{path}");
    }
    assert_eq!(proxy.client().send(post("/socket.io/?EIO=4&transport=polling", "x")).status(), 200);
    assert_eq!(proxy.await_request().flow, Flow::Response, "a message that is sent");
}
