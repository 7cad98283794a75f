//! What contracts cost, told alike on every node: one session of all that a contract may meet runs
//! against Hardhat 2, Hardhat 3 and Anvil, and what dappscope tells of it is compared with what the
//! nodes and the contracts' sources say. `tests/marketplace/clients/contracts/` is the session.

mod judge;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use self::judge::Judge;
use crate::harness::{Dappscope, free_port, marketplace, until};
use crate::nodes::{Kind, Node};

/// One at a time: they measure.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_session_of_contracts_is_told_as_it_was_on_hardhat_2() {
    a_session_is_told_as_it_was(Kind::Hardhat2);
}

#[test]
fn a_session_of_contracts_is_told_as_it_was_on_hardhat_3() {
    a_session_is_told_as_it_was(Kind::Hardhat3);
}

#[test]
fn a_session_of_contracts_is_told_as_it_was_on_anvil() {
    a_session_is_told_as_it_was(Kind::Anvil);
}

fn a_session_is_told_as_it_was(kind: Kind) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let port = free_port();
    let node = Node::start_on(kind, port);
    let before = part("before", node.address, None, &Value::Null);
    let scope = Dappscope::start(node.address, None, settings());
    until("the node to be followed", || {
        (scope.metrics().sum("evm_node_up", &[]) > 0.5).then_some(())
    });

    let during = part("during", node.address, Some(&scope), &before["carried"]);
    let mut judge = Judge::of(&scope);
    judge.transactions(&[&before, &during]);
    judge.calls(&during);
    judge.counters(&during);
    judge.confirmations(&during);
    judge.states(&during);
    judge.blocks(&during);
    judge.findings(&during);

    let restarts = || scope.metrics().sum("evm_node_restarts_total", &[]);
    let known = restarts();
    drop(node);
    let node = Node::start_on(kind, port);
    let counted = until("the restart to be noticed", || {
        let now = restarts();
        (now > known).then_some(now)
    });
    judge.equal("restarts", &json!(counted), &json!(known + 1.0));
    let after = part("after", node.address, Some(&scope), &during["carried"]);
    judge.transactions(&[&before, &during, &after]);
    judge.calls(&after);
    judge.findings(&after);
    judge.done(kind);
    assert!(scope.stop().success());
}

/// Traces of every transaction, where the program can be told to take them.
fn settings() -> &'static str {
    let program = env!("CARGO_BIN_EXE_dappscope");
    let defaults = Command::new(program).args(["check", "--defaults"]).output().unwrap();
    let known = String::from_utf8_lossy(&defaults.stdout).contains("\nstate_changes = ");
    if known {
        "[chain]\nstate_changes = \"all\"\ntrace_max_gas = 20000000\nstruct_logs = true\n\
         struct_logs_max_gas = 2000000\n"
    } else {
        ""
    }
}

/// Runs a part of the session; the document that it prints.
fn part(name: &str, node: SocketAddr, scope: Option<&Dappscope>, carried: &Value) -> Value {
    let mut command = Command::new("node");
    command.args(["clients/contracts/session.mjs", name, &format!("http://{node}")]);
    if let Some(scope) = scope {
        command.arg(format!("http://{}", scope.rpc)).arg(carried.to_string());
        command.arg(format!("http://{}/rpc", scope.page));
    }
    let output = command.current_dir(marketplace()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the session's part {name:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}
