//! What dappscope costs the node's other clients: how long a client that asks the node itself for
//! `eth_blockNumber` every 20 ms waits, without and with dappscope, on Hardhat 2, Hardhat 3 and Anvil.
//!
//!     cargo bench --bench harm [-- --minutes 1 --nodes hardhat2,hardhat3,anvil]
//!
//! Three loads take turns, a third of the time each: a marketplace's (mints and reads, some 25 calls
//! a second), a test suite's (a snapshot, a transaction, every other one reverting, and `evm_revert`,
//! as fast as they go), and `Odd.spin(20000)`, 11 million gas, once a second. Each runs for `--minutes`
//! sent to the node and as long again sent through dappscope, in slices that alternate, each on a node
//! of its own. Waiting times count from when a question was due, so a standstill counts for all of it.
//! Needs `tests/run.sh` to have installed the nodes.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::{U256, hex, keccak256};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

use support::{Client, Running, get, marketplace};

/// How often the waiting client asks.
const EVERY: Duration = Duration::from_millis(20);
/// The longest part of a load before its arm changes.
const SLICE: Duration = Duration::from_secs(20);

type Start = fn() -> anyhow::Result<Running>;
const NODES: [(&str, Start); 3] =
    [("hardhat2", Running::hardhat_2), ("hardhat3", Running::hardhat_3), ("anvil", Running::anvil)];

type Load = fn(&mut Dapp) -> anyhow::Result<()>;
const LOADS: [(&str, Load); 3] =
    [("marketplace", Dapp::trade), ("test suite", Dapp::test), ("spin(20000)", Dapp::spin)];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let minutes: f64 = value("--minutes").map_or(Ok(1.0), |text| text.parse())?;
    let wanted = value("--nodes").unwrap_or_else(|| "hardhat2,hardhat3,anvil".to_owned());
    let each = Duration::from_secs_f64(minutes * 60.0 / 3.0);
    println!("{minutes} minutes an arm; waiting times of eth_blockNumber in milliseconds");
    println!("| node | load | dappscope | questions | p50 | p99 | p99.9 | longest |");
    println!("|---|---|---|---:|---:|---:|---:|---:|");
    for (name, start) in NODES {
        if !wanted.split(',').any(|it| it == name) {
            continue;
        }
        let mut asked = BTreeMap::new();
        for (load_name, load) in LOADS {
            let mut waits = [Vec::new(), Vec::new()];
            let slices = (each.as_secs_f64() / SLICE.as_secs_f64()).ceil().max(1.0);
            let slice = each.div_f64(slices);
            for turn in 0..2 * round(slices) {
                // Without, with, with, without: a drift of the machine meets both alike.
                let with = matches!(turn % 4, 1 | 2);
                waits[usize::from(with)].extend(measure(start, load, slice, with, &mut asked)?);
            }
            for (arm, waits) in ["without", "with"].iter().zip(&mut waits) {
                waits.sort_unstable();
                let at = |share: f64| millis(quantile(waits, share));
                println!(
                    "| {name} | {load_name} | {arm} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
                    waits.len(),
                    at(0.5),
                    at(0.99),
                    at(0.999),
                    at(1.0)
                );
            }
        }
        println!("dappscope asked {name}: {asked:?}");
    }
    Ok(())
}

/// One slice: the waiting times, in order of asking.
fn measure(
    start: Start,
    load: Load,
    length: Duration,
    with: bool,
    asked: &mut BTreeMap<String, f64>,
) -> anyhow::Result<Vec<Duration>> {
    let node = start()?;
    let scope = match with {
        true => {
            let artifacts = marketplace().join("artifacts");
            Some(Running::dappscope(node.address, &format!("artifacts = [{artifacts:?}]\n"))?)
        }
        false => None,
    };
    let mut dapp = Dapp::deploy(scope.as_ref().map_or(node.address, |scope| scope.address))?;
    let is_over = AtomicBool::new(false);
    let waits = std::thread::scope(|threads| {
        let loading = threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                load(&mut dapp)?;
            }
            anyhow::Ok(())
        });
        let waits = wait_for_answers(node.address, length);
        is_over.store(true, Ordering::Relaxed);
        loading.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        waits
    })?;
    if let Some(scope) = scope {
        // What was asked is published every quarter of a second.
        std::thread::sleep(Duration::from_secs(1));
        let metrics = get(scope.page.context("a page")?, "/metrics")?;
        for line in metrics.lines() {
            let Some(rest) = line.strip_prefix("dappscope_node_method_calls_total{") else {
                continue;
            };
            let (labels, count) = rest.rsplit_once(' ').context("a number")?;
            *asked.entry(labels.trim_end_matches('}').to_owned()).or_default() +=
                count.parse::<f64>()?;
        }
    }
    Ok(waits)
}

