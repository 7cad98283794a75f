//! Why transactions and calls failed, as each node says it: halts that use all gas, blocks that a
//! chain does not have, and reverts whose reason the monitor cannot know.

use std::net::SocketAddr;

use alloy::primitives::U256;
use jsonrpsee::core::client::{ClientT, Error};
use jsonrpsee::rpc_params;
use jsonrpsee::ws_client::WsClientBuilder;
use serde_json::{Value, json};

use crate::harness::{Dappscope, until};
use crate::nodes::{Kind, Node};
use crate::probes::{GAS, Way, artifact, calldata, sent_hash};

/// Struct logs take the node's time, and no test here reads them.
const SETTINGS: &str = "[chain]\nstate_changes = \"off\"\n";
/// Gas of a transaction that is to use it up.
const LITTLE: &str = "0x30d40";

/// A node with dappscope in front of it.
struct Bench {
    node: Node,
    scope: Dappscope,
    from: String,
}

impl Bench {
    fn start(kind: Kind) -> Self {
        let node = Node::start(kind);
        let scope = Dappscope::start(node.address, None, SETTINGS);
        until("the node to be met", || {
            let node = scope.ask("dappscope_overview", &json!({}))["node"].take();
            (node["up"] == true).then_some(())
        });
        let from = Way(node.address).accounts()[0].clone();
        Self { node, scope, from }
    }

    /// The way that is watched.
    fn relay(&self) -> Way {
        Way(self.scope.rpc)
    }

    /// The way that is not.
    fn direct(&self) -> Way {
        Way(self.node.address)
    }

    /// Deploys a contract through the relay, again until the artifacts are read and it has its name.
    fn deploy(&self, from: &str, artifact: &Value) -> String {
        until("the contract to be named", || {
            let address = self.relay().deploy(from, artifact);
            let deployment = until("the deployment to be recorded", || {
                let filter = json!({"kind": "deployment", "limit": 1_000});
                let found = self.scope.ask("dappscope_transactions", &filter);
                let all = found["transactions"].as_array()?.iter();
                all.clone().find(|it| it["created"] == address.as_str()).cloned()
            });
            (deployment["contract"] != "_unknown").then_some(address)
        })
    }

    /// Mines what `send` sends in one block; the hashes as the node orders them.
    fn in_one_block(&self, send: impl FnOnce()) -> Vec<String> {
        let direct = self.direct();
        direct.ask("evm_setAutomine", &json!([false]));
        // Of a block that Hardhat 2 mines at once, dappscope would leave the reason to the answer.
        send();
        direct.ask("evm_mine", &json!([]));
        let block = direct.ask("eth_getBlockByNumber", &json!(["latest", false]));
        let hashes: Vec<String> = serde_json::from_value(block["transactions"].clone()).unwrap();
        for hash in &hashes {
            self.transaction(hash);
        }
        direct.ask("evm_setAutomine", &json!([true]));
        hashes
    }

    /// A transaction as the API shows it, once it does.
    fn transaction(&self, hash: &str) -> Value {
        until("the transaction to be recorded", || {
            let found = self.scope.ask("dappscope_transactions", &json!({"hash": hash}));
            found["transactions"].get(0).cloned()
        })
    }

    /// The transactions of a function, once there are so many.
    fn transactions(&self, function: &str, count: usize) -> Vec<Value> {
        until("the function's transactions", || {
            let found = self.scope.ask("dappscope_transactions", &json!({"function": function}));
            let found = found["transactions"].as_array().unwrap().clone();
            (found.len() >= count).then_some(found)
        })
    }

    /// The call of a method that was answered with these words, once it is recorded.
    fn failed(&self, method: &str, answer: &Value) -> Value {
        until("the failed call", || {
            let filter = json!({"method": method, "failed": true});
            let calls = self.scope.ask("dappscope_calls", &filter);
            let mut calls = calls["calls"].as_array()?.iter();
            calls.find(|it| it["message"] == answer["error"]["message"]).cloned()
        })
    }
}

fn reasons(transactions: &[Value]) -> Vec<&str> {
    transactions.iter().map(|it| it["reason"].as_str().unwrap_or("none")).collect()
}

/// Sends what halts in every way there is.
fn an_invalid_opcode_is_not_out_of_gas(kind: Kind) {
    let bench = Bench::start(kind);
    let (relay, from) = (bench.relay(), &bench.from);
    let odd = bench.deploy(from, &artifact("probes/Odd.sol/Odd"));
    let boom = calldata("boom()", &[]);
    let burn = calldata("burn()", &[]);
    relay.send(from, &odd, &boom, LITTLE);
    relay.send(from, &odd, &burn, LITTLE);
    for (data, way) in [(&boom, relay), (&burn, relay), (&boom, bench.direct())] {
        bench.in_one_block(|| drop(way.send(from, &odd, data, LITTLE)));
    }
    let booms = bench.transactions("boom", 3);
    assert_eq!(reasons(&booms), ["invalid_opcode"; 3], "{booms:#?}");
    assert!(booms.iter().all(|it| it["gas_used"] == it["gas_limit"] && it["status"] == "reverted"));
    let burns = bench.transactions("burn", 2);
    assert_eq!(reasons(&burns), ["out_of_gas"; 2], "{burns:#?}");
    for (method, params) in [
        ("eth_call", json!([{"from": from, "to": odd, "data": boom, "gas": LITTLE}, "latest"])),
        ("eth_estimateGas", json!([{"from": from, "to": odd, "data": boom}])),
    ] {
        let failed = bench.failed(method, &relay.answer(method, &params));
        assert_eq!(failed["reason"], "invalid_opcode", "{failed:#?}");
    }
}

