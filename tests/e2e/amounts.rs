//! What a transaction emitted and what it cost, to the last log and the last wei, on each node.

use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{
    SignableTransaction, TxEip4844, TxEip4844Variant, TxEip4844WithSidecar, TxEnvelope,
};
use alloy::eips::Encodable2718;
use alloy::eips::eip4844::{BlobTransactionSidecar, Bytes48};
use alloy::primitives::utils::parse_ether;
use alloy::primitives::{B256, Signature, U256, address, b256, hex};
use serde_json::{Value, json};

use crate::harness::{Dappscope, until};
use crate::nodes::{Kind, Node};
use crate::probes::{Way, artifact, calldata, sent_hash};

/// Struct logs take the node's time, and no test here reads them.
const SETTINGS: &str = "[chain]\nstate_changes = \"off\"\n";
/// Logs of the transaction that emits many.
const LOGS: u64 = 6_000;

/// dappscope in front of a node that it has met: what was mined before is not recorded.
fn watching(node: &Node) -> Dappscope {
    let scope = Dappscope::start(node.address, None, SETTINGS);
    until("the node to be met", || {
        let node = scope.ask("dappscope_overview", &json!({}))["node"].take();
        (node["up"] == true).then_some(())
    });
    scope
}

fn recorded(scope: &Dappscope, hash: &str) -> Value {
    until("the transaction to be recorded", || {
        let found = scope.ask("dappscope_transactions", &json!({"hash": hash}));
        found["transactions"].get(0).cloned()
    })
}

fn number(value: &Value) -> U256 {
    serde_json::from_value(value.clone()).unwrap()
}

fn no_log_is_left_out(kind: Kind) {
    let node = Node::start(kind);
    let scope = watching(&node);
    let relay = Way(scope.rpc);
    let from = relay.accounts()[0].clone();
    let odd = relay.deploy(&from, &artifact("probes/Odd.sol/Odd"));
    let data = calldata("logs(uint256)", &[U256::from(LOGS)]);
    let hash = sent_hash(&relay.send(&from, &odd, &data, "0x989680")).unwrap();
    let receipt = relay.receipt(&hash);
    assert_eq!(receipt["logs"].as_array().unwrap().len() as u64, LOGS);
    let transaction = recorded(&scope, &hash);
    let counted: u64 = transaction["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|events| events["count"].as_u64().unwrap())
        .sum();
    let more = transaction["events_omitted"].as_u64().unwrap();
    assert_eq!(counted + more, LOGS, "{transaction}");
    let metrics = scope.settled();
    let all = metrics.sum("evm_events_total", &[]);
    assert!((all - LOGS as f64).abs() < 0.5, "{all}");
}

#[test]
fn no_log_is_left_out_on_hardhat_2() {
    no_log_is_left_out(Kind::Hardhat2);
}

#[test]
fn no_log_is_left_out_on_hardhat_3() {
    no_log_is_left_out(Kind::Hardhat3);
}

#[test]
fn no_log_is_left_out_on_anvil() {
    no_log_is_left_out(Kind::Anvil);
}

/// A transaction of the sixth development account with two blobs of zeros, whose commitments and
/// proofs are the point at infinity. Signed beforehand: what is signed is the same on every chain 31337.
fn with_two_blobs() -> TxEnvelope {
    let infinity = {
        let mut point = [0; 48];
        point[0] = 0xc0;
        Bytes48::from(point)
    };
    let sidecar = BlobTransactionSidecar::new(
        vec![alloy::eips::eip4844::Blob::ZERO; 2],
        vec![infinity; 2],
        vec![infinity; 2],
    );
    let hash = b256!("010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014");
    let tx = TxEip4844 {
        chain_id: 31_337,
        nonce: 0,
        gas_limit: 21_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: address!("000000000000000000000000000000000000dEaD"),
        value: U256::from(1_000),
        access_list: Default::default(),
        blob_versioned_hashes: vec![hash; 2],
        max_fee_per_blob_gas: 10_000_000_000,
        input: Default::default(),
    };
    let signature = Signature::new(
        U256::from_be_bytes(
            b256!("283d0197074c554cf15ebdcad83bd4c3cedf58a5614f2f4f19a91eb59502469e").0,
        ),
        U256::from_be_bytes(
            b256!("3c42ea1ada3591002a37f945561a85d678042167602c43b62d39af04f8ef37af").0,
        ),
        true,
    );
    let tx: TxEip4844WithSidecar<BlobTransactionSidecar> =
        TxEip4844WithSidecar::from_tx_and_sidecar(tx, sidecar);
    let signed: TxEnvelope =
        TxEip4844Variant::TxEip4844WithSidecar(tx).into_signed(signature).into();
    let signer = address!("9965507D1a55bcC2695C58ba16FB37d819B0A4dc");
    assert_eq!(signed.recover_signer().unwrap(), signer, "the signature is of other fields");
    signed
}

fn a_blob_transaction_costs_what_its_sender_paid(kind: Kind) {
    let node = Node::start(kind);
    let scope = watching(&node);
    let relay = Way(scope.rpc);
    let sent = with_two_blobs();
    let sender = json!([sent.recover_signer().unwrap(), "latest"]);
    let before = number(&relay.ask("eth_getBalance", &sender));
    let raw = hex::encode_prefixed(sent.encoded_2718());
    let hash = relay.ask("eth_sendRawTransaction", &json!([raw]));
    assert_eq!(hash, json!(B256::from(*sent.tx_hash())));
    let receipt = relay.receipt(hash.as_str().unwrap());
    assert_eq!((&receipt["status"], &receipt["type"]), (&json!("0x1"), &json!("0x3")));
    let paid = before - number(&relay.ask("eth_getBalance", &sender)) - U256::from(1_000);
    let transaction = recorded(&scope, hash.as_str().unwrap());
    let eth = |name: &str| parse_ether(transaction[name].as_str().unwrap()).unwrap();
    assert_eq!(eth("fee_eth"), paid, "{transaction}");
    assert_eq!(eth("blob_fee_eth") + eth("execution_fee_eth"), paid);
    assert_eq!(eth("blob_fee_eth"), U256::from(2 * 131_072));
    assert_eq!(transaction["blob_gas_used"], 2 * 131_072);
    assert_eq!(transaction["blob_gas_price_wei"], "1");
}

#[test]
fn a_blob_transaction_costs_what_its_sender_paid_on_hardhat_2() {
    a_blob_transaction_costs_what_its_sender_paid(Kind::Hardhat2);
}

#[test]
fn a_blob_transaction_costs_what_its_sender_paid_on_hardhat_3() {
    a_blob_transaction_costs_what_its_sender_paid(Kind::Hardhat3);
}

#[test]
fn a_blob_transaction_costs_what_its_sender_paid_on_anvil() {
    a_blob_transaction_costs_what_its_sender_paid(Kind::Anvil);
}
