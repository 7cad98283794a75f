//! What calls mean on the chain: names what they touch, follows what they submit, has the chain watcher
//! asked for the code of addresses that have no name yet ([`CodeRequests`]), and has it look when a call
//! may have replaced the chain. What changes the code at addresses is in [`changes`].
//!
//! Stands between the makers of calls, who know envelopes, and [`Transactions`] and [`Contracts`],
//! who know neither calls nor sinks.

use std::collections::VecDeque;
use std::time::Duration;

use alloy::primitives::{Address, B256, U64};
use tokio::sync::mpsc::Sender;

use super::code_requests::{CodeRequests, Request};
use super::creations::Creations;
use super::fate::{SubmissionCall, SubmissionOutcome};
use super::findings::Subject;
use super::nonces::Nonces;
use super::outbox::Outbox;
use super::passage::{Caller, Ending, Passage};
use super::rollbacks::RelayedRollback;
use super::tracing::{Traces, Tracing};
use super::transactions::{GRACE, Told, Transactions};
use super::trees::MinedPart;
use super::unnamed::{Touched, Unnamed, WaitingForNames};
use super::unread_sends::{UnreadSend, UnreadSends, result_hash};
use crate::decode::artifact::Artifact;
use crate::decode::contracts::Contracts;
use crate::decode::jsonrpc::Answer;
use crate::decode::revert::{RefusalKind, RevertInfo};
use crate::decode::simulation;
use crate::decode::submission::{CallTarget, Submission, call_target};
use crate::model::{
    ChainQuestion, Clock, ContractCall, ContractCode, Event, FunctionName, Interval, Method,
    MinedBlock, Outcome, RollbackCause, RpcCall, Sample, Sight, Stamp, TraceContext, Traced,
    Transaction, TransactionStatus, UnixMicros,
};

/// The method whose result is an amount of gas.
const ESTIMATE: &str = "eth_estimateGas";
/// How often the age of the oldest pending transaction is told.
const PENDING_TOLD: Duration = Duration::from_secs(1);

mod changes;

pub(super) struct Ledger {
    contracts: Contracts,
    transactions: Transactions,
    unnamed: WaitingForNames,
    unread_sends: UnreadSends,
    tracing: Tracing,
    nonces: Nonces,
    ahead: Vec<Ahead>,
    /// Transactions with a trace that were mined, by its id.
    mined: Vec<(u128, MinedPart)>,
    wanted: Sender<ChainQuestion>,
    requests: CodeRequests,
    creations: Creations,
    /// When a snapshot was last taken or a rollback last passed.
    controlled: Option<Stamp>,
    /// Code that was answered while the chain is being rolled back again and again: see [`changes`].
    settling: VecDeque<ContractCode>,
    now: Stamp,
    /// What is on its way out; empty between two calls.
    out: Told,
    /// What was told last.
    last: Last,
}

/// A transaction whose nonce its chain has not come to, and will not.
pub(super) struct Ahead {
    pub(super) transaction: Option<B256>,
    pub(super) account: Option<Address>,
    pub(super) caller: Caller,
}

#[derive(Default)]
struct Last {
    overflow: [u64; 4],
    pending: u64,
    pending_at: Stamp,
    left_out: usize,
}

impl Ledger {
    pub(super) fn new(contracts: Contracts, traces: Traces, wanted: Sender<ChainQuestion>) -> Self {
        Self {
            contracts,
            transactions: Transactions::new(),
            unnamed: WaitingForNames::default(),
            unread_sends: UnreadSends::default(),
            tracing: Tracing::new(traces),
            nonces: Nonces::default(),
            ahead: Vec::new(),
            mined: Vec::new(),
            requests: CodeRequests::new(wanted.clone()),
            wanted,
            creations: Creations::default(),
            controlled: None,
            settling: VecDeque::new(),
            now: Stamp::default(),
            out: Told::default(),
            last: Last::default(),
        }
    }

    /// A contract was compiled: addresses that nobody could name are worth asking for again.
    pub(super) fn learn(&mut self, artifact: Artifact) {
        self.contracts.add(artifact);
        self.requests.forget();
    }

