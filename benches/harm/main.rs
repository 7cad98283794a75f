//! What the monitor does to a node's other clients: how long one waits that asks the node itself for
//! its block number every 20 ms, without dappscope and with it, under the same load.
//!
//!     cargo bench --bench harm [-- --minutes 10 --node hardhat2]
//!
//! Needs what `tests/run.sh` sets up. For each of Hardhat 2, Hardhat 3 and Anvil it takes twice the
//! minutes: the load goes to one node directly and to another one by way of the relay of a dappscope
//! with default settings, in turns of half a minute, so that both have the same machine. A turn is a
//! marketplace in use as in the demo and a test suite with fixtures (`evm_snapshot`, a deployment,
//! transactions that succeed and revert, `evm_revert`), each for ten seconds, and one
//! `Odd.spin(20000)` (11.3 million gas). While that runs, Hardhat answers nobody for half a second or
//! more, which differs from one time to the next: what the monitor adds shows in the other parts. A
//! call counts from when it was due, so a silence of the node counts for every call in it.

#[path = "../common/client.rs"]
mod client;
mod load;
mod nodes;
mod probe;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use client::get;
use load::{Load, Part};
use nodes::{Kind, Running};
use probe::{Probe, Waits};

/// How much longer a client may wait, at the 99.9th percentile, in milliseconds.
const BOUND: f64 = 50.0;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().skip_while(|it| *it != name).nth(1);
    let minutes: f64 = value("--minutes").map_or(Ok(1.0), |it| it.parse()).context("--minutes")?;
    let length = Duration::try_from_secs_f64(minutes * 60.0).context("--minutes")?;
    let chosen = value("--node").map(|it| it.to_lowercase());
    let mut kinds = Kind::ALL.to_vec();
    kinds.retain(|it| chosen.as_ref().is_none_or(|name| format!("{it:?}").to_lowercase() == *name));
    if kinds.is_empty() {
        bail!("--node: expected hardhat2, hardhat3 or anvil");
    }
    println!("eth_blockNumber every 20 ms, {minutes} minutes without and with dappscope; in ms");
    for kind in kinds {
        let [without, with] = measure(kind, length)?;
        println!("\n{kind:?}");
        compare(&without.waits, &with.waits);
        println!("  what dappscope asked, calls by method; longest wait by purpose:");
        for line in with.asked {
            println!("    {line}");
        }
    }
    Ok(())
}

/// A node under load, watched or not.
struct Side {
    node: Running,
    scope: Option<Running>,
    load: Load,
    probe: Probe,
}

struct Measured {
    waits: Waits,
    /// What the monitor asked.
    asked: Vec<String>,
}

/// Without dappscope, and with it.
fn measure(kind: Kind, length: Duration) -> anyhow::Result<[Measured; 2]> {
    let mut sides = [Side::start(kind, false)?, Side::start(kind, true)?];
    let begun = Instant::now();
    while begun.elapsed() < 2 * length {
        for side in &mut sides {
            let done = side.load.cycle(|part| side.probe.during(part));
            if let Some(status) = side.node.ended()? {
                bail!("{kind:?} did not survive: {status}");
            }
            done?;
        }
    }
    let [without, with] = sides;
    Ok([without.stop()?, with.stop()?])
}

impl Side {
    fn start(kind: Kind, watched: bool) -> anyhow::Result<Self> {
        let node = Running::node(kind)?;
        let scope = watched.then(|| Running::dappscope(node.address)).transpose()?;
        let way = scope.as_ref().map_or(node.address, |scope| scope.address);
        let load = Load::deploy(node.address, way)?;
        let probe = Probe::start(node.address)?;
        Ok(Self { node, scope, load, probe })
    }

    fn stop(self) -> anyhow::Result<Measured> {
        let waits = self.probe.stop()?;
        let mut asked = Vec::new();
        if let Some(page) = self.scope.as_ref().and_then(|scope| scope.page) {
            // Counted four times a second.
            std::thread::sleep(Duration::from_secs(1));
            let metrics = get(page, "/metrics")?;
            let lines = metrics.lines().filter(|line| {
                ["method_calls_total{", "call_longest_seconds{", "calls_skipped_total{"]
                    .iter()
                    .any(|family| line.starts_with(&format!("dappscope_node_{family}")))
                    && !line.ends_with(" 0")
            });
            asked.extend(lines.map(|line| line.trim_start_matches("dappscope_node_").to_owned()));
        }
        Ok(Measured { waits, asked })
    }
}

fn compare(without: &Waits, with: &Waits) {
    println!(
        "  {:12} {:8} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "load", "", "calls", "p50", "p99", "p99.9", "max"
    );
    for part in std::iter::once(None).chain(Part::ALL.map(Some)) {
        let name = part.map_or("all".to_owned(), |part| format!("{part:?}"));
        let (before, after) = (without.percentiles(part), with.percentiles(part));
        for (mode, of) in [("without", before), ("with", after)] {
            let [p50, p99, p999, max] = of.values;
            println!(
                "  {name:12} {mode:8} {:7} {p50:9.2} {p99:9.2} {p999:9.2} {max:9.2}",
                of.count
            );
        }
        let more: Vec<f64> = after.values.iter().zip(before.values).map(|(a, b)| a - b).collect();
        println!(
            "  {name:12} {:16} {:9.2} {:9.2} {:9.2} {:9.2}  {}",
            "more",
            more[0],
            more[1],
            more[2],
            more[3],
            if more[2] <= BOUND { "within 50 ms" } else { "MORE THAN 50 ms" }
        );
    }
}
