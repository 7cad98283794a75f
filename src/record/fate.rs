//! The two halves of a transaction, what was submitted and what was mined, and the sample made of
//! them.
//!
//! Which half belongs to which, and how long one waits for the other, is [`super::transactions`]'
//! business.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};

use super::passage::Caller;
use super::reverts::{Why, why_refused, why_reverted};
use super::unnamed::opened;
use crate::decode::contracts::Contracts;
use crate::decode::multicall::Inner;
use crate::decode::receipt::Receipt;
use crate::decode::revert::RevertInfo;
use crate::decode::submission::{Signed, Submission};
use crate::model::{
    ContractCall, EmittedEvents, EventName, Interval, MinedTransaction, Reason, RollbackCause,
    Sample, Stamp, TraceContext, Transaction, TransactionKind, TransactionStatus, UnixMicros,
};

/// How much later than the answer to a submission its block may be announced, and still have been
/// mined within that call.
const ANNOUNCED_LATE: Duration = Duration::from_millis(5);

/// The call that submitted a transaction, and its answer.
#[derive(Clone, Debug)]
pub struct SubmissionCall {
    /// When its first byte arrived.
    pub at: UnixMicros,
    /// When its last byte left for the node: no later than the node could read it.
    pub left: Stamp,
    /// First request byte in to last response byte out.
    pub total: Duration,
    /// Last request byte out to last response byte in.
    pub upstream: Duration,
    pub outcome: SubmissionOutcome,
    pub caller: Caller,
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
    pub upstream: Duration,
    pub trace: Option<TraceContext>,
    /// Of one that was refused, yet may have been mined.
    pub refusal: Option<RevertInfo>,
    /// Its receipt, where a client read it through the relay.
    pub receipt: Option<Box<SeenReceipt>>,
    /// What took it off the chain, where the watcher has not reported its block yet.
    pub rolled_back: Option<RollbackCause>,
    pub from: Option<Address>,
    signed: Option<Box<Signed>>,
    pub caller: Caller,
    /// Whether it was told that it waits for nonces that never come.
    pub ahead: bool,
    /// When the node was last asked about it.
    pub sighted: Stamp,
    pub to: Option<Address>,
    pub head: Head,
    pub content: Content,
    /// What it calls, where that was known when it was submitted: of a deployment from the input, which
    /// is not kept.
    pub named: Option<ContractCall>,
    pub nonce: Option<u64>,
    pub value: U256,
    pub gas_limit: Option<u64>,
}

/// A receipt that passed the relay.
pub struct SeenReceipt {
    pub receipt: Receipt,
    /// Who emitted which event how often.
    pub events: Vec<(Address, EventName, u32)>,
    /// Logs beyond the bounds.
    pub events_omitted: u32,
    /// When it was read.
    pub seen: Stamp,
}

/// What was mined, until it is told.
pub struct Held {
    pub mined: MinedTransaction,
    /// Who emitted which event how often.
    pub events: Vec<(Address, EventName, u32)>,
    /// Words of its input, and its accounts: what the keys of mappings may be.
    pub keys: Box<[B256]>,
    /// Of a multicall, what it called.
    pub inner: Vec<Inner>,
    pub head: Head,
    pub content: Content,
    /// What it calls, where that was known when it was mined: an upgrade changes the names.
    pub named: Option<ContractCall>,
    pub block: BlockPlace,
    pub submission: Option<Pending>,
    /// Of a deployment, the size of the code on chain, once it was told.
    pub code_bytes: Option<u32>,
    /// What took its block off the chain while it waited here.
    pub rolled_back: Option<RollbackCause>,
    /// It was recorded from another block, and no rollback that would explain it is known.
    pub is_moved: bool,
}