    /// A scan of the artifacts is over: says how many were left out, when that is another number.
    pub(super) fn scanned(&mut self) {
        let left_out = self.contracts.left_out();
        if left_out > self.last.left_out {
            tracing::warn!(
                kept = self.contracts.len(),
                left_out,
                "artifacts beyond chain.max_artifacts are left out, and their contracts have no names: \
                 raise it"
            );
        }
        self.last.left_out = left_out;
    }

    /// What the params of a call that runs code and keeps nothing of it touch.
    pub(super) fn touched(&mut self, method: Method, params: &[u8]) -> Option<Touched> {
        if let Some(calls) = simulation::calls(method.as_str(), params) {
            for call in &calls {
                self.want(call.to, !call.input.is_empty());
            }
            return Some(Touched::Calls(calls));
        }
        let CallTarget { to, input } = call_target(params)?;
        Some(self.function(to, input))
    }

    /// The function that an input means.
    fn function(&mut self, to: Option<Address>, input: Vec<u8>) -> Touched {
        match to {
            Some(to) => {
                // While the node answers the call, it can tell what is there, too.
                self.want(to, !input.is_empty());
                Touched::Function { to, input }
            }
            None => Touched::Creation(self.contracts.target(None, &input)),
        }
    }

    /// A call that touches something has ended, which the node ran in the interval `at`: makes its
    /// sample, when its names are known.
    pub(super) fn called(
        &mut self,
        mut call: RpcCall,
        touched: Touched,
        answer: Option<Answer<'_>>,
        at: Interval,
        outbox: &mut Outbox,
    ) {
        let (failure, result) = match answer {
            Some(Answer::Error { text, .. }) => (Some(RevertInfo::parse(text)), None),
            Some(Answer::Result(result)) => (None, Some(result)),
            None => (None, None),
        };
        if let (ESTIMATE, Some(result)) = (call.method.as_str(), result) {
            let gas = serde_json::from_slice::<U64>(result).ok().map(|gas| gas.to());
            call.detail.get_or_insert_default().gas = gas;
        }
        let unnamed = Unnamed::new(call, at, touched, failure, result);
        let unnamed = match unnamed.missing(&self.contracts) {
            Some(missing) if self.requests.ask(missing, self.now) != Request::Refused => {
                self.unnamed.put(missing, unnamed, self.now.max(at.end))
            }
            // Nothing is missing, or what is will not come.
            _ => Some(unnamed),
        };
        if let Some(unnamed) = unnamed {
            outbox.sample(Sample::Call(unnamed.name(&mut self.contracts)));
        }
    }

    /// A call that touches nothing has ended: its sample, with the node's words where it was refused.
    pub(super) fn refused(mut call: RpcCall, answer: Option<Answer<'_>>) -> RpcCall {
        if let Some(Answer::Error { text, .. }) = answer {
            let RevertInfo { kind, words, .. } = RevertInfo::parse(text);
            let message = Some(words).filter(|words| !words.is_empty());
            let detail = call.detail.get_or_insert_default();
            (detail.reason, detail.message) = (Some(kind.reason()), message);
        }
        call
    }

    /// The name of what a finding's calls touch, as far as it is known.
    pub(super) fn name(&mut self, subject: Subject) -> ContractCall {
        match subject {
            Subject::Function(to, selector) => {
                let input = selector.as_ref().map_or(&[][..], |selector| &selector[..]);
                self.contracts.target(Some(to), input)
            }
            Subject::State(account) => ContractCall {
                contract: self.contracts.contract(account),
                function: FunctionName::unknown(),
            },
        }
    }

    /// Gives up waiting for names.
    pub(super) fn flush(&mut self, outbox: &mut Outbox) {
        for unnamed in self.unnamed.take_all() {
            outbox.sample(Sample::Call(unnamed.name(&mut self.contracts)));
        }
        while let Some(call) = self.unread_sends.pop_due(Stamp::from_nanos(u64::MAX)) {
            outbox.sample(Sample::Call(call));
        }
    }

