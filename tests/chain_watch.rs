//! The chain watcher against a node that misbehaves in the ways nodes do: a tiny node written here,
//! which restarts, leaves gaps, reorganises, refuses methods and drops its connections.

#![allow(clippy::unwrap_used)] // clippy allows it in test functions only

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256};
use dappscope::chain::{WatchSettings, watch};
use dappscope::model::{
    ChainEvent, ChainQuestion, EmittedLog, MinedBlock, Observation, Observer, Queue, Tally,
};
use jsonrpsee::RpcModule;
use jsonrpsee::server::{Server, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, watch as watch_channel};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the node holds and how it behaves.
#[derive(Default)]
struct Chain {
    blocks: Vec<Value>,
    receipts: HashMap<B256, Value>,
    /// Changes with every start.
    instance: u64,
    /// Makes the hashes of one life of the chain differ from another's.
    salt: u64,
    /// As Hardhat.
    refuses_block_receipts: bool,
    /// As nodes other than Hardhat and Anvil.
    refuses_metadata: bool,
    refuses_subscriptions: bool,
    /// A subscription begins with the head that an earlier one has brought already.
    repeats_head: bool,
    calls: HashMap<&'static str, usize>,
}

impl Chain {
    fn new(instance: u64) -> Self {
        let mut chain = Self { instance, salt: instance, ..Self::default() };
        chain.append(&[]);
        chain
    }

    /// Adds a block with transactions of these numbers; an odd one reverts.
    fn append(&mut self, transactions: &[u64]) -> Value {
        let number = self.blocks.len() as u64;
        let hash = word(self.salt << 32 | number << 8 | transactions.len() as u64);
        let parent = self.blocks.last().map_or(json!(B256::ZERO), |block| block["hash"].clone());
        let transactions: Vec<Value> = transactions.iter().map(|n| self.transaction(*n)).collect();
        let block = json!({
            "number": quantity(number), "hash": hash, "parentHash": parent,
            "timestamp": quantity(1_700_000_000 + number), "gasUsed": "0x5208",
            "gasLimit": "0x1c9c380", "baseFeePerGas": "0x7", "transactions": transactions,
        });
        self.blocks.push(block.clone());
        block
    }

    fn transaction(&mut self, number: u64) -> Value {
        let hash: B256 = U256::from(number).into();
        let status = if number % 2 == 1 { "0x0" } else { "0x1" };
        let receipt = json!({"transactionHash": hash, "status": status, "gasUsed": "0x5208",
            "effectiveGasPrice": "0x8", "contractAddress": null,
            "logs": [{"address": Address::repeat_byte(9), "topics": [word(number)]}]});
        self.receipts.insert(hash, receipt);
        json!({"hash": hash, "from": Address::ZERO, "to": Address::repeat_byte(9),
            "input": "0xd0def521", "nonce": quantity(number), "value": "0x0", "gas": "0xffff",
            "gasPrice": "0x8", "type": "0x2"})
    }

    fn answer(
        &mut self,
        method: &'static str,
        params: &[Value],
    ) -> Result<Value, ErrorObjectOwned> {
        *self.calls.entry(method).or_default() += 1;
        let refuse = || {
            ErrorObjectOwned::owned(-32004, format!("Method {method} is not supported"), None::<()>)
        };
        let by_hash = |hash: &Value| self.blocks.iter().find(|b| b["hash"] == *hash).cloned();
        Ok(match method {
            "eth_chainId" => json!("0x7a69"),
            "web3_clientVersion" => json!("fake/1"),
            "hardhat_metadata" if self.refuses_metadata => return Err(refuse()),
            "hardhat_metadata" => json!({"instanceId": word(self.instance)}),
            "eth_getBlockByNumber" => match params[0].as_str() {
                Some("latest") => json!(self.blocks.last()),
                Some(number) => {
                    let number = usize::from_str_radix(&number[2..], 16).unwrap();
                    json!(self.blocks.get(number))
                }
                None => Value::Null,
            },
            "eth_getBlockByHash" => json!(by_hash(&params[0])),
            "eth_getBlockReceipts" if self.refuses_block_receipts => return Err(refuse()),
            "eth_getBlockReceipts" => {
                let block = by_hash(&params[0]).unwrap_or_default();
                let hashes = block["transactions"].as_array().cloned().unwrap_or_default();
                let receipt = |t: &Value| {
                    self.receipts[&serde_json::from_value::<B256>(t["hash"].clone()).unwrap()]
                        .clone()
                };
                json!(hashes.iter().map(receipt).collect::<Vec<_>>())
            }
            "eth_getTransactionReceipt" => {
                let hash: B256 = serde_json::from_value(params[0].clone()).unwrap();
                json!(self.receipts.get(&hash))
            }
            "eth_getCode" if params[0] == json!(Address::ZERO) => json!("0x"),
            "eth_getCode" => json!("0x6001"),
            "eth_call" => {
                let error = Some("0xd07b00d6");
                return Err(ErrorObjectOwned::owned(3, "execution reverted", error));
            }
            _ => return Err(refuse()),
        })
    }
}

