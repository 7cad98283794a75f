//! What a dapp's developer does: a marketplace in use, a test suite with fixtures, a heavy loop.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use alloy::dyn_abi::{DynSolValue, JsonAbiExt};
use alloy::json_abi::JsonAbi;
use alloy::primitives::{Address, U256, hex};
use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::client::Client;
use crate::nodes::marketplace;

/// The pause between two steps of a visitor, as the demo's.
const STEP: Duration = Duration::from_millis(250);
/// The pause between two tests of a suite.
const TEST: Duration = Duration::from_millis(20);
/// How long each part of the load goes on before the next one.
const PART: Duration = Duration::from_secs(10);
/// How long the node is watched after a heavy transaction is mined: traces come a second and a half
/// later.
const AFTER_SPIN: Duration = Duration::from_secs(4);
/// Rounds of `Odd.spin`: 11.3 million gas.
const ROUNDS: u64 = 20_000;
/// Gas for ordinary transactions and for the heavy one.
const GAS: [&str; 2] = ["0x2dc6c0", "0xf42400"];

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Marketplace,
    Fixtures,
    /// A heavy transaction runs: the node answers nobody, whoever watches it.
    Spin,
    /// It has run, and is looked at.
    AfterSpin,
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Marketplace, Self::Fixtures, Self::Spin, Self::AfterSpin];
}

/// A dapp on a node, used by way of `client`.
pub struct Load {
    client: Client,
    way: SocketAddr,
    accounts: Vec<Address>,
    nft: Contract,
    market: Contract,
    odd: Contract,
    fixture: Contract,
    round: u64,
}

struct Contract {
    abi: JsonAbi,
    code: String,
    address: Address,
}

impl Load {
    /// Deploys the contracts directly, then goes by way of the relay, if there is one.
    pub fn deploy(node: SocketAddr, way: SocketAddr) -> anyhow::Result<Self> {
        let mut client = Client::connect(node)?;
        let accounts: Vec<Address> =
            serde_json::from_value(client.call("eth_accounts", &json!([]))?)?;
        let text = |text: &str| DynSolValue::String(text.to_owned());
        let fee = DynSolValue::Uint(U256::from(250), 96);
        let mut deploy = |place: &str, arguments: &[DynSolValue]| {
            Contract::deploy(&mut client, accounts[0], place, arguments)
        };
        let nft = deploy("MarketNFT.sol/MarketNFT", &[text("Bench"), text("B")])?;
        let market = deploy("Marketplace.sol/Marketplace", &[fee])?;
        let odd = deploy("probes/Odd.sol/Odd", &[])?;
        let fixture = deploy("probes/Fixtures.sol/FixA", &[])?;
        let client = Client::connect(way)?;
        Ok(Self { client, way, accounts, nft, market, odd, fixture, round: 0 })
    }

    /// Does each part once. Calls `during` when another part begins, and with none at the end.
    pub fn cycle(&mut self, during: impl Fn(Option<Part>)) -> anyhow::Result<()> {
        // A connection that was idle for some seconds is closed by the node.
        self.client = Client::connect(self.way)?;
        during(Some(Part::Marketplace));
        let begun = Instant::now();
        while begun.elapsed() < PART {
            self.visit()?;
        }
        during(Some(Part::Fixtures));
        let begun = Instant::now();
        while begun.elapsed() < PART {
            self.test()?;
        }
        let rounds = DynSolValue::Uint(U256::from(ROUNDS), 256);
        let input = self.odd.input("spin", &[rounds])?;
        during(Some(Part::Spin));
        let sent = self.send(1, self.odd.address, &input, 0, GAS[1])?;
        self.receipt(&sent)?;
        during(Some(Part::AfterSpin));
        std::thread::sleep(AFTER_SPIN);
        during(None);
        Ok(())
    }