#[test]
fn an_invalid_opcode_is_not_out_of_gas_on_hardhat_2() {
    an_invalid_opcode_is_not_out_of_gas(Kind::Hardhat2);
}

#[test]
fn an_invalid_opcode_is_not_out_of_gas_on_hardhat_3() {
    an_invalid_opcode_is_not_out_of_gas(Kind::Hardhat3);
}

#[test]
fn an_invalid_opcode_is_not_out_of_gas_on_anvil() {
    an_invalid_opcode_is_not_out_of_gas(Kind::Anvil);
}

/// Reads at blocks that the chain does not have.
fn an_unknown_block_is_named(kind: Kind) {
    let bench = Bench::start(kind);
    let relay = bench.relay();
    let account = &bench.from;
    let hash = format!("0x{}", "ab".repeat(32));
    for place in [json!("0x1f4"), json!({"blockNumber": "0x1f4"}), json!({"blockHash": hash})] {
        for (method, params) in [
            ("eth_call", json!([{"to": account}, place])),
            ("eth_getBalance", json!([account, place])),
            ("eth_getTransactionCount", json!([account, place])),
        ] {
            let answer = relay.answer(method, &params);
            let failed = bench.failed(method, &answer);
            assert_eq!(failed["reason"], "unknown_block", "{method} {place}: {answer}");
        }
    }
    let over_socket = socket_refusal(bench.scope.rpc, account);
    until("the call over the WebSocket", || {
        let filter = json!({"method": "eth_getCode", "reason": "unknown_block"});
        let calls = bench.scope.ask("dappscope_calls", &filter);
        let call = calls["calls"].get(0)?;
        assert_eq!(
            (&call["transport"], &call["message"]),
            (&json!("websocket"), &json!(over_socket))
        );
        Some(())
    });
    let found = until("the finding", || {
        let filter = json!({"kind": "block_ahead"});
        bench.scope.ask("dappscope_findings", &filter)["findings"].get(0).cloned()
    });
    assert!(found["advice"].as_str().unwrap().starts_with("Reset the account"), "{found}");
    assert_eq!(found["block"], 500, "{found}");

    // A block that the chain had, until the node was started anew.
    let direct = bench.direct();
    (0..5).for_each(|_| drop(direct.ask("evm_mine", &json!([]))));
    let params = json!([account, "0x4"]);
    assert!(relay.answer("eth_getBalance", &params)["error"].is_null());
    let Bench { node, scope, .. } = bench;
    let port = node.address.port();
    drop(node);
    let _again = Node::start_on(kind, port);
    let found = until("the finding after the restart", || {
        relay.answer("eth_getBalance", &params);
        let filter = json!({"kind": "block_ahead"});
        let found = scope.ask("dappscope_findings", &filter);
        found["findings"].as_array().unwrap().iter().find(|it| it["block"] == 4).cloned()
    });
    assert_eq!(found["method"], "eth_getBalance");
}

/// Asks for code at block 500 over a WebSocket; the node's words.
fn socket_refusal(relay: SocketAddr, account: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = WsClientBuilder::default().build(format!("ws://{relay}")).await.unwrap();
        let params = rpc_params![account, "0x1f4"];
        let answer: Result<Value, Error> = client.request("eth_getCode", params).await;
        let Err(Error::Call(error)) = answer else { panic!("{answer:?}") };
        error.message().to_owned()
    })
}

#[test]
fn an_unknown_block_is_named_on_hardhat_2() {
    an_unknown_block_is_named(Kind::Hardhat2);
}

#[test]
fn an_unknown_block_is_named_on_hardhat_3() {
    an_unknown_block_is_named(Kind::Hardhat3);
}

#[test]
fn an_unknown_block_is_named_on_anvil() {
    an_unknown_block_is_named(Kind::Anvil);
}

