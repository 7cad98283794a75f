//! The running relay between real sockets: HTTP as clients and nodes speak it, well and badly.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support_relay;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use dappscope::model::{Closer, Coding, Codings, ConnectionEvent, CopyStop, End, Opaque, Stamp};
use dappscope::wire::relay::RelaySettings;
use support_relay::*;

const CALL: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test/1\r\n\
Content-Type: application/json\r\nContent-Length: 45\r\n\r\n\
{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_call\" }";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x01\"}";

#[test]
fn an_exchange_is_passed_on_and_told() {
    let mut relay = Running::new(answering(ANSWER));
    let mut client = relay.connect();
    for _ in 0..3 {
        client.write_all(CALL).unwrap();
        assert_eq!(read_exactly(&mut client, ANSWER.len()), ANSWER);
    }
    let told = relay.exchanges(3);
    for exchange in &told {
        assert_eq!((exchange.status, exchange.end), (200, End::Complete));
        assert_eq!(exchange.http_method.as_str(), "POST");
        assert_eq!(exchange.user_agent.as_deref(), Some("test/1"));
        assert_eq!(exchange.request.whole(), Some(&CALL[CALL.len() - 45..]));
        assert_eq!(exchange.response.whole(), Some(&ANSWER[ANSWER.len() - 40..]));
        let t = exchange.timing;
        let order = [
            t.request_started,
            t.request_read,
            t.request_written,
            t.response_started,
            t.response_read,
            t.response_written,
        ];
        assert!(order.is_sorted(), "{t:?}");
    }
    drop(client);
    let passed = (3 * CALL.len() as u64, 3 * ANSWER.len() as u64);
    relay.event(|event| {
        matches!(event, ConnectionEvent::Closed { sent, received, upgraded: false, .. }
            if (*sent, *received) == passed)
    });
    relay.event(|event| matches!(event, ConnectionEvent::Upstream { reachable: true, .. }));
}

#[test]
fn pipelined_requests_are_answered_and_told_in_order() {
    let mut relay = Running::new(answering(ANSWER));
    let mut client = relay.connect();
    client.write_all(&CALL.repeat(500)).unwrap();
    assert_eq!(read_exactly(&mut client, 500 * ANSWER.len()), ANSWER.repeat(500));
    assert!(relay.exchanges(500).iter().all(|exchange| exchange.status == 200));
}

#[test]
fn a_pipeline_too_deep_is_passed_on_unobserved() {
    let (address, upstream) = one_connection();
    let mut settings = RelaySettings::new(address.to_string());
    settings.pipeline_limit = 5;
    let mut relay = Running::with(settings, true);
    let mut client = relay.connect();
    client.write_all(&CALL.repeat(9)).unwrap();
    let mut upstream = upstream.join().unwrap();
    assert_eq!(read_exactly(&mut upstream, 9 * CALL.len()), CALL.repeat(9));
    upstream.write_all(&ANSWER.repeat(9)).unwrap();
    assert_eq!(read_exactly(&mut client, 9 * ANSWER.len()), ANSWER.repeat(9));
    relay.event(|e| matches!(e, ConnectionEvent::Opaque { why: Opaque::PipelineTooDeep, .. }));
    assert_eq!(relay.exchanges(5).len(), 5);
}

#[test]
fn a_node_that_is_down_is_told_in_words_and_found_again_without_a_restart() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let mut relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    let told = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(told.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{told}");
    assert!(told.contains("Access-Control-Allow-Origin: *\r\n"), "{told}");
    let (_, body) = told.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((body["id"].as_u64(), body["error"]["code"].as_i64()), (Some(1), Some(-32_099)));
    let words = body["error"]["message"].as_str().unwrap();
    assert!(words.contains(&format!("http://{address} (connection refused)")), "{words}");
    drop(client);
    let exchange = relay.exchanges(1).remove(0);
    assert_eq!((exchange.status, exchange.end), (502, End::Unreachable));
    assert!(exchange.timing.total() > Duration::ZERO);
    assert_eq!(exchange.timing.upstream(), Duration::ZERO);
    relay.event(|event| matches!(event, ConnectionEvent::Upstream { reachable: false, .. }));

    let node = std::net::TcpListener::bind(address).unwrap();
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    let mut node = node.accept().unwrap().0;
    assert_eq!(read_exactly(&mut node, CALL.len()), CALL);
    node.write_all(ANSWER).unwrap();
    assert_eq!(read_exactly(&mut client, ANSWER.len()), ANSWER);
    relay.event(|event| matches!(event, ConnectionEvent::Upstream { reachable: true, .. }));
}

#[test]
fn a_request_that_comes_in_two_packets_to_a_node_that_is_down_is_told_whole() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let mut relay = Running::guarded(address);
    let mut client = relay.connect();
    let (head, body) = CALL.split_at(CALL.len() - 45);
    client.write_all(head).unwrap();
    // The relay knows by now that nobody is there.
    relay.event(|event| matches!(event, ConnectionEvent::Upstream { reachable: false, .. }));
    client.write_all(body).unwrap();
    let told = String::from_utf8(read_all(&mut client)).unwrap();
    let (_, said) = told.split_once("\r\n\r\n").unwrap();
    assert!(said.contains("\"id\":1,"), "{said}");
    drop(client);
    let exchange = relay.exchanges(1).remove(0);
    assert_eq!((exchange.status, exchange.end), (502, End::Unreachable));
    assert_eq!(exchange.request.whole(), Some(body));
    assert_eq!(exchange.response.total, said.len() as u64);
    relay.event(|event| matches!(event, ConnectionEvent::Closed { by: Closer::Proxy, .. }));
}