/// The node: a chain behind a port that can be closed and opened again.
struct FakeNode {
    chain: Arc<Mutex<Chain>>,
    heads: Arc<Mutex<broadcast::Sender<Value>>>,
    address: SocketAddr,
    server: Option<ServerHandle>,
    http_only: bool,
}

impl FakeNode {
    async fn start(chain: Chain) -> Self {
        Self::start_with(chain, false).await
    }

    async fn start_with(chain: Chain, http_only: bool) -> Self {
        let mut node = Self {
            chain: Arc::new(Mutex::new(chain)),
            heads: Arc::new(Mutex::new(broadcast::channel(64).0)),
            address: ([127, 0, 0, 1], 0).into(),
            server: None,
            http_only,
        };
        node.open().await;
        node
    }

    async fn open(&mut self) {
        let mut module = RpcModule::new(Arc::clone(&self.chain));
        for method in [
            "eth_chainId",
            "web3_clientVersion",
            "hardhat_metadata",
            "eth_getBlockByNumber",
            "eth_getBlockByHash",
            "eth_getBlockReceipts",
            "eth_getTransactionReceipt",
            "eth_getCode",
            "eth_call",
        ] {
            module
                .register_method(method, move |params, chain, _| {
                    let params: Vec<Value> = params.parse()?;
                    chain.lock().unwrap().answer(method, &params)
                })
                .unwrap();
        }
        if !self.chain.lock().unwrap().refuses_subscriptions {
            let heads = Arc::clone(&self.heads);
            module
                .register_subscription(
                    "eth_subscribe",
                    "eth_subscription",
                    "eth_unsubscribe",
                    move |_, pending, chain, _| {
                        let again = {
                            let mut chain = chain.lock().unwrap();
                            *chain.calls.entry("eth_subscribe").or_default() += 1;
                            chain.repeats_head.then(|| chain.blocks.last().cloned()).flatten()
                        };
                        let mut heads = heads.lock().unwrap().subscribe();
                        async move {
                            let sink = pending.accept().await?;
                            if let Some(head) = again {
                                sink.send(serde_json::value::to_raw_value(&head)?).await?;
                            }
                            while let Ok(head) = heads.recv().await {
                                sink.send(serde_json::value::to_raw_value(&head)?).await?;
                            }
                            Ok(())
                        }
                    },
                )
                .unwrap();
        }
        let builder = Server::builder();
        let config = jsonrpsee::server::ServerConfig::builder();
        let config = if self.http_only { config.http_only() } else { config };
        let server = builder.set_config(config.build()).build(self.address).await.unwrap();
        self.address = server.local_addr().unwrap();
        self.server = Some(server.start(module));
    }

    /// Closes the port and every connection.
    async fn close(&mut self) {
        let server = self.server.take().unwrap();
        server.stop().unwrap();
        server.stopped().await;
    }

    /// Mines and announces.
    fn mine(&self, transactions: &[u64]) {
        let block = self.mine_quietly(transactions);
        self.announce(block);
    }

    fn announce(&self, block: Value) {
        let _ = self.heads.lock().unwrap().send(block);
    }

    /// Ends all subscriptions without a word, as `hardhat_reset` does.
    fn fall_silent(&self) {
        *self.heads.lock().unwrap() = broadcast::channel(64).0;
    }

    /// Mines without a word.
    fn mine_quietly(&self, transactions: &[u64]) -> Value {
        self.chain.lock().unwrap().append(transactions)
    }

    fn calls(&self, method: &str) -> usize {
        self.chain.lock().unwrap().calls.get(method).copied().unwrap_or_default()
    }
}

