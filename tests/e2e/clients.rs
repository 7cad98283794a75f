//! Real clients notice nothing: ethers, viem and web3.py run the same session directly and through
//! the relay, and are told the same, to the byte. What dappscope made of it equals the receipts.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Dappscope, Hardhat, marketplace, until};

fn session(program: &str, script: &str, address: SocketAddr) -> Vec<u8> {
    let output = Command::new(program)
        .arg(script)
        .args([format!("http://{address}"), format!("ws://{address}")])
        .current_dir(marketplace())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} through {address}: {errors}");
    output.stdout
}

fn same_session_directly_and_relayed(program: &str, script: &str) {
    let hardhat = Hardhat::start();
    let direct = session(program, script, hardhat.address);
    let scope = Dappscope::start(hardhat.address, None, "");
    until("the node to be followed", || {
        (scope.metrics().sum("evm_node_up", &[]) > 0.5).then_some(())
    });
    let relayed = session(program, script, scope.rpc);
    assert!(direct.len() > 1_000, "the session tells {} bytes only", direct.len());
    assert_eq!(
        String::from_utf8_lossy(&relayed),
        String::from_utf8_lossy(&direct),
        "the relayed session differs from the direct one"
    );
    transactions_equal_receipts(&scope, &serde_json::from_slice(&relayed).unwrap());
    assert!(scope.stop().success());
}

/// Every receipt that the client printed is known with its function, gas and status.
fn transactions_equal_receipts(scope: &Dappscope, told: &Value) {
    let expected = [
        ("/deployed/nft", "MarketNFT", "constructor"),
        ("/deployed/market", "Marketplace", "constructor"),
        ("/transactions/mint", "MarketNFT", "mint"),
        ("/transactions/approve", "MarketNFT", "setApprovalForAll"),
        ("/transactions/list", "Marketplace", "list"),
        ("/transactions/buy", "Marketplace", "buy"),
        ("/failures/revertedReceipt", "Marketplace", "buy"),
    ];
    let mut compared = 0;
    for (pointer, contract, function) in expected {
        let receipt = told.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        let hash = receipt["hash"].as_str().or(receipt["transactionHash"].as_str()).unwrap();
        let found = until("the transaction to be recorded", || {
            let found = scope.ask("dappscope_transactions", &json!({"hash": hash, "last": "1d"}));
            found["transactions"].as_array().and_then(|list| list.first().cloned())
        });
        assert_eq!(found["contract"], contract, "{pointer}");
        assert_eq!(found["function"], function, "{pointer}");
        let number = |value: &Value| {
            value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        };
        assert_eq!(number(&found["gas_used"]), number(&receipt["gasUsed"]), "{pointer}");
        let succeeded = receipt["status"] == "success" || number(&receipt["status"]) == Some(1);
        let status = if succeeded { "success" } else { "reverted" };
        assert_eq!(found["status"], status, "{pointer}");
        compared += 1;
    }
    assert_eq!(compared, 7);
}

#[test]
fn ethers_is_told_the_same_through_the_relay() {
    same_session_directly_and_relayed("node", "clients/ethers_session.mjs");
}

#[test]
fn viem_is_told_the_same_through_the_relay() {
    same_session_directly_and_relayed("node", "clients/viem_session.mjs");
}

#[test]
fn web3_py_is_told_the_same_through_the_relay() {
    same_session_directly_and_relayed(".venv/bin/python", "clients/web3_session.py");
}