#[test]
fn a_client_that_still_sends_gets_to_read_that_the_node_is_down() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let relay = Running::new(address);
    let mut client = relay.connect();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n")
        .unwrap();
    for _ in 0..8 {
        client.write_all(&vec![b'x'; 1_000_000]).unwrap();
    }
    end(&client);
    assert!(read_all(&mut client).starts_with(b"HTTP/1.1 502 "));
}

#[test]
fn a_browser_that_asks_before_it_sends_is_let_on_to_read_the_502() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let relay = Running::new(address);
    let mut client = relay.connect();
    client
        .write_all(
            b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n\
            Access-Control-Request-Method: POST\r\n\r\n",
        )
        .unwrap();
    let told = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(told.starts_with("HTTP/1.1 204 "), "{told}");
}

#[test]
fn a_refused_request_never_reaches_the_node() {
    let (address, upstream) = one_connection();
    let mut relay = Running::guarded(address);
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n", "403"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("\u{1}not http\r\n\r\n", "400"),
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "403",
        ),
        // The node goes by the target's authority, not by `Host`.
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "403"),
        ("GET http://localhost@evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "403"),
        ("CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", "403"),
        // Where this request ends, two readers would not agree upon.
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +0\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 7\r\n\r\n",
            "400",
        ),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", "400"),
    ] {
        let mut client = relay.connect();
        client.write_all(request.as_bytes()).unwrap();
        let told = String::from_utf8(read_all(&mut client)).unwrap();
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {told}");
        let (_, body) = told.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
    relay.event(|event| matches!(event, ConnectionEvent::Refused { status: 403, .. }));
    assert!(!upstream.is_finished());
}

#[test]
fn a_refusal_waits_for_what_was_asked_before() {
    let (address, upstream) = one_connection();
    let relay = Running::guarded(address);
    let mut client = relay.connect();
    let bad = b"POST / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    client.write_all(&[CALL, &bad[..]].concat()).unwrap();
    let mut upstream = upstream.join().unwrap();
    assert_eq!(read_exactly(&mut upstream, CALL.len()), CALL);
    upstream.write_all(ANSWER).unwrap();
    assert_eq!(read_all(&mut upstream), b"");
    let answers = read_all(&mut client);
    assert_eq!(&answers[..ANSWER.len()], ANSWER);
    assert!(answers[ANSWER.len()..].starts_with(b"HTTP/1.1 403 "));
}

