//! What calls touch, by name; why they failed; and what the node is asked because of them.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, address, hex};
use serde_json::{Value, json};

use super::http::{TOKEN, block};
use super::*;
use crate::decode::artifact::Artifact;

const NFT: &str = include_str!("../../../tests/fixtures/artifacts/MarketNFT.json");
const PROXY: Address = address!("00000000000000000000000000000000000000aa");
/// `tokenURI(uint256)`.
const TOKEN_URI: &str = "0xc87b56dd";
/// `EmptyURI()`.
const EMPTY_URI: &str = "0xd07b00d6";

impl Bench {
    /// One that knows an artifact, and no address.
    fn with_nft() -> Self {
        let mut bench = Self::new();
        bench.recording.learn(Artifact::parse(NFT.as_bytes(), "").unwrap());
        bench
    }

    fn call(&mut self, method: &str, params: &Value, answer: &Value) {
        let request = json!({"id": 1, "method": method, "params": params}).to_string();
        let mut response = json!({"id": 1});
        let (key, value) = answer.as_object().unwrap().iter().next().unwrap();
        response[key] = value.clone();
        self.take(http(exchange(&request, &response.to_string())));
    }

    fn read(&mut self, to: Address, input: &str, answer: &Value) {
        self.call("eth_call", &json!([{"to": to, "data": input}, "latest"]), answer);
    }

    fn code(&mut self, address: Address, code: Bytes, implementation: Option<Address>) {
        let code = ContractCode { address, code, implementation, asked: Interval::default() };
        self.take(Observation::Chain(ChainEvent::Code(code)));
    }

    fn nft_at(&mut self, address: Address) {
        let json: Value = serde_json::from_str(NFT).unwrap();
        let code = hex::decode(json["deployedBytecode"].as_str().unwrap()).unwrap();
        self.code(address, code.into(), None);
    }

    fn asked(&mut self) -> Vec<ChainQuestion> {
        std::iter::from_fn(|| self.wanted.try_recv().ok()).collect()
    }

    fn last(&self) -> RpcCall {
        self.received.calls().pop().expect("a call")
    }
}

fn named(call: &RpcCall) -> (&'static str, &'static str) {
    call.target.map(|t| (t.contract.as_str(), t.function.as_str())).expect("a target")
}

#[test]
fn a_call_waits_for_the_code_behind_a_proxy() {
    let mut bench = Bench::with_nft();
    bench.read(PROXY, TOKEN_URI, &json!({"result": "0x"}));
    assert_eq!(bench.asked(), [ChainQuestion::Code(PROXY)]);
    bench.code(PROXY, Bytes::from_static(&[0x36, 0x3d, 0x3d]), Some(TOKEN));
    assert!(bench.received.calls().is_empty());
    assert_eq!(bench.asked(), [ChainQuestion::Code(TOKEN)]);
    bench.nft_at(TOKEN);
    assert_eq!(named(&bench.last()), ("MarketNFT", "tokenURI"));
    assert_eq!(bench.last().detail, None);
}

#[test]
fn a_call_whose_names_do_not_come_is_told_without_them_after_a_moment() {
    let mut bench = Bench::with_nft();
    bench.read(PROXY, TOKEN_URI, &json!({"result": "0x"}));
    bench.recording.tick(at(900_000), Clock::fixed(at(0), UnixMicros(0)));
    bench.recording.hand_over();
    assert!(bench.received.calls().is_empty());
    bench.recording.tick(at(1_100_000), Clock::fixed(at(0), UnixMicros(0)));
    bench.recording.hand_over();
    assert_eq!(named(&bench.last()), ("_unknown", "_unknown"));
    let detail = bench.last().detail.expect("what has no name keeps its selector");
    assert_eq!(detail.selector, Some([0xc8, 0x7b, 0x56, 0xdd]));
}

