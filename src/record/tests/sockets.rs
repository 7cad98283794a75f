//! WebSocket messages into calls.

use std::time::Duration;

use alloy::primitives::B256;
use proptest::prelude::*;

use super::http::block;
use super::*;
use crate::record::sockets::{MOST_OF_ALL, MOST_OF_ONE};

fn closed(connection: u64, micros: u64, by: Closer) -> Observation {
    let connection = ConnectionId(connection);
    Observation::Connection(
        connection,
        at(micros),
        ConnectionEvent::Closed {
            proxy: Proxy::Rpc,
            connection,
            by,
            upgraded: true,
            sent: 1,
            received: 2,
        },
    )
}

#[test]
fn a_call_ends_with_the_response_of_its_id() {
    let mut bench = Bench::new();
    bench.take(asked(1, 100, r#"{"id":1,"method":"eth_chainId"}"#));
    bench.take(asked(1, 110, r#"{"id":"1","method":"eth_gasPrice"}"#));
    bench.take(asked(2, 120, r#"{"id":1,"method":"eth_mining"}"#));
    bench.take(told(1, 200, r#"{"id":"1","error":{"code":-5}}"#));
    bench.take(told(2, 210, r#"{"id":1,"result":false}"#));
    bench.take(told(1, 300, r#"{"id":1,"result":"0x1"}"#));
    bench.take(told(1, 400, r#"{"id":1,"result":"nobody asked"}"#));
    assert_eq!(
        bench.received.outcomes(),
        [
            ("eth_gasPrice", Outcome::Error(-5)),
            ("eth_mining", Outcome::Success),
            ("eth_chainId", Outcome::Success)
        ]
    );
    let call = &bench.received.calls()[2];
    assert_eq!(call.transport, Transport::WebSocket);
    assert_eq!(call.at, UnixMicros(1_000_100));
    assert_eq!(call.total, Duration::from_micros(205));
    assert_eq!(call.upstream, Duration::from_micros(197));
    assert_eq!(call.overhead, Duration::from_micros(6));
    let events = bench.received.events();
    assert_eq!(events.iter().filter(|e| **e == Event::CallStarted).count(), 3);
    assert_eq!(events.iter().filter(|e| **e == Event::CallEnded).count(), 3);
}

#[test]
fn a_batch_in_one_message_is_calls_of_their_own() {
    let mut bench = Bench::new();
    bench.take(asked(
        1,
        1,
        r#"[{"id":1,"method":"eth_chainId"},{"id":2,"method":"eth_mining"},{"method":"eth_call"}]"#,
    ));
    bench.take(told(1, 50, r#"[{"id":2,"result":1},{"id":1,"error":{"code":4}}]"#));
    assert_eq!(
        bench.received.outcomes(),
        [
            ("eth_call", Outcome::Notification),
            ("eth_mining", Outcome::Success),
            ("eth_chainId", Outcome::Error(4))
        ]
    );
    let calls = bench.received.calls();
    assert!(calls.iter().all(|call| call.transport == Transport::WebSocketBatch));
    assert_eq!(calls[1].batch, Some(BatchPlace { index: 1, size: 3 }));
    assert!(bench.received.events().contains(&Event::BatchSize(3)));
}

#[test]
fn a_closed_connection_ends_what_waits_on_it() {
    let mut bench = Bench::new();
    bench.take(asked(1, 1, r#"{"id":1,"method":"eth_chainId"}"#));
    bench.take(asked(2, 2, r#"{"id":1,"method":"eth_mining"}"#));
    bench.take(closed(1, 1_001, Closer::Client));
    assert_eq!(bench.received.outcomes(), [("eth_chainId", Outcome::ClientGone)]);
    assert_eq!(bench.received.calls()[0].total, Duration::from_micros(1_000));
    bench.take(closed(2, 2_000, Closer::Upstream));
    assert_eq!(bench.received.outcomes()[1], ("eth_mining", Outcome::UpstreamGone));
    bench.take(asked(3, 2, r#"{"id":1,"method":"eth_syncing"}"#));
    bench.take(closed(3, 2_000, Closer::Proxy));
    assert_eq!(bench.received.outcomes()[2], ("eth_syncing", Outcome::Stopped));
    let closed = Event::ConnectionClosed { proxy: Proxy::Rpc, upgraded: true };
    assert_eq!(bench.received.events().last(), Some(&closed));
}

#[test]
fn what_waits_is_given_up_at_the_end() {
    let mut bench = Bench::new();
    bench.take(asked(1, 1, r#"{"id":1,"method":"eth_chainId"}"#));
    bench.recording.finish(at(10));
    assert_eq!(bench.received.outcomes(), [("eth_chainId", Outcome::Unanswered)]);
}

#[test]
fn what_waits_is_bounded_and_the_oldest_is_given_up() {
    let mut bench = Bench::new();
    let request =
        |id: usize| asked(1, id as u64, &format!(r#"{{"id":{id},"method":"eth_chainId"}}"#));
    for id in 0..=MOST_OF_ONE {
        bench.recording.take(request(id));
    }
    bench.recording.hand_over();
    assert_eq!(bench.received.calls().len(), MOST_OF_ONE / 10);
    bench.take(told(1, 9, r#"{"id":0,"result":0}"#));
    assert_eq!(bench.received.calls().len(), MOST_OF_ONE / 10, "it was given up");
    bench.take(told(1, 9, &format!(r#"{{"id":{MOST_OF_ONE},"result":0}}"#)));
    assert_eq!(bench.received.calls().len(), MOST_OF_ONE / 10 + 1);
}

#[test]
fn what_waits_on_all_connections_is_bounded_too() {
    let mut bench = Bench::new();
    for i in 0..=MOST_OF_ALL {
        let id = i as u64;
        bench.recording.take(asked(id % 1_000, id, r#"{"id":"same","method":"eth_chainId"}"#));
    }
    bench.recording.hand_over();
    assert_eq!(bench.received.calls().len(), MOST_OF_ALL / 10);
    bench.recording.finish(at(0));
    assert_eq!(bench.received.calls().len(), MOST_OF_ALL + 1);
    let events = bench.received.events();
    assert_eq!(events.iter().filter(|e| **e == Event::CallEnded).count(), MOST_OF_ALL + 1);
}

#[test]
fn a_notification_is_told_with_what_was_subscribed_to_and_its_lag() {
    let mut bench = Bench::new();
    bench.take(asked(1, 1, r#"{"id":1,"method":"eth_subscribe","params":["newHeads"]}"#));
    bench.take(told(1, 2, r#"{"id":1,"result":"0xaa"}"#));
    bench.take(asked(1, 3, r#"{"id":2,"method":"eth_subscribe","params":["logs",{}]}"#));
    bench.take(told(1, 4, r#"{"id":2,"result":"0xbb"}"#));
    let notice = |id: &str, hash: B256| {
        told(
            1,
            195,
            &format!(
                r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":"{id}","result":{{"hash":"{hash}"}}}}}}"#
            ),
        )
    };
    let block = block(1);
    bench.take(notice("0xaa", block.hash));
    bench.take(notice("0xbb", block.hash));
    bench.take(notice("0xcc", block.hash));
    bench.take(Observation::Chain(ChainEvent::Block(Box::new(block.clone()))));
    bench.take(notice("0xaa", B256::repeat_byte(5)));
    bench.recording.flush();
    bench.take(asked(1, 500, r#"{"id":3,"method":"eth_unsubscribe","params":["0xbb"]}"#));
    bench.take(notice("0xbb", block.hash));
    let told: Vec<_> = bench
        .received
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Notification { .. }))
        .collect();
    let event = |subscription, micros: Option<u64>| Event::Notification {
        subscription,
        lag: micros.map(Duration::from_micros),
    };
    assert_eq!(
        told,
        [
            event("logs", None),
            event(OTHER, None),
            event("newHeads", Some(100)),
            event("newHeads", None),
            event(OTHER, None),
        ]
    );
    assert_eq!(bench.received.calls().len(), 2, "a notification is no call");
}

#[test]
fn messages_that_cannot_be_read_are_counted_as_what_they_are() {
    let mut bench = Bench::new();
    bench.take(asked(1, 1, "hello"));
    bench.take(told(1, 1, "{"));
    assert_eq!(
        bench.received.events(),
        [Event::ParseFailure("socket_request"), Event::ParseFailure("socket_response")]
    );
    let Observation::Socket(mut deflated) = asked(1, 1, "\u{1}") else { panic!("a message") };
    deflated.payload.codings = Codings::Unknown;
    bench.take(Observation::Socket(deflated));
    assert_eq!(bench.received.outcomes(), [("_OTHER", Outcome::Uninspected)]);
    bench.take(asked(1, 1, r#"{"id":1,"method":"eth_getLogs"}"#));
    let Observation::Socket(mut large) = told(1, 9, r#"{"result":"0x0000"#) else {
        panic!("a message")
    };
    large.payload.total = 1 << 30;
    bench.take(Observation::Socket(large));
    assert_eq!(bench.received.outcomes()[1], ("eth_getLogs", Outcome::Success));
}

fn deflated(message: Observation) -> Observation {
    let Observation::Socket(mut message) = message else { panic!("a message") };
    message.payload.codings = Codings::Unknown;
    Observation::Socket(message)
}

/// Calls under way, as the gauge counts them.
fn active(bench: &Bench) -> usize {
    let events = bench.received.events();
    let count = |event| events.iter().filter(|e| **e == event).count();
    count(Event::CallStarted) - count(Event::CallEnded)
}

#[test]
fn a_compressed_answer_to_the_only_message_that_waits_ends_it_uninspected() {
    let mut bench = Bench::new();
    bench.take(asked(1, 1, r#"{"id":1,"method":"eth_getLogs"}"#));
    bench.take(deflated(told(1, 50, "\u{1}")));
    assert_eq!(bench.received.outcomes(), [("eth_getLogs", Outcome::Uninspected)]);
    assert!(bench.received.calls()[0].total < Duration::from_micros(60));
    assert_eq!(active(&bench), 0);
    bench.take(asked(1, 60, r#"{"id":2,"method":"eth_chainId"}"#));
    bench.take(closed(1, 5_000, Closer::Upstream));
    assert_eq!(bench.received.outcomes()[1], ("eth_chainId", Outcome::UpstreamGone));
}

#[test]
fn of_several_messages_the_one_left_over_is_what_a_compressed_answer_was_for() {
    let mut bench = Bench::new();
    for (id, method) in [(1, "eth_getLogs"), (2, "eth_chainId"), (3, "eth_mining")] {
        bench.take(asked(1, id, &format!(r#"{{"id":{id},"method":"{method}"}}"#)));
    }
    bench.take(deflated(told(1, 50, "\u{1}")));
    bench.take(told(1, 60, r#"{"id":3,"result":true}"#));
    assert_eq!(active(&bench), 2);
    bench.take(told(1, 70, r#"{"id":2,"result":"0x1"}"#));
    assert_eq!(
        bench.received.outcomes(),
        [
            ("eth_mining", Outcome::Success),
            ("eth_chainId", Outcome::Success),
            ("eth_getLogs", Outcome::Uninspected)
        ]
    );
    for id in 4..=5 {
        bench.take(asked(1, 80, &format!(r#"{{"id":{id},"method":"eth_call"}}"#)));
    }
    bench.take(deflated(told(1, 90, "\u{1}")));
    bench.take(closed(1, 5_000, Closer::Upstream));
    assert!(
        bench.received.outcomes()[3..].iter().all(|(_, how)| *how == Outcome::Uninspected),
        "either may have been answered"
    );
    assert_eq!(active(&bench), 0);
}

#[test]
fn an_error_without_an_id_answers_all_of_the_only_message_that_waits() {
    let refused = r#"{"id":null,"error":{"code":-32600}}"#;
    let mut bench = Bench::new();
    bench.take(asked(1, 1, r#"[{"id":1,"method":"eth_chainId"},{"id":2,"method":"eth_call"}]"#));
    bench.take(told(1, 50, refused));
    assert_eq!(
        bench.received.outcomes(),
        [("eth_chainId", Outcome::Error(-32600)), ("eth_call", Outcome::Error(-32600))]
    );
    bench.take(asked(1, 60, r#"{"id":3,"method":"eth_mining"}"#));
    bench.take(told(1, 70, refused));
    assert_eq!(bench.received.outcomes()[2], ("eth_mining", Outcome::Error(-32600)));
    assert_eq!(active(&bench), 0);
}

#[test]
fn an_error_that_answers_garbage_ends_no_call() {
    let mut bench = Bench::new();
    bench.take(asked(1, 1, r#"{"id":1,"method":"eth_chainId"}"#));
    bench.take(asked(1, 2, "garbage"));
    bench.take(told(1, 50, r#"{"id":null,"error":{"code":-32700}}"#));
    assert_eq!(active(&bench), 1);
    bench.take(told(1, 60, r#"{"id":1,"result":"0x1"}"#));
    assert_eq!(bench.received.outcomes(), [("eth_chainId", Outcome::Success)]);
}

#[test]
fn ids_that_a_node_rounds_are_matched_and_told_apart_where_it_does_not() {
    let mut bench = Bench::new();
    bench.take(asked(1, 1, r#"{"id":9007199254740993,"method":"eth_chainId"}"#));
    bench.take(told(1, 9, r#"{"id":9007199254740992,"result":1}"#));
    assert_eq!(bench.received.calls().len(), 1);
    bench.take(asked(1, 1, r#"{"id":9007199254740993,"method":"eth_chainId"}"#));
    bench.take(asked(1, 1, r#"{"id":9007199254740992,"method":"eth_mining"}"#));
    bench.take(told(1, 9, r#"{"id":9007199254740992,"result":1}"#));
    assert_eq!(bench.received.outcomes()[1].0, "eth_mining");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The error code of each response names the request it belongs to.
    #[test]
    fn any_interleaving_is_matched_by_id(
        calls in prop::collection::vec((0_u64..3, 0_usize..1_000), 1..60),
        order in prop::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        let mut bench = Bench::new();
        let spell = |i: usize| match i % 4 {
            0 => (format!("{i}"), format!("{i}.0")),
            1 => (format!("\"{i}\""), format!("\"\\u003{}{}\"", i.to_string().as_bytes()[0] - b'0', &i.to_string()[1..])),
            2 => (format!("-{i}"), format!("-{i}e0")),
            _ => (format!("[{i}]"), format!("[{i}]")),
        };
        let mut to_send: Vec<usize> = (0..calls.len()).rev().collect();
        let mut open = Vec::new();
        for pick in order.iter().cycle() {
            let choice = pick.index(open.len() + 1);
            if choice == open.len() {
                let Some(i) = to_send.pop() else {
                    if open.is_empty() { break }
                    let i: usize = open.swap_remove(0);
                    let (connection, _) = calls[i];
                    bench.take(told(connection, 9, &format!(r#"{{"error":{{"code":{i}}},"id":{}}}"#, spell(i).1)));
                    continue;
                };
                let (connection, name) = calls[i];
                bench.take(asked(connection, i as u64, &format!(r#"{{"id":{},"method":"m_{}"}}"#, spell(i).0, name % 8)));
                open.push(i);
            } else {
                let i: usize = open.swap_remove(choice);
                let (connection, _) = calls[i];
                bench.take(told(connection, 9, &format!(r#"{{"error":{{"code":{i}}},"id":{}}}"#, spell(i).1)));
            }
        }
        let recorded = bench.received.calls();
        prop_assert_eq!(recorded.len(), calls.len());
        for call in recorded {
            let i = usize::try_from(call.at.0 - 1_000_000).unwrap();
            prop_assert_eq!(call.outcome, Outcome::Error(i as i64));
            prop_assert_eq!(call.connection, ConnectionId(calls[i].0));
            prop_assert_eq!(call.method.as_str(), format!("m_{}", calls[i].1 % 8));
        }
    }
}

#[test]
fn of_a_batch_too_large_to_keep_the_items_seen_await_their_answers() {
    let mut bench = Bench::new();
    let mut batch =
        asked(1, 1, r#"[{"id":1,"method":"eth_chainId"},{"id":2,"method":"eth_call"},{"id":3,"#);
    if let Observation::Socket(message) = &mut batch {
        message.payload.total = 1 << 30;
    }
    bench.take(batch);
    let mut answers = told(1, 50, r#"[{"id":1,"error":{"code":7}},{"id":9,"result":"0x"#);
    if let Observation::Socket(message) = &mut answers {
        message.payload.total = 1 << 30;
    }
    bench.take(answers);
    assert_eq!(
        bench.received.outcomes(),
        [
            ("_OTHER", Outcome::Uninspected),
            ("eth_chainId", Outcome::Error(7)),
            ("eth_call", Outcome::Uninspected)
        ]
    );
    let reasons =
        bench.received.calls().into_iter().map(|call| {
            call.detail.and_then(|detail| detail.uninspected).map(|it| it.reason.as_str())
        });
    let reasons: Vec<_> = reasons.collect();
    assert_eq!(reasons, [Some("too_large"), None, Some("too_large")]);
    assert_eq!(active(&bench), 0);
}