const FOREIGN: &[u8] = b"POST / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
const CONNECT: &[u8] = b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn what_follows_a_broken_body_never_reaches_the_node() {
    let (address, upstream) = one_connection();
    let relay = Running::guarded(address);
    let mut client = relay.connect();
    let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(head).unwrap();
    let mut upstream = upstream.join().unwrap();
    assert_eq!(read_exactly(&mut upstream, head.len()), head);
    client.write_all(&[b"no size\r\n", FOREIGN].concat()).unwrap();
    assert_eq!(read_all(&mut upstream), b"");
    assert!(read_all(&mut client).starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn what_follows_a_declined_upgrade_is_judged() {
    for upgrade in [traffic::UPGRADE, CONNECT] {
        let (address, upstream) = one_connection();
        let mut relay = Running::guarded(address);
        let mut client = relay.connect();
        client.write_all(&[upgrade, CALL, FOREIGN].concat()).unwrap();
        let mut upstream = upstream.join().unwrap();
        assert_eq!(read_exactly(&mut upstream, upgrade.len()), upgrade);
        let declined = b"HTTP/1.1 405 No\r\nContent-Length: 2\r\n\r\nno";
        upstream.write_all(declined).unwrap();
        assert_eq!(read_exactly(&mut client, declined.len()), declined);
        assert_eq!(read_exactly(&mut upstream, CALL.len()), CALL);
        upstream.write_all(ANSWER).unwrap();
        assert_eq!(read_all(&mut upstream), b"");
        let answers = read_all(&mut client);
        assert!(answers[ANSWER.len()..].starts_with(b"HTTP/1.1 403 "));
        assert_eq!(relay.exchanges(2)[1].status, 200);
    }
}

#[test]
fn what_follows_an_accepted_upgrade_passes_unjudged() {
    let socket = (traffic::UPGRADE, traffic::UPGRADED);
    for (ask, accept) in [socket, (CONNECT, b"HTTP/1.1 200 Connected\r\n\r\n")] {
        let (address, upstream) = one_connection();
        let relay = Running::guarded(address);
        let mut client = relay.connect();
        client.write_all(&[ask, b"\x81\x80abcd early"].concat()).unwrap();
        end(&client);
        let mut upstream = upstream.join().unwrap();
        assert_eq!(read_exactly(&mut upstream, ask.len()), ask);
        upstream.write_all(accept).unwrap();
        assert_eq!(read_exactly(&mut client, accept.len()), accept);
        assert_eq!(read_all(&mut upstream), b"\x81\x80abcd early");
    }
}

#[test]
fn an_upgrade_that_is_never_answered_is_not_waited_for_once_the_client_has_ended() {
    let (address, upstream) = one_connection();
    let mut settings = RelaySettings::new(address.to_string());
    settings.half_closed_timeout = Duration::from_millis(100);
    let relay = Running::with(settings, false);
    let mut client = relay.connect();
    client.write_all(&[traffic::UPGRADE, b"early"].concat()).unwrap();
    end(&client);
    let mut upstream = upstream.join().unwrap();
    assert_eq!(read_all(&mut upstream), traffic::UPGRADE);
    assert_eq!(read_all(&mut client), b"");
}

#[test]
fn an_answer_that_is_no_http_leaves_the_guard_in_place() {
    let twice = ANSWER.repeat(2);
    for answer in [&b"no http at all\r\n\r\n"[..], &twice, traffic::UPGRADED] {
        let (address, upstream) = one_connection();
        let mut relay = Running::guarded(address);
        let mut client = relay.connect();
        client.write_all(CALL).unwrap();
        let mut upstream = upstream.join().unwrap();
        read_exactly(&mut upstream, CALL.len());
        upstream.write_all(answer).unwrap();
        assert_eq!(read_exactly(&mut client, answer.len()), answer);
        relay.event(|e| matches!(e, ConnectionEvent::Opaque { why: Opaque::ResponseNotHttp, .. }));
        client.write_all(&[CALL, FOREIGN].concat()).unwrap();
        assert_eq!(read_all(&mut upstream), CALL);
        assert!(read_all(&mut client).starts_with(b"HTTP/1.1 403 "));
    }
}

#[test]
fn a_call_whose_answer_is_no_http_is_observed_without_it() {
    let (address, upstream) = one_connection();
    let mut relay = Running::guarded(address);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    let mut upstream = upstream.join().unwrap();
    read_exactly(&mut upstream, CALL.len());
    upstream.write_all(b"no http at all\r\n\r\n").unwrap();
    let exchange = relay.exchanges(1).remove(0);
    assert_eq!(exchange.request.whole(), Some(&CALL[CALL.len() - 45..]));
    assert_eq!(exchange.response.stopped, Some(CopyStop::Opaque));
    assert_eq!(exchange.response.whole(), None);
}

#[test]
fn a_pipeline_too_deep_to_be_observed_is_still_judged() {
    let (address, upstream) = one_connection();
    let mut settings = RelaySettings::new(address.to_string());
    settings.pipeline_limit = 2;
    let relay = Running::with(settings, false);
    let mut client = relay.connect();
    client.write_all(&[&CALL.repeat(5), FOREIGN].concat()).unwrap();
    let mut upstream = upstream.join().unwrap();
    assert_eq!(read_exactly(&mut upstream, 5 * CALL.len()), CALL.repeat(5));
    upstream.write_all(&ANSWER.repeat(5)).unwrap();
    assert_eq!(read_all(&mut upstream), b"");
    assert!(read_all(&mut client).ends_with(b"}"));
}

#[test]
fn a_head_too_long_is_refused_by_the_guard_and_passed_on_without_one() {
    let head = [b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".as_slice(), &[b'x'; 70_000]].concat();
    let relay = Running::guarded("127.0.0.1:9".parse().unwrap());
    let mut client = relay.connect();
    client.write_all(&head).unwrap();
    assert!(read_all(&mut client).starts_with(b"HTTP/1.1 431 "));

    let (address, upstream) = one_connection();
    let mut relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(&head).unwrap();
    assert_eq!(read_exactly(&mut upstream.join().unwrap(), head.len()), head);
    relay.event(|e| matches!(e, ConnectionEvent::Opaque { why: Opaque::RequestNotHttp, .. }));
}

#[test]
fn a_head_in_pieces_passes_when_it_is_whole_and_not_before() {
    let (address, upstream) = one_connection();
    let mut relay = Running::guarded(address);
    let mut client = relay.connect();
    let (last, pieces) = CALL.split_last().unwrap();
    for byte in pieces {
        client.write_all(&[*byte]).unwrap();
    }
    client.write_all(&[*last]).unwrap();
    let mut upstream = upstream.join().unwrap();
    assert_eq!(read_exactly(&mut upstream, CALL.len()), CALL);
    upstream.write_all(ANSWER).unwrap();
    assert_eq!(read_exactly(&mut client, ANSWER.len()), ANSWER);
    assert_eq!(relay.exchanges(1)[0].request.bytes, CALL[CALL.len() - 45..]);
}

#[test]
fn an_open_guard_holds_nothing_back() {
    let (address, upstream) = one_connection();
    let mut relay = Running::new(address);
    let mut client = relay.connect();
    let (first, second) = CALL.split_at(20);
    client.write_all(first).unwrap();
    let mut upstream = upstream.join().unwrap();
    assert_eq!(read_exactly(&mut upstream, first.len()), first);
    client.write_all(second).unwrap();
    assert_eq!(read_exactly(&mut upstream, second.len()), second);
    upstream.write_all(ANSWER).unwrap();
    assert_eq!(read_exactly(&mut client, ANSWER.len()), ANSWER);
    let exchange = relay.exchanges(1).remove(0);
    assert_eq!(exchange.request.bytes, CALL[CALL.len() - 45..]);
    assert!(exchange.timing.request_started < exchange.timing.request_read);
}

#[test]
fn a_part_of_a_head_never_passes_the_guard() {
    let (address, upstream) = one_connection();
    let mut relay = Running::guarded(address);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    let mut upstream = upstream.join().unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: evil").unwrap();
    end(&client);
    assert_eq!(read_all(&mut upstream), CALL);
    upstream.write_all(ANSWER).unwrap();
    drop(upstream);
    assert_eq!(read_all(&mut client), ANSWER);
    assert_eq!(relay.exchanges(1)[0].end, End::Complete);
}

#[test]
fn a_node_that_does_not_accept_is_waited_for_no_longer_than_set() {
    // A listener that nobody accepts from, with its backlog full, leaves who comes unanswered.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let patience = Duration::from_millis(200);
    let waiting: Vec<_> =
        std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, patience).ok())
            .collect();
    let mut settings = RelaySettings::new(address.to_string());
    settings.connect_timeout = patience;
    let relay = Running::with(settings, true);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    let told = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(told.contains("(no answer within 200ms)"), "{told}");
    drop(waiting);
}

#[test]
fn an_upgrade_to_a_node_that_is_down_is_told_in_words() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let relay = Running::guarded(address);
    let mut client = relay.connect();
    client.write_all(traffic::UPGRADE).unwrap();
    let told = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(told.starts_with("HTTP/1.1 502 ") && told.contains("Is it running?"), "{told}");
}

