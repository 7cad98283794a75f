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
    ChainEvent, ChainQuestion, EmittedLog, MinedBlock, Observation, Observer, Queue, Sight, Tally,
    Traced, TracedSlot, Tracer,
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
    /// As Hardhat 2.
    refuses_prestate: bool,
    /// Storage by address and slot.
    storage: HashMap<(Address, B256), B256>,
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
            "eth_getTransactionByHash" => {
                let number: U256 = serde_json::from_value(params[0].clone()).unwrap();
                let block = (number.to::<u64>() % 2 == 0).then_some("0x1");
                let found = json!({"from": Address::repeat_byte(7), "blockNumber": block});
                if number > U256::from(1_000) { Value::Null } else { found }
            }
            "debug_traceTransaction" if params[1]["tracer"].is_null() => json!({
                "failed": false,
                "structLogs": [
                    {"op": "SLOAD", "depth": 1, "stack": ["7"]},
                    {"op": "POP", "depth": 1, "stack": ["6"]},
                    {"op": "SSTORE", "depth": 1, "stack": ["6", "5", "7"]},
                    {"op": "SSTORE", "depth": 1, "stack": ["4", "8"]},
                    {"op": "SSTORE", "depth": 1, "stack": ["3", "9"]},
                ],
            }),
            "debug_traceTransaction" if self.refuses_prestate => {
                let words = "only supports the default tracer";
                return Err(ErrorObjectOwned::owned(-32602, words, None::<()>));
            }
            "debug_traceTransaction" => {
                let account = Address::repeat_byte(9).to_string();
                let pre = json!({&account: {"nonce": 1, "storage": {word(7).to_string(): "0x6"}}});
                let post = json!({account: {"storage": {}}});
                json!({"pre": pre, "post": post})
            }
            "eth_getStorageAt" => {
                let place = serde_json::from_value(json!([params[0], params[1]])).unwrap();
                json!(self.storage.get(&place).copied().unwrap_or_default())
            }
            "eth_call" if params[0]["data"] == "0x5c60da1b" => {
                json!(Address::repeat_byte(0xbb).into_word())
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
            "eth_getStorageAt",
            "eth_getTransactionByHash",
            "debug_traceTransaction",
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
                    // Told at any time.
                    Some(Observation::Chain(ChainEvent::Asked { .. })) => {}
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

    async fn went_back(&self, from: u64, to: u64) {
        match self.next().await {
            ChainEvent::WentBack { from: f, to: t } if (f, t) == (from, to) => {}
            other => panic!("expected the chain to go from {from} back to {to}, found {other:?}"),
        }
    }

    async fn finish(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").unwrap();
        while let Some(observation) = self.queue.take() {
            let Observation::Chain(ChainEvent::Asked { .. }) = observation else {
                panic!("nothing more was to be told, found {observation:?}");
            };
        }
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
    watching.went_back(5, 2).await;
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
    watching.went_back(5, 2).await;
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
    watching.wanted.send(ChainQuestion::Look).await.unwrap();
    watching.went_back(3, 2).await;
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
    watching.went_back(5, 3).await;
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
async fn of_a_proxy_the_contract_behind_it_is_told() {
    let (proxy, beaconed) = (Address::repeat_byte(3), Address::repeat_byte(4));
    let (behind, beacon) = (Address::repeat_byte(0xaa), Address::repeat_byte(0xbe));
    let mut chain = Chain::new(1);
    let slots = [
        (proxy, "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc", behind),
        (beaconed, "0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50", beacon),
        // An account without code is no proxy, whatever the node says.
        (
            Address::ZERO,
            "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc",
            behind,
        ),
    ];
    for (address, slot, target) in slots {
        chain.storage.insert((address, slot.parse().unwrap()), target.into_word());
    }
    let node = FakeNode::start(chain).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let plain = Address::repeat_byte(9);
    for address in [proxy, beaconed, plain, Address::ZERO] {
        watching.wanted.send(ChainQuestion::Code(address)).await.unwrap();
    }
    for (address, implementation) in [
        (proxy, Some(behind)),
        (beaconed, Some(Address::repeat_byte(0xbb))),
        (plain, None),
        (Address::ZERO, None),
    ] {
        let ChainEvent::Code(code) = watching.next().await else { panic!("expected code") };
        assert_eq!((code.address, code.implementation), (address, implementation));
    }
    watching.finish().await;
}

#[tokio::test]
async fn what_was_deployed_before_the_start_is_told_on_a_young_chain() {
    let deployer = Address::repeat_byte(5);
    let deployed = |count: u64| {
        let mut chain = Chain::new(1);
        for nonce in 0..count {
            chain.append(&[2]);
            let block = chain.blocks.last_mut().unwrap();
            let transaction = &mut block["transactions"][0];
            transaction["to"] = Value::Null;
            transaction["from"] = json!(deployer);
            transaction["nonce"] = json!(quantity(nonce));
        }
        chain
    };
    let node = FakeNode::start(deployed(40)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for nonce in 0..40 {
        let ChainEvent::Code(code) = watching.next().await else { panic!("expected code") };
        assert_eq!(code.address, deployer.create(nonce));
    }
    watching.finish().await;
    // On an old chain they are history.
    let node = FakeNode::start(deployed(40)).await;
    let settings =
        WatchSettings { largest_gap: 39, ..WatchSettings::new(node.address.to_string()) };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.mine(&[2]);
    assert_eq!(watching.block().await.number, 41);
    watching.finish().await;
}

impl Watching {
    async fn traced(&self, number: u64) -> Traced {
        let question = ChainQuestion::Trace { hash: word(number), block: 2 };
        self.wanted.send(question).await.unwrap();
        match self.next().await {
            ChainEvent::Traced(traced) if traced.hash == word(number) => *traced,
            other => panic!("expected a trace of {number}, found {other:?}"),
        }
    }
}

fn slot(slot: u64, before: u64, after: u64) -> TracedSlot {
    let address = Address::repeat_byte(9);
    TracedSlot { address, slot: word(slot), before: word(before), after: word(after) }
}

#[tokio::test]
async fn a_transaction_is_traced_in_diff_mode() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let traced = watching.traced(4).await;
    assert_eq!((traced.tracer, traced.block, traced.accounts), (Tracer::PrestateDiff, 2, 1));
    assert_eq!(traced.slots, [slot(7, 6, 0)]);
    watching.finish().await;
}

#[tokio::test]
async fn a_node_that_refuses_diff_mode_is_asked_for_struct_logs_from_then_on() {
    let mut chain = Chain { refuses_prestate: true, ..Chain::new(1) };
    chain.append(&[4, 5, 6]);
    chain.storage.insert((Address::repeat_byte(9), word(8)), word(2));
    chain.storage.insert((Address::repeat_byte(9), word(9)), word(3));
    for receipt in chain.receipts.values_mut() {
        receipt["to"] = json!(Address::repeat_byte(9));
    }
    let node = FakeNode::start(chain).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for number in [4, 6] {
        let traced = watching.traced(number).await;
        assert_eq!((traced.tracer, traced.accounts), (Tracer::StructLogs, 1));
        assert_eq!(traced.slots, [slot(7, 6, 5), slot(8, 2, 4)], "9 is as it was");
    }
    assert_eq!(node.calls("debug_traceTransaction"), 3);
    let traced = watching.traced(5).await;
    assert_eq!((traced.slots.len(), traced.accounts), (0, 0), "it reverted");
    assert_eq!(node.calls("debug_traceTransaction"), 3, "so it need not be traced");
    watching.finish().await;
}

#[tokio::test]
async fn a_submitted_transaction_is_gone_pending_or_mined() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let pending = Sight::Pending { from: Address::repeat_byte(7) };
    for (number, expected) in [(2_000, Sight::Gone), (1, pending), (2, Sight::Mined)] {
        watching.wanted.send(ChainQuestion::Sight(word(number))).await.unwrap();
        match watching.next().await {
            ChainEvent::Sighted { hash, sight } => {
                assert_eq!((hash, sight), (word(number), expected));
            }
            other => panic!("expected a sight of {number}, found {other:?}"),
        }
    }
    watching.finish().await;
}

#[tokio::test]
async fn a_chain_set_back_to_before_the_start_tells_no_block_anew() {
    let mut chain = Chain::new(1);
    (1..=5).for_each(|n| drop(chain.append(&[n * 2])));
    let node = FakeNode::start(chain).await;
    let settings =
        WatchSettings { silence: PATIENCE * 2, ..WatchSettings::new(node.address.to_string()) };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.chain.lock().unwrap().blocks.truncate(3);
    watching.wanted.send(ChainQuestion::Look).await.unwrap();
    watching.went_back(5, 2).await;
    node.mine(&[40]);
    assert_eq!(watching.block().await.number, 3);
    watching.finish().await;
}

#[tokio::test]
async fn what_the_node_was_asked_is_told_by_purpose() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[2, 4]);
    watching.block().await;
    watching.wanted.send(ChainQuestion::Code(Address::repeat_byte(9))).await.unwrap();
    watching.next().await;
    watching.stop.send(true).unwrap();
    watching.task.await.unwrap();
    let mut asked = HashMap::<_, u32>::new();
    while let Some(observation) = watching.queue.take() {
        if let Observation::Chain(ChainEvent::Asked { purpose, calls, .. }) = observation {
            *asked.entry(purpose).or_default() += calls;
        }
    }
    let served: usize = node.chain.lock().unwrap().calls.values().sum();
    assert_eq!(
        asked.values().sum::<u32>() as usize,
        served,
        "every call is counted once: {asked:?}"
    );
    assert_eq!(asked["code"], 3);
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
