//! The monitor must never harm the node: what it asks by default, on the three nodes, by its own count.
//!
//! How long nodes take is measured by `benches/harm.rs`; here calls are counted.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use alloy::primitives::U256;
use serde_json::{Value, json};

use crate::harness::{Dappscope, http, until};
use crate::nodes::{Kind, Node};
use crate::probes::{Way, artifact, calldata};
use crate::upstream::{Upstream, read_head};

/// Below every node's cap on a transaction's gas: 16,000,000.
const MUCH_GAS: &str = "0xf42400";

/// Calls of a method that dappscope made of itself, up to now.
fn method_calls(scope: &Dappscope, method: &str) -> f64 {
    scope.metrics().sum("dappscope_node_method_calls_total", &[("method", method)])
}

/// Waits until so many calls were left out for a purpose.
fn until_skipped(scope: &Dappscope, purpose: &str, count: f64) {
    until(&format!("{count} {purpose} to be left out"), || {
        let labels = [("purpose", purpose)];
        let skipped = scope.metrics().sum("dappscope_node_calls_skipped_total", &labels);
        (skipped >= count).then_some(())
    });
}

/// dappscope in front of a node, once it follows the node's blocks.
fn start(node: &Node, settings: &str) -> Dappscope {
    let scope = Dappscope::start(node.address, None, settings);
    until("the node to be followed", || {
        (scope.metrics().sum("evm_node_up", &[]) >= 1.0).then_some(())
    });
    scope
}

/// Waits until so many transactions were counted; those before their contract is known have no name.
fn until_counted(scope: &Dappscope, count: f64) {
    until(&format!("{count} transactions"), || {
        (scope.metrics().sum("evm_transactions_total", &[]) >= count).then_some(())
    });
}

/// A transaction of 11.3 million gas, which Hardhat 2 does not survive tracing.
fn spin(way: Way, from: &str, odd: &str) {
    let data = calldata("spin(uint256)", &[U256::from(20_000)]);
    let sent = way.send(from, odd, &data, MUCH_GAS);
    let receipt = way.receipt(sent["result"].as_str().unwrap());
    let gas: U256 = serde_json::from_value(receipt["gasUsed"].clone()).unwrap();
    assert!(gas > U256::from(10_000_000), "{gas}");
}

fn a_heavy_transaction_is_not_executed_again(kind: Kind) {
    let node = Node::start(kind);
    let direct = Way(node.address);
    let from = direct.accounts()[0].clone();
    let odd = direct.deploy(&from, &artifact("probes/Odd.sol/Odd"));
    let child = direct.deploy(&from, &artifact("probes/Child.sol/Child"));
    let scope = start(&node, "");
    let way = Way(scope.rpc);
    spin(way, &from, &odd);
    until_counted(&scope, 1.0);
    until_skipped(&scope, "traces", 1.0);
    assert_eq!(method_calls(&scope, "debug_traceTransaction"), 0.0);
    // A small one is traced where the node has a tracer that is cheap.
    way.send(&from, &child, &calldata("poke()", &[]), "0x186a0");
    until_counted(&scope, 2.0);
    if kind == Kind::Hardhat2 {
        until_skipped(&scope, "traces", 2.0);
        assert_eq!(method_calls(&scope, "debug_traceTransaction"), 0.0);
    } else {
        until("a small transaction to be traced", || {
            (method_calls(&scope, "debug_traceTransaction") >= 1.0).then_some(())
        });
    }
    // Of two that reverted, each alone in its block, the one that used little gas is run again.
    way.ask("evm_setAutomine", &json!([false]));
    way.send(&from, &odd, &calldata("burn()", &[]), "0x1e8480");
    way.ask("evm_mine", &json!([]));
    way.send(&from, &child, &calldata("fail()", &[]), "0x186a0");
    way.ask("evm_mine", &json!([]));
    until_counted(&scope, 4.0);
    until_skipped(&scope, "reverts", 1.0);
    until("the other one's reason", || (method_calls(&scope, "eth_call") >= 1.0).then_some(()));
    assert_eq!(method_calls(&scope, "eth_call"), 1.0);
    assert!(direct.ask("eth_blockNumber", &json!([])).is_string(), "the node is there");
    let verdict = scope.ask("dappscope_overview", &json!({}))["verdict"]["text"].to_string();
    assert!(!verdict.contains("does not answer"), "{verdict}");
}