#[test]
fn a_client_that_says_nothing_or_not_enough_is_not_waited_for() {
    let mut settings = RelaySettings::new("127.0.0.1:9");
    settings.head_timeout = Duration::from_millis(100);
    let relay = Running::with(settings, false);
    let mut client = relay.connect();
    client.write_all(b"POST / HT").unwrap();
    assert_eq!(read_all(&mut client), b"");
}

#[test]
fn a_client_that_stays_after_the_node_has_left_is_not_waited_for() {
    let (address, upstream) = one_connection();
    let mut settings = RelaySettings::new(address.to_string());
    settings.half_closed_timeout = Duration::from_millis(100);
    let mut relay = Running::with(settings, true);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    let mut upstream = upstream.join().unwrap();
    upstream.write_all(ANSWER).unwrap();
    read_exactly(&mut upstream, CALL.len());
    drop(upstream);
    assert_eq!(read_all(&mut client), ANSWER);
    relay.event(|event| matches!(event, ConnectionEvent::Closed { .. }));
    drop(client);
}

#[test]
fn a_long_answer_is_passed_on_whole_though_the_node_takes_no_more() {
    const SIZE: usize = 30_000_000;
    let address = upstream(|mut connection| {
        read_until(&mut connection, b"\r\n\r\n");
        let head = format!("HTTP/1.1 413 Too Large\r\nContent-Length: {SIZE}\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(&vec![b'x'; SIZE]).unwrap();
        // Reads the rest of the request, so that its own end is a plain one.
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        while connection.read(&mut [0; 65_536]).is_ok_and(|count| count > 0) {}
    });
    let relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n").unwrap();
    let mut sender = client.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&vec![b'y'; 9_000_000]));
    read_until(&mut client, b"\r\n\r\n");
    assert_eq!(read_exactly(&mut client, SIZE), vec![b'x'; SIZE]);
    sending.join().unwrap().unwrap();
}

