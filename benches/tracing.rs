//! What looking up state changes costs the node: transactions per second of a Hardhat node behind
//! the relay, with `chain.struct_logs` and with `chain.state_changes` off, sampled and all, in one run.
//!
//!     cargo bench --bench tracing [-- --seconds 10 --rounds 5]
//!
//! Needs Node.js and the marketplace of `tests/marketplace` (`tests/marketplace/setup.sh`). Each
//! setting has a node and a program of its own in each round, and the settings take turns in
//! alternating order; medians of the rounds are compared. What the monitor asks of the node besides,
//! heads and receipts, is in all of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alloy::dyn_abi::{DynSolValue, JsonAbiExt};
use alloy::json_abi::JsonAbi;
use alloy::primitives::{Address, hex};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

#[path = "common/client.rs"]
mod client;

use client::{Client, free, get};

const SETTINGS: [&str; 3] = ["off", "sampled", "all"];
/// Accounts that send, one transaction at a time each: with more the queue is measured, not the node.
const LANES: usize = 3;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| -> anyhow::Result<u64> {
        match arguments.iter().position(|argument| argument == name) {
            Some(at) => Ok(arguments.get(at + 1).context("a number is missing")?.parse()?),
            None => Ok(default),
        }
    };
    let length = Duration::from_secs(number("--seconds", 10)?);
    let rounds = number("--rounds", 5)?;
    println!("{rounds} rounds of {length:?} each, {LANES} lanes of MarketNFT.mint on Hardhat");
    let mut results = SETTINGS.map(|_| Vec::new());
    for round in 0..rounds {
        let mut order = [0, 1, 2];
        if round % 2 == 1 {
            order.reverse();
        }
        for i in order {
            let measured = measure(SETTINGS[i], length)?;
            let Measured { rate, traces, trace_seconds } = measured;
            println!(
                "  {:8} {rate:7.1} tx/s, {traces:4} calls to trace, {trace_seconds:.3} s of the node",
                SETTINGS[i]
            );
            results[i].push(rate);
        }
    }
    let off = median(&mut results[0]);
    for (setting, rates) in SETTINGS.iter().zip(&mut results) {
        let rate = median(rates);
        let change = 100.0 * (rate / off - 1.0);
        let (least, most) = (rates[0], rates[rates.len() - 1]);
        println!("{setting:8} median {rate:7.1} tx/s ({least:.1} to {most:.1}), {change:+.1} %");
    }
    Ok(())
}

struct Measured {
    /// Transactions per second.
    rate: f64,
    /// Calls that the monitor made for traces, and how long the node took for them.
    traces: f64,
    trace_seconds: f64,
}

fn measure(setting: &str, length: Duration) -> anyhow::Result<Measured> {
    let node = Running::node()?;
    let scope = Running::dappscope(node.address, setting)?;
    let mut client = Client::connect(scope.address)?;
    let accounts: Vec<Address> = serde_json::from_value(client.call("eth_accounts", &json!([]))?)?;
    let artifact: Value =
        serde_json::from_str(include_str!("../tests/fixtures/artifacts/MarketNFT.json"))?;
    let abi: JsonAbi = serde_json::from_value(artifact["abi"].clone())?;
    let text = |text: &str| DynSolValue::String(text.to_owned());
    let constructor = abi.constructor.as_ref().context("a constructor")?;
    let arguments = constructor.abi_encode_input(&[text("Bench"), text("B")])?;
    let code =
        format!("{}{}", artifact["bytecode"].as_str().context("bytecode")?, hex::encode(arguments));
    let hash = client.call("eth_sendTransaction", &json!([{"from": accounts[0], "data": code}]))?;
    let receipt = client.call("eth_getTransactionReceipt", &json!([hash]))?;
    let nft: Address = serde_json::from_value(receipt["contractAddress"].clone())?;
    let mint = &abi.functions["mint"][0];
    let lanes: Vec<_> = accounts[1..=LANES]
        .iter()
        .map(|from| {
            let input = mint.abi_encode_input(&[DynSolValue::Address(*from), text("ipfs://x")])?;
            let send = json!([{"from": from, "to": nft, "gas": "0x7a120",
                "data": hex::encode_prefixed(input)}]);
            Ok((Client::connect(scope.address)?, send))
        })
        .collect::<anyhow::Result<_>>()?;
    let begun = Instant::now();
    let threads: Vec<_> = lanes
        .into_iter()
        .map(|(mut client, send)| {
            std::thread::spawn(move || {
                let mut sent = 0_u32;
                while begun.elapsed() < length {
                    client.call("eth_sendTransaction", &send)?;
                    sent += 1;
                }
                anyhow::Ok(sent)
            })
        })
        .collect();
    let mut sent = 0;
    for thread in threads {
        sent += thread.join().map_err(|_| anyhow::anyhow!("a lane panicked"))??;
    }
    let rate = f64::from(sent) / begun.elapsed().as_secs_f64();
    // The node's own cost is told every quarter of a second.
    std::thread::sleep(Duration::from_secs(1));
    let metrics = get(scope.page.context("a page")?, "/metrics")?;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(f64::NAN)
    };
    let counted = value(
        "evm_transactions_total{contract=\"MarketNFT\",function=\"mint\",status=\"success\"}",
    );
    ensure!(
        (counted - f64::from(sent)).abs() < 0.5 || setting == "all",
        "{sent} were sent, {counted} were counted"
    );
    Ok(Measured {
        rate,
        traces: value("dappscope_node_calls_total{purpose=\"traces\"}"),
        trace_seconds: value("dappscope_node_call_seconds_total{purpose=\"traces\"}"),
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A program that ends with this.
struct Running {
    child: Child,
    address: SocketAddr,
    page: Option<SocketAddr>,
    _directory: Option<tempfile::TempDir>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn node() -> anyhow::Result<Self> {
        let home = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/marketplace");
        let program = home.join("node_modules/.bin/hardhat");
        ensure!(program.exists(), "expected {}: run tests/marketplace/setup.sh", program.display());
        let address = free()?;
        let child = Command::new(program)
            .args(["node", "--hostname", "127.0.0.1", "--port", &address.port().to_string()])
            .current_dir(home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Self { child, address, page: None, _directory: None }.answering()
    }

    fn dappscope(node: SocketAddr, state_changes: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (address, page) = (free()?, free()?);
        let artifacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/artifacts");
        let settings = directory.path().join("dappscope.toml");
        let text = format!(
            "[rpc]\nlisten = \"{address}\"\nupstream = \"http://{node}\"\n[api]\nenabled = false\n\
             [page]\nlisten = \"{page}\"\n[store]\ndir = {:?}\n\
             [chain]\nartifacts = [{artifacts:?}]\nstate_changes = \"{state_changes}\"\n\
             struct_logs = true\nstruct_logs_max_gas = 150000\n",
            directory.path().join("data")
        );
        std::fs::write(&settings, text)?;
        let child = Command::new(env!("CARGO_BIN_EXE_dappscope"))
            .arg("--config")
            .arg(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Self { child, address, page: Some(page), _directory: Some(directory) }.answering()
    }

    fn answering(mut self) -> anyhow::Result<Self> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended too early: {status}");
            }
            if Client::connect(self.address)
                .and_then(|mut client| client.call("eth_chainId", &json!([])))
                .is_ok()
            {
                return Ok(self);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{} does not answer", self.address)
    }
}