/// The watcher, and what it tells.
struct Watching {
    queue: Arc<Queue>,
    wanted: mpsc::Sender<ChainQuestion>,
    stop: watch_channel::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Watching {
    fn start(address: SocketAddr) -> Self {
        Self::start_with(WatchSettings::new(address.to_string()))
    }

    fn start_with(settings: WatchSettings) -> Self {
        let queue = Queue::new(10_000, 1 << 26, Arc::new(Tally::default()));
        let (wanted, receiver) = mpsc::channel(16);
        let (stop, stopped) = watch_channel::channel(false);
        let task = tokio::spawn(watch(settings, Observer::new(&queue), receiver, stopped));
        Self { queue, wanted, stop, task }
    }

    async fn next(&self) -> ChainEvent {
        let event = async {
            loop {
                match self.queue.take() {
                    Some(Observation::Chain(event)) => return event,
                    Some(other) => panic!("the watcher told {other:?}"),
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, event).await.expect("the watcher tells something")
    }

    async fn block(&self) -> MinedBlock {
        match self.next().await {
            ChainEvent::Block(block) => *block,
            other => panic!("expected a block, found {other:?}"),
        }
    }

    async fn up(&self) {
        match self.next().await {
            ChainEvent::NodeUp { chain_id: 31_337, client, .. } if client == "fake/1" => {}
            other => panic!("expected the node to be up, found {other:?}"),
        }
    }

    async fn down(&self) {
        match self.next().await {
            ChainEvent::NodeDown { .. } => {}
            other => panic!("expected the node to be down, found {other:?}"),
        }
    }

    async fn restarted(&self) {
        match self.next().await {
            ChainEvent::NodeRestarted => {}
            other => panic!("expected a restart, found {other:?}"),
        }
    }

    async fn finish(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").unwrap();
        assert!(self.queue.take().is_none(), "nothing more was told");
    }
}

fn word(value: u64) -> B256 {
    U256::from(value).into()
}

fn quantity(value: u64) -> String {
    format!("{value:#x}")
}

#[tokio::test]
async fn new_blocks_come_with_their_receipts_and_reverts() {
    let node = FakeNode::start(Chain::new(1)).await;
    node.mine_quietly(&[2]);
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[4, 5]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live, block.missing), (2, true, 0), "history is not replayed");
    let [fine, reverted] = &block.transactions[..] else { panic!("{block:?}") };
    assert!(fine.success && fine.revert.is_none());
    assert_eq!((fine.gas_used, fine.nonce, fine.gas_price), (21_000, 4, 8));
    let log = EmittedLog { address: Address::repeat_byte(9), topic: Some(word(4)) };
    assert_eq!((fine.envelope, &*fine.logs), (Some(2), &[log][..]));
    assert!(!reverted.success);
    assert_eq!(reverted.revert, Some(Bytes::from_static(&[0xd0, 0x7b, 0x00, 0xd6])));
    assert_eq!(
        (node.calls("eth_getBlockReceipts"), node.calls("eth_getTransactionReceipt")),
        (1, 0)
    );
    watching.finish().await;
}

#[tokio::test]
async fn a_refusal_of_block_receipts_is_remembered() {
    let node = FakeNode::start(Chain { refuses_block_receipts: true, ..Chain::new(1) }).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for base in [10, 20, 30] {
        node.mine(&[base, base + 2, base + 4]);
        assert_eq!(watching.block().await.transactions.len(), 3);
    }
    assert_eq!(
        (node.calls("eth_getBlockReceipts"), node.calls("eth_getTransactionReceipt")),
        (1, 9)
    );
    watching.finish().await;
}

#[tokio::test]
async fn a_receipt_that_is_not_there_is_counted_as_missing() {
    let node = FakeNode::start(Chain { refuses_block_receipts: true, ..Chain::new(1) }).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let block = node.mine_quietly(&[2, 4]);
    node.chain.lock().unwrap().receipts.remove(&word(4));
    node.announce(block);
    let block = watching.block().await;
    assert_eq!((block.transactions.len(), block.missing), (1, 1));
    watching.finish().await;
}

#[tokio::test]
async fn a_gap_is_caught_up_on() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[2]);
    assert_eq!(watching.block().await.number, 1);
    for n in 2..=70 {
        node.mine_quietly(&[n * 2]);
    }
    node.mine(&[500]);
    for expected in 2..=71 {
        let block = watching.block().await;
        assert_eq!((block.number, block.live), (expected, expected == 71));
        assert_eq!(block.transactions.len(), 1);
    }
    watching.finish().await;
}