#[test]
fn the_nodes_time_is_the_nodes_and_the_relays_share_is_small() {
    let pause = Duration::from_millis(50);
    let measure = || {
        let address = upstream(move |mut connection| {
            read_exactly(&mut connection, CALL.len());
            std::thread::sleep(pause);
            connection.write_all(ANSWER).unwrap();
            read_all(&mut connection);
        });
        let mut relay = Running::new(address);
        let mut client = relay.connect();
        client.write_all(CALL).unwrap();
        read_exactly(&mut client, ANSWER.len());
        let timing = relay.exchanges(1)[0].timing;
        assert!(timing.upstream() >= pause, "{timing:?}");
        assert!(timing.total() >= timing.upstream(), "{timing:?}");
        timing
    };
    measured_once(measure, |timing| timing.overhead() < Duration::from_millis(20));
}

#[test]
fn a_request_is_told_to_have_left_before_the_node_has_it() {
    let (told, arrivals) = std::sync::mpsc::channel();
    let address = upstream(move |mut connection| {
        for _ in 0..300 {
            read_exactly(&mut connection, CALL.len());
            told.send(Stamp::now()).unwrap();
            connection.write_all(ANSWER).unwrap();
        }
    });
    let mut relay = Running::new(address);
    let mut client = relay.connect();
    for _ in 0..300 {
        client.write_all(CALL).unwrap();
        read_exactly(&mut client, ANSWER.len());
    }
    for (exchange, arrived) in relay.exchanges(300).iter().zip(arrivals) {
        assert!(exchange.timing.request_written <= arrived, "{:?}, {arrived:?}", exchange.timing);
    }
}

