//! Names at the time of a call, while the chain is changed by calls that pass the relay.

use alloy::primitives::{Address, B256, Bytes, address, hex};
use serde_json::{Value, json};

use super::http::TOKEN;
use super::*;
use crate::decode::artifact::Artifact;

const NFT: &str = include_str!("../../../tests/fixtures/artifacts/MarketNFT.json");
const OTHER: Address = address!("00000000000000000000000000000000000000bb");
/// `tokenURI(uint256)`.
const TOKEN_URI: &str = "0xc87b56dd";

fn nft() -> Value {
    serde_json::from_str(NFT).unwrap()
}

fn result(result: &Value) -> Value {
    json!({ "result": result })
}

impl Bench {
    fn knowing_the_nft() -> Self {
        let mut bench = Self::new();
        bench.recording.learn(Artifact::parse(NFT.as_bytes(), "").unwrap());
        bench
    }

    /// A call that the node runs from `micros` to 10 µs later.
    fn runs(&mut self, micros: u64, method: &str, params: &Value, answer: &Value) {
        let request = json!({"id": 1, "method": method, "params": params}).to_string();
        let mut response = answer.clone();
        response["id"] = 1.into();
        let mut exchange = exchange(&request, &response.to_string());
        exchange.timing = Timing {
            request_started: at(micros - 2),
            request_read: at(micros - 1),
            request_written: at(micros),
            response_started: at(micros + 10),
            response_forwarded: at(micros + 10),
            response_read: at(micros + 10),
            response_written: at(micros + 11),
        };
        self.take(http(exchange));
    }

    fn reads(&mut self, micros: u64) {
        let call = json!([{"to": TOKEN, "data": TOKEN_URI}, "latest"]);
        self.runs(micros, "eth_call", &call, &result(&json!("0x")));
    }

    /// The node's answer to a request for code.
    fn answers(&mut self, code: Bytes, start: u64, end: u64) {
        let asked = Interval { start: at(start), end: at(end) };
        let code = ContractCode { address: TOKEN, code, implementation: None, asked };
        self.take(Observation::Chain(ChainEvent::Code(code)));
    }

    /// Lets time pass.
    fn passes(&mut self, micros: u64) {
        self.recording.tick(at(micros), Clock::fixed(at(0), UnixMicros(0)));
        self.recording.hand_over();
    }

    fn names(&self) -> Vec<String> {
        let named =
            |call: RpcCall| call.target.map(|it| format!("{}.{}", it.contract, it.function));
        self.received.calls().into_iter().filter_map(named).collect()
    }

    fn requests(&mut self) -> usize {
        std::iter::from_fn(|| self.wanted.try_recv().ok())
            .filter(|question| *question == ChainQuestion::Code(TOKEN))
            .count()
    }
}

#[test]
fn a_contract_is_named_by_its_receipt_without_asking_the_node() {
    let mut bench = Bench::knowing_the_nft();
    let hash = B256::repeat_byte(7);
    let creation = json!([{"from": OTHER, "data": nft()["bytecode"]}]);
    bench.runs(100, "eth_sendTransaction", &creation, &result(&json!(hash)));
    let receipt = json!({"blockNumber": "0x1", "status": "0x1", "contractAddress": TOKEN,
        "transactionHash": hash});
    bench.runs(120, "eth_getTransactionReceipt", &json!([hash]), &result(&receipt));
    bench.reads(140);
    assert_eq!(bench.requests(), 0);
    assert_eq!(bench.names().last().unwrap(), "MarketNFT.tokenURI");
}

#[test]
fn a_contract_is_named_by_its_senders_nonce_and_looked_at_meanwhile() {
    for with_lookup in [true, false] {
        let mut bench = Bench::knowing_the_nft();
        let (hash, nonce) = (B256::repeat_byte(7), 5);
        let place = OTHER.create(nonce);
        let sent = if with_lookup { json!(null) } else { json!("0x5") };
        let creation = json!([{"from": OTHER, "data": nft()["bytecode"], "nonce": sent}]);
        bench.runs(100, "eth_sendTransaction", &creation, &result(&json!(hash)));
        if with_lookup {
            let found = json!({"from": OTHER, "nonce": "0x5", "blockNumber": "0x1"});
            bench.runs(120, "eth_getTransactionByHash", &json!([hash]), &result(&found));
        }
        let call = json!([{"to": place, "data": TOKEN_URI}, "latest"]);
        bench.runs(140, "eth_call", &call, &result(&json!("0x")));
        assert_eq!(bench.names().last().unwrap(), "MarketNFT.tokenURI");
        assert_eq!(bench.wanted.try_recv().unwrap(), ChainQuestion::Code(place));
    }
}