#[test]
fn failed_calls_and_estimates_say_why_and_estimates_how_much() {
    let mut bench = Bench::with_nft();
    bench.nft_at(TOKEN);
    let reverted =
        json!({"error": {"code": 3, "message": "execution reverted", "data": EMPTY_URI}});
    for method in ["eth_call", "eth_estimateGas"] {
        bench.call(method, &json!([{"to": TOKEN, "data": "0xd0def521"}]), &reverted);
        let call = bench.last();
        assert_eq!(named(&call), ("MarketNFT", "mint"));
        let detail = call.detail.expect("a reason");
        assert_eq!(detail.reason.unwrap().as_str(), "EmptyURI");
        assert_eq!(detail.message.as_deref(), Some("EmptyURI()"));
    }
    let poor = json!({"error": {"code": -32000, "message": "insufficient funds for gas"}});
    bench.call("eth_estimateGas", &json!([{"to": TOKEN}]), &poor);
    let detail = bench.last().detail.expect("a reason");
    assert_eq!(detail.reason.unwrap().as_str(), "insufficient_funds");
    assert_eq!(detail.message.as_deref(), Some("insufficient funds for gas"));
    bench.call("eth_estimateGas", &json!([{"to": TOKEN}]), &json!({"result": "0x5208"}));
    assert_eq!(bench.last().detail.expect("gas").gas, Some(21_000));
}

#[test]
fn reads_of_state_name_the_contract_and_the_method() {
    let mut bench = Bench::with_nft();
    bench.nft_at(TOKEN);
    for (method, params) in [
        ("eth_getStorageAt", json!([TOKEN, "0x0", "latest"])),
        ("eth_getBalance", json!([TOKEN, "latest"])),
        ("eth_getLogs", json!([{"address": TOKEN, "fromBlock": "0x0"}])),
    ] {
        bench.call(method, &params, &json!({"result": "0x0"}));
        assert_eq!(named(&bench.last()), ("MarketNFT", method));
    }
    bench.call("eth_getLogs", &json!([{}]), &json!({"result": []}));
    assert_eq!(bench.last().target, None, "all contracts are none");
}

/// `aggregate3` of two calls, and what it returned, as `cast` encodes them.
#[test]
fn a_multicall_is_opened_into_its_calls() {
    const MULTICALL: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");
    let word = |n: u64| format!("{n:064x}");
    let address = |a: Address| hex::encode(a.into_word());
    let inner = |selector: &str| {
        let padded = format!("{selector:0<64}");
        [address(TOKEN), word(1), word(0x60), word(4), padded].concat()
    };
    let calls = [inner("c87b56dd"), inner("12345678")];
    let input =
        ["0x82ad56cb".to_owned(), word(0x20), word(2), word(0x40), word(0xe0), calls.concat()];
    let fine = [word(1), word(0x40), word(0)].concat();
    let failed = [word(0), word(0x40), word(4), format!("{:0<64}", &EMPTY_URI[2..])].concat();
    let result =
        ["0x".to_owned(), word(0x20), word(2), word(0x40), word(0xa0), fine, failed].concat();
    let mut bench = Bench::with_nft();
    bench.nft_at(TOKEN);
    bench.code(MULTICALL, Bytes::from_static(&[0xfe]), None);
    bench.read(MULTICALL, &input.concat(), &json!({"result": result}));
    let call = bench.last();
    assert_eq!(named(&call), ("Multicall3", "aggregate3"));
    let inner: Vec<_> = call.detail.expect("inner calls").inner.into_vec();
    let told: Vec<_> = inner
        .iter()
        .map(|call| (call.target.function.as_str(), call.success, call.reason.map(|r| r.as_str())))
        .collect();
    assert_eq!(told, [("tokenURI", Some(true), None), ("_unknown", Some(false), Some("EmptyURI"))]);
    assert_eq!(inner[1].selector, Some([0x12, 0x34, 0x56, 0x78]));
}

#[test]
fn blocks_that_are_asked_for_tell_how_long_one_took() {
    let mut bench = Bench::new();
    for (method, params, times) in [
        ("evm_mine", json!([1_700_000_000]), 1),
        ("hardhat_mine", json!([]), 1),
        ("hardhat_mine", json!(["0x5", "0x1"]), 5),
        ("anvil_mine", json!([11]), 11),
        ("hardhat_mine", json!(["0x0"]), 0),
    ] {
        let before = bench.received.events().len();
        bench.call(method, &params, &json!({"result": true}));
        let mined = bench.received.events().split_off(before);
        let each = Duration::from_micros(55) / u32::try_from(times.max(1)).unwrap();
        assert_eq!(mined, vec![Event::Mined(each); times], "{method} {params}");
    }
}