#[test]
fn a_slow_reader_bounds_the_relays_memory_and_is_not_its_overhead() {
    measured_once(read_slowly, |overhead| *overhead < Duration::from_millis(50));
}

/// Reads a large response late; the relay's overhead.
fn read_slowly() -> Duration {
    const SIZE: usize = 100_000_000;
    let address = upstream(|mut connection| {
        read_until(&mut connection, b"\r\n\r\n");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        for number in 0..SIZE / 1_000 {
            connection.write_all(&[u8::try_from(number % 251).unwrap(); 1_000]).unwrap();
        }
        read_all(&mut connection);
    });
    let mut relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    read_until(&mut client, b"\r\n\r\n");
    std::thread::sleep(Duration::from_millis(300));
    let before = resident();
    let start = Instant::now();
    let mut thousand = [0; 1_000];
    for number in 0..SIZE / 1_000 {
        client.read_exact(&mut thousand).unwrap();
        assert_eq!(thousand, [u8::try_from(number % 251).unwrap(); 1_000], "at {number}");
    }
    let exchange = relay.exchanges(1).remove(0);
    assert_eq!(exchange.response.total, SIZE as u64);
    assert_eq!(exchange.response.bytes.len(), 8 * 1024 * 1024);
    assert!(exchange.timing.total() >= Duration::from_millis(250), "{:?}", start.elapsed());
    let grown = resident().saturating_sub(before);
    // The copy of 8 MiB, twice while it grows, and what other tests hold meanwhile.
    assert!(grown < 32 << 20, "grew by {grown} bytes");
    exchange.timing.overhead()
}

#[test]
fn a_compressed_body_is_marked() {
    let mut relay = Running::new(answering(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ));
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    read_until(&mut client, b"abc");
    let exchange = relay.exchanges(1).remove(0);
    assert_eq!(exchange.response.codings, Codings::One(Coding::Gzip));
    assert_eq!(exchange.response.total, 3);
}

#[test]
fn a_client_that_leaves_and_a_node_that_leaves_are_told_apart() {
    let (arrived, arrival) = std::sync::mpsc::channel();
    let address = upstream(move |mut connection| {
        read_exactly(&mut connection, CALL.len());
        arrived.send(()).unwrap();
        read_all(&mut connection);
    });
    let mut relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    arrival.recv_timeout(PATIENCE).expect("the node has the call");
    let waits = Duration::from_millis(50);
    std::thread::sleep(waits);
    drop(client);
    let exchange = relay.exchanges(1).remove(0);
    assert_eq!(exchange.end, End::ClientGone);
    let timing = exchange.timing;
    assert!(timing.total() >= waits && timing.upstream() >= waits, "{timing:?}");
    assert!(timing.overhead() <= timing.total() - waits, "{timing:?}");
    relay.event(|event| matches!(event, ConnectionEvent::Closed { by: Closer::Client, .. }));

    let address = upstream(|mut connection| drop(read_exactly(&mut connection, CALL.len())));
    let mut relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    assert_eq!(read_all(&mut client), b"");
    drop(client);
    let exchange = relay.exchanges(1).remove(0);
    assert_eq!((exchange.end, exchange.status), (End::UpstreamGone, 0));
    relay.event(|event| matches!(event, ConnectionEvent::Closed { by: Closer::Upstream, .. }));
}