/// Where it was mined.
#[derive(Clone, Copy)]
pub struct BlockPlace {
    pub number: u64,
    pub hash: B256,
    /// In gas units.
    pub gas_limit: u64,
    /// Transactions in it.
    pub transactions: usize,
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
        let Submission { from, signed, to, input, nonce, value, gas_limit, .. } = submission;
        let ran = Some(Interval::lasting(call.left, call.upstream));
        let is_known =
            to.is_none_or(|to| contracts.missing_at(to, !input.is_empty(), ran).is_none());
        let named = is_known.then(|| contracts.target_at(to, &input, ran));
        Self {
            at: call.at,
            left: call.left,
            total: call.total,
            upstream: call.upstream,
            trace: call.trace,
            refusal: refusal.cloned(),
            receipt: None,
            rolled_back: None,
            from,
            signed,
            caller: call.caller.clone(),
            ahead: false,
            sighted: call.left,
            to,
            head: Head::of(&input),
            content: Content::of(to, value, &input),
            named,
            nonce,
            value,
            gas_limit,
        }
    }

    /// One of which only the answer could be read, with the transaction's hash.
    pub fn unread(call: SubmissionCall) -> Self {
        let refusal = match call.outcome {
            SubmissionOutcome::Refused(info) => Some(info),
            SubmissionOutcome::Accepted(_) | SubmissionOutcome::Unanswered => None,
        };
        Self {
            at: call.at,
            left: call.left,
            total: call.total,
            upstream: call.upstream,
            trace: call.trace,
            refusal,
            receipt: None,
            rolled_back: None,
            from: None,
            signed: None,
            caller: call.caller,
            ahead: false,
            sighted: call.left,
            to: None,
            head: Head::default(),
            content: Content::of(None, U256::ZERO, &[]),
            named: None,
            nonce: None,
            value: U256::ZERO,
            gas_limit: None,
        }
    }

    /// When the node was given it.
    pub fn ran(&self) -> Interval {
        Interval::lasting(self.left, self.upstream)
    }

    /// Who sent it, if that can be told.
    pub fn sender(&mut self) -> Option<Address> {
        if self.from.is_none() {
            self.from = self.signed.take().and_then(|signed| signed.signer());
        }
        self.from
    }

    /// The sample of a transaction that is in no block.
    pub fn unmined(
        self,
        hash: B256,
        status: TransactionStatus,
        contracts: &mut Contracts,
    ) -> Sample {
        Sample::Transaction(Box::new(self.without_block(hash, status, contracts)))
    }

    /// The sample of a transaction whose block the watcher did not report, from what passed the
    /// relay. `mines_refused` says that the node mines what it refuses after running it.
    pub fn relayed(mut self, hash: B256, mines_refused: bool, contracts: &mut Contracts) -> Sample {
        let (seen, ran) = (self.receipt.take(), Some(self.ran()));
        let status = match (&seen, &self.refusal) {
            (Some(seen), _) if seen.receipt.success() => TransactionStatus::Success,
            (Some(_), _) => TransactionStatus::Reverted,
            (None, Some(refusal)) if refusal.transaction.is_some() || mines_refused => {
                TransactionStatus::Reverted
            }
            (None, Some(_)) => TransactionStatus::Rejected,
            (None, None) => TransactionStatus::Unknown,
        };
        let mut transaction = self.without_block(hash, status, contracts);
        if status == TransactionStatus::Reverted && transaction.reason.is_none() {
            transaction.reason = Some(Reason::unknown());
        }
        if let Some(seen) = seen {
            let SeenReceipt { receipt, events, events_omitted, .. } = *seen;
            transaction.from = receipt.from.or(transaction.from);
            transaction.created = receipt.contract_address;
            transaction.gas_used = Some(receipt.gas_used.to());
            transaction.gas_price = receipt.effective_gas_price.map(|price| price.to());
            transaction.block = receipt.block_number.map(|number| number.to());
            transaction.envelope = receipt.envelope.and_then(|it| it.try_into().ok());
            transaction.events_omitted = events_omitted;
            transaction.events = emitted(&events, contracts, ran);
        }
        Sample::Transaction(Box::new(transaction))
    }

    fn without_block(
        mut self,
        hash: B256,
        status: TransactionStatus,
        contracts: &mut Contracts,
    ) -> Transaction {
        // A restarted chain loses all at once: recovering every sender would take a second.
        let from = if status == TransactionStatus::Lost { self.from } else { self.sender() };
        let ran = Some(self.ran());
        let call =
            self.named.unwrap_or_else(|| contracts.target_at(self.to, self.head.as_slice(), ran));
        let Why { reason, message, .. } = match self.refusal {
            Some(refusal) => why_refused(refusal, self.to, contracts),
            None => Why::default(),
        };
        Transaction {
            at: self.at,
            hash,
            kind: kind(self.to, self.head),
            status,
            from,
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
            message,
            envelope: None,
            events: Box::default(),
            inner: Box::default(),
            code_bytes: None,
            block_gas_limit: None,
            unexplained: None,
            events_omitted: 0,
            blob: None,
            rolled_back_by: self.rolled_back,
            delegation: self.to.and_then(|to| contracts.delegation(to, ran)),
        }
    }
}

