//! A transaction, from its submission to its receipt.

use std::time::Duration;

use alloy::primitives::{Address, B256, U256};

use super::call::InnerCall;
use super::label::{ContractName, EventName, FunctionName, Reason};
use super::revert::Unexplained;
use super::rollback::RollbackCause;
use super::time::UnixMicros;
use super::trace::TraceContext;

/// What a transaction is meant to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionKind {
    /// Moves ether, carries no input.
    Transfer,
    /// Calls a contract.
    Call,
    /// Creates a contract.
    Deployment,
}

impl TransactionKind {
    pub const ALL: [Self; 3] = [Self::Transfer, Self::Call, Self::Deployment];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Call => "call",
            Self::Deployment => "deployment",
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionStatus {
    /// Mined, receipt status 1.
    Success,
    /// Mined, receipt status 0.
    Reverted,
    /// Refused by the node and never mined.
    Rejected,
    /// Accepted, and given up on: no receipt within the time that pending ones are kept.
    Lost,
    /// Never mined: another transaction with its sender and nonce was mined in its place.
    Replaced,
    /// Never mined: the node holds it no more.
    Dropped,
    /// The node accepted it, and a rollback took it away before its receipt was seen: whether it was
    /// mined, and what it used, is not known.
    Unknown,
}

impl TransactionStatus {
    pub const ALL: [Self; 7] = [
        Self::Success,
        Self::Reverted,
        Self::Rejected,
        Self::Lost,
        Self::Replaced,
        Self::Dropped,
        Self::Unknown,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Reverted => "reverted",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
            Self::Replaced => "replaced",
            Self::Dropped => "dropped",
            Self::Unknown => "unknown",
        }
    }
}

/// Events of one name that a contract emitted in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmittedEvents {
    /// The contract at the address that emitted them.
    pub contract: ContractName,
    /// From an ABI; `_unknown` when none has it.
    pub event: EventName,
    pub count: u32,
}

/// What a transaction pays for the blobs that it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobGas {
    /// In units of blob gas: 131,072 a blob.
    pub used: u64,
    /// Price of a unit, in wei. None where neither the receipt nor the block's header determines it.
    pub price: Option<u128>,
}

/// A transaction whose fate is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// When its submission's first byte arrived; for one that did not pass the relay, when its
    /// block was seen.
    pub at: UnixMicros,
    /// Zero for a rejected one that the node gave no hash.
    pub hash: B256,
    pub kind: TransactionKind,
    pub status: TransactionStatus,
    pub from: Option<Address>,
    /// The called address; none for a deployment.
    pub to: Option<Address>,
    /// The created contract's address, from the receipt.
    pub created: Option<Address>,
    /// From the artifact; `_unknown` when none fits.
    pub contract: ContractName,
    /// `constructor` for a deployment; `transfer` of plain ether is the empty-input `receive`.
    pub function: FunctionName,
    /// The input's first four bytes, if it has them.
    pub selector: Option<[u8; 4]>,
    pub nonce: Option<u64>,
    /// In wei.
    pub value: U256,
    /// The gas limit that the sender set, in gas units.
    pub gas_limit: Option<u64>,
    /// Gas used, in gas units, from the receipt's `gasUsed`.
    pub gas_used: Option<u64>,
    /// Price paid for a unit of gas, in wei, from the receipt's `effectiveGasPrice`.
    pub gas_price: Option<u128>,
    pub block: Option<u64>,
    /// Why it reverted or was rejected.
    pub reason: Option<Reason>,
    /// Submission's last byte leaving the relay → the block that holds it being seen. None when it
    /// did not pass the relay. Never derived from a block's timestamp.
    pub confirmation: Option<Duration>,
    /// How long the submitting call took, as its client saw it.
    pub submission: Option<Duration>,
    pub trace: Option<TraceContext>,
    /// `reason` for people: the error with its arguments, or the text. At most 300 characters.
    pub message: Option<Box<str>>,
    /// Where the called account's delegation leads (EIP-7702); `contract` is the contract there.
    pub delegation: Option<Address>,
    /// 0 legacy, 1 access list, 2 dynamic fee, 3 blobs, 4 set code.
    pub envelope: Option<u8>,
    /// What it emitted, by contract and name.
    pub events: Box<[EmittedEvents]>,
    /// Of a multicall, what it called, in order.
    pub inner: Box<[InnerCall]>,
    /// Of a deployment, the size of the code that is on chain, in bytes.
    pub code_bytes: Option<u32>,
    /// The gas limit of its block, in gas units.
    pub block_gas_limit: Option<u64>,
    /// What took it off the chain, where that was known when it was recorded; later ones are in a
    /// [`Rollback`](super::Rollback).
    pub rolled_back_by: Option<RollbackCause>,
    /// Of a reverted one whose reason is not known, why.
    pub unexplained: Option<Unexplained>,
    /// Logs that `events` does not count, for there were too many different ones.
    pub events_omitted: u32,
    pub blob: Option<BlobGas>,
}

impl Transaction {
    /// Whether the call that submitted it was seen; blocks tell of others too.
    pub const fn through_relay(&self) -> bool {
        self.submission.is_some()
    }

    /// What was paid for it, in wei: the fees for its execution and for its blobs. None before it is
    /// mined, and where the price of its blobs is not known.
    pub fn fee(&self) -> Option<U256> {
        Some(self.execution_fee()? + self.blob_fee()?)
    }

    /// What was paid for its gas, in wei; none before it is mined.
    pub fn execution_fee(&self) -> Option<U256> {
        Some(U256::from(self.gas_used?) * U256::from(self.gas_price?))
    }

    /// What was paid for its blobs, in wei; zero without blobs, none where their price is not known.
    pub fn blob_fee(&self) -> Option<U256> {
        match self.blob {
            Some(blob) => Some(U256::from(blob.used) * U256::from(blob.price?)),
            None => Some(U256::ZERO),
        }
    }

    /// Its share of the gas that its block may hold.
    #[expect(clippy::cast_precision_loss, reason = "gas stays far below 2^53")]
    pub fn block_share(&self) -> Option<f64> {
        let (used, limit) = (self.gas_used?, self.block_gas_limit?);
        (limit > 0).then(|| used as f64 / limit as f64)
    }
}
