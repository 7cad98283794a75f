//! Exchanges into calls.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256, address};

use super::*;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;

fn outcome(exchange: Exchange) -> Vec<(&'static str, Outcome)> {
    let mut bench = Bench::new();
    bench.take(http(exchange));
    bench.received.outcomes()
}

#[test]
fn a_call_s_sample_has_its_times_and_sizes() {
    let mut bench = Bench::new();
    let response = r#"{"jsonrpc":"2.0","id":1,"result":"0x7a69"}"#;
    bench.take(http(exchange(CALL, response)));
    let [call] = &bench.received.calls()[..] else { panic!("one call") };
    assert_eq!(call.at, UnixMicros(1_000_010));
    assert_eq!(call.method, Method::known("eth_chainId"));
    assert_eq!((call.transport, call.outcome), (Transport::Http, Outcome::Success));
    assert_eq!(call.batch, None);
    assert_eq!(call.request_bytes, CALL.len() as u64);
    assert_eq!(call.response_bytes, response.len() as u64);
    assert_eq!(call.total, Duration::from_micros(74));
    assert_eq!(call.upstream, Duration::from_micros(55));
    assert_eq!(call.overhead, Duration::from_micros(8));
    assert_eq!(bench.tally.seen(SampleKind::Call), 1);
}

#[test]
fn an_error_in_the_body_counts_whatever_the_status() {
    let refused = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}"#;
    assert_eq!(outcome(exchange(CALL, refused)), [("eth_chainId", Outcome::Error(-32603))]);
    let with_status = Exchange { status: 502, ..exchange(CALL, refused) };
    assert_eq!(outcome(with_status), [("eth_chainId", Outcome::Error(-32603))]);
    let unread_id = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}"#;
    assert_eq!(outcome(exchange(CALL, unread_id)), [("eth_chainId", Outcome::Error(-32700))]);
}

