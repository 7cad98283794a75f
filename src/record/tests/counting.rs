//! Mixed traffic, with every count made a second time from what was sent.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One thing a client does over HTTP, with its answers: code 0 is a success.
#[derive(Clone, Debug)]
enum Act {
    Single { method: usize, code: i64 },
    Batch { items: Vec<Option<(usize, i64)>>, reversed: bool },
    Notification { method: usize },
    Options,
    Garbage,
    Unreachable { method: usize },
    Socket { method: usize, code: i64 },
}

const METHODS: [&str; 4] = ["eth_call", "eth_blockNumber", "eth_getLogs", "x_unlisted"];

fn act() -> impl Strategy<Value = Act> {
    let method = 0..METHODS.len();
    let code = prop_oneof![3 => Just(0_i64), 1 => -32_999_i64..-32_000];
    let answered = prop_oneof![
        4 => (method.clone(), code.clone()).prop_map(Some),
        1 => Just(None),
    ];
    prop_oneof![
        4 => (method.clone(), code.clone()).prop_map(|(method, code)| Act::Single { method, code }),
        2 => (prop::collection::vec(answered, 1..12), any::<bool>())
            .prop_map(|(items, reversed)| Act::Batch { items, reversed }),
        1 => method.clone().prop_map(|method| Act::Notification { method }),
        1 => Just(Act::Options),
        1 => Just(Act::Garbage),
        1 => method.clone().prop_map(|method| Act::Unreachable { method }),
        3 => (method, code).prop_map(|(method, code)| Act::Socket { method, code }),
    ]
}

fn request(method: usize, id: usize) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{}","params":[]}}"#, METHODS[method])
}

fn response(code: i64, id: usize) -> String {
    match code {
        0 => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"error":{{"code":-1}}}}}}"#),
        code => format!(r#"{{"error":{{"message":"x","code":{code}}},"jsonrpc":"2.0","id":{id}}}"#),
    }
}

fn expected(code: i64) -> Outcome {
    if code == 0 { Outcome::Success } else { Outcome::Error(code) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_call_is_counted_once_with_its_outcome(acts in prop::collection::vec(act(), 0..80)) {
        let mut bench = Bench::new();
        let mut calls: BTreeMap<String, usize> = BTreeMap::new();
        let (mut batches, mut failures) = (0, 0);
        let mut count = |method: usize, transport: Transport, outcome: Outcome| {
            *calls.entry(format!("{} {transport:?} {outcome:?}", METHODS[method])).or_default() += 1;
        };
        for (id, act) in acts.iter().enumerate() {
            match act {
                Act::Single { method, code } => {
                    bench.take(http(exchange(&request(*method, id), &response(*code, id))));
                    count(*method, Transport::Http, expected(*code));
                }
                Act::Batch { items, reversed } => {
                    let requests: Vec<_> = items.iter().enumerate()
                        .map(|(i, item)| request(item.map_or(0, |(method, _)| method), i)).collect();
                    let mut responses: Vec<_> = items.iter().enumerate()
                        .filter_map(|(i, item)| item.map(|(_, code)| response(code, i))).collect();
                    if *reversed { responses.reverse(); }
                    bench.take(http(exchange(
                        &format!("[{}]", requests.join(",")),
                        &format!("[{}]", responses.join(", ")),
                    )));
                    batches += 1;
                    for item in items {
                        match item {
                            Some((method, code)) => count(*method, Transport::HttpBatch, expected(*code)),
                            None => count(0, Transport::HttpBatch, Outcome::Unanswered),
                        }
                    }
                }
                Act::Notification { method } => {
                    let text = format!(r#"{{"method":"{}"}}"#, METHODS[*method]);
                    bench.take(http(Exchange { status: 202, ..exchange(&text, "") }));
                    count(*method, Transport::Http, Outcome::Notification);
                }
                Act::Options => {
                    let http_method = HttpMethod::known("OPTIONS");
                    bench.take(http(Exchange { http_method, ..exchange("", "") }));
                }
                Act::Garbage => {
                    bench.take(http(exchange("not json", "")));
                    failures += 1;
                }
                Act::Unreachable { method } => {
                    let end = End::Unreachable;
                    bench.take(http(Exchange { end, ..exchange(&request(*method, id), "") }));
                    count(*method, Transport::Http, Outcome::Connect);
                }
                Act::Socket { method, code } => {
                    bench.take(asked(7, 1, &request(*method, id)));
                    bench.take(told(7, 2, &response(*code, id)));
                    count(*method, Transport::WebSocket, expected(*code));
                }
            }
        }
        let mut recorded: BTreeMap<String, usize> = BTreeMap::new();
        for call in bench.received.calls() {
            let key = format!("{} {:?} {:?}", call.method, call.transport, call.outcome);
            *recorded.entry(key).or_default() += 1;
        }
        prop_assert_eq!(&recorded, &calls);
        let total = calls.values().sum::<usize>() as u64;
        prop_assert_eq!(bench.tally.seen(SampleKind::Call), total);
        let events = bench.received.events();
        let of = |f: fn(&Event) -> bool| events.iter().filter(|e| f(e)).count();
        prop_assert_eq!(of(|e| matches!(e, Event::BatchSize(_))), batches);
        prop_assert_eq!(of(|e| matches!(e, Event::ParseFailure(_))), failures);
    }
}
