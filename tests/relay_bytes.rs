//! Whatever is sent arrives, in both directions, unaltered: legal traffic, illegal traffic and
//! noise, cut anywhere, with either side ending first. Behind a guard, legal traffic still does, and
//! of everything else no byte arrives that was not sent, or that was sent later than one that did not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support_relay;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use dappscope::model::{ConnectionEvent, Direction, Observation};
use proptest::collection::vec;
use proptest::prelude::*;
use support_relay::traffic::*;
use support_relay::*;

/// What goes over one connection.
#[derive(Clone, Debug)]
struct Traffic {
    up: Vec<u8>,
    down: Vec<u8>,
    up_sizes: Vec<usize>,
    down_sizes: Vec<usize>,
    /// Whether the upstream waits for the client's end before it says anything.
    polite: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    /// An upgrade, and the frames after it.
    Socket,
    Illegal,
}

fn bytes() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Kind)> {
    let noise = || vec(any::<u8>(), 1..3_000);
    let http = || {
        vec(case(), 1..5).prop_map(|cases| {
            let up: Vec<u8> = cases.iter().flat_map(Case::request).collect();
            let down: Vec<u8> = cases.iter().flat_map(Case::response).collect();
            (up, down)
        })
    };
    let socket = (vec(sent(), 0..5), vec(sent(), 0..5)).prop_map(|(asked, answered)| {
        let wire = |sent: &[Sent], direction| -> Vec<u8> {
            sent.iter().flat_map(|message| message.wire(direction, 2)).collect()
        };
        let up = [UPGRADE.to_vec(), wire(&asked, Direction::Request)].concat();
        (up, [UPGRADED.to_vec(), wire(&answered, Direction::Response)].concat())
    });
    let damaged = (http(), vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)).prop_map(
        |((mut up, mut down), damage)| {
            for (at, byte) in damage {
                let (i, j) = (at.index(up.len()), at.index(down.len()));
                (up[i], down[j]) = (byte, byte);
            }
            (up, down)
        },
    );
    let big = (noise(), 1_usize..40, 1_usize..40)
        .prop_map(|(noise, up, down)| (noise.repeat(up * 10), noise.repeat(down * 10)));
    let illegal = prop_oneof![damaged, (noise(), noise()), big];
    prop_oneof![
        1 => http().prop_map(|(up, down)| (up, down, Kind::Http)),
        1 => socket.prop_map(|(up, down)| (up, down, Kind::Socket)),
        3 => illegal.prop_map(|(up, down)| (up, down, Kind::Illegal)),
    ]
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let sizes = || prop_oneof![vec(1_usize..40, 1..5), vec(1_000_usize..90_000, 1..3)];
    (bytes(), sizes(), sizes(), any::<bool>()).prop_map(
        |((up, down, kind), up_sizes, down_sizes, polite)| Traffic {
            up,
            down,
            up_sizes,
            down_sizes,
            polite,
            kind,
        },
    )
}