    /// A visitor mints, lists and has it bought, as in the demo; one in five offers too little.
    fn visit(&mut self) -> anyhow::Result<()> {
        self.round += 1;
        let (seller, buyer) = (2, 3);
        let nft = DynSolValue::Address(self.nft.address);
        let uri = DynSolValue::String(format!("ipfs://bench/{}", self.round));
        let owner = DynSolValue::Address(self.accounts[seller]);
        for method in ["eth_chainId", "eth_blockNumber", "eth_gasPrice"] {
            self.client.call(method, &json!([]))?;
        }
        std::thread::sleep(STEP);
        let input = self.nft.input("mint", &[owner, uri])?;
        let minted = self.send(seller, self.nft.address, &input, 0, GAS[0])?;
        let receipt = self.receipt(&minted)?;
        let logs = receipt["logs"].as_array().context("logs")?;
        let topics = logs.iter().filter_map(|log| log["topics"].as_array());
        let token =
            topics.filter(|topics| topics.len() == 4).map(|topics| topics[3].clone()).next();
        let token: U256 = serde_json::from_value(token.context("a Transfer")?)?;
        let token = DynSolValue::Uint(token, 256);
        std::thread::sleep(STEP);
        let market = DynSolValue::Address(self.market.address);
        let input = self.nft.input("approve", &[market, token.clone()])?;
        self.send(seller, self.nft.address, &input, 0, GAS[0])?;
        let price = DynSolValue::Uint(U256::from(1_000), 256);
        let input = self.market.input("list", &[nft.clone(), token.clone(), price])?;
        self.send(seller, self.market.address, &input, 0, GAS[0])?;
        std::thread::sleep(STEP);
        let input = self.market.input("listingOf", &[nft.clone(), token.clone()])?;
        let call = json!([{"to": self.market.address, "data": input}, "latest"]);
        self.client.call("eth_call", &call)?;
        let offer = if self.round.is_multiple_of(5) { 1 } else { 1_000 };
        let input = self.market.input("buy", &[nft, token])?;
        // Refused where it reverts: that is part of the load.
        let _ = self.send(buyer, self.market.address, &input, offer, GAS[0]);
        std::thread::sleep(STEP);
        Ok(())
    }

    /// A test: a fixture, a deployment, three transactions of which one reverts, and back.
    fn test(&mut self) -> anyhow::Result<()> {
        let snapshot = self.client.call("evm_snapshot", &json!([]))?;
        let creation =
            json!([{"from": self.accounts[4], "data": self.fixture.code, "gas": GAS[0]}]);
        let deployed = self.client.call("eth_sendTransaction", &creation)?;
        let receipt = self.receipt(&deployed)?;
        let address: Address = serde_json::from_value(receipt["contractAddress"].clone())?;
        for value in [2, 3, 4] {
            let value = DynSolValue::Uint(U256::from(value), 256);
            let input = self.fixture.input("setA", &[value])?;
            // Refused where it reverts. Anvil answers before it mines, and a transaction that is rolled
            // back unmined would keep those after it waiting.
            if let Ok(sent) = self.send(4, address, &input, 0, GAS[0]) {
                self.receipt(&sent)?;
            }
        }
        let call = json!([{"to": address, "data": self.fixture.input("getA", &[])?}, "latest"]);
        self.client.call("eth_call", &call)?;
        self.client.call("evm_revert", &json!([snapshot]))?;
        std::thread::sleep(TEST);
        Ok(())
    }

    fn send(
        &mut self,
        from: usize,
        to: Address,
        input: &str,
        value: u64,
        gas: &str,
    ) -> anyhow::Result<Value> {
        let value = format!("{value:#x}");
        let from = self.accounts[from];
        let send = json!([{"from": from, "to": to, "data": input, "value": value, "gas": gas}]);
        self.client.call("eth_sendTransaction", &send)
    }

    fn receipt(&mut self, hash: &Value) -> anyhow::Result<Value> {
        receipt(&mut self.client, hash)
    }
}

impl Contract {
    fn deploy(
        client: &mut Client,
        from: Address,
        place: &str,
        arguments: &[DynSolValue],
    ) -> anyhow::Result<Self> {
        let file = marketplace().join("artifacts/contracts").join(format!("{place}.json"));
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("{}: run tests/run.sh first", file.display()))?;
        let artifact: Value = serde_json::from_str(&text)?;
        let abi: JsonAbi = serde_json::from_value(artifact["abi"].clone())?;
        let arguments = match &abi.constructor {
            Some(constructor) => constructor.abi_encode_input(arguments)?,
            None => Vec::new(),
        };
        let code = artifact["bytecode"].as_str().context("bytecode")?;
        let code = format!("{code}{}", hex::encode(arguments));
        let creation = json!([{"from": from, "data": code, "gas": "0x5b8d80"}]);
        let hash = client.call("eth_sendTransaction", &creation)?;
        let receipt = receipt(client, &hash)?;
        let address = serde_json::from_value(receipt["contractAddress"].clone())?;
        Ok(Self { abi, code, address })
    }

    fn input(&self, function: &str, arguments: &[DynSolValue]) -> anyhow::Result<String> {
        let known = self.abi.function(function).context("a function of the contract")?;
        Ok(hex::encode_prefixed(known[0].abi_encode_input(arguments)?))
    }
}

fn receipt(client: &mut Client, hash: &Value) -> anyhow::Result<Value> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        let receipt = client.call("eth_getTransactionReceipt", &json!([hash]))?;
        if !receipt.is_null() {
            return Ok(receipt);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("{hash} has no receipt")
}