#[test]
fn hardhat_2_executes_no_heavy_transaction_again() {
    a_heavy_transaction_is_not_executed_again(Kind::Hardhat2);
}

#[test]
fn hardhat_3_executes_no_heavy_transaction_again() {
    a_heavy_transaction_is_not_executed_again(Kind::Hardhat3);
}

#[test]
fn anvil_executes_no_heavy_transaction_again() {
    a_heavy_transaction_is_not_executed_again(Kind::Anvil);
}

#[test]
fn hardhat_2_with_struct_logs_on_traces_small_transactions_only() {
    let node = Node::start(Kind::Hardhat2);
    let direct = Way(node.address);
    let from = direct.accounts()[0].clone();
    let odd = direct.deploy(&from, &artifact("probes/Odd.sol/Odd"));
    let child = direct.deploy(&from, &artifact("probes/Child.sol/Child"));
    // The second one writes to a slot that is not empty any more.
    direct.send(&from, &child, &calldata("poke()", &[]), "0x186a0");
    let scope = start(&node, "[chain]\nstruct_logs = true\n");
    let way = Way(scope.rpc);
    spin(way, &from, &odd);
    until_skipped(&scope, "traces", 1.0);
    assert_eq!(method_calls(&scope, "debug_traceTransaction"), 0.0);
    let sent = way.send(&from, &child, &calldata("poke()", &[]), "0x186a0");
    let states = until("the state that the small one changed", || {
        let states = scope.ask("dappscope_states", &json!({}))["states"].clone();
        (!states.as_array()?.is_empty()).then_some(states)
    });
    assert_eq!((&states[0]["transaction"], states.as_array().unwrap().len()), (&sent["result"], 1));
    // What was asked is counted a moment later.
    until("the trace to be counted", || {
        (method_calls(&scope, "debug_traceTransaction") > 0.5).then_some(())
    });
    assert_eq!(method_calls(&scope, "debug_traceTransaction"), 1.0);
}

/// Passes requests on to a node, one by one and without WebSockets, until it is armed: then it takes
/// one more, leaves it unanswered, and is gone.
fn serve(
    stream: TcpStream,
    node: std::net::SocketAddr,
    armed: &AtomicBool,
    gone: &AtomicBool,
) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while !gone.load(Relaxed)
        && let Some(length) = read_head(&mut reader)?
        && length > 0
    {
        let mut body = Vec::new();
        (&mut reader).take(length).read_to_end(&mut body)?;
        if armed.load(Relaxed) {
            // Longer than a closed port takes to refuse.
            std::thread::sleep(Duration::from_millis(100));
            gone.store(true, Relaxed);
            break;
        }
        let headers = [("Content-Type", "application/json")];
        let answer = http(node, "POST", "/", &headers, &body).body;
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")?;
        write!(writer, "Content-Length: {}\r\n\r\n", answer.len())?;
        writer.write_all(&answer)?;
    }
    Ok(())
}

#[test]
fn the_verdict_says_what_a_node_that_fell_had_been_asked() {
    let node = Node::start(Kind::Anvil);
    let (armed, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let way = {
        let (address, armed, gone) = (node.address, Arc::clone(&armed), Arc::clone(&gone));
        Upstream::with(move |stream| serve(stream, address, &armed, &gone))
    };
    let scope = Dappscope::start(way.address, None, "");
    let reason = |scope: &Dappscope| -> Value {
        scope.ask("dappscope_overview", &json!({}))["verdict"]["reasons"][0].clone()
    };
    scope.await_log("the node to answer", |line| {
        line["fields"]["message"].as_str().is_some_and(|text| text.starts_with("the node answers"))
    });
    armed.store(true, Relaxed);
    let fell = "the node does not answer; when it fell, it had not answered dappscope's own \
                eth_getBlockByNumber (for blocks) for 0.";
    let text = until("the verdict on the node", || {
        let reason = reason(&scope);
        reason.as_str().filter(|it| it.starts_with("the node does not answer")).map(str::to_owned)
    });
    assert!(text.starts_with(fell), "{text}");
    let line = scope.await_log("what had been asked", |line| {
        line["fields"]["method"] == json!("eth_getBlockByNumber")
    });
    assert_eq!(line["fields"]["purpose"], json!("blocks"));
    assert!(line["fields"]["waited_ms"].as_u64() >= Some(50), "{line}");
}