fn send(to: &mut TcpStream, bytes: &[u8], sizes: &[usize]) {
    for (number, piece) in pieces(bytes, sizes).enumerate() {
        to.write_all(piece).unwrap();
        if number % 7 == 0 {
            std::thread::yield_now();
        }
    }
    end(to);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives(traffic in traffic()) {
        let (address, taken) = one_connection();
        let mut relay = Running::new(address);
        let client = relay.connect();
        let (answering, Traffic { down, down_sizes, polite, .. }) = (taken, traffic.clone());
        let upstream = std::thread::spawn(move || {
            let mut upstream = answering.join().unwrap();
            if polite {
                let arrived = read_all(&mut upstream);
                send(&mut upstream, &down, &down_sizes);
                return arrived;
            }
            let mut sender = upstream.try_clone().unwrap();
            let sending = std::thread::spawn(move || send(&mut sender, &down, &down_sizes));
            let arrived = read_all(&mut upstream);
            sending.join().unwrap();
            arrived
        });
        let (mut sender, Traffic { up, up_sizes, .. }) = (client.try_clone().unwrap(), traffic.clone());
        let sending = std::thread::spawn(move || send(&mut sender, &up, &up_sizes));
        let mut client = client;
        let arrived = read_all(&mut client);
        sending.join().unwrap();
        prop_assert!(arrived == traffic.down, "{} of {} bytes down", arrived.len(), traffic.down.len());
        let arrived = upstream.join().unwrap();
        prop_assert!(arrived == traffic.up, "{} of {} bytes up", arrived.len(), traffic.up.len());
        let (up, down) = (traffic.up.len() as u64, traffic.down.len() as u64);
        relay.event(|event| matches!(event, ConnectionEvent::Closed { sent, received, .. }
            if (*sent, *received) == (up, down)));
        let told = relay.observed().iter().fold((0, 0), |(up, down), o| match o {
            Observation::Connection(_, _, ConnectionEvent::Passed { sent, received, .. }) => {
                (up + sent, down + received)
            }
            _ => (up, down),
        });
        prop_assert_eq!(told, (up, down), "each byte is told once");
    }

    #[test]
    fn behind_a_guard_what_is_legal_arrives_and_of_the_rest_a_beginning(traffic in traffic()) {
        let (address, taken) = one_connection();
        let relay = Running::guarded(address);
        let mut client = relay.connect();
        let legal = traffic.kind != Kind::Illegal;
        let answering = traffic.clone();
        let upstream = std::thread::spawn(move || {
            let mut upstream = taken.join().unwrap();
            // An upgrade is agreed upon only when it was asked for, and frames come only then.
            let asked = if answering.kind == Kind::Socket { UPGRADE.len() } else { 0 };
            let mut arrived = read_exactly(&mut upstream, asked);
            // A refusal waits for the answers to what was asked before.
            let wait = answering.polite && answering.kind == Kind::Http;
            if wait {
                let _ = upstream.read_to_end(&mut arrived);
            }
            let mut sender = upstream.try_clone().unwrap();
            let sending = std::thread::spawn(move || {
                let sent = pieces(&answering.down, &answering.down_sizes)
                    .try_for_each(|piece| sender.write_all(piece));
                let _ = sent.and_then(|()| sender.shutdown(Shutdown::Write));
            });
            if !wait {
                let _ = upstream.read_to_end(&mut arrived);
            }
            sending.join().unwrap();
            arrived
        });
        let (mut sender, asking) = (client.try_clone().unwrap(), traffic.clone());
        let sending = std::thread::spawn(move || {
            let sent = pieces(&asking.up, &asking.up_sizes)
                .try_for_each(|piece| sender.write_all(piece));
            let _ = sent.and_then(|()| sender.shutdown(Shutdown::Write));
        });
        let mut answered = Vec::new();
        let ended = client.read_to_end(&mut answered);
        sending.join().unwrap();
        drop(client);
        if legal {
            prop_assert!(ended.is_ok(), "{ended:?}");
            prop_assert!(answered == traffic.down, "{} of {}", answered.len(), traffic.down.len());
        } else {
            // Where nothing passes, nobody connects: this wakes the one who waits for it.
            let _ = TcpStream::connect(address);
        }
        let arrived = upstream.join().unwrap();
        prop_assert!(traffic.up.starts_with(&arrived), "{} bytes up", arrived.len());
        prop_assert!(!legal || arrived == traffic.up, "{} of {}", arrived.len(), traffic.up.len());
    }
}

#[test]
fn a_websocket_passes_and_its_messages_are_told() {
    let message = |text: &str, mask| Sent {
        payload: text.as_bytes().to_vec(),
        fragments: vec![5],
        control: true,
        mask,
    };
    let asked = message(r#"{"id":1,"method":"eth_subscribe"}"#, [7, 1, 0, 255]);
    let answered = message(r#"{"id":1,"result":"0x1"}"#, [0; 4]);
    let (asked_wire, answered_wire) =
        (asked.wire(Direction::Request, 1), answered.wire(Direction::Response, 1));
    let (address, upstream) = one_connection();
    let mut relay = Running::guarded(address);
    let mut client = relay.connect();
    client.write_all(UPGRADE).unwrap();
    let mut upstream = upstream.join().unwrap();
    read_exactly(&mut upstream, UPGRADE.len());
    upstream.write_all(UPGRADED).unwrap();
    read_exactly(&mut client, UPGRADED.len());
    client.write_all(&asked_wire).unwrap();
    assert_eq!(read_exactly(&mut upstream, asked_wire.len()), asked_wire);
    upstream.write_all(&answered_wire).unwrap();
    assert_eq!(read_exactly(&mut client, answered_wire.len()), answered_wire);
    let told = relay.messages(2);
    assert_eq!((told[0].direction, &told[0].payload.bytes), (Direction::Request, &asked.payload));
    assert_eq!(
        (told[1].direction, &told[1].payload.bytes),
        (Direction::Response, &answered.payload)
    );
    assert_eq!(told[1].user_agent.as_deref(), Some("ws/1"));
    drop(client);
    assert_eq!(read_all(&mut upstream), b"");
    drop(upstream);
    relay.event(|event| matches!(event, ConnectionEvent::Closed { upgraded: true, .. }));
    relay.until(|seen| {
        seen.iter()
            .any(|o| matches!(o, Observation::Connection(_, _, ConnectionEvent::Upgraded { .. })))
    });
}

#[test]
fn a_hundred_connections_at_once_keep_their_bytes_apart() {
    let address = upstream(|mut connection| {
        let asked = read_until(&mut connection, b"\r\n\r\n");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", asked.len());
        connection.write_all(&[answer.into_bytes(), asked].concat()).unwrap();
        read_all(&mut connection);
    });
    let mut relay = Running::new(address);
    let clients: Vec<_> = (0..100)
        .map(|number| {
            let mut client = relay.connect();
            std::thread::spawn(move || {
                let ask = format!("GET /{number} HTTP/1.1\r\nHost: a\r\nX: {number}\r\n\r\n");
                client.write_all(ask.as_bytes()).unwrap();
                read_until(&mut client, b"\r\n\r\n");
                assert_eq!(read_exactly(&mut client, ask.len()), ask.as_bytes());
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(relay.exchanges(100).len(), 100);
}