impl Held {
    /// What took it off the chain, as far as that is known.
    pub fn rollback(&self) -> Option<RollbackCause> {
        self.rolled_back.or(self.submission.as_ref().and_then(|it| it.rolled_back))
    }

    /// Whose code has to be known for its names, or for the size of what it deployed.
    pub fn missing(&self, contracts: &Contracts) -> Option<Address> {
        let unnamed = self.mined.to.filter(|_| self.named.is_none());
        let with_input = self.head.is_any();
        let unnamed = unnamed.and_then(|to| contracts.missing_at(to, with_input, self.ran()));
        let unmeasured = self.mined.success && self.code_bytes.is_none();
        unnamed.or_else(|| self.mined.created.filter(|_| unmeasured))
    }

    /// When its submission was given to the node, for one that passed the relay.
    pub fn ran(&self) -> Option<Interval> {
        self.submission.as_ref().map(Pending::ran)
    }

    /// How long mining took, where the node mined it alone while it answered the submission.
    pub fn mining(&self) -> Option<Duration> {
        let submission = self.submission.as_ref()?;
        let waited = self.block.seen.since(submission.left);
        let inside = waited <= submission.upstream + ANNOUNCED_LATE;
        (self.block.live && self.block.transactions == 1 && inside).then_some(submission.upstream)
    }

    /// The sample of a mined transaction, complete or as complete as it got.
    pub fn into_sample(self, contracts: &mut Contracts) -> Sample {
        let rolled_back_by = self.rollback();
        let ran = self.ran();
        let Self { mined, events, inner, head, named, block, submission, code_bytes, .. } = self;
        let events = emitted(&events, contracts, ran);
        let inner = opened(&inner, &[], contracts, ran);
        // What was known when it was sent may have been upgraded since, unless the chain went back to it.
        let sent = rolled_back_by.and(submission.as_ref().and_then(|submission| submission.named));
        let named = named.or(sent);
        let call = named.unwrap_or_else(|| contracts.target_at(mined.to, head.as_slice(), ran));
        let status =
            if mined.success { TransactionStatus::Success } else { TransactionStatus::Reverted };
        let refusal = submission.as_ref().and_then(|s| s.refusal.as_ref());
        let Why { reason, message, unexplained } = match mined.success {
            true => Why::default(),
            false => why_reverted(&mined, refusal, contracts),
        };
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
            message,
            envelope: mined.envelope,
            events,
            inner,
            code_bytes,
            block_gas_limit: Some(block.gas_limit),
            rolled_back_by,
            unexplained,
            events_omitted: mined.logs_omitted,
            blob: mined.blob,
            delegation: mined.to.and_then(|to| contracts.delegation(to, ran)),
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

    /// Whether there is an input.
    pub fn is_any(self) -> bool {
        self.length > 0
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

/// Events by contract and name.
fn emitted(
    found: &[(Address, EventName, u32)],
    contracts: &mut Contracts,
    ran: Option<Interval>,
) -> Box<[EmittedEvents]> {
    let mut events: Vec<EmittedEvents> = Vec::new();
    for &(address, event, ref count) in found {
        let contract = contracts.contract_at(address, ran);
        match events.iter_mut().find(|it| it.contract == contract && it.event == event) {
            Some(same) => same.count = same.count.saturating_add(*count),
            None => events.push(EmittedEvents { contract, event, count: *count }),
        }
    }
    events.into()
}
