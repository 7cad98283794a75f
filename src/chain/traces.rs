//! What transactions changed: traces, one at a time, on a thread and a connection of their own.
//!
//! A trace has the node execute the transaction again, and struct logs have it write down every step:
//! both are asked for up to a bound of gas only, struct logs not unless the settings say so. Neither
//! the stamps of heads nor receipts wait for a trace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U64, U256};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::meter::{Meter, Purpose};
use super::node::{Ask, Node, NodeError, read};
use super::settings::WatchSettings;
use crate::decode::statediff::{WrittenSlot, prestate_diff, struct_logs};
use crate::model::{ChainEvent, Observation, Observer, Stamp, Traced, TracedSlot, Tracer};

/// Transactions that wait to be traced.
const MOST_WAITING: usize = 16;
/// How long a transaction's trace may take, with all that is asked for it.
const TRACED_WITHIN: Duration = Duration::from_secs(10);
/// Slots whose values before a transaction are asked for, where its struct logs do not tell.
const MOST_VALUES: usize = 512;
/// JSON-RPC: method not found, invalid params; Ethereum: method not supported.
const NOT_KNOWN: [i32; 3] = [-32601, -32602, -32004];

/// Takes transactions to be traced.
pub struct Traces {
    tracing: Tracing,
    /// To the thread, once there is one: tracing may be off.
    waiting: Option<mpsc::Sender<TraceRequest>>,
    stop: watch::Receiver<bool>,
}

/// A mined transaction to be traced.
#[derive(Clone, Copy, Debug)]
pub struct TraceRequest {
    pub hash: B256,
    pub block: u64,
    /// Gas units that it used.
    pub gas: u64,
}

/// Traces, and tells what it finds.
#[derive(Clone)]
struct Tracing {
    node: Arc<str>,
    /// As in [`WatchSettings`].
    trace_gas: u64,
    struct_log_gas: Option<u64>,
    observer: Observer,
    meter: Arc<Meter>,
}

/// Why a transaction was not traced.
#[derive(Debug, thiserror::Error)]
enum TraceError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("the trace differs from what was expected: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("the transaction has no receipt")]
    NotMined,
    #[error("{} slots written and not read, of which at most {MOST_VALUES} are asked for", .0)]
    TooManySlots(usize),
}

/// A connection, and the tracers that the node is not known to refuse.
struct Session {
    node: Node,
    prestate: bool,
    struct_logs: bool,
}

/// A receipt, as far as a trace needs it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    to: Option<Address>,
    contract_address: Option<Address>,
    status: Option<U64>,
}

impl Traces {
    pub fn new(
        settings: &WatchSettings,
        observer: &Observer,
        meter: &Arc<Meter>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let tracing = Tracing {
            node: settings.node.as_str().into(),
            trace_gas: settings.trace_gas,
            struct_log_gas: settings.struct_log_gas,
            observer: observer.clone(),
            meter: Arc::clone(meter),
        };
        Self { tracing, waiting: None, stop }
    }

    /// Has a mined transaction traced, if it is within the bounds and not too many wait already.
    pub fn ask(&mut self, request: TraceRequest) {
        let most = self.tracing.trace_gas.max(self.tracing.struct_log_gas.unwrap_or(0));
        if request.gas > most {
            self.tracing.skipped();
            self.tracing.untraced(request.hash);
            return;
        }
        if self.waiting.is_none() {
            self.waiting = self.start();
        }
        if let Some(waiting) = &self.waiting
            && waiting.try_send(request).is_err()
        {
            self.tracing.untraced(request.hash);
        }
    }

    /// Starts the thread. It ends with this, or when it is told to stop.
    fn start(&self) -> Option<mpsc::Sender<TraceRequest>> {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let (tracing, mut stop) = (self.tracing.clone(), self.stop.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let started = runtime.and_then(|runtime| {
            std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = tracing.run(receiver) => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                });
            })
        });
        match started {
            Ok(_) => Some(sender),
            Err(error) => {
                tracing::warn!(%error, "no thread for traces: state changes are not told");
                None
            }
        }
    }
}

impl Tracing {
    async fn run(self, mut waiting: mpsc::Receiver<TraceRequest>) {
        let mut session = None;
        while let Some(request) = waiting.recv().await {
            let hash = request.hash;
            let trace = tokio::time::timeout(TRACED_WITHIN, self.trace(&mut session, request));
            match trace.await {
                Ok(Ok(Some(traced))) => {
                    self.observer.tell(Observation::Chain(ChainEvent::Traced(Box::new(traced))));
                }
                Ok(Ok(None)) => self.untraced(hash),
                Ok(Err(error)) => {
                    tracing::debug!(%hash, %error, "not traced");
                    self.untraced(hash);
                    // An answer that is too large ends the connection.
                    if matches!(error, TraceError::Node(NodeError::Gone(_))) {
                        session = None;
                    }
                }
                Err(_) => {
                    tracing::debug!(%hash, within = ?TRACED_WITHIN, "not traced in time");
                    self.untraced(hash);
                    session = None;
                }
            }
        }
    }

    /// Counts a trace that is not asked for, for its gas.
    fn skipped(&self) {
        self.meter.skip(Purpose::Traces, "debug_traceTransaction", 1);
    }

    fn untraced(&self, hash: B256) {
        self.observer.tell(Observation::Chain(ChainEvent::Untraced { hash }));
    }

