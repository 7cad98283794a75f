//! A tiny node, which restarts, leaves gaps, reorganises, refuses methods and drops its connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use jsonrpsee::RpcModule;
use jsonrpsee::server::middleware::rpc::RpcServiceBuilder;
use jsonrpsee::server::{Server, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::recording::{Messages, Recorded};

/// What the node holds and how it behaves.
#[derive(Default)]
pub struct Chain {
    pub blocks: Vec<Value>,
    pub receipts: HashMap<B256, Value>,
    /// Changes with every start.
    pub instance: u64,
    /// Makes the hashes of one life of the chain differ from another's.
    pub salt: u64,
    /// As Hardhat.
    pub refuses_block_receipts: bool,
    /// As nodes other than Hardhat and Anvil.
    pub refuses_metadata: bool,
    pub refuses_subscriptions: bool,
    /// Traces take as long as this is so.
    pub holds_traces: bool,
    /// As Hardhat 2.
    pub refuses_prestate: bool,
    /// Storage by address and slot.
    pub storage: HashMap<(Address, B256), B256>,
    /// What `web3_clientVersion` answers; `fake/1` without it.
    pub client: Option<&'static str>,
    /// A subscription begins with the head that an earlier one has brought already.
    pub repeats_head: bool,
    pub calls: HashMap<&'static str, usize>,
}

impl Chain {
    pub fn new(instance: u64) -> Self {
        let mut chain = Self { instance, salt: instance, ..Self::default() };
        chain.append(&[]);
        chain
    }

    /// Adds a block with transactions of these numbers; an odd one reverts.
    pub fn append(&mut self, transactions: &[u64]) -> Value {
        let number = self.blocks.len() as u64;
        let hash = word(self.salt << 32 | number << 8 | transactions.len() as u64);
        let parent = self.blocks.last().map_or(json!(B256::ZERO), |block| block["hash"].clone());
        let transactions: Vec<Value> = transactions.iter().map(|n| self.transaction(*n)).collect();
        let block = json!({
            "number": quantity(number), "hash": hash, "parentHash": parent,
            "timestamp": quantity(1_700_000_000 + number),
            "gasUsed": quantity(21_000 * transactions.len() as u64),
            "gasLimit": "0x1c9c380", "baseFeePerGas": "0x7", "transactions": transactions,
        });
        self.blocks.push(block.clone());
        block
    }

    pub fn transaction(&mut self, number: u64) -> Value {
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

    fn mined(&self, hash: &Value) -> Option<&Value> {
        let all = self.blocks.iter().filter_map(|block| block["transactions"].as_array());
        all.flatten().find(|transaction| transaction["hash"] == *hash)
    }

    pub fn answer(
        &mut self,
        method: &'static str,
        params: &[Value],
    ) -> Result<Value, ErrorObjectOwned> {
        *self.calls.entry(method).or_default() += 1;
        let refuse = || {
            ErrorObjectOwned::owned(-32004, format!("Method {method} is not supported"), None::<()>)
        };
        let by_hash = |hash: &Value| self.blocks.iter().find(|b| b["hash"] == *hash).cloned();
        // With its transactions, or with their hashes.
        let shown = |block: Option<Value>| {
            let mut block = block?;
            if params.get(1) == Some(&json!(false)) {
                let transactions = block["transactions"].as_array_mut()?;
                transactions.iter_mut().for_each(|it| *it = it["hash"].take());
            }
            Some(block)
        };
        Ok(match method {
            "eth_chainId" => json!("0x7a69"),
            "web3_clientVersion" => json!(self.client.unwrap_or("fake/1")),
            "hardhat_metadata" if self.refuses_metadata => return Err(refuse()),
            "hardhat_metadata" => json!({"instanceId": word(self.instance)}),
            "eth_getBlockByNumber" => match params[0].as_str() {
                Some("latest") => json!(shown(self.blocks.last().cloned())),
                Some(number) => {
                    let number = usize::from_str_radix(&number[2..], 16).unwrap();
                    json!(shown(self.blocks.get(number).cloned()))
                }
                None => Value::Null,
            },
            "eth_getBlockByHash" => json!(shown(by_hash(&params[0]))),
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
            "hardhat_getAutomine" => json!(false),
            "eth_getTransactionByHash" if self.mined(&params[0]).is_some() => {
                json!(self.mined(&params[0]))
            }
            "eth_getTransactionByHash" => {
                let number: U256 = serde_json::from_value(params[0].clone()).unwrap();
                let block = (!number.bit(0)).then_some("0x1");
                let found = json!({"from": Address::repeat_byte(7), "blockNumber": block});
                if number > U256::from(1_000) { Value::Null } else { found }
            }
            "debug_traceTransaction" if params[0] == json!(word(999)) => {
                let words = "Unable to find a block containing transaction";
                return Err(ErrorObjectOwned::owned(-32000, words, None::<()>));
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
pub struct FakeNode {
    pub chain: Arc<Mutex<Chain>>,
    pub heads: Arc<Mutex<broadcast::Sender<Value>>>,
    pub address: SocketAddr,
    pub server: Option<ServerHandle>,
    pub http_only: bool,
    pub messages: Messages,
}

impl FakeNode {
    pub async fn start(chain: Chain) -> Self {
        Self::start_with(chain, false).await
    }

    pub async fn start_with(chain: Chain, http_only: bool) -> Self {
        let mut node = Self {
            chain: Arc::new(Mutex::new(chain)),
            heads: Arc::new(Mutex::new(broadcast::channel(64).0)),
            address: ([127, 0, 0, 1], 0).into(),
            server: None,
            http_only,
            messages: Messages::default(),
        };
        node.open().await;
        node
    }

    pub async fn open(&mut self) {
        let mut module = RpcModule::new(Arc::clone(&self.chain));
        for method in [
            "eth_chainId",
            "web3_clientVersion",
            "hardhat_metadata",
            "hardhat_getAutomine",
            "eth_getBlockByNumber",
            "eth_getBlockByHash",
            "eth_getBlockReceipts",
            "eth_getTransactionReceipt",
            "eth_getCode",
            "eth_call",
            "eth_getStorageAt",
            "eth_getTransactionByHash",
        ] {
            module
                .register_method(method, move |params, chain, _| {
                    let params: Vec<Value> = params.parse()?;
                    chain.lock().unwrap().answer(method, &params)
                })
                .unwrap();
        }
        let traced =
            async |params: jsonrpsee::types::Params<'static>, chain: Arc<Arc<Mutex<Chain>>>, _| {
                let params: Vec<Value> = params.parse()?;
                while chain.lock().unwrap().holds_traces {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                chain.lock().unwrap().answer("debug_traceTransaction", &params)
            };
        module.register_async_method("debug_traceTransaction", traced).unwrap();
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
        let messages = self.messages.clone();
        let recorded = RpcServiceBuilder::new()
            .layer_fn(move |service| Recorded { service, messages: messages.clone() });
        let builder = builder.set_config(config.build()).set_rpc_middleware(recorded);
        let server = builder.build(self.address).await.unwrap();
        self.address = server.local_addr().unwrap();
        self.server = Some(server.start(module));
    }

    /// Closes the port and every connection.
    pub async fn close(&mut self) {
        let server = self.server.take().unwrap();
        server.stop().unwrap();
        server.stopped().await;
    }

    /// Mines and announces.
    pub fn mine(&self, transactions: &[u64]) {
        let block = self.mine_quietly(transactions);
        self.announce(block);
    }

    pub fn announce(&self, block: Value) {
        let _ = self.heads.lock().unwrap().send(block);
    }

    /// Ends all subscriptions without a word, as `hardhat_reset` does.
    pub fn fall_silent(&self) {
        *self.heads.lock().unwrap() = broadcast::channel(64).0;
    }

    /// Mines without a word.
    pub fn mine_quietly(&self, transactions: &[u64]) -> Value {
        self.chain.lock().unwrap().append(transactions)
    }

    pub fn calls(&self, method: &str) -> usize {
        self.chain.lock().unwrap().calls.get(method).copied().unwrap_or_default()
    }
}

pub fn word(value: u64) -> B256 {
    U256::from(value).into()
}

pub fn quantity(value: u64) -> String {
    format!("{value:#x}")
}
