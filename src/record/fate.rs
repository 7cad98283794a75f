//! The two halves of a transaction, what was submitted and what was mined, and the sample made of
//! them.
//!
//! Which half belongs to which, and how long one waits for the other, is [`super::transactions`]'
//! business.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256};

use crate::decode::contracts::Contracts;
use crate::decode::revert::{RefusalKind, RevertInfo};
use crate::decode::submission::Submission;
use crate::model::{
    ContractCall, MinedTransaction, Reason, Sample, Stamp, TraceContext, Transaction,
    TransactionKind, TransactionStatus, UnixMicros,
};

/// The call that submitted a transaction, and its answer.
#[derive(Clone, Debug)]
pub struct SubmissionCall {
    /// When its first byte arrived.
    pub at: UnixMicros,
    /// When its last byte left for the node: no later than the node could read it.
    pub left: Stamp,
    /// First request byte in to last response byte out.
    pub total: Duration,
    pub outcome: SubmissionOutcome,
    pub trace: Option<TraceContext>,
}

/// What the node answered to a submission.
#[derive(Clone, Debug)]
pub enum SubmissionOutcome {
    /// With a result: the hash, where it could be read.
    Accepted(Option<B256>),
    /// With an error. When that names a transaction, it was mined all the same.
    Refused(RevertInfo),
    /// Not at all, or nothing that could be looked into.
    Unanswered,
}

/// As much of an input as naming takes: pending transactions must stay small.
#[derive(Clone, Copy, Default)]
pub struct Head {
    bytes: [u8; 4],
    length: usize,
}

/// What a transaction does, whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    to: Option<Address>,
    value: U256,
    /// A hash of the input, which is too long to keep.
    input: u64,
}

/// What was submitted.
pub struct Pending {
    pub at: UnixMicros,
    pub left: Stamp,
    pub total: Duration,
    pub trace: Option<TraceContext>,
    /// Of one that was refused, yet may have been mined.
    pub refusal: Option<(RefusalKind, Option<Bytes>)>,
    pub from: Option<Address>,
    pub to: Option<Address>,
    pub head: Head,
    pub content: Content,
    /// A deployment's name, from the input that is not kept.
    pub deployed: Option<ContractCall>,
    pub nonce: Option<u64>,
    pub value: U256,
    pub gas_limit: Option<u64>,
}

/// What was mined, until it is told.
pub struct Held {
    pub mined: MinedTransaction,
    pub head: Head,
    pub content: Content,
    pub deployed: Option<ContractCall>,
    pub block: BlockPlace,
    pub submission: Option<Pending>,
    /// A sample of it was already made, from another block.
    pub again: bool,
}

/// Where it was mined.
#[derive(Clone, Copy)]
pub struct BlockPlace {
    pub number: u64,
    pub seen: Stamp,
    pub at: UnixMicros,
    pub live: bool,
}

impl Pending {
    pub fn new(
        submission: Submission,
        call: &SubmissionCall,
        refusal: Option<&RevertInfo>,
        contracts: &mut Contracts,
    ) -> Self {
        let Submission { from, to, input, nonce, value, gas_limit, hash: _ } = submission;
        Self {
            at: call.at,
            left: call.left,
            total: call.total,
            trace: call.trace,
            refusal: refusal.map(|info| (info.kind, info.data.clone())),
            from,
            to,
            head: Head::of(&input),
            content: Content::of(to, value, &input),
            deployed: to.is_none().then(|| contracts.target(None, &input)),
            nonce,
            value,
            gas_limit,
        }
    }