#[test]
fn an_exchange_that_failed_says_how() {
    for (end, expected) in [
        (End::Unreachable, Outcome::Connect),
        (End::TimedOut, Outcome::Timeout),
        (End::ClientGone, Outcome::ClientGone),
        (End::UpstreamGone, Outcome::UpstreamGone),
        (End::Stopped, Outcome::Stopped),
    ] {
        let failed = Exchange { end, ..exchange(CALL, "") };
        assert_eq!(outcome(failed), [("eth_chainId", expected)]);
    }
    for (status, body) in [(503, "<html>"), (401, r#"{"message":"no"}"#), (200, ""), (200, "{")] {
        let failed = Exchange { status, ..exchange(CALL, body) };
        assert_eq!(outcome(failed), [("eth_chainId", Outcome::Http(status))], "{body}");
    }
}

#[test]
fn what_cannot_be_looked_into_is_uninspected_with_what_is_known() {
    let mut encoded = exchange(CALL, "\u{1f}\u{8b}");
    encoded.response.codings = Codings::Unknown;
    assert_eq!(outcome(encoded), [("eth_chainId", Outcome::Uninspected)]);

    let mut begun = exchange(CALL, r#"{"jsonrpc":"2.0","id":1,"res"#);
    begun.response.total = 1 << 30;
    assert_eq!(outcome(begun), [("eth_chainId", Outcome::Uninspected)]);

    let mut large = exchange(CALL, r#"{"jsonrpc":"2.0","id":1,"result":"0x00"#);
    large.response.total = 1 << 30;
    assert_eq!(outcome(large), [("eth_chainId", Outcome::Success)]);

    let mut upload = exchange(
        r#"{"jsonrpc":"2.0","method":"eth_sendRawTransaction","params":["0x"#,
        r#"{"id":1,"error":{"code":-32000}}"#,
    );
    upload.request.total = 1 << 30;
    assert_eq!(outcome(upload), [("eth_sendRawTransaction", Outcome::Error(-32000))]);

    let mut batch = exchange(r#"[{"id":1,"method":"eth_chainId"},{"id":2,"#, "[]");
    batch.request.total = 1 << 30;
    let seen = [("eth_chainId", Outcome::Unanswered), ("_OTHER", Outcome::Uninspected)];
    assert_eq!(outcome(batch), seen);

    let mut hidden = exchange(CALL, r#"{"id":1,"result":1}"#);
    hidden.request.codings = Codings::Unknown;
    assert_eq!(outcome(hidden), [("_OTHER", Outcome::Success)]);

    let many = format!("[{}1]", r#"{"id":1,"method":"eth_chainId"},"#.repeat(100_000));
    let told = outcome(exchange(&many, "[]"));
    assert_eq!((told.len(), told[10_000]), (10_001, ("_OTHER", Outcome::Uninspected)));
}

#[test]
fn what_is_no_json_rpc_is_no_call() {
    let options = Exchange { http_method: HttpMethod::known("OPTIONS"), ..exchange("", "") };
    let mut bench = Bench::new();
    bench.take(http(options));
    assert_eq!(bench.received.events(), []);
    for body in
        ["", "hello", "{}", "[]", "[1,2]", r#"{"id":1}"#, r#"{"id":1,"method":"a"}x"#, "{\"id\":"]
    {
        let mut bench = Bench::new();
        bench.take(http(exchange(body, "")));
        assert_eq!(bench.received.calls(), [], "{body}");
        assert_eq!(bench.received.events(), [Event::ParseFailure("rpc_request")], "{body}");
    }
}

#[test]
fn a_request_without_id_that_is_not_answered_is_a_notification() {
    let notification = r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#;
    let accepted = Exchange { status: 204, ..exchange(notification, "") };
    assert_eq!(outcome(accepted), [("eth_chainId", Outcome::Notification)]);
    let failed = Exchange { status: 500, ..exchange(notification, "") };
    assert_eq!(outcome(failed), [("eth_chainId", Outcome::Http(500))]);
}

#[test]
fn items_of_a_batch_are_calls_joined_to_their_answers_by_id() {
    let mut bench = Bench::new();
    bench.take(http(exchange(
        r#"[{"id":1,"method":"eth_chainId"},{"id":"a","method":"eth_gasPrice"},{"method":"eth_mining"},{"id":3,"method":"net_version"},{"id":4,"method":"eth_syncing"},7]"#,
        r#"[{"id":3,"error":{"code":-1}},{"id":"\u0061","result":1},{"id":1.0,"result":"0x1"},{"id":null,"error":{"code":-32600}}]"#,
    )));
    assert_eq!(
        bench.received.outcomes(),
        [
            ("eth_chainId", Outcome::Success),
            ("eth_gasPrice", Outcome::Success),
            ("eth_mining", Outcome::Notification),
            ("net_version", Outcome::Error(-1)),
            ("eth_syncing", Outcome::Unanswered),
        ]
    );
    let events = [Event::BatchSize(6), Event::ParseFailure("batch_item")];
    assert_eq!(bench.received.events(), events);
    let calls = bench.received.calls();
    assert_eq!(calls[3].batch, Some(BatchPlace { index: 3, size: 6 }));
    assert_eq!(calls[0].request_bytes, r#"{"id":1,"method":"eth_chainId"}"#.len() as u64);
    assert_eq!(calls[3].response_bytes, r#"{"id":3,"error":{"code":-1}}"#.len() as u64);
    assert!(calls.iter().all(|c| c.transport == Transport::HttpBatch));
    assert!(calls.iter().all(|c| c.total == Duration::from_micros(74)));
}

#[test]
fn items_of_a_batch_that_ask_for_nothing_are_parse_failures_and_no_calls() {
    let request = r#"[1,{"id":7,"method":"eth_chainId"},"x",null,{},{"id":8}]"#;
    let no = r#"{"id":null,"error":{"code":-32600}}"#;
    let eighth = r#"{"id":8,"error":{"code":-32600}}"#;
    let response = format!(r#"[{no},{{"id":7,"result":"0x1"}},{no},{no},{no},{eighth}]"#);
    let calls = [("eth_chainId", Outcome::Success), ("_OTHER", Outcome::Error(-32600))];
    let failed = |bench: &Bench| {
        let events = bench.received.events();
        events.iter().filter(|e| **e == Event::ParseFailure("batch_item")).count()
    };
    let mut bench = Bench::new();
    bench.take(http(exchange(request, &response)));
    assert_eq!((bench.received.outcomes(), failed(&bench)), (calls.to_vec(), 4));
    let mut bench = Bench::new();
    bench.take(asked(1, 1, request));
    bench.take(told(1, 2, &response));
    assert_eq!((bench.received.outcomes(), failed(&bench)), (calls.to_vec(), 4));
}

#[test]
fn equal_ids_of_a_batch_are_answered_in_order() {
    let request = r#"[{"id":1,"method":"eth_chainId"},{"id":2,"method":"eth_mining"},{"id":1,"method":"eth_syncing"}]"#;
    let answers =
        r#"[{"id":2,"error":{"code":2}},{"id":1,"error":{"code":1}},{"id":1,"error":{"code":3}}]"#;
    let codes = [Outcome::Error(1), Outcome::Error(2), Outcome::Error(3)];
    let got: Vec<_> = outcome(exchange(request, answers)).into_iter().map(|o| o.1).collect();
    assert_eq!(got, codes);
}

#[test]
fn one_error_for_a_whole_batch_is_every_item_s() {
    let request = r#"[{"id":1,"method":"eth_chainId"},{"id":2,"method":"eth_mining"}]"#;
    let refused = r#"{"id":null,"error":{"code":-32600,"message":"batch too large"}}"#;
    let got = outcome(exchange(request, refused));
    assert_eq!(
        got,
        [("eth_chainId", Outcome::Error(-32600)), ("eth_mining", Outcome::Error(-32600))]
    );
    let gone = Exchange { end: End::Unreachable, ..exchange(request, "") };
    assert!(outcome(gone).iter().all(|(_, outcome)| *outcome == Outcome::Connect));
}

#[test]
fn a_read_repeated_between_two_blocks_is_a_duplicate() {
    let balance = |address: &str| {
        let request =
            format!(r#"{{"id":1,"method":"eth_getBalance","params":["{address}","latest"]}}"#);
        http(exchange(&request, r#"{"id":1,"result":"0x0"}"#))
    };
    let mut bench = Bench::new();
    for address in ["0x1", "0x2", "0x1", "0x1"] {
        bench.take(balance(address));
    }
    let duplicate = Event::Duplicate(Method::known("eth_getBalance"));
    assert_eq!(bench.received.events(), [duplicate.clone(), duplicate]);
    bench.take(Observation::Chain(ChainEvent::Block(Box::new(block(1)))));
    bench.take(balance("0x1"));
    assert_eq!(bench.received.events().len(), 2);
    bench.take(balance("0x1"));
    assert_eq!(bench.received.events().len(), 3);
    bench.take(http(exchange(r#"{"id":1,"method":"evm_mine"}"#, r#"{"id":1,"result":0}"#)));
    let mined = Event::Mined(Duration::from_micros(55));
    assert_eq!(bench.received.events().last(), Some(&mined));
    bench.take(balance("0x1"));
    assert_eq!(bench.received.events().len(), 4);
}

#[test]
fn names_beyond_the_bound_are_other_and_told() {
    let mut bench = Bench::new();
    for i in 0..300 {
        let request = format!(r#"{{"id":1,"method":"junk_{i}"}}"#);
        bench.take(http(exchange(&request, r#"{"id":1,"error":{"code":-32601}}"#)));
    }
    let calls = bench.received.calls();
    let others = calls.iter().filter(|call| call.method == Method::other()).count();
    let told = Event::LabelOverflow { label: "rpc_method" };
    assert!(others > 0);
    assert_eq!(bench.received.events().iter().filter(|e| **e == told).count(), others);
}

pub(super) const TOKEN: Address = address!("5fbdb2315678afecb367f032d93f642f64180aa3");

pub(super) fn block(number: u64) -> MinedBlock {
    MinedBlock {
        seen: at(100),
        number,
        hash: B256::with_last_byte(1),
        parent: B256::ZERO,
        timestamp: 1,
        gas_used: 21_000,
        gas_limit: 30_000_000,
        base_fee: Some(7),
        transactions: Vec::new(),
        missing: 0,
        live: true,
    }
}

#[test]
fn a_send_becomes_a_transaction_when_its_block_is_seen() {
    let mut bench = Bench::new();
    let hash = B256::repeat_byte(9);
    let send = format!(
        r#"{{"id":1,"method":"eth_sendTransaction","params":[{{"from":"{TOKEN}","to":"{TOKEN}","data":"0x12345678"}}]}}"#
    );
    bench.take(http(exchange(&send, &format!(r#"{{"id":1,"result":"{hash}"}}"#))));
    assert!(bench.received.calls().is_empty(), "it waits for its name");
    assert_eq!(bench.wanted.try_recv(), Ok(ChainQuestion::Code(TOKEN)));
    bench.take(Observation::Chain(ChainEvent::Code(ContractCode {
        address: TOKEN,
        code: Bytes::from_static(&[0xfe]),
        implementation: None,
        asked: Interval::default(),
    })));
    let [call] = &bench.received.calls()[..] else { panic!("one call") };
    assert_eq!(call.transaction, Some(hash));
    assert_eq!(call.target.map(|t| t.contract), Some(ContractName::unknown()));
    let selector = call.detail.as_ref().and_then(|detail| detail.selector);
    assert_eq!(selector, Some([0x12, 0x34, 0x56, 0x78]), "what has no name keeps its selector");
    let mined = MinedTransaction {
        hash,
        from: TOKEN,
        to: Some(TOKEN),
        input: Bytes::from_static(&[0x12, 0x34, 0x56, 0x78]),
        nonce: 0,
        value: U256::ZERO,
        gas_limit: 100_000,
        gas_used: 50_000,
        gas_price: 1,
        success: true,
        created: None,
        revert: None,
        blob: None,
        envelope: Some(2),
        authorities: Box::default(),
        logs: Box::default(),
        logs_omitted: 0,
    };
    let block = MinedBlock { transactions: vec![mined], ..block(1) };
    bench.take(Observation::Chain(ChainEvent::Block(Box::new(block))));
    let [transaction] = &bench.received.transactions()[..] else { panic!("one transaction") };
    assert_eq!(transaction.status, TransactionStatus::Success);
    assert_eq!(transaction.confirmation, Some(Duration::from_micros(75)));
    assert_eq!(bench.wanted.try_recv().ok(), None, "code is asked for once");
}

#[test]
fn a_refused_send_is_a_rejected_transaction() {
    let mut bench = Bench::new();
    let send = format!(
        r#"{{"id":1,"method":"eth_sendTransaction","params":[{{"from":"{TOKEN}","to":"{TOKEN}"}}]}}"#
    );
    let refused = r#"{"id":1,"error":{"code":-32000,"message":"nonce too low"}}"#;
    bench.take(http(exchange(&send, refused)));
    let [transaction] = &bench.received.transactions()[..] else { panic!("one transaction") };
    assert_eq!(transaction.status, TransactionStatus::Rejected);
    let unreachable = Exchange { end: End::Unreachable, ..exchange(&send, "") };
    bench.take(http(unreachable));
    assert_eq!(bench.received.transactions().len(), 1, "what never left is no transaction");
}

#[test]
fn what_eth_call_touches_is_named_and_asked_for_once() {
    let mut bench = Bench::new();
    let call = format!(
        r#"{{"id":1,"method":"eth_call","params":[{{"to":"{TOKEN}","input":"0x12345678"}},"latest"]}}"#
    );
    for _ in 0..3 {
        bench.take(http(exchange(&call, r#"{"id":1,"result":"0x"}"#)));
    }
    assert_eq!(bench.wanted.try_recv(), Ok(ChainQuestion::Code(TOKEN)));
    assert!(bench.wanted.try_recv().is_err());
    assert!(bench.received.calls().is_empty());
    bench.recording.flush();
    assert_eq!(bench.received.calls().len(), 3, "no more waiting");
    let target = bench.received.calls()[0].target.expect("a target");
    assert_eq!(target.function, FunctionName::unknown());
}

#[test]
fn who_looks_through_very_many_accounts_does_not_have_the_monitor_do_so_too() {
    /// Reads these accounts; tells of how many the code was asked for by a watcher that keeps up.
    fn read(bench: &mut Bench, accounts: std::ops::Range<u64>) -> usize {
        let mut asked = 0;
        for account in accounts {
            let call = format!(
                r#"{{"id":1,"method":"eth_getBalance","params":["{account:#042x}","latest"]}}"#
            );
            bench.take(http(exchange(&call, r#"{"id":1,"result":"0x1"}"#)));
            while bench.wanted.try_recv().is_ok() {
                asked += 1;
            }
        }
        asked
    }
    let mut bench = Bench::new();
    assert_eq!(read(&mut bench, 1..10_001), 512);
    assert_eq!(bench.received.calls().len(), 10_000 - 512, "the others wait for nothing");
    let later = at(1_000_000);
    bench.recording.tick(later, Clock::fixed(later, UnixMicros(2_000_000)));
    assert_eq!(read(&mut bench, 20_000..30_000), 100, "one every 10 ms");
}

#[test]
fn a_call_that_may_replace_the_chain_has_the_watcher_look() {
    let mut bench = Bench::new();
    bench.take(http(exchange(CALL, r#"{"id":1,"result":"0x1"}"#)));
    assert!(bench.wanted.try_recv().is_err());
    for method in ["hardhat_reset", "evm_revert"] {
        let request = format!(r#"{{"id":1,"method":"{method}","params":[]}}"#);
        bench.take(http(exchange(&request, r#"{"id":1,"result":true}"#)));
        assert_eq!(bench.wanted.try_recv(), Ok(ChainQuestion::Look), "{method}");
    }
}