#[test]
fn a_response_without_a_length_ends_with_the_connection() {
    let address = upstream(|mut connection| {
        read_exactly(&mut connection, CALL.len());
        connection.write_all(b"HTTP/1.0 200 OK\r\n\r\nhalf and ").unwrap();
        connection.write_all(b"half").unwrap();
    });
    let mut relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    assert!(read_all(&mut client).ends_with(b"half and half"));
    drop(client);
    let exchange = relay.exchanges(1).remove(0);
    assert_eq!((exchange.end, exchange.response.bytes), (End::Complete, b"half and half".to_vec()));
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    let reset = |socket: &std::net::TcpStream| {
        socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let (address, upstream) = one_connection();
    let relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    let mut upstream = upstream.join().unwrap();
    read_exactly(&mut upstream, CALL.len());
    reset(&upstream);
    drop(upstream);
    let error = client.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let (address, upstream) = one_connection();
    let relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    let mut upstream = upstream.join().unwrap();
    read_exactly(&mut upstream, CALL.len());
    reset(&client);
    drop(client);
    let error = upstream.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn an_answer_before_the_body_was_sent_is_passed_on_though_the_node_resets() {
    let address = upstream(|mut connection| {
        read_until(&mut connection, b"\r\n\r\n");
        connection.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").unwrap();
        // Closes with bytes unread, which resets.
    });
    let mut relay = Running::new(address);
    let mut client = relay.connect();
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
    let mut sender = client.try_clone().unwrap();
    let sending = std::thread::spawn(move || while sender.write_all(&[0; 65_536]).is_ok() {});
    assert!(read_until(&mut client, b"\r\n\r\n").starts_with(b"HTTP/1.1 413 "));
    sending.join().unwrap();
    assert_eq!(relay.exchanges(1)[0].status, 413);
}

#[test]
fn shutdown_lets_what_is_under_way_finish_and_closes_what_is_idle() {
    let (address, upstream) = one_connection();
    let mut relay = Running::new(address);
    let mut busy = relay.connect();
    busy.write_all(CALL).unwrap();
    let mut upstream = upstream.join().unwrap();
    read_exactly(&mut upstream, CALL.len());
    let mut idle = relay.connect();
    relay.until(|seen| {
        seen.iter()
            .filter(|o| {
                matches!(
                    o,
                    dappscope::model::Observation::Connection(_, _, ConnectionEvent::Opened { .. })
                )
            })
            .count()
            == 2
    });
    let start = Instant::now();
    relay.signal_shutdown();
    assert_eq!(read_all(&mut idle), b"");
    upstream.write_all(ANSWER).unwrap();
    assert_eq!(read_all(&mut busy), ANSWER);
    relay.join();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(relay.exchanges(1)[0].end, End::Complete);
}

#[test]
fn shutdown_does_not_wait_for_the_rest_of_a_head() {
    for guarded in [false, true] {
        let (address, upstream) = one_connection();
        let mut relay = if guarded { Running::guarded(address) } else { Running::new(address) };
        let mut client = relay.connect();
        client.write_all(&[CALL, b"POST / HTTP/1.1\r\nHo"].concat()).unwrap();
        let mut upstream = upstream.join().unwrap();
        read_exactly(&mut upstream, CALL.len());
        upstream.write_all(ANSWER).unwrap();
        read_exactly(&mut client, ANSWER.len());
        let start = Instant::now();
        relay.signal_shutdown();
        assert_eq!(read_all(&mut client), b"");
        relay.join();
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn shutdown_is_bounded_by_the_drain_time() {
    let (address, upstream) = one_connection();
    let mut settings = RelaySettings::new(address.to_string());
    settings.drain = Duration::from_millis(200);
    let mut relay = Running::with(settings, true);
    let mut client = relay.connect();
    client.write_all(CALL).unwrap();
    let mut upstream = upstream.join().unwrap();
    read_exactly(&mut upstream, CALL.len());
    relay.signal_shutdown();
    relay.join();
    assert_eq!(relay.exchanges(1)[0].end, End::Stopped);
}

#[test]
fn two_listeners_share_a_port_and_a_third_party_cannot() {
    let listeners = dappscope::wire::relay::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let address = listeners[0].local_addr().unwrap();
    assert_eq!(listeners[1].local_addr().unwrap(), address);
    assert!(dappscope::wire::relay::bind(address, 1).is_err());
    assert!(dappscope::wire::relay::bind(address, 2).is_err());
}