#[test]
fn code_of_before_a_rollback_names_no_call_after_it() {
    let mut bench = Bench::knowing_the_nft();
    let code: Bytes = hex::decode(nft()["deployedBytecode"].as_str().unwrap()).unwrap().into();
    bench.runs(100, "evm_snapshot", &json!([]), &result(&json!("0x1")));
    bench.reads(120);
    assert_eq!(bench.requests(), 1);
    bench.runs(140, "evm_revert", &json!(["0x1"]), &result(&json!(true)));
    bench.reads(160);
    assert_eq!(bench.requests(), 1, "the first answer may be of before");
    // Of before, by the time at which it was asked for.
    bench.answers(code.clone(), 122, 130);
    // In between, and of after.
    bench.answers(code, 135, 145);
    bench.answers(Bytes::new(), 170, 180);
    assert!(bench.names().is_empty(), "answers rest for a moment");
    bench.passes(40_000);
    assert_eq!(bench.names(), ["MarketNFT.tokenURI", "_account._unknown"]);
}

#[test]
fn a_call_that_no_answer_came_for_in_time_is_unknown() {
    let mut bench = Bench::knowing_the_nft();
    bench.reads(120);
    bench.runs(140, "evm_revert", &json!(["0x1"]), &result(&json!(true)));
    bench.passes(1_100_000);
    assert_eq!(bench.names(), ["_unknown._unknown"]);
}

#[test]
fn a_revert_that_the_node_declines_changes_nothing() {
    let mut bench = Bench::knowing_the_nft();
    let code = json!([TOKEN, nft()["deployedBytecode"]]);
    bench.runs(100, "hardhat_setCode", &code, &result(&json!(true)));
    bench.runs(120, "evm_revert", &json!(["0x9"]), &result(&json!(false)));
    bench.reads(140);
    assert_eq!(bench.names(), ["MarketNFT.tokenURI"]);
    bench.runs(160, "evm_revert", &json!(["0x9"]), &result(&json!(true)));
    bench.reads(180);
    assert_eq!(bench.names().len(), 1, "it waits for the code");
    assert_eq!(bench.requests(), 1);
}

#[test]
fn an_account_is_asked_about_again_once_it_is_called_after_a_transaction() {
    let mut bench = Bench::knowing_the_nft();
    bench.reads(100);
    bench.answers(Bytes::new(), 120, 130);
    assert_eq!((bench.names(), bench.requests()), (vec!["_account._unknown".to_owned()], 1));
    bench.reads(140);
    assert_eq!(bench.requests(), 0, "nothing has changed");
    let send = json!([{"from": OTHER, "to": OTHER}]);
    let hash = json!(B256::repeat_byte(1));
    bench.runs(160, "eth_sendTransaction", &send, &result(&hash));
    bench.reads(180);
    assert_eq!(bench.requests(), 0, "it was asked about a moment ago");
    bench.passes(200_000);
    assert_eq!(bench.requests(), 1);
    let code: Bytes = hex::decode(nft()["deployedBytecode"].as_str().unwrap()).unwrap().into();
    bench.answers(code, 200_000, 200_010);
    assert_eq!(bench.names().last().unwrap(), "MarketNFT.tokenURI");
}

#[test]
fn a_read_of_code_shows_that_an_account_has_some() {
    let mut bench = Bench::knowing_the_nft();
    bench.answers(Bytes::new(), 100, 110);
    let code = nft()["deployedBytecode"].clone();
    bench.runs(120, "eth_getCode", &json!([TOKEN, "latest"]), &result(&code));
    bench.passes(200_000);
    assert_eq!(bench.requests(), 1);
}