#[tokio::test]
async fn of_a_gap_too_large_the_newest_blocks_are_told() {
    let node = FakeNode::start(Chain::new(1)).await;
    let settings = WatchSettings { largest_gap: 5, ..WatchSettings::new(node.address.to_string()) };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.mine(&[2]);
    watching.block().await;
    for n in 2..=70 {
        node.mine_quietly(&[n * 2]);
    }
    node.mine(&[]);
    for expected in 66..=71 {
        assert_eq!(watching.block().await.number, expected);
    }
    watching.finish().await;
}

#[tokio::test]
async fn a_dropped_socket_is_taken_up_again() {
    let mut node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[2]);
    watching.block().await;
    node.close().await;
    watching.down().await;
    node.mine_quietly(&[4]);
    node.open().await;
    watching.up().await;
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (2, false));
    node.mine(&[6]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    watching.finish().await;
}

#[tokio::test]
async fn a_restarted_node_is_another_chain() {
    let mut node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[2]);
    watching.block().await;
    node.close().await;
    watching.down().await;
    *node.chain.lock().unwrap() = Chain::new(2);
    node.mine_quietly(&[4]);
    node.mine_quietly(&[6]);
    node.open().await;
    watching.restarted().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1, "what it did before it was noticed");
    assert_eq!(watching.block().await.number, 2);
    node.mine(&[8]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    watching.finish().await;
}

#[tokio::test]
async fn a_chain_reset_without_a_drop_is_noticed_at_its_next_block() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for n in 1..=3 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    let fresh = Chain::new(2);
    *node.chain.lock().unwrap() = fresh;
    node.mine(&[4]);
    watching.restarted().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1);
    watching.finish().await;
}

#[tokio::test]
async fn a_chain_set_back_is_the_same_chain() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for n in 1..=5 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    node.chain.lock().unwrap().blocks.truncate(3);
    node.chain.lock().unwrap().salt = 9;
    node.mine(&[4]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    watching.finish().await;
}

#[tokio::test]
async fn while_subscriptions_are_renewed_every_block_is_told_once_and_live() {
    let node = FakeNode::start(Chain { repeats_head: true, ..Chain::new(1) }).await;
    let settings = WatchSettings {
        renew_every: Duration::from_millis(20),
        ..WatchSettings::new(node.address.to_string())
    };
    let watching = Watching::start_with(settings);
    watching.up().await;
    let mut number = 0;
    while node.calls("eth_subscribe") < 10 {
        number += 1;
        node.mine(&[number * 2]);
        let block = watching.block().await;
        assert_eq!((block.number, block.live), (number, true));
    }
    // Blocks that come together with a renewal.
    for _ in 0..100 {
        number += 2;
        node.mine(&[number * 2 - 2]);
        node.mine(&[number * 2]);
        for expected in [number - 1, number] {
            let block = watching.block().await;
            assert_eq!((block.number, block.live), (expected, true));
        }
    }
    watching.finish().await;
}

#[tokio::test]
async fn the_very_same_block_mined_again_is_told_again() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for n in 1..=5 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    node.chain.lock().unwrap().blocks.truncate(3);
    node.mine(&[6]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    node.mine(&[40]);
    assert_eq!(watching.block().await.number, 4);
    watching.finish().await;
}

#[tokio::test]
async fn a_subscription_that_died_without_a_word_is_noticed() {
    let node = FakeNode::start(Chain::new(1)).await;
    let settings = WatchSettings {
        silence: Duration::from_millis(100),
        ..WatchSettings::new(node.address.to_string())
    };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.mine(&[2]);
    watching.block().await;
    // The same chain: nobody is told that the node was away, because it was not.
    node.fall_silent();
    node.mine_quietly(&[4]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (2, false));
    // Another chain.
    node.fall_silent();
    let mut fresh = Chain::new(2);
    fresh.append(&[6]);
    *node.chain.lock().unwrap() = fresh;
    watching.restarted().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1);
    watching.finish().await;
}

