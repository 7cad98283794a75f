//! What the chain watcher tells: blocks with their receipts, code, and the node's comings and
//! goings.

use std::fmt;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256};

use super::revert::RevertCause;
use super::state::Tracer;
use super::time::{Interval, Stamp};
use super::transaction::BlobGas;

/// Something the watcher saw.
#[derive(Clone, Debug)]
pub enum ChainEvent {
    /// A block with everything in it.
    Block(Box<MinedBlock>),
    /// The code at an address, as asked for; empty for an account without code.
    Code(ContractCode),
    /// The node answers (again). `instance` changes when the node was restarted, where it tells.
    NodeUp { chain_id: u64, instance: Option<B256>, client: String, head: Head },
    /// The node cannot be reached.
    NodeDown {
        error: String,
        /// The question of the monitor's own that the node had not answered, the one that waited
        /// longest; none where it had answered all.
        unanswered: Option<Unanswered>,
    },
    /// The chain is another one than before: new instance, height gone back, or genesis changed.
    NodeRestarted,
    /// The chain lost its newest blocks: a reorganisation, or it was set back.
    WentBack {
        /// The head before.
        from: u64,
        /// The newest block that is left of those told: the ones after it are gone, and those that
        /// took their place are told next.
        to: u64,
        /// Hashes of the blocks that are gone, as far as they were told.
        blocks: Box<[B256]>,
    },
    /// What a transaction changed, as asked for.
    Traced(Box<Traced>),
    /// A trace that was asked for will not come: the node refused it, too many wait, or it would
    /// keep the node busy for too long.
    Untraced { hash: B256 },
    /// Where a submitted transaction is, as asked for.
    Sighted { hash: B256, sight: Sight },
    /// The watcher has asked the node something: what the monitor itself costs the node.
    Asked(NodeCost),
}

/// JSON-RPC calls of one method that the watcher made for one purpose since it last reported them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCost {
    /// One of [`ChainEvent::PURPOSES`].
    pub purpose: &'static str,
    pub method: &'static str,
    /// Calls, each item of a batch being one.
    pub calls: u32,
    /// Calls that were not made, because they would have kept the node busy for too long.
    pub skipped: u32,
    /// How long the answers took together. A batch counts once, for its first method.
    pub took: Duration,
    /// The longest wait for one answer, or for one batch of answers.
    pub longest: Duration,
}

/// A question of the watcher's that the node has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// One of [`ChainEvent::PURPOSES`].
    pub purpose: &'static str,
    /// The method, of a batch the first one's.
    pub method: &'static str,
    /// Calls that were asked together: more than one is a batch.
    pub calls: u32,
    /// For how long it had been waiting.
    pub waited: Duration,
}

/// `it had not answered dappscope's own debug_traceTransaction (for traces) for 12.30 s`
impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, method, calls, waited } = self;
        let batch = if *calls > 1 { format!(", a batch of {calls} calls") } else { String::new() };
        let seconds = waited.as_secs_f64();
        write!(
            f,
            "it had not answered dappscope's own {method} (for {purpose}{batch}) for {seconds:.2} s"
        )
    }
}

impl ChainEvent {
    /// What the watcher asks for.
    pub const PURPOSES: [&'static str; 6] =
        ["greeting", "blocks", "code", "reverts", "traces", "pending"];
}

/// What the recorder asks of the watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainQuestion {
    /// For the code at an address; answered with [`ChainEvent::Code`].
    Code(Address),
    /// For what a mined transaction changed; answered with [`ChainEvent::Traced`] or
    /// [`ChainEvent::Untraced`]. At most one is worked on at a time; those that come meanwhile
    /// wait, and of many the newest are left out.
    Trace {
        hash: B256,
        /// The block that holds it.
        block: u64,
        /// Gas units that it used: what the node has to execute again.
        gas: u64,
    },
    /// For where a submitted transaction is; answered with [`ChainEvent::Sighted`].
    Sight(B256),
    /// To look now whether the chain is still the same: a call that may set it back has passed.
    Look,
}

/// Where a chain is: what its newest block's header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub number: u64,
    /// In Unix seconds, by the node.
    pub timestamp: u64,
    pub gas_limit: u64,
    /// In wei.
    pub base_fee: Option<u64>,
}

/// A block's header fields and its transactions with their receipts.
#[derive(Clone, Debug)]
pub struct MinedBlock {
    /// When the announcement of it was read.
    pub seen: Stamp,
    pub number: u64,
    pub hash: B256,
    pub parent: B256,
    /// In Unix seconds, by the node.
    pub timestamp: u64,
    pub gas_used: u64,
    pub gas_limit: u64,
    /// In wei.
    pub base_fee: Option<u64>,
    pub transactions: Vec<MinedTransaction>,
    /// Transactions the block holds whose receipts could not be had.
    pub missing: u32,
    /// Whether the block was announced while being watched; false for one that was caught up on,
    /// whose `seen` says nothing about when it came.
    pub live: bool,
}

/// A transaction in a block, with its receipt.
#[derive(Clone, Debug)]
pub struct MinedTransaction {
    pub hash: B256,
    pub from: Address,
    pub to: Option<Address>,
    pub input: Bytes,
    pub nonce: u64,
    pub value: U256,
    pub gas_limit: u64,
    pub gas_used: u64,
    pub gas_price: u128,
    /// The receipt's status.
    pub success: bool,
    /// The receipt's `contractAddress`.
    pub created: Option<Address>,
    /// Why it reverted, or why that is not known; none of one that did not.
    pub revert: Option<RevertCause>,
    /// Of one that carries blobs.
    pub blob: Option<BlobGas>,
    /// The transaction's type: 0 legacy, 2 dynamic fee.
    pub envelope: Option<u8>,
    /// The accounts whose delegation it sets (EIP-7702), from their signatures.
    pub authorities: Box<[Address]>,
    /// The receipt's logs, those that are alike counted together.
    pub logs: Box<[EmittedLog]>,
    /// Logs beyond the bound of different ones.
    pub logs_omitted: u32,
}

/// What of a log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmittedLog {
    /// The contract that emitted it.
    pub address: Address,
    /// Its first topic; none for a log without topics.
    pub topic: Option<B256>,
    /// How many such logs there are.
    pub count: u32,
}

/// An address and its code.
#[derive(Clone, Debug)]
pub struct ContractCode {
    pub address: Address,
    pub code: Bytes,
    /// Of a proxy (ERC-1967, or a beacon's), the contract behind it.
    pub implementation: Option<Address>,
    /// From the question leaving to its answer being read: the code was there at a time in between.
    pub asked: Interval,
}

/// Where a submitted transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The node does not know it (any more).
    Gone,
    /// It waits to be mined.
    Pending { from: Address },
    /// A block holds it.
    Mined,
}

/// What a transaction changed, as the node's tracer tells.
#[derive(Clone, Debug)]
pub struct Traced {
    pub hash: B256,
    pub block: u64,
    /// When the answer was read.
    pub at: Stamp,
    pub tracer: Tracer,
    /// How long the node took.
    pub took: Duration,
    /// The storage slots whose value is another one than before.
    pub slots: Vec<TracedSlot>,
    /// Accounts whose balance, nonce, code or storage changed.
    pub accounts: u32,
}

/// A storage slot before and after a transaction; zero is an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedSlot {
    pub address: Address,
    pub slot: B256,
    pub before: B256,
    pub after: B256,
}