    /// What the params of a send submit, and what that touches.
    pub(super) fn sending(
        &mut self,
        method: Method,
        params: &[u8],
    ) -> (Option<Touched>, Option<Box<Submission>>) {
        let Some(Ok(submission)) = Submission::parse(method.as_str(), params) else {
            return (None, None);
        };
        // What of a call names its function is enough: the input is held by the submission.
        let named = match submission.to {
            Some(_) => submission.input.len().min(4),
            None => submission.input.len(),
        };
        let touched = self.function(submission.to, submission.input[..named].to_vec());
        (Some(touched), Some(Box::new(submission)))
    }

    /// A send has ended; gives the transaction's hash, if it is known.
    pub(super) fn sent(
        &mut self,
        submission: Submission,
        at: UnixMicros,
        passage: &Passage,
        trace: Option<TraceContext>,
        ending: &Ending<'_>,
        outbox: &mut Outbox,
    ) -> Option<B256> {
        let signed = submission.hash;
        let (outcome, told) = match ending.answer {
            Some(Answer::Result(result)) => {
                let hash = result_hash(result);
                (SubmissionOutcome::Accepted(hash), hash)
            }
            Some(Answer::Error { text, .. }) => {
                let refusal = RevertInfo::parse(text);
                let hash = refusal.transaction;
                (SubmissionOutcome::Refused(refusal), hash)
            }
            // It never left, so there is no transaction.
            None if ending.outcome == Outcome::Connect => return signed,
            None => (SubmissionOutcome::Unanswered, None),
        };
        self.judge(&submission, &outcome, &passage.caller);
        let ran = Interval::lasting(passage.written, passage.upstream);
        self.submitted(&submission, &outcome, told.or(signed), ran);
        let call = SubmissionCall {
            at,
            left: passage.written,
            total: passage.total,
            upstream: passage.upstream,
            outcome,
            caller: passage.caller.clone(),
            trace,
        };
        self.transactions.submitted(submission, &call, &mut self.contracts, &mut self.out);
        self.hand_on(outbox);
        told.or(signed)
    }

    /// A call has ended whose request could not be read, and whose answer names a transaction or may:
    /// makes its sample, once that is known.
    pub(super) fn sent_unread(
        &mut self,
        mut call: RpcCall,
        sent: &UnreadSend,
        outbox: &mut Outbox,
    ) {
        let UnreadSend { hash, is_send, call: submission } = sent;
        let is_known =
            self.transactions.unread(*hash, submission, &mut self.contracts, &mut self.out);
        self.hand_on(outbox);
        if *is_send || is_known {
            call.transaction = Some(*hash);
            outbox.sample(Sample::Call(call));
        } else if let Some(before) = self.unread_sends.wait(*hash, self.now, call) {
            outbox.sample(Sample::Call(before));
        }
    }

    /// Looks whether a refusal means that a wallet is ahead of the chain.
    fn judge(&mut self, submission: &Submission, outcome: &SubmissionOutcome, caller: &Caller) {
        let SubmissionOutcome::Refused(refusal) = outcome else { return };
        if refusal.kind == RefusalKind::NonceTooHigh
            && submission.nonce.is_some_and(|nonce| self.nonces.refused_is_ahead(nonce))
        {
            let signer = || submission.signed.as_ref().and_then(|signed| signed.signer());
            self.ahead.push(Ahead {
                transaction: submission.hash,
                account: submission.from.or_else(signer),
                caller: caller.clone(),
            });
        }
    }

    /// Whether a block that the node does not have is of a chain before this one. The chain may have
    /// been replaced without its being noticed yet, so the watcher looks.
    pub(super) fn block_is_ahead(&self, number: Option<u64>) -> bool {
        let is_ahead = self.nonces.block_is_ahead(number);
        if !is_ahead {
            self.doubt();
        }
        is_ahead
    }

    /// The node answers (again); its chain ends at `head`.
    pub(super) const fn head(&mut self, head: u64) {
        self.nonces.head(head);
    }

    /// Takes out the transactions that were mined of a trace.
    pub(super) fn take_mined(&mut self) -> Vec<(u128, MinedPart)> {
        std::mem::take(&mut self.mined)
    }

