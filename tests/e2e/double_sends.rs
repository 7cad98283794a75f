//! One raw transaction sent twice: after it was mined, while it waits, and both at once. It is one
//! transaction, and the call that the node refuses is a failed call.

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, Signature, TxKind, U256, hex};
use serde_json::{Value, json};

use crate::harness::{Dappscope, until};
use crate::nodes::{Kind, Node};
use crate::probes::Way;

/// The private key of every development node's third account.
const KEY: [u8; 32] = hex!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a");

/// A signed transfer of one wei, as it is sent, and its hash.
fn transfer(nonce: u64) -> (String, String) {
    let transaction = TxEip1559 {
        chain_id: 31_337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    let key = k256::ecdsa::SigningKey::from_slice(&KEY).unwrap();
    let signed = key.sign_prehash_recoverable(transaction.signature_hash().as_slice()).unwrap();
    let signed: TxEnvelope = transaction.into_signed(Signature::from(signed)).into();
    (hex::encode_prefixed(signed.encoded_2718()), signed.tx_hash().to_string())
}

fn a_double_send_is_one_transaction(kind: Kind) {
    let node = Node::start(kind);
    let scope = Dappscope::start(node.address, None, "");
    until("the node to be followed", || {
        (scope.metrics().sum("evm_node_up", &[]) > 0.5).then_some(())
    });
    let relay = Way(scope.rpc);
    let send = |raw: &str| relay.answer("eth_sendRawTransaction", &json!([raw]));
    let mut hashes = Vec::new();
    let mut refused = 0;
    let mut note = |answers: &[Value], hash: String| {
        refused += answers.iter().filter(|it| !it["error"].is_null()).count();
        assert!(answers.iter().any(|it| it["result"] == json!(hash)), "{answers:?}");
        hashes.push(hash);
    };
    let mut nonce = 0;
    let mut next = || {
        nonce += 1;
        transfer(nonce - 1)
    };

    // After it was mined.
    let (raw, hash) = next();
    let first = send(&raw);
    relay.receipt(&hash);
    note(&[first, send(&raw), send(&raw)], hash);
    // Both at once, five times.
    for _ in 0..5 {
        let (raw, hash) = next();
        let answers = std::thread::scope(|scope| {
            let sending: Vec<_> = (0..2).map(|_| scope.spawn(|| send(&raw))).collect();
            sending.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
        });
        relay.receipt(&hash);
        note(&answers, hash);
    }
    // While it waits.
    relay.ask("evm_setAutomine", &json!([false]));
    for _ in 0..3 {
        let (raw, hash) = next();
        note(&[send(&raw), send(&raw)], hash);
    }
    relay.ask("evm_mine", &json!([]));
    relay.ask("evm_setAutomine", &json!([true]));
    let last = hashes.last().unwrap().clone();
    relay.receipt(&last);

    let listed = || {
        let page = scope.ask("dappscope_transactions", &json!({"last": "1d", "limit": 1_000}));
        page["transactions"].as_array().unwrap().clone()
    };
    until("every transaction to be recorded", || {
        (hashes.iter().all(|hash| listed().iter().any(|it| it["hash"] == json!(hash))))
            .then_some(())
    });
    // A refused one would come within the second for which its hash may turn out to be known.
    scope.settled();
    let waits = || scope.metrics().sum("evm_transactions_pending", &[]) > 0.5;
    until("nothing to be pending", || (!waits()).then_some(()));
    let listed = listed();
    let count = |status: &str| listed.iter().filter(|it| it["status"] == status).count();
    assert_eq!((listed.len(), count("success")), (hashes.len(), hashes.len()), "{listed:#?}");
    assert!(listed.iter().all(|it| it["through_relay"] == true), "{listed:#?}");
    let filter = json!({"last": "1d", "method": "eth_sendRawTransaction", "failed": true});
    let failed = scope.ask("dappscope_calls", &filter)["calls"].as_array().unwrap().len();
    assert_eq!(failed, refused, "each refusal is a failed call");
    let verdict = scope.ask("dappscope_overview", &json!({"last": "1d"}));
    assert_eq!(verdict["transactions"]["rejected"], 0, "{verdict}");
}

#[test]
fn a_double_send_is_one_transaction_on_hardhat_2() {
    a_double_send_is_one_transaction(Kind::Hardhat2);
}

#[test]
fn a_double_send_is_one_transaction_on_hardhat_3() {
    a_double_send_is_one_transaction(Kind::Hardhat3);
}

#[test]
fn a_double_send_is_one_transaction_on_anvil() {
    a_double_send_is_one_transaction(Kind::Anvil);
}