/// One block in which a token is listed, and bought for too little.
fn a_reason_of_another_place_is_not_guessed(kind: Kind) {
    let bench = Bench::start(kind);
    let (relay, direct) = (bench.relay(), bench.direct());
    let accounts = direct.accounts();
    let (seller, buyer) = (accounts[0].as_str(), accounts[1].as_str());
    // Two empty texts, and a fee of nothing: the constructors' arguments.
    let texts = format!("{:064x}{:064x}{:0128}", 64, 96, 0);
    let nft = bench.deploy(seller, &with_arguments("MarketNFT.sol/MarketNFT", &texts));
    let market = with_arguments("Marketplace.sol/Marketplace", &"0".repeat(64));
    let market = bench.deploy(seller, &market);
    let (nft_word, market_word) = (word(&nft), word(&market));
    let mint = format!(
        "{}{:064x}{:064x}{:0<64}",
        calldata("mint(address,string)", &[word(seller)]),
        64,
        1,
        "61"
    );
    for data in [
        &mint,
        &mint,
        &mint,
        &calldata("setApprovalForAll(address,bool)", &[market_word, U256::from(1)]),
    ] {
        let sent = relay.send(seller, &nft, data, GAS);
        assert_eq!(relay.receipt(&sent_hash(&sent).unwrap())["status"], "0x1");
    }
    let price = U256::from(10).pow(U256::from(18));
    let token = U256::from(3);
    let list = calldata("list(address,uint256,uint256)", &[nft_word, token, price]);
    let buy = calldata("buy(address,uint256)", &[nft_word, token]);
    let hashes = bench.in_one_block(|| {
        // The seller pays more, so that every node orders its transaction first.
        for (from, data, value, fee) in
            [(seller, &list, "0x0", "0x174876e800"), (buyer, &buy, "0x6f05b59d3b20000", "0x12a05f2000")]
        {
            let transaction = json!({
                "from": from, "to": market, "data": data, "gas": GAS, "value": value, "gasPrice": fee,
            });
            relay.answer("eth_sendTransaction", &json!([transaction]));
        }
    });
    assert_eq!(hashes.len(), 2);
    let [listed, bought] = [0, 1].map(|at| bench.transaction(&hashes[at]));
    assert_eq!(
        (listed["function"].as_str(), listed["status"].as_str()),
        (Some("list"), Some("success"))
    );
    assert_eq!(
        (bought["function"].as_str(), bought["status"].as_str()),
        (Some("buy"), Some("reverted"))
    );
    assert_eq!(bought["reason"], "_unknown", "{bought:#?}");
    assert_eq!(bought["unexplained"], "not_first_in_block", "{bought:#?}");
    let metrics = bench.scope.settled();
    let unexplained = |why| metrics.sum("evm_reverts_unexplained_total", &[("why", why)]);
    assert!((unexplained("not_first_in_block") - 1.0).abs() < 0.5);
    let overview = bench.scope.ask("dappscope_overview", &json!({}));
    let expected = json!([{"why": "not_first_in_block", "count": 1}]);
    assert_eq!(overview["transactions"]["unexplained"], expected);
}

fn with_arguments(place: &str, arguments: &str) -> Value {
    let mut artifact = artifact(place);
    artifact["bytecode"] = json!(format!("{}{arguments}", artifact["bytecode"].as_str().unwrap()));
    artifact
}

fn word(address: &str) -> U256 {
    U256::from_str_radix(&address[2..], 16).unwrap()
}

#[test]
fn a_reason_of_another_place_is_not_guessed_on_hardhat_2() {
    a_reason_of_another_place_is_not_guessed(Kind::Hardhat2);
}

#[test]
fn a_reason_of_another_place_is_not_guessed_on_hardhat_3() {
    a_reason_of_another_place_is_not_guessed(Kind::Hardhat3);
}

#[test]
fn a_reason_of_another_place_is_not_guessed_on_anvil() {
    a_reason_of_another_place_is_not_guessed(Kind::Anvil);
}

/// Sixty reverts in one block.
fn every_revert_without_a_reason_is_counted(kind: Kind) {
    let bench = Bench::start(kind);
    let (relay, from) = (bench.relay(), &bench.from);
    let child = bench.deploy(from, &artifact("probes/Child.sol/Child"));
    let fail = calldata("fail()", &[]);
    let hashes = bench.in_one_block(|| {
        for _ in 0..60 {
            relay.send(from, &child, &fail, "0x186a0");
        }
    });
    assert_eq!(hashes.len(), 60);
    let all = bench.transactions("fail", 60);
    let first = all.iter().find(|it| it["hash"] == hashes[0].as_str()).unwrap();
    assert_eq!(first["reason"], "TooMany", "{first:#?}");
    assert_eq!(reasons(&all).iter().filter(|reason| **reason == "_unknown").count(), 59);
    let metrics = bench.scope.settled();
    let count = metrics.sum("evm_reverts_unexplained_total", &[]);
    assert!((count - 59.0).abs() < 0.5, "{count}");
    let overview = bench.scope.ask("dappscope_overview", &json!({}));
    let text = overview["verdict"]["text"].as_str().unwrap();
    assert!(text.contains("the reason of 59 is not known"), "{text}");
}

#[test]
fn every_revert_without_a_reason_is_counted_on_hardhat_2() {
    every_revert_without_a_reason_is_counted(Kind::Hardhat2);
}

#[test]
fn every_revert_without_a_reason_is_counted_on_hardhat_3() {
    every_revert_without_a_reason_is_counted(Kind::Hardhat3);
}

#[test]
fn every_revert_without_a_reason_is_counted_on_anvil() {
    every_revert_without_a_reason_is_counted(Kind::Anvil);
}