    /// Takes out the wallets that were found to be ahead of the chain.
    pub(super) fn take_ahead(&mut self) -> Vec<Ahead> {
        std::mem::take(&mut self.ahead)
    }

    pub(super) fn block(&mut self, block: MinedBlock, clock: &Clock, outbox: &mut Outbox) {
        self.nonces.block(&block);
        for transaction in &block.transactions {
            if let Some(call) = self.unread_sends.mined(transaction.hash) {
                outbox.sample(Sample::Call(call));
            }
        }
        if !block.transactions.is_empty() {
            self.contracts.state_changed(block.seen);
        }
        self.transactions.block(block, clock, &mut self.contracts, &mut self.out);
        self.hand_on(outbox);
    }

    /// The chain is another one: no pending transaction means anything any more, and no address either,
    /// unless a call that passed has replaced the chain (`is_known`).
    pub(super) fn restarted(&mut self, is_known: bool, outbox: &mut Outbox) {
        if !is_known {
            self.contracts.forget_addresses();
            self.requests.forget();
        }
        self.transactions.restarted();
        self.tracing.forget();
        self.nonces.replaced(0);
        self.tick(self.now, outbox);
    }

    /// The chain lost its newest blocks. What was deployed in them may be at other addresses now; what
    /// was there before is where it was.
    pub(super) fn went_back(
        &mut self,
        head: u64,
        (blocks, lost): (Box<[B256]>, u64),
        cause: Option<RollbackCause>,
        at: UnixMicros,
        outbox: &mut Outbox,
    ) {
        self.nonces.replaced(head);
        if cause.is_none() {
            // No call that passed did it: what is at the addresses has to be asked for.
            let now = Stamp::now().max(self.now);
            self.code_rolled_back(None, Interval { start: now, end: now });
        }
        self.transactions.blocks_lost(blocks, lost, cause, at, &mut self.out);
        self.hand_on(outbox);
    }

    /// A call through the relay rolled the chain back.
    pub(super) fn rolled_back(
        &mut self,
        rollback: RelayedRollback,
        at: UnixMicros,
        outbox: &mut Outbox,
    ) {
        // Of a chain that was begun anew, nothing of before is left.
        let to = rollback.since.filter(|_| rollback.cause == RollbackCause::EvmRevert);
        let ran = Interval { start: rollback.sent, end: rollback.answered };
        self.code_rolled_back(to, ran);
        self.transactions.rolled_back(rollback, at, &mut self.contracts, &mut self.out);
        self.hand_on(outbox);
    }

    /// A receipt passed the relay, in a call's result.
    pub(super) fn receipt_passed(&mut self, hash: B256, result: &[u8], seen: Stamp) {
        self.transactions.receipt_passed(hash, result, seen, &mut self.contracts);
    }

    /// The node answers; `client` is its `web3_clientVersion`.
    pub(super) fn node_up(&mut self, client: &str) {
        // Hardhat 2 and 3 both call themselves so.
        self.transactions.set_mines_refused(client.starts_with("HardhatNetwork"));
    }

    /// The node told where a submitted transaction is.
    pub(super) fn sighted(&mut self, hash: B256, sight: Sight, outbox: &mut Outbox) {
        self.transactions.sighted(hash, sight, &mut self.contracts, &mut self.out);
        if let Sight::Pending { from } = sight
            && let Some((nonce, caller)) = self.transactions.waits_in_vain(hash, from)
            && self.nonces.waiting_is_ahead(from, nonce)
        {
            self.ahead.push(Ahead { transaction: Some(hash), account: Some(from), caller });
        }
        self.hand_on(outbox);
    }

    /// The node told what a transaction changed.
    pub(super) fn traced(&mut self, traced: &Traced, clock: &Clock, outbox: &mut Outbox) {
        if let Some(change) = self.tracing.told(traced, clock, &mut self.contracts) {
            outbox.sample(Sample::State(Box::new(change)));
        }
    }

    /// The node will not tell what a transaction changed.
    pub(super) fn untraced(&mut self, hash: B256) {
        self.tracing.give_up(hash);
    }

