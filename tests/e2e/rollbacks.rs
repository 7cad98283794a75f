//! Test suites that begin each test from a snapshot: a transaction, perhaps its receipt, and
//! `evm_revert` at once. Each transaction is recorded once, with its outcome, its gas where anything
//! showed it, and what took it off the chain.

use alloy::primitives::U256;
use serde_json::{Value, json};

use crate::harness::{Dappscope, until};
use crate::nodes::{Kind, Node};
use crate::probes::{GAS, Way, artifact, calldata, sent_hash};

/// Rounds of snapshot, transaction and revert.
const ROUNDS: u64 = 40;

/// A node with a contract on it, and dappscope in front.
struct Suite {
    node: Node,
    scope: Dappscope,
    relay: Way,
    account: String,
    contract: String,
}

impl Suite {
    fn on(kind: Kind) -> Self {
        let node = Node::start(kind);
        let scope = Dappscope::start(node.address, None, "");
        until("the node to be followed", || {
            (scope.metrics().sum("evm_node_up", &[]) > 0.5).then_some(())
        });
        let relay = Way(scope.rpc);
        let account = relay.accounts().remove(0);
        let contract = relay.deploy(&account, &artifact("probes/Fixtures.sol/FixA"));
        Self { node, scope, relay, account, contract }
    }

    /// `setA(value)`: odd values revert.
    fn set(&self, value: u64) -> Value {
        let data = calldata("setA(uint256)", &[U256::from(value)]);
        self.relay.send(&self.account, &self.contract, &data, GAS)
    }

    /// Runs `test` from a snapshot and goes back to it.
    fn in_a_snapshot<T>(&self, test: impl FnOnce() -> T) -> T {
        let snapshot = self.relay.ask("evm_snapshot", &json!([]));
        let result = test();
        assert_eq!(self.relay.ask("evm_revert", &json!([snapshot])), json!(true));
        result
    }

    /// The recorded transactions of `setA`, once there are `count` and nothing more is pending.
    fn recorded(&self, count: u64) -> Vec<Value> {
        until("the transactions to be recorded", || {
            let pending = self.scope.metrics().sum("evm_transactions_pending", &[]);
            let found = self.listed();
            (pending < 0.5 && found.len() as u64 >= count).then_some(())
        });
        // More than there were would come within the times for which halves wait for each other.
        self.scope.settled();
        self.listed()
    }