#[test]
fn a_chain_that_went_back_is_told_with_its_cause() {
    let mut bench = Bench::new();
    let back =
        || Observation::Chain(ChainEvent::WentBack { from: 9, to: 4, blocks: Box::default() });
    bench.take(back());
    bench.take(http(exchange(
        r#"{"id":1,"method":"evm_revert","params":["0x1"]}"#,
        r#"{"id":1,"result":true}"#,
    )));
    bench.take(back());
    let causes: Vec<_> = bench
        .received
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::WentBack { cause, blocks } => Some((cause, blocks)),
            _ => None,
        })
        .collect();
    let reorganisation = Some(RollbackCause::Reorganisation);
    let revert = Some(RollbackCause::EvmRevert);
    assert_eq!(causes, [(reorganisation, 5), (revert, 0), (None, 5)], "each is counted once");
}

#[test]
fn a_nonce_that_only_another_chain_could_have_come_to_is_found() {
    let mut bench = Bench::new();
    let send = |nonce: u64| {
        let send = json!({"id": 1, "method": "eth_sendTransaction",
            "params": [{"from": PROXY, "to": TOKEN, "nonce": format!("{nonce:#x}")}]});
        let refused = json!({"id": 1, "error": {"code": -32000, "message": "Nonce too high."}});
        http(exchange(&send.to_string(), &refused.to_string()))
    };
    bench.take(Observation::Chain(ChainEvent::Block(Box::new(block(50)))));
    bench.take(send(12));
    bench.recording.finish(at(1_000));
    assert!(found(&bench).is_empty(), "a gap: the chain is long enough for it");
    bench.take(Observation::Chain(ChainEvent::NodeRestarted));
    bench.take(send(12));
    bench.recording.finish(at(2_000));
    let found = found(&bench);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].kind, found[0].account), (FindingKind::NonceAhead, Some(PROXY)));
}

#[test]
fn a_block_that_only_another_chain_could_have_had_is_found() {
    let mut bench = Bench::new();
    let refused = json!({"id": 1, "error": {"code": -32000,
        "message": "Received invalid block tag 500. Latest block number is 50"}});
    let read = |method: &str, block: &Value| {
        let read = json!({"id": 1, "method": method, "params": [TOKEN, block]});
        http(exchange(&read.to_string(), &refused.to_string()))
    };
    let unknown_hash = json!({"blockHash": B256::repeat_byte(7)});
    bench.take(Observation::Chain(ChainEvent::Block(Box::new(block(50)))));
    bench.take(read("eth_getTransactionCount", &json!("0x33")));
    bench.take(read("eth_getBalance", &unknown_hash));
    bench.recording.finish(at(1_000));
    assert!(found(&bench).is_empty(), "one past the head, and a hash that may be of a fork");
    // The chain is too short for it; then it is another one.
    bench.take(read("eth_getTransactionCount", &json!("0x1f4")));
    bench.recording.finish(at(2_000));
    bench.take(Observation::Chain(ChainEvent::NodeRestarted));
    bench.take(read("eth_getBalance", &unknown_hash));
    bench.take(read("eth_getBalance", &json!({"blockNumber": "0x1"})));
    bench.recording.finish(at(3_000));
    let found: Vec<_> = found(&bench).iter().map(|it| (it.kind, it.count, it.block)).collect();
    let kind = FindingKind::BlockAhead;
    assert_eq!(found, [(kind, 1, Some(500)), (kind, 2, Some(1))]);
    let [first, ..] = &bench.received.calls()[..] else { panic!("calls") };
    let detail = first.detail.as_deref().unwrap();
    assert_eq!(detail.reason.unwrap().as_str(), "unknown_block");
    let words = "Received invalid block tag 500. Latest block number is 50";
    assert_eq!(detail.message.as_deref(), Some(words));
}

#[test]
fn repeated_calls_are_found_with_the_name_of_what_they_touch() {
    let mut bench = Bench::with_nft();
    bench.nft_at(TOKEN);
    for _ in 0..12 {
        bench.read(TOKEN, TOKEN_URI, &json!({"result": "0x"}));
    }
    bench.take(Observation::Chain(ChainEvent::Block(Box::new(block(2)))));
    bench.recording.finish(at(1_000));
    let found = found(&bench);
    assert_eq!(found.len(), 1);
    let target = found[0].target.map(|t| (t.contract.as_str(), t.function.as_str()));
    assert_eq!((found[0].count, target), (12, Some(("MarketNFT", "tokenURI"))));
}