/// Asks on a schedule that a late answer does not move.
fn wait_for_answers(node: SocketAddr, length: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut client = Client::connect(node)?;
    let begun = Instant::now();
    let mut waits = Vec::new();
    let mut due = begun;
    while due.duration_since(begun) < length {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        client.call("eth_blockNumber", &json!([]))?;
        waits.push(due.elapsed());
        due += EVERY;
    }
    Ok(waits)
}

/// The contracts of the loads, and a client of the node or of dappscope.
struct Dapp {
    client: Client,
    account: Value,
    fixture: Value,
    odd: Value,
    round: u64,
}

impl Dapp {
    fn deploy(address: SocketAddr) -> anyhow::Result<Self> {
        let mut client = Client::connect(address)?;
        let account = client.call("eth_accounts", &json!([]))?[0].clone();
        let mut deploy = |place: &str| -> anyhow::Result<Value> {
            let file = marketplace().join("artifacts/contracts/probes").join(place);
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("{}: run tests/run.sh", file.display()))?;
            let artifact: Value = serde_json::from_str(&text)?;
            let create =
                json!([{"from": account, "data": artifact["bytecode"], "gas": "0x2dc6c0"}]);
            let hash = client.call("eth_sendTransaction", &create)?;
            receipt(&mut client, &hash).map(|receipt| receipt["contractAddress"].clone())
        };
        let (fixture, odd) = (deploy("Fixtures.sol/FixA.json")?, deploy("Odd.sol/Odd.json")?);
        Ok(Self { client, account, fixture, odd, round: 0 })
    }

    fn send(
        &mut self,
        to: &Value,
        signature: &str,
        argument: u64,
        gas: &str,
    ) -> anyhow::Result<Value> {
        let send = json!([{"from": self.account, "to": to, "gas": gas,
            "data": input(signature, argument)}]);
        self.client.call("eth_sendTransaction", &send)
    }

    /// A few transactions a second, their receipts, and reads between them.
    fn trade(&mut self) -> anyhow::Result<()> {
        self.round += 2;
        let hash = self.send(&self.fixture.clone(), "setA(uint256)", self.round, "0x2dc6c0")?;
        receipt(&mut self.client, &hash)?;
        let read = json!([{"to": self.fixture, "data": input("getA()", 0)}, "latest"]);
        for _ in 0..8 {
            self.client.call("eth_call", &read)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// A test of a suite: every other one reverts.
    fn test(&mut self) -> anyhow::Result<()> {
        self.round += 1;
        let snapshot = self.client.call("evm_snapshot", &json!([]))?;
        if let Ok(hash) = self.send(&self.fixture.clone(), "setA(uint256)", self.round, "0x2dc6c0")
        {
            receipt(&mut self.client, &hash)?;
        }
        let is_back = self.client.call("evm_revert", &json!([snapshot]))?;
        ensure!(is_back == json!(true), "evm_revert answered {is_back}");
        Ok(())
    }

    fn spin(&mut self) -> anyhow::Result<()> {
        let hash = self.send(&self.odd.clone(), "spin(uint256)", 20_000, "0xe4e1c0")?;
        receipt(&mut self.client, &hash)?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(())
    }
}

/// A transaction's receipt: Anvil mines in a moment.
fn receipt(client: &mut Client, hash: &Value) -> anyhow::Result<Value> {
    let begun = Instant::now();
    loop {
        let receipt = client.call("eth_getTransactionReceipt", &json!([hash]))?;
        if !receipt.is_null() {
            return Ok(receipt);
        }
        ensure!(begun.elapsed() < Duration::from_secs(20), "no receipt of {hash}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn input(signature: &str, argument: u64) -> String {
    let mut bytes = keccak256(signature)[..4].to_vec();
    bytes.extend(U256::from(argument).to_be_bytes::<32>());
    hex::encode_prefixed(bytes)
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = round((share * sorted.len() as f64).ceil().max(1.0));
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn round(count: f64) -> usize {
    count as usize
}
