//! Bodies that are compressed, broken or too large to keep, and sends known by their answer alone.

use alloy::primitives::{Address, B256, Bytes, U256};

use super::http::block;
use super::*;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;

/// Method, outcome, and why it was not read and of how many calls.
type Recorded = (&'static str, Outcome, Option<(&'static str, u32)>);

/// The calls of an exchange.
fn unread(exchange: Exchange) -> Vec<Recorded> {
    let mut bench = Bench::new();
    bench.take(http(exchange));
    bench.recording.flush();
    let calls = bench.received.calls().into_iter().map(|call| {
        let uninspected = call.detail.and_then(|detail| detail.uninspected);
        let why = uninspected.map(|it| (it.reason.as_str(), it.calls));
        (call.method.as_str(), call.outcome, why)
    });
    calls.collect()
}

fn gzip(text: &str) -> Captured {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    Captured { codings: Codings::One(Coding::Gzip), ..captured(&encoder.finish().unwrap()) }
}

#[test]
fn compressed_bodies_are_read_in_both_directions() {
    let response = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}"#;
    let both = Exchange { request: gzip(CALL), response: gzip(response), ..exchange("", "") };
    assert_eq!(unread(both), [("eth_chainId", Outcome::Error(-32000), None)]);
    let batch = r#"[{"id":1,"method":"eth_chainId"},{"id":2,"method":"eth_call"}]"#;
    let answers = r#"[{"id":2,"error":{"code":3}},{"id":1,"result":"0x1"}]"#;
    let both = Exchange { request: gzip(batch), response: gzip(answers), ..exchange("", "") };
    let read = [("eth_chainId", Outcome::Success, None), ("eth_call", Outcome::Error(3), None)];
    assert_eq!(unread(both), read);
}

