//! What calls mean on the chain: names what they touch, follows what they submit, and asks the chain
//! watcher for the code of addresses that nobody can name yet, and to look when a call may have
//! replaced the chain.
//!
//! Stands between the makers of calls, who know envelopes, and [`Transactions`] and [`Contracts`],
//! who know neither calls nor sinks.

use std::collections::HashMap;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use serde::Deserialize;
use tokio::sync::mpsc::Sender;

use super::fate::{SubmissionCall, SubmissionOutcome};
use super::outbox::Outbox;
use super::passage::{Ending, Passage};
use super::transactions::{GRACE, Transactions};
use crate::decode::artifact::Artifact;
use crate::decode::contracts::Contracts;
use crate::decode::jsonrpc::Answer;
use crate::decode::revert::RevertInfo;
use crate::decode::submission::{Submission, call_target};
use crate::model::{
    ChainQuestion, Clock, ContractCall, ContractCode, Event, Method, MinedBlock, Outcome, Sample,
    Stamp, UnixMicros,
};

/// After how long the code at an address is asked for again, when it did not come.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Addresses whose asking is remembered.
const MOST_ASKED: usize = 10_000;
/// How often the age of the oldest pending transaction is told.
const PENDING_TOLD: Duration = Duration::from_secs(1);

pub(super) struct Ledger {
    contracts: Contracts,
    transactions: Transactions,
    wanted: Sender<ChainQuestion>,
    /// When the code at an address was asked for.
    asked: HashMap<Address, Stamp>,
    now: Stamp,
    /// Samples and addresses on their way out; empty between two calls.
    samples: Vec<Sample>,
    addresses: Vec<Address>,
    /// What was told last.
    told: Told,
}

#[derive(Default)]
struct Told {
    overflow: [u64; 4],
    pending: u64,
    pending_at: Stamp,
}

impl Ledger {
    pub(super) fn new(contracts: Contracts, wanted: Sender<ChainQuestion>) -> Self {
        Self {
            contracts,
            transactions: Transactions::new(),
            wanted,
            asked: HashMap::new(),
            now: Stamp::default(),
            samples: Vec::new(),
            addresses: Vec::new(),
            told: Told::default(),
        }
    }

    /// A contract was compiled: addresses that nobody could name are worth asking for again.
    pub(super) fn learn(&mut self, artifact: Artifact) {
        self.contracts.add(artifact);
        self.asked.clear();
    }

    /// What the params of `eth_call` or `eth_estimateGas` touch.
    pub(super) fn target(&mut self, params: &[u8]) -> Option<ContractCall> {
        let target = call_target(params)?;
        self.want(target.to);
        Some(self.contracts.target(target.to, &target.input))
    }

    /// What the params of a send submit, and what that touches.
    pub(super) fn sending(
        &mut self,
        method: Method,
        params: &[u8],
    ) -> (Option<ContractCall>, Option<Box<Submission>>) {
        let Some(Ok(submission)) = Submission::parse(method.as_str(), params) else {
            return (None, None);
        };
        self.want(submission.to);
        let target = self.contracts.target(submission.to, &submission.input);
        (Some(target), Some(Box::new(submission)))
    }

    /// A send has ended; gives the transaction's hash, if it is known.
    pub(super) fn sent(
        &mut self,
        submission: Submission,
        at: UnixMicros,
        passage: &Passage,
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
        let call = SubmissionCall {
            at,
            left: passage.written,
            total: passage.total,
            outcome,
            trace: passage.trace,
        };
        self.transactions.submitted(submission, &call, &mut self.contracts, &mut self.samples);
        self.hand_on(outbox);
        told.or(signed)
    }

    pub(super) fn block(&mut self, block: MinedBlock, clock: &Clock, outbox: &mut Outbox) {
        let (contracts, samples) = (&mut self.contracts, &mut self.samples);
        self.transactions.block(block, clock, contracts, samples, &mut self.addresses);
        self.hand_on(outbox);
    }

    pub(super) fn code(&mut self, found: &ContractCode, outbox: &mut Outbox) {
        self.asked.remove(&found.address);
        self.contracts.learn_code(found.address, &found.code, found.implementation);
        self.transactions.learned(found.address, &mut self.contracts, &mut self.samples);
        self.hand_on(outbox);
    }

    /// The chain is another one: no address and no pending transaction means anything any more.
    pub(super) fn restarted(&mut self, outbox: &mut Outbox) {
        self.contracts.forget_addresses();
        self.asked.clear();
        self.transactions.restarted();
        self.tick(self.now, outbox);
    }

    /// The chain may be another one by now: has the watcher look.
    pub(super) fn doubt(&self) {
        // When there is no room, the watcher finds out by itself, some seconds later.
        let _ = self.wanted.try_send(ChainQuestion::Look);
    }

    /// Lets time pass, and tells what has changed since the last time.
    pub(super) fn tick(&mut self, now: Stamp, outbox: &mut Outbox) {
        self.now = now;
        let (contracts, samples) = (&mut self.contracts, &mut self.samples);
        self.transactions.expire(now, contracts, samples, &mut self.addresses);
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
        for ((label, count), told) in overflow.into_iter().zip(&mut self.told.overflow) {
            for _ in *told..count {
                outbox.event(&Event::LabelOverflow { label });
            }
            *told = count;
        }
    }

    fn tell_pending(&mut self, outbox: &mut Outbox) {
        let pending = self.transactions.pending() as u64;
        let is_due = pending > 0 && self.now.since(self.told.pending_at) >= PENDING_TOLD;
        if pending != self.told.pending || is_due {
            (self.told.pending, self.told.pending_at) = (pending, self.now);
            let oldest = self.transactions.oldest_pending(self.now);
            outbox.event(&Event::Pending { transactions: pending, oldest });
        }
    }

    /// Passes on what [`Transactions`] gave.
    fn hand_on(&mut self, outbox: &mut Outbox) {
        for sample in self.samples.drain(..) {
            outbox.sample(sample);
        }
        for address in std::mem::take(&mut self.addresses) {
            self.want(Some(address));
        }
    }

    /// Has the code at an address asked for, unless it is known or was asked for a moment ago.
    fn want(&mut self, address: Option<Address>) {
        let Some(address) = address.filter(|address| !self.contracts.knows(*address)) else {
            return;
        };
        let lately = |at: &Stamp| self.now.since(*at) < ASK_AGAIN;
        if self.asked.get(&address).is_some_and(lately) {
            return;
        }
        if self.asked.len() >= MOST_ASKED {
            self.asked.clear();
        }
        // When there is no room, the next call to this address asks again.
        if self.wanted.try_send(ChainQuestion::Code(address)).is_ok() {
            self.asked.insert(address, self.now);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The transaction's hash in a send's result: the hash itself, or the receipt that holds it.
fn result_hash(result: &[u8]) -> Option<B256> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Receipt {
        transaction_hash: B256,
    }
    if result.first() == Some(&b'{') {
        return serde_json::from_slice::<Receipt>(result).ok().map(|r| r.transaction_hash);
    }
    serde_json::from_slice(result).ok()
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