#[tokio::test]
async fn a_chain_that_was_replaced_without_a_word_is_noticed_at_once_by_who_is_told_to_look() {
    let node = FakeNode::start(Chain::new(1)).await;
    // Longer than a test waits: nothing is noticed by itself.
    let settings =
        WatchSettings { silence: PATIENCE * 2, ..WatchSettings::new(node.address.to_string()) };
    let watching = Watching::start_with(settings);
    watching.up().await;
    for n in 1..=3 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    // Set back: the same chain, which mines the same block again and has its time.
    node.chain.lock().unwrap().blocks.truncate(3);
    let looks = node.calls("hardhat_metadata");
    watching.wanted.send(ChainQuestion::Look).await.unwrap();
    while node.calls("hardhat_metadata") == looks {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    node.mine(&[6]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    // Another chain, on the same socket.
    node.fall_silent();
    *node.chain.lock().unwrap() = Chain::new(2);
    watching.wanted.send(ChainQuestion::Look).await.unwrap();
    watching.restarted().await;
    watching.up().await;
    node.mine(&[8]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (1, true));
    watching.finish().await;
}

#[tokio::test]
async fn a_reset_that_makes_the_same_first_blocks_again_is_noticed() {
    let node = FakeNode::start(Chain::new(1)).await;
    let settings = WatchSettings {
        silence: Duration::from_millis(100),
        ..WatchSettings::new(node.address.to_string())
    };
    let watching = Watching::start_with(settings);
    watching.up().await;
    for n in 1..=3 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    node.fall_silent();
    {
        let mut chain = node.chain.lock().unwrap();
        chain.blocks.truncate(2);
        chain.instance = 2;
    }
    watching.restarted().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1);
    watching.finish().await;
}

#[tokio::test]
async fn a_reorganisation_tells_the_blocks_that_took_the_others_place() {
    let node = FakeNode::start(Chain { refuses_metadata: true, ..Chain::new(1) }).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for n in 1..=5 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    node.chain.lock().unwrap().blocks.truncate(4);
    node.chain.lock().unwrap().salt = 9;
    node.mine_quietly(&[30]);
    node.mine_quietly(&[32]);
    node.mine(&[34]);
    for (number, live) in [(4, false), (5, false), (6, true)] {
        let block = watching.block().await;
        assert_eq!((block.number, block.live), (number, live));
    }
    watching.finish().await;
}

#[tokio::test]
async fn a_node_without_websocket_is_polled() {
    let node = FakeNode::start_with(Chain::new(1), true).await;
    let settings = WatchSettings {
        poll_every: Duration::from_millis(5),
        ..WatchSettings::new(node.address.to_string())
    };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.mine_quietly(&[2]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live, block.transactions.len()), (1, true, 1));
    {
        // Both between two answers.
        let mut chain = node.chain.lock().unwrap();
        chain.append(&[4]);
        chain.append(&[6]);
    }
    for number in [2, 3] {
        let block = watching.block().await;
        assert_eq!((block.number, block.live), (number, true));
    }
    watching.finish().await;
}

#[tokio::test]
async fn a_node_without_subscriptions_is_polled() {
    let node = FakeNode::start(Chain { refuses_subscriptions: true, ..Chain::new(1) }).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine_quietly(&[2]);
    assert_eq!(watching.block().await.number, 1);
    watching.finish().await;
}

#[tokio::test]
async fn code_is_told_to_those_who_ask_and_an_account_has_none() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.wanted.send(ChainQuestion::Code(Address::repeat_byte(9))).await.unwrap();
    watching.wanted.send(ChainQuestion::Code(Address::ZERO)).await.unwrap();
    watching.up().await;
    for (address, length) in [(Address::repeat_byte(9), 2), (Address::ZERO, 0)] {
        let ChainEvent::Code(code) = watching.next().await else { panic!("expected code") };
        assert_eq!((code.address, code.code.len()), (address, length));
    }
    watching.finish().await;
}

#[tokio::test]
async fn a_node_that_is_not_there_yet_is_waited_for() {
    let mut node = FakeNode::start(Chain::new(1)).await;
    node.close().await;
    node.mine_quietly(&[2]);
    let watching = Watching::start(node.address);
    watching.down().await;
    // Called several times meanwhile, told once.
    tokio::time::sleep(Duration::from_millis(700)).await;
    node.open().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1, "a deployment made at once is not missed");
    watching.finish().await;
}