#[test]
fn broken_compression_differs_from_large_bodies() {
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":"0x7a69"}"#;
    let mut broken = Exchange { response: gzip(answer), ..exchange(CALL, "") };
    broken.response.bytes.truncate(20);
    broken.response.total = 20;
    let unreadable = Some(("unreadable", 1));
    assert_eq!(unread(broken.clone()), [("eth_chainId", Outcome::Uninspected, unreadable)]);
    broken.status = 502;
    assert_eq!(unread(broken), [("eth_chainId", Outcome::Http(502), None)]);
    let mut request = Exchange { request: gzip(CALL), ..exchange("", answer) };
    request.request.bytes[12] ^= 0xff;
    assert_eq!(unread(request), [("_OTHER", Outcome::Success, unreadable)]);
    // 64 MiB out of 64 KiB.
    let bomb = format!(r#"{{"id":1,"pad":"{}"}}"#, "0".repeat(64 << 20));
    let bomb = Exchange { response: gzip(&bomb), ..exchange(CALL, "") };
    let too_large = [("eth_chainId", Outcome::Uninspected, Some(("too_large", 1)))];
    assert_eq!(unread(bomb), too_large);
    let mut crowded = exchange(CALL, "");
    crowded.response.total = 30_000;
    crowded.response.stopped = Some(CopyStop::BudgetSpent);
    let no_room = [("eth_chainId", Outcome::Uninspected, Some(("no_room", 1)))];
    assert_eq!(unread(crowded), no_room);
}

#[test]
fn a_batch_too_large_to_keep_is_recorded_as_far_as_it_was_seen() {
    let items =
        [r#"{"id":1,"method":"eth_chainId"}"#, r#"{"id":2,"method":"eth_call","params":[{}]}"#];
    let answers = r#"[{"id":2,"error":{"code":3}},{"id":1,"result":"0x1"},{"id":3,"result":"0x3"},{"id":4,"error":{"code":4}}]"#;
    let request = format!("[{}", items.join(","));
    let (large, all) = (Some(("too_large", 1)), |kept: &str| {
        let mut batch = exchange(kept, answers);
        batch.request.total = 1 << 30;
        unread(batch)
    });
    let seen = [("eth_chainId", Outcome::Success, None), ("eth_call", Outcome::Error(3), None)];
    let unseen = [("_OTHER", Outcome::Success, large), ("_OTHER", Outcome::Error(4), large)];
    for (cut, seen_whole) in (1..=request.len()).map(|cut| {
        let whole = items.iter().scan(0, |end, item| {
            *end += item.len() + 1;
            Some(*end)
        });
        (cut, whole.filter(|end| *end <= cut).count())
    }) {
        let recorded = all(&request[..cut]);
        assert_eq!(recorded.len(), 4, "cut at {cut}");
        assert_eq!(recorded[..seen_whole], seen[..seen_whole], "cut at {cut}");
        assert_eq!(recorded[2..], unseen, "cut at {cut}");
    }
}

#[test]
fn items_whose_answers_were_not_kept_are_uninspected_one_by_one() {
    let items: Vec<_> =
        (0..5).map(|id| format!(r#"{{"id":{id},"method":"eth_chainId"}}"#)).collect();
    let kept = r#"[{"id":0,"error":{"code":-1}},{"id":1,"result":"0x1"},{"id":2,"resu"#;
    let mut batch = exchange(&format!("[{}]", items.join(",")), kept);
    batch.response.total = 1 << 30;
    let recorded = unread(batch);
    let outcomes: Vec<_> = recorded.iter().map(|(_, outcome, _)| *outcome).collect();
    let hidden = Outcome::Uninspected;
    assert_eq!(outcomes, [Outcome::Error(-1), Outcome::Success, hidden, hidden, hidden]);
    assert!(recorded[2..].iter().all(|(_, _, why)| *why == Some(("too_large", 1))));
}

#[test]
fn the_rest_of_a_very_long_batch_is_one_call_with_their_number() {
    let many = vec![r#"{"id":1,"method":"eth_chainId"}"#; 25_000].join(",");
    let refused = r#"{"id":null,"error":{"code":-32600,"message":"batch too large"}}"#;
    let recorded = unread(exchange(&format!("[{many}]"), refused));
    let rest = ("_OTHER", Outcome::Error(-32600), Some(("too_large", 15_000)));
    assert_eq!((recorded.len(), recorded[10_000]), (10_001, rest));
    let answer = vec![r#"{"id":1,"result":"0x1"}"#; 25_000].join(",");
    let recorded = unread(exchange(&format!("[{many}]"), &format!("[{answer}]")));
    let rest = ("_OTHER", Outcome::Uninspected, Some(("too_large", 15_000)));
    assert_eq!(
        (recorded.len(), recorded[9_999].1, recorded[10_000]),
        (10_001, Outcome::Success, rest)
    );
}

#[test]
fn a_client_that_left_in_the_middle_hid_nothing() {
    let mut left = exchange(r#"[{"id":1,"method":"eth_chainId"},{"id":2,"#, "");
    left.end = End::ClientGone;
    let gone = Outcome::ClientGone;
    assert_eq!(unread(left), [("eth_chainId", gone, None), ("_OTHER", gone, None)]);
}

#[test]
fn the_beginning_of_a_large_read_is_no_repetition_of_another() {
    let mut bench = Bench::new();
    for _ in 0..2 {
        let mut read = exchange(
            r#"{"id":1,"method":"eth_call","params":[{"data":"0x00"#,
            r#"{"id":1,"result":"0x"}"#,
        );
        read.request.total = 1 << 30;
        bench.take(http(read));
    }
    assert_eq!(bench.received.events(), []);
}

fn block_with(hash: B256) -> Observation {
    let mined = MinedTransaction {
        hash,
        from: Address::repeat_byte(1),
        to: Some(Address::repeat_byte(2)),
        input: Bytes::new(),
        nonce: 0,
        value: U256::ZERO,
        gas_limit: 100_000,
        gas_used: 50_000,
        gas_price: 1,
        success: true,
        created: None,
        revert: None,
        envelope: Some(3),
        authorities: Box::default(),
        blob: None,
        logs_omitted: 0,
        logs: Box::default(),
    };
    let block = MinedBlock { transactions: vec![mined], ..block(1) };
    Observation::Chain(ChainEvent::Block(Box::new(block)))
}

fn code_there() -> Observation {
    Observation::Chain(ChainEvent::Code(ContractCode {
        address: Address::repeat_byte(2),
        code: Bytes::from_static(&[0xfe]),
        implementation: None,
        asked: Interval { start: Stamp::default(), end: Stamp::now() },
    }))
}

/// Sends whose request cannot be read, answered with `answer`.
fn unread_sends(answer: &str) -> [Exchange; 3] {
    let send = r#"{"id":1,"method":"eth_sendRawTransaction","params":["0x03"#;
    let mut large = exchange(send, answer);
    large.request.total = 1 << 30;
    let unknown_type = exchange(&format!("{send}ff\"]}}"), answer);
    let mut hidden = exchange(send, answer);
    hidden.request.codings = Codings::Unknown;
    [large, unknown_type, hidden]
}

#[test]
fn a_send_that_could_not_be_read_is_joined_by_the_hash_in_its_answer() {
    let hash = B256::repeat_byte(9);
    for sent in unread_sends(&format!(r#"{{"id":1,"result":"{hash}"}}"#)) {
        for block_first in [false, true] {
            let mut bench = Bench::new();
            if block_first {
                bench.take(block_with(hash));
            }
            bench.take(http(sent.clone()));
            if !block_first {
                bench.take(block_with(hash));
            }
            bench.take(code_there());
            bench.recording.tick(at(10_000_000), Clock::read());
            bench.recording.hand_over();
            let transactions = bench.received.transactions();
            let [transaction] = &transactions[..] else { panic!("{transactions:?}") };
            assert!(transaction.through_relay());
            assert_eq!(transaction.hash, hash);
            let calls = bench.received.calls();
            assert_eq!((calls.len(), calls[0].transaction), (1, Some(hash)));
        }
    }
}

#[test]
fn a_send_that_reverted_is_joined_by_the_hash_in_its_error() {
    let hash = B256::repeat_byte(9);
    let error = format!(
        r#"{{"id":1,"error":{{"code":-32603,"message":"no","data":{{"txHash":"{hash}","data":"0x"}}}}}}"#
    );
    for sent in unread_sends(&error) {
        let mut bench = Bench::new();
        bench.take(http(sent));
        bench.take(block_with(hash));
        bench.take(code_there());
        bench.recording.tick(at(10_000_000), Clock::read());
        bench.recording.hand_over();
        assert!(bench.received.transactions()[0].through_relay());
        assert_eq!(bench.received.calls()[0].transaction, Some(hash));
    }
}

#[test]
fn a_word_that_is_no_transaction_s_hash_stays_a_word() {
    let word = B256::repeat_byte(7);
    let [_, _, hidden] = unread_sends(&format!(r#"{{"id":1,"result":"{word}"}}"#));
    let mut bench = Bench::new();
    bench.take(http(hidden));
    bench.take(block_with(B256::repeat_byte(9)));
    bench.take(code_there());
    assert_eq!(bench.received.calls(), [], "it may still be one");
    bench.recording.tick(at(10_000_000), Clock::read());
    bench.recording.hand_over();
    assert_eq!(bench.received.calls()[0].transaction, None);
    assert!(!bench.received.transactions()[0].through_relay());
}