    /// Traces a transaction in the way that this node has; none where it has no way.
    async fn trace(
        &self,
        session: &mut Option<Session>,
        TraceRequest { hash, block, gas }: TraceRequest,
    ) -> Result<Option<Traced>, TraceError> {
        let session = match session {
            Some(session) if session.node.is_connected() => session,
            _ => session.insert(Session::open(&self.node, &self.meter).await?),
        };
        if session.prestate && gas > self.trace_gas {
            self.skipped();
            return Ok(None);
        }
        if session.prestate {
            let tracer = json!({"tracer": "prestateTracer", "tracerConfig": {"diffMode": true}});
            let asked = Instant::now();
            if let Some(answer) = answered(session.debug(hash, tracer).await)? {
                let (at, took) = (Stamp::now(), asked.elapsed());
                let (slots, accounts) = prestate_diff(answer.get())?;
                let tracer = Tracer::PrestateDiff;
                return Ok(Some(Traced { hash, block, at, tracer, took, slots, accounts }));
            }
            session.prestate = false;
        }
        if !session.struct_logs {
            return Ok(None);
        }
        if self.struct_log_gas.is_none_or(|most| gas > most) {
            self.skipped();
            return Ok(None);
        }
        let traced = session.by_struct_logs(hash, block).await?;
        session.struct_logs = traced.is_some();
        Ok(traced)
    }
}

impl Session {
    /// Connects, and asks who answers: Hardhat 2 knows no `prestateTracer`, and has each refusal in
    /// its log.
    async fn open(address: &str, meter: &Arc<Meter>) -> Result<Self, NodeError> {
        let node = Node::connect(address, meter).await?;
        let ask = ("web3_clientVersion", json!([]));
        let client = match node.call::<String>(Purpose::Traces, "a name", ask).await {
            Err(NodeError::Gone(why)) => return Err(NodeError::Gone(why)),
            other => other.unwrap_or_default(),
        };
        let prestate = !client.starts_with("HardhatNetwork/2.");
        Ok(Self { node, prestate, struct_logs: true })
    }

    async fn debug(&self, hash: B256, settings: Value) -> Result<Box<RawValue>, NodeError> {
        let ask = ("debug_traceTransaction", json!([hash, settings]));
        self.node.call(Purpose::Traces, "a trace", ask).await
    }

    /// Follows a transaction's storage instructions; none where the node refuses.
    async fn by_struct_logs(&self, hash: B256, block: u64) -> Result<Option<Traced>, TraceError> {
        let ask = ("eth_getTransactionReceipt", json!([hash]));
        let receipt: Option<Outcome> = self.node.call(Purpose::Traces, "a receipt", ask).await?;
        let receipt = receipt.ok_or(TraceError::NotMined)?;
        let mut traced = Traced {
            hash,
            block,
            at: Stamp::now(),
            tracer: Tracer::StructLogs,
            took: Duration::ZERO,
            slots: Vec::new(),
            accounts: 0,
        };
        let created = receipt.to.is_none();
        let reverted = receipt.status.is_some_and(|status| status.is_zero());
        let address = receipt.to.or(receipt.contract_address);
        let (Some(address), false) = (address, reverted) else { return Ok(Some(traced)) };
        let least = json!({
            "disableMemory": true,
            "disableStack": false,
            "disableStorage": true,
            "enableMemory": false,
            "enableReturnData": false,
        });
        let asked = Instant::now();
        let Some(answer) = answered(self.debug(hash, least).await)? else { return Ok(None) };
        (traced.at, traced.took) = (Stamp::now(), asked.elapsed());
        let written = struct_logs(answer.get(), address, created)?;
        drop(answer);
        traced.slots = self.with_values_before(written, block).await?;
        let mut addresses: Vec<Address> = traced.slots.iter().map(|slot| slot.address).collect();
        addresses.dedup();
        traced.accounts = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        Ok(Some(traced))
    }

    /// Asks for the values that slots had at the end of the block before, where they were not read.
    /// Not exact where an earlier transaction of the same block changed one.
    async fn with_values_before(
        &self,
        written: Vec<WrittenSlot>,
        block: u64,
    ) -> Result<Vec<TracedSlot>, TraceError> {
        let at = U64::from(block.saturating_sub(1));
        let unread = written.iter().filter(|slot| slot.before.is_none());
        let asks: Vec<Ask> = unread
            .map(|slot| -> Ask { ("eth_getStorageAt", json!([slot.address, slot.slot, at])) })
            .collect();
        if asks.len() > MOST_VALUES {
            return Err(TraceError::TooManySlots(asks.len()));
        }
        let mut answers = self.node.batch(Purpose::Traces, asks).await?.into_iter();
        let mut slots = Vec::with_capacity(written.len());
        for WrittenSlot { address, slot, before, after } in written {
            let before = match before {
                Some(before) => before,
                None => {
                    let answer = answers.next().transpose().map_err(NodeError::Refused)?;
                    let word = answer.map(|answer| read::<U256>("a word", &answer)).transpose()?;
                    word.unwrap_or_default().into()
                }
            };
            if before != after {
                slots.push(TracedSlot { address, slot, before, after });
            }
        }
        Ok(slots)
    }
}

/// An answer; none when the node does not know what is asked.
fn answered(answer: Result<Box<RawValue>, NodeError>) -> Result<Option<Box<RawValue>>, NodeError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(NodeError::Refused(error)) if NOT_KNOWN.contains(&error.code()) => Ok(None),
        Err(error) => Err(error),
    }
}
