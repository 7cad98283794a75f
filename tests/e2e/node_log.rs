//! Hardhat's own log of the calls it served, read as a witness beside dappscope.
//!
//! It prints a line for each call, in colour, and indents whatever it has to say of it:
//!
//! ```text
//! eth_chainId
//! eth_chainId (2)
//! eth_call
//!   Contract call:       Marketplace#listingOf
//! ```
//!
//! A number counts calls of one method in a row; the line before it has not been taken back. A call
//! looks the same whoever made it: those of dappscope's own are among them.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::{Hardhat, call, until};

/// Nobody but the tests makes this call.
const MARKER: &str = "eth_syncing";

/// How often each method was called.
pub type Calls = BTreeMap<String, usize>;

/// What dappscope asks a node for that it has met: the log alone does not tell these from the dapp's.
pub const DAPPSCOPE_ASKS: [&str; 11] = [
    "web3_clientVersion",
    "hardhat_metadata",
    "hardhat_getAutomine",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getBlockReceipts",
    "eth_getTransactionReceipt",
    "eth_getTransactionByHash",
    "eth_getCode",
    "eth_getStorageAt",
    "debug_traceTransaction",
];

/// The calls that the node served while `act` went on.
pub fn calls_during<T>(node: &Hardhat, act: impl FnOnce() -> T) -> (T, Calls) {
    let before = mark(node);
    let done = act();
    let after = mark(node);
    let served = &methods(&node.printed())[before..after - 1];
    (done, count(served.iter().cloned()))
}

pub fn count(methods: impl IntoIterator<Item = String>) -> Calls {
    let mut calls = Calls::new();
    for method in methods {
        *calls.entry(method).or_default() += 1;
    }
    calls
}

/// Makes the marker call; how many calls there were up to it and with it.
fn mark(node: &Hardhat) -> usize {
    let markers = |served: &[String]| served.iter().filter(|method| *method == MARKER).count();
    let before = markers(&methods(&node.printed()));
    call(node.address, "/", MARKER, &json!([]));
    until("Hardhat to print the marker", || {
        let served = methods(&node.printed());
        let at = served.iter().rposition(|method| method == MARKER)?;
        (markers(&served) > before).then_some(at + 1)
    })
}

/// The method of each call, in the order in which they were served.
fn methods(printed: &str) -> Vec<String> {
    let mut served: Vec<String> = Vec::new();
    let mut in_a_row = 0;
    for line in printed.lines() {
        let line =
            line.replace("\u{1b}[32m", "").replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
        let (method, number) = match line.strip_suffix(')').and_then(|line| line.split_once(" (")) {
            Some((method, number)) => (method, number.parse().ok()),
            None => (&*line, Some(1)),
        };
        let is_method = method.split_once('_').is_some_and(|(space, name)| {
            ["eth", "net", "web3", "debug", "evm", "hardhat"].contains(&space)
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        let (true, Some(number)) = (is_method, number) else { continue };
        if number > 1 {
            assert_eq!(served.last().map(String::as_str), Some(method), "a row of another method");
            assert_eq!(number, in_a_row + 1, "a call of {method} is missing");
        }
        in_a_row = number;
        served.push(method.to_owned());
    }
    served
}

#[test]
fn each_line_that_hardhat_prints_for_a_call_is_a_call() {
    let printed = "Started HTTP and WebSocket JSON-RPC server at http://127.0.0.1:8545/\n\
        \u{1b}[32meth_chainId\u{1b}[0m\n\u{1b}[32meth_chainId (2)\u{1b}[0m\n\
        \u{1b}[31meth_call\u{1b}[0m\n  Contract call:       Marketplace#buy\n\n  \
        Error: VM Exception while processing transaction\n\n\u{1b}[32meth_chainId\u{1b}[0m\n";
    assert_eq!(methods(printed), ["eth_chainId", "eth_chainId", "eth_call", "eth_chainId"]);
}