    /// The chain may be another one by now: has the watcher look.
    pub(super) fn doubt(&self) {
        // When there is no room, the watcher finds out by itself, some seconds later.
        let _ = self.wanted.try_send(ChainQuestion::Look);
    }

    /// Lets time pass, and tells what has changed since the last time.
    pub(super) fn tick(&mut self, now: Stamp, outbox: &mut Outbox) {
        self.now = now;
        self.transactions.expire(now, &mut self.contracts, &mut self.out);
        self.out.wanted.extend(std::iter::from_fn(|| self.tracing.due(now)));
        for unnamed in self.unnamed.take_due(now) {
            outbox.sample(Sample::Call(unnamed.name(&mut self.contracts)));
        }
        while let Some(call) = self.unread_sends.pop_due(now) {
            outbox.sample(Sample::Call(call));
        }
        self.hand_on(outbox);
        self.tell_overflow(outbox);
        self.tell_pending(outbox);
    }

    /// Tells the transactions that are mined and wait for a submission or a name. Those that no
    /// block holds yet are not lost, and nothing is told of them.
    pub(super) fn finish(&mut self, now: Stamp, outbox: &mut Outbox) {
        let after_grace = now.as_nanos().saturating_add(nanos(GRACE)).saturating_add(1);
        self.tick(Stamp::from_nanos(after_grace), outbox);
    }

    fn tell_overflow(&mut self, outbox: &mut Outbox) {
        let overflow = self.contracts.overflow();
        for ((label, count), told) in overflow.into_iter().zip(&mut self.last.overflow) {
            for _ in *told..count {
                outbox.event(&Event::LabelOverflow { label });
            }
            *told = count;
        }
    }

    fn tell_pending(&mut self, outbox: &mut Outbox) {
        let pending = self.transactions.pending() as u64;
        let is_due = pending > 0 && self.now.since(self.last.pending_at) >= PENDING_TOLD;
        if pending != self.last.pending || is_due {
            (self.last.pending, self.last.pending_at) = (pending, self.now);
            let oldest = self.transactions.oldest_pending(self.now);
            outbox.event(&Event::Pending { transactions: pending, oldest });
        }
    }

    /// Passes on what [`Transactions`] gave.
    fn hand_on(&mut self, outbox: &mut Outbox) {
        for sample in self.out.samples.drain(..) {
            if let Sample::Transaction(transaction) = &sample {
                let keys = self.out.keys.remove(&transaction.hash).unwrap_or_default();
                self.out.wanted.extend(self.tracing.consider(transaction, keys, self.now));
                self.mined.extend(mined_part(transaction));
            }
            outbox.sample(sample);
        }
        for took in self.out.mined.drain(..) {
            outbox.event(&Event::Mined(took));
        }
        for question in std::mem::take(&mut self.out.wanted) {
            match question {
                ChainQuestion::Code(address) => drop(self.requests.ask(address, self.now)),
                // Without room it goes unanswered, and nothing waits for it.
                other => drop(self.wanted.try_send(other)),
            }
        }
    }

    /// Has the code asked for that a call to an address takes to be named.
    fn want(&mut self, address: Address, with_input: bool) {
        if let Some(missing) = self.contracts.missing_at(address, with_input, None) {
            self.requests.ask(missing, self.now);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What of a mined transaction concerns the request that sent it.
fn mined_part(transaction: &Transaction) -> Option<(u128, MinedPart)> {
    let (trace, gas) = (transaction.trace?, transaction.gas_used?);
    let reverted = transaction.status == TransactionStatus::Reverted;
    let mined = MinedPart { span_id: trace.span_id, hash: transaction.hash, gas, reverted };
    Some((trace.trace_id, mined))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_found_in_either_form_of_result() {
        let hash = B256::repeat_byte(0xab);
        assert_eq!(result_hash(format!("\"{hash}\"").as_bytes()), Some(hash));
        let receipt = format!("{{\"status\":\"0x1\",\"transactionHash\":\"{hash}\"}}");
        assert_eq!(result_hash(receipt.as_bytes()), Some(hash));
        assert_eq!(result_hash(b"null"), None);
        assert_eq!(result_hash(b"\"0x12\""), None);
    }
}