    /// The sample of a transaction that is in no block.
    pub fn unmined(
        self,
        hash: B256,
        status: TransactionStatus,
        contracts: &mut Contracts,
    ) -> Sample {
        let call = self.deployed.unwrap_or_else(|| contracts.target(self.to, self.head.as_slice()));
        let reason = self.refusal.map(|(kind, data)| match data {
            Some(data) if !data.is_empty() => contracts.reason(self.to, &data),
            _ => kind.reason(),
        });
        Sample::Transaction(Box::new(Transaction {
            at: self.at,
            hash,
            kind: kind(self.to, self.head),
            status,
            from: self.from,
            to: self.to,
            created: None,
            contract: call.contract,
            function: call.function,
            selector: self.head.selector(),
            nonce: self.nonce,
            value: self.value,
            gas_limit: self.gas_limit,
            gas_used: None,
            gas_price: None,
            block: None,
            reason,
            confirmation: None,
            submission: Some(self.total),
            trace: self.trace,
            message: None,
            envelope: None,
            events: Box::default(),
            inner: Box::default(),
            code_bytes: None,
            block_gas_limit: None,
        }))
    }
}

impl Held {
    /// The sample of a mined transaction, complete or as complete as it got.
    pub fn into_sample(self, contracts: &mut Contracts) -> Sample {
        let Self { mined, head, content: _, deployed, block, submission, again: _ } = self;
        let call = deployed.unwrap_or_else(|| contracts.target(mined.to, head.as_slice()));
        let status =
            if mined.success { TransactionStatus::Success } else { TransactionStatus::Reverted };
        let refusal = submission.as_ref().and_then(|s| s.refusal.as_ref());
        let reason = (!mined.success).then(|| reason(&mined, refusal, contracts));
        Sample::Transaction(Box::new(Transaction {
            at: submission.as_ref().map_or(block.at, |s| s.at),
            hash: mined.hash,
            kind: kind(mined.to, head),
            status,
            from: Some(mined.from),
            to: mined.to,
            created: mined.created,
            contract: call.contract,
            function: call.function,
            selector: head.selector(),
            nonce: Some(mined.nonce),
            value: mined.value,
            gas_limit: Some(mined.gas_limit),
            gas_used: Some(mined.gas_used),
            gas_price: Some(mined.gas_price),
            block: Some(block.number),
            reason,
            confirmation: submission
                .as_ref()
                .filter(|_| block.live)
                .map(|s| block.seen.since(s.left)),
            submission: submission.as_ref().map(|s| s.total),
            trace: submission.and_then(|s| s.trace),
            message: None,
            envelope: None,
            events: Box::default(),
            inner: Box::default(),
            code_bytes: None,
            block_gas_limit: None,
        }))
    }
}

impl Content {
    pub fn of(to: Option<Address>, value: U256, input: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        Self { to, value, input: hasher.finish() }
    }
}

impl Head {
    pub fn of(input: &[u8]) -> Self {
        let length = input.len().min(4);
        let mut bytes = [0; 4];
        bytes[..length].copy_from_slice(&input[..length]);
        Self { bytes, length }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn selector(self) -> Option<[u8; 4]> {
        (self.length == 4).then_some(self.bytes)
    }
}

fn kind(to: Option<Address>, head: Head) -> TransactionKind {
    match to {
        None => TransactionKind::Deployment,
        Some(_) if head.length == 0 => TransactionKind::Transfer,
        Some(_) => TransactionKind::Call,
    }
}

/// Why a mined transaction reverted: what the submission's error told, else what the watcher found
/// out, else what the gas tells.
fn reason(
    mined: &MinedTransaction,
    refusal: Option<&(RefusalKind, Option<Bytes>)>,
    contracts: &mut Contracts,
) -> Reason {
    let told = refusal.and_then(|(_, data)| data.as_ref()).or(mined.revert.as_ref());
    match (told, refusal) {
        (Some(data), _) if !data.is_empty() => contracts.reason(mined.to, data),
        // The node's words say more than that nothing was returned.
        (_, Some((kind, _))) if *kind != RefusalKind::Reverted => kind.reason(),
        _ if mined.gas_used >= mined.gas_limit => RefusalKind::OutOfGas.reason(),
        (Some(_), _) => contracts.reason(mined.to, &[]),
        (None, _) => Reason::unknown(),
    }
}
