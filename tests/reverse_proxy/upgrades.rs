//! Connections that stop being HTTP.

use dappscope::model::{self, ConnectionEvent, End, Flow};

use crate::support::{Api, Peer, Proxy, get};

fn asking() -> &'static str {
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
}

#[test]
fn after_the_apis_101_bytes_go_both_ways() {
    let api = Api::start(|mut peer: Peer| {
        let head = peer.read_head().unwrap();
        assert!(
            head.contains("connection: Upgrade\r\n") && head.contains("upgrade: websocket\r\n"),
            "{head}"
        );
        peer.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly");
        loop {
            let line = peer.read_line();
            if line.is_empty() {
                return;
            }
            peer.write(line);
        }
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write(asking());
    let head = client.read_head().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.contains("upgrade: websocket\r\n") && head.contains("connection: Upgrade\r\n"),
        "{head}"
    );
    assert_eq!(client.read_exact(5), b"early");
    for i in 0..100 {
        let line = format!("GET /{i} is no request here\n");
        client.write(&line);
        assert_eq!(client.read_line(), line);
    }
    let told = proxy.await_request();
    assert_eq!((told.status, told.end), (101, End::Complete));
    assert_eq!(told.flow, Flow::Socket);
    let of_the_api = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::Upgraded { proxy: model::Proxy::Api, .. })
    };
    proxy.await_event(|_, event| of_the_api(event).then_some(()));
    drop(client);
    let (upgraded, received) = proxy.await_event(|_, event| match event {
        ConnectionEvent::Closed { upgraded, received, .. } => Some((*upgraded, *received)),
        _ => None,
    });
    assert!(upgraded && received > 2_000, "{received}");
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response() {
    let api =
        Api::answering(|_| "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno".to_owned());
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.send(asking());
        assert_eq!((response.status(), response.text()), (400, "no"));
    }
    assert_eq!(client.send(get("/")).status(), 400);
    assert_eq!(api.connections(), 1);
}

#[test]
fn nothing_sent_behind_an_upgrade_reaches_the_api_before_its_101() {
    let api = Api::answering(|request| {
        assert!(!request.head.contains("smuggled"), "{}", request.head);
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned()
    });
    let proxy = Proxy::start(api.address);
    let mut client = proxy.client();
    client.write(format!("{}{}", asking(), "\u{0}\u{1}smuggled frames\r\n\r\n"));
    assert_eq!(client.read_message().unwrap().status(), 403);
    let rest = String::from_utf8(client.read_to_end().unwrap()).unwrap();
    assert!(rest.starts_with("HTTP/1.1 400 "), "{rest}");
}

#[test]
fn a_switch_nobody_asked_for_is_a_bad_gateway() {
    let api = Api::answering(|_| {
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n".to_owned()
    });
    let proxy = Proxy::start(api.address);
    let response = proxy.client().send(get("/"));
    assert_eq!(response.status(), 502);
    assert!(response.text().contains("101"), "{}", response.text());
}