fn found(bench: &Bench) -> Vec<Finding> {
    let samples = bench.received.samples.lock().unwrap();
    let findings = samples.iter().filter_map(|sample| match sample {
        Sample::Finding(finding) => Some((**finding).clone()),
        _ => None,
    });
    findings.collect()
}

/// What the tracing module asks for, and makes of the answer.
mod traces {
    use super::*;
    use crate::decode::contracts::Contracts;
    use crate::record::tracing::{Traces, Tracing};

    fn mined(hash: u8, function: &'static str) -> Transaction {
        let mut bench = Bench::new();
        let send = json!({"id": 1, "method": "eth_sendTransaction", "params": [{"from": PROXY}]});
        let refused = json!({"id": 1, "error": {"code": 1, "message": "no"}});
        bench.take(http(exchange(&send.to_string(), &refused.to_string())));
        let transaction = bench.received.transactions().pop().unwrap();
        Transaction {
            hash: B256::repeat_byte(hash),
            kind: TransactionKind::Call,
            function: FunctionName::known(function),
            block: Some(3),
            gas_used: Some(60_000),
            ..transaction
        }
    }

    fn traced(hash: u8) -> Traced {
        let slot = |slot, before, after| TracedSlot {
            address: TOKEN,
            slot: B256::with_last_byte(slot),
            before: B256::with_last_byte(before),
            after: B256::with_last_byte(after),
        };
        Traced {
            hash: B256::repeat_byte(hash),
            block: 3,
            at: at(500),
            tracer: Tracer::PrestateDiff,
            took: Duration::from_millis(2),
            slots: vec![slot(1, 0, 1), slot(2, 1, 2), slot(3, 1, 0), slot(4, 0, 9)],
            accounts: 3,
        }
    }

    /// Whether a transaction that is told now is asked for, which is after a while.
    fn is_asked_for(tracing: &mut Tracing, transaction: &Transaction, seconds: u64) -> bool {
        let now = at(seconds * 1_000_000);
        assert_eq!(tracing.consider(transaction, Box::default(), now), None);
        assert_eq!(tracing.due(now), None, "whoever sent it still asks what came of it");
        tracing.due(now.after(Duration::from_secs(2))).is_some()
    }

    #[test]
    fn one_of_each_function_is_asked_for_in_a_while_and_never_two_at_once() {
        let mut tracing = Tracing::new(Traces::Sampled(Duration::from_secs(10)));
        let mut asks =
            |transaction: &Transaction, seconds| is_asked_for(&mut tracing, transaction, seconds);
        assert!(asks(&mined(1, "mint"), 1));
        assert!(!asks(&mined(2, "list"), 2), "the first one is on its way");
        assert!(asks(&mined(3, "list"), 17), "or will not come");
        let clock = Clock::fixed(at(0), UnixMicros(0));
        let mut contracts = Contracts::new();
        let change = tracing.told(&traced(3), &clock, &mut contracts).expect("was asked for");
        assert_eq!(change.counts, [2, 1, 1]);
        assert_eq!((change.accounts, change.function.as_str()), (3, "list"));
        assert_eq!(tracing.told(&traced(3), &clock, &mut contracts), None, "told once");
        let mut asks =
            |transaction: &Transaction, seconds| is_asked_for(&mut tracing, transaction, seconds);
        assert!(!asks(&mined(4, "list"), 20), "lately");
        assert!(asks(&mined(5, "mint"), 20));
        assert!(asks(&mined(6, "list"), 40));
    }

    #[test]
    fn off_asks_for_none_and_all_for_all_that_ran() {
        let mut off = Tracing::new(Traces::Off);
        assert_eq!(off.consider(&mined(1, "mint"), Box::default(), at(1)), None);
        let mut all = Tracing::new(Traces::All);
        for hash in 1..20 {
            let asked = all.consider(&mined(hash, "mint"), Box::default(), at(1));
            let hash = B256::repeat_byte(hash);
            assert_eq!(asked, Some(ChainQuestion::Trace { hash, block: 3, gas: 60_000 }));
        }
        let transfer = Transaction { kind: TransactionKind::Transfer, ..mined(30, "receive") };
        assert_eq!(all.consider(&transfer, Box::default(), at(1)), None);
        let rejected = Transaction { block: None, ..mined(31, "mint") };
        assert_eq!(all.consider(&rejected, Box::default(), at(1)), None);
    }
}
