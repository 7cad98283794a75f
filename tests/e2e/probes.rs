//! Sends the probe contracts' transactions to a node or through a relay, and reads what came of them.

use std::net::SocketAddr;

use alloy::primitives::{B256, U256, hex, keccak256};
use serde_json::{Value, json};

use crate::harness::{call, marketplace, until};

/// Gas that is enough for most probes and below every node's cap, as a JSON-RPC quantity.
pub const GAS: &str = "0x2dc6c0";

/// One way to a node: the node's own address, or a relay's in front of it.
#[derive(Clone, Copy)]
pub struct Way(pub SocketAddr);

impl Way {
    /// The whole answer of a call: `result` or `error`.
    pub fn answer(self, method: &str, params: &Value) -> Value {
        call(self.0, "/", method, params)
    }

    /// The result of a call that has to succeed.
    pub fn ask(self, method: &str, params: &Value) -> Value {
        let answer = self.answer(method, params);
        assert!(answer["error"].is_null(), "{method} {params} answered {answer}");
        answer["result"].clone()
    }

    /// The node's unlocked accounts.
    pub fn accounts(self) -> Vec<String> {
        serde_json::from_value(self.ask("eth_accounts", &json!([]))).unwrap()
    }

    /// Sends a transaction of an unlocked account; the whole answer.
    pub fn send(self, from: &str, to: &str, data: &str, gas: &str) -> Value {
        let transaction = json!({"from": from, "to": to, "data": data, "gas": gas});
        self.answer("eth_sendTransaction", &json!([transaction]))
    }

    /// Deploys the creation code of an artifact; the contract's address.
    pub fn deploy(self, from: &str, artifact: &Value) -> String {
        let transaction = json!({"from": from, "data": artifact["bytecode"], "gas": GAS});
        let hash = self.ask("eth_sendTransaction", &json!([transaction]));
        let receipt = self.receipt(hash.as_str().unwrap());
        receipt["contractAddress"].as_str().unwrap().to_owned()
    }

    /// A transaction's receipt, once there is one.
    pub fn receipt(self, hash: &str) -> Value {
        until("a receipt", || {
            let receipt = self.ask("eth_getTransactionReceipt", &json!([hash]));
            (!receipt.is_null()).then_some(receipt)
        })
    }
}

/// A compiled contract of the marketplace: `probes/Odd.sol/Odd`.
pub fn artifact(place: &str) -> Value {
    let file = marketplace().join("artifacts/contracts").join(format!("{place}.json"));
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; run tests/run.sh first", file.display()));
    serde_json::from_str(&text).unwrap()
}

/// Calldata: the function's signature (`spin(uint256)`) and its arguments, each a word.
pub fn calldata(signature: &str, arguments: &[U256]) -> String {
    let selector = &keccak256(signature)[..4];
    let words = arguments.iter().flat_map(|word| B256::from(*word).0);
    hex::encode_prefixed(selector.iter().copied().chain(words).collect::<Vec<u8>>())
}

/// The hash of a sent transaction, from the result or, where the node answers a revert with an error,
/// from the error's data. None where the node does not say (Hardhat 3).
pub fn sent_hash(answer: &Value) -> Option<String> {
    let in_error = &answer["error"]["data"];
    [&answer["result"], &in_error["txHash"], &in_error["transactionHash"]]
        .into_iter()
        .find_map(|hash| hash.as_str().map(str::to_owned))
}