    fn listed(&self) -> Vec<Value> {
        let filter = json!({"last": "1d", "kind": "call", "limit": 1_000});
        let page = self.scope.ask("dappscope_transactions", &filter);
        page["transactions"].as_array().unwrap().clone()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Each round reads the receipt, as clients that wait for their transaction do.
fn receipts_are_recorded(kind: Kind) {
    let suite = Suite::on(kind);
    let mut receipts = Vec::new();
    for round in 0..ROUNDS {
        suite.in_a_snapshot(|| {
            let answer = suite.set(round);
            if let Some(hash) = sent_hash(&answer) {
                receipts.push(suite.relay.receipt(&hash));
            }
        });
    }
    let recorded = suite.recorded(ROUNDS);
    assert_eq!(recorded.len() as u64, ROUNDS, "{recorded:#?}");
    for receipt in &receipts {
        let same: Vec<_> =
            recorded.iter().filter(|it| it["hash"] == receipt["transactionHash"]).collect();
        let [found] = same[..] else { panic!("{receipt} is recorded {} times", same.len()) };
        let status = if receipt["status"] == "0x1" { "success" } else { "reverted" };
        let gas: U256 = serde_json::from_value(receipt["gasUsed"].clone()).unwrap();
        assert_eq!((text(&found["status"]), &found["gas_used"]), (status, &json!(gas.to::<u64>())));
    }
    for found in &recorded {
        assert_eq!(found["rolled_back_by"], "evm_revert", "{found}");
        assert_eq!(found["through_relay"], true, "{found}");
    }
    let of = |status: &str| recorded.iter().filter(|it| it["status"] == status).count() as u64;
    assert_eq!((of("success"), of("reverted")), (ROUNDS / 2, ROUNDS / 2), "{recorded:#?}");
    counters_agree(&suite, &recorded);
}

/// Of a suite that reads no receipts, nothing is called dropped or rejected.
fn unread_outcomes_are_not_called_dropped(kind: Kind) {
    let suite = Suite::on(kind);
    for round in 0..ROUNDS {
        suite.in_a_snapshot(|| suite.set(round));
    }
    let recorded = suite.recorded(ROUNDS);
    assert_eq!(recorded.len() as u64, ROUNDS, "{recorded:#?}");
    for found in &recorded {
        assert_eq!(found["rolled_back_by"], "evm_revert", "{found}");
        let known = ["success", "reverted", "unknown"].contains(&text(&found["status"]));
        assert!(known, "{found}");
    }
    if kind != Kind::Anvil {
        // Hardhat's refusals say that the transaction reverted.
        let reverted = recorded.iter().filter(|it| it["status"] == "reverted").count() as u64;
        assert_eq!(reverted, ROUNDS / 2, "{recorded:#?}");
        let named = recorded.iter().filter(|it| it["reason"] == "OddValue").count() as u64;
        assert_eq!(named, ROUNDS / 2, "{recorded:#?}");
    }
    counters_agree(&suite, &recorded);
}

/// The same bytes in each round have the same hash: each is a transaction of its own.
fn repeated_hashes_are_counted(kind: Kind) {
    let suite = Suite::on(kind);
    let mut hashes = Vec::new();
    for _ in 0..ROUNDS {
        suite.in_a_snapshot(|| {
            let hash = sent_hash(&suite.set(2)).unwrap();
            suite.relay.receipt(&hash);
            hashes.push(hash);
        });
    }
    hashes.dedup();
    let recorded = suite.recorded(ROUNDS);
    assert_eq!(recorded.len() as u64, ROUNDS, "of {} hashes", hashes.len());
    let gas = &recorded[0]["gas_used"];
    for found in &recorded {
        assert_eq!((text(&found["status"]), &found["gas_used"]), ("success", gas), "{found}");
        assert_eq!(found["rolled_back_by"], "evm_revert", "{found}");
    }
    counters_agree(&suite, &recorded);
}

/// Each `evm_revert` is counted, those of rounds without a transaction too; and the counters of
/// transactions say what the list says.
fn counters_agree(suite: &Suite, recorded: &[Value]) {
    for found in recorded {
        let name = (text(&found["contract"]), text(&found["function"]));
        assert_eq!(name, ("FixA", "setA"), "{found}");
    }
    suite.in_a_snapshot(|| ());
    let unknown = suite.relay.answer("evm_revert", &json!(["0xffff"]));
    assert_ne!(unknown["result"], json!(true), "{unknown}");
    let reverts = ROUNDS as f64 + 1.0;
    until("every rollback to be counted", || {
        let labels = [("cause", "evm_revert")];
        let counted = suite.scope.metrics().sum("evm_chain_setbacks_total", &labels);
        assert!(counted <= reverts, "counted {counted} of {reverts}");
        ((counted - reverts).abs() < 0.5).then_some(())
    });
    let metrics = suite.scope.settled();
    let labels = [("cause", "evm_revert")];
    let rolled_back = metrics.sum("evm_transactions_rolled_back_total", &labels);
    assert!((rolled_back - ROUNDS as f64).abs() < 0.5, "{rolled_back} rolled back");
    for status in ["success", "reverted", "rejected", "dropped", "unknown"] {
        let labels = [("contract", "FixA"), ("function", "setA"), ("status", status)];
        let counted = metrics.sum("evm_transactions_total", &labels);
        let listed = recorded.iter().filter(|it| it["status"] == status).count() as f64;
        assert!((counted - listed).abs() < 0.5, "{status}: {counted} counted, {listed} listed");
    }
    let overview = suite.scope.ask("dappscope_overview", &json!({"last": "1d"}));
    assert_eq!(overview["transactions"]["rolled_back"], json!(ROUNDS), "{overview}");
    assert!(suite.node.pid() > 0);
}

macro_rules! on_each_node {
    ($($case:ident: $($name:ident on $kind:ident),*;)*) => {
        $($(
            #[test]
            fn $name() {
                $case(Kind::$kind);
            }
        )*)*
    };
}

on_each_node! {
    receipts_are_recorded:
        transactions_of_a_suite_have_their_receipts_gas_on_hardhat_2 on Hardhat2,
        transactions_of_a_suite_have_their_receipts_gas_on_hardhat_3 on Hardhat3,
        transactions_of_a_suite_have_their_receipts_gas_on_anvil on Anvil;
    unread_outcomes_are_not_called_dropped:
        transactions_without_a_receipt_are_not_dropped_on_hardhat_2 on Hardhat2,
        transactions_without_a_receipt_are_not_dropped_on_hardhat_3 on Hardhat3,
        transactions_without_a_receipt_are_not_dropped_on_anvil on Anvil;
    repeated_hashes_are_counted:
        the_same_bytes_after_each_rollback_count_each_time_on_hardhat_2 on Hardhat2,
        the_same_bytes_after_each_rollback_count_each_time_on_hardhat_3 on Hardhat3,
        the_same_bytes_after_each_rollback_count_each_time_on_anvil on Anvil;
}
