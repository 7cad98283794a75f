//! Transactions between their submission and their block.
//!
//! A submission's answer and the block that holds the transaction are observed in either order:
//! automine mines inside the call that sends. Whichever comes first waits here for the other:
//!
//! ```text
//! submitted ──► pending ──┐                       ┌─► sample: Success, Reverted
//!                         ├─► joined ──► named? ──┤
//! block ──────► held ─────┘     (held until then) └─► or after a second as far as it is known
//! ```
//!
//! A mined transaction that nobody claims within the grace did not pass the relay. One refused and
//! not mined is a sample at once. Decoding comes before (`decode::submission`, `decode::revert`),
//! naming is asked of `decode::contracts`, and code that is wanted for it of `chain`.

use std::collections::HashMap;
use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::fate::{BlockPlace, Content, Head, Held, Pending, SubmissionCall, SubmissionOutcome};
use super::hashless::{Hashless, may_be};
use super::timed::Timed;
use crate::decode::contracts::Contracts;
use crate::decode::submission::Submission;
use crate::model::{
    Block, Clock, MinedBlock, MinedTransaction, Sample, Stamp, TransactionStatus, UnixMicros,
};

/// How long a mined transaction waits for its submission's answer and for its contract's name.
pub const GRACE: Duration = Duration::from_secs(1);
/// After how long without a block a submitted transaction counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Transactions that are kept pending; the oldest are given up on first.
pub const MOST_PENDING: usize = 10_000;

/// Mined transactions that are held.
const MOST_HELD: usize = 10_000;
/// Settled ones that are remembered, so that what is told twice is counted once.
const MOST_SETTLED: usize = 10_000;
const SETTLED_FOR: Duration = Duration::from_secs(60);
/// After how long code that did not come is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
const MOST_ASKED: usize = 10_000;

/// Pending and recently settled transactions.
#[derive(Default)]
pub struct Transactions {
    pending: Timed<Pending>,
    held: Timed<Held>,
    hashless: Hashless,
    /// When the blocks of settled ones were seen.
    settled: Timed<Stamp>,
    /// Held ones by the address whose name they wait for.
    waiting: HashMap<Address, Vec<B256>>,
    /// Addresses whose code is to be asked for.
    wanted: Vec<Address>,
    /// When an address's code was asked for.
    asked: HashMap<Address, Stamp>,
    previous: Option<Previous>,
    /// The latest stamp that was met.
    now: Stamp,
}

struct Previous {
    number: u64,
    hash: B256,
    seen: Stamp,
    live: bool,
}

impl Transactions {
    pub fn new() -> Self {
        Self::default()
    }

    /// A submission was answered.
    pub fn submitted(
        &mut self,
        submission: Submission,
        call: &SubmissionCall,
        contracts: &mut Contracts,
        out: &mut Vec<Sample>,
    ) {
        self.meet(call.left.after(call.total));
        let (told, refusal) = match &call.outcome {
            SubmissionOutcome::Accepted(hash) => (*hash, None),
            SubmissionOutcome::Refused(info) => (info.transaction, Some(info)),
            SubmissionOutcome::Unanswered => (None, None),
        };
        let hash = told.or(submission.hash);
        let pending = Pending::new(submission, call, refusal, contracts);
        if let Some(to) = pending.to {
            self.want(to, contracts);
        }
        // Without a txHash an error means "not mined", except that nodes which leave it out say in
        // words that the code ran; then a block may still bring it.
        let ran = refusal.is_some_and(|info| info.kind.ran());
        match (hash, refusal) {
            (None, Some(_)) if ran => self.find(pending, contracts, out),
            (hash, Some(_)) if told.is_none() && !ran => {
                let status = TransactionStatus::Rejected;
                out.push(pending.unmined(hash.unwrap_or_default(), status, contracts));
            }
            (Some(hash), _) => {
                let only_grace = refusal.is_some() && told.is_none();
                self.join(hash, pending, only_grace, contracts, out);
            }
            (None, _) => {}
        }
    }

    /// A block came. Tells the block, and every transaction in it that is complete.
    pub fn block(
        &mut self,
        block: MinedBlock,
        clock: &Clock,
        contracts: &mut Contracts,
        out: &mut Vec<Sample>,
        wanted: &mut Vec<Address>,
    ) {
        self.meet(block.seen);
        let place = BlockPlace {
            number: block.number,
            seen: block.seen,
            at: clock.wall(block.seen),
            live: block.live,
        };
        out.push(Sample::Block(Box::new(self.block_sample(&block, place.at))));
        for mined in block.transactions {
            self.mined(mined, place, contracts, out);
        }
        wanted.append(&mut self.wanted);
    }

    /// The contracts have learnt what is at an address: tells the transactions that waited for it.
    pub fn learned(&mut self, address: Address, contracts: &mut Contracts, out: &mut Vec<Sample>) {
        self.asked.remove(&address);
        for hash in self.waiting.remove(&address).unwrap_or_default() {
            if self.held.get(&hash).is_some_and(|held| held.submission.is_some())
                && let Some(held) = self.held.remove(&hash)
            {
                self.settle(held, contracts, out);
            }
        }
    }

    /// Tells what has waited long enough. To be called a few times a second.
    pub fn expire(
        &mut self,
        now: Stamp,
        contracts: &mut Contracts,
        out: &mut Vec<Sample>,
        wanted: &mut Vec<Address>,
    ) {
        self.meet(now);
        while let Some((_, held)) =
            self.held.pop_due(now).or_else(|| self.held.pop_above(MOST_HELD))
        {
            self.settle(held, contracts, out);
        }
        while let Some((hash, pending)) =
            self.pending.pop_due(now).or_else(|| self.pending.pop_above(MOST_PENDING))
        {
            let status = match pending.refusal {
                Some(_) => TransactionStatus::Rejected,
                None => TransactionStatus::Lost,
            };
            out.push(pending.unmined(hash, status, contracts));
        }
        while let Some(pending) = self.hashless.pop_due(now) {
            out.push(pending.unmined(B256::ZERO, TransactionStatus::Rejected, contracts));
        }
        while self.settled.pop_due(now).is_some() {}
        wanted.append(&mut self.wanted);
    }

    /// The chain is another one: what was pending there will never be mined, and is told as lost after
    /// a grace, in which the new chain's first blocks are caught up on. They hold what was sent
    /// between the restart and its being noticed.
    pub fn restarted(&mut self) {
        let latest = self.now.after(GRACE);
        self.pending.hurry(latest);
        self.held.hurry(latest);
        self.settled.clear();
        self.asked.clear();
        self.wanted.clear();
        self.previous = None;
    }

    /// Transactions that were submitted and are not in a block yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How long the oldest pending transaction has waited.
    pub fn oldest_pending(&self, now: Stamp) -> Option<Duration> {
        self.pending.values().map(|pending| now.since(pending.left)).max()
    }

    fn meet(&mut self, stamp: Stamp) {
        self.now = self.now.max(stamp);
    }

    fn block_sample(&mut self, block: &MinedBlock, at: UnixMicros) -> Block {
        // Blocks of one stamp were found by one poll: when each came is not known.
        let interval = self.previous.take().and_then(|previous| {
            let next = previous.number.checked_add(1) == Some(block.number)
                && previous.hash == block.parent
                && previous.seen < block.seen;
            (next && previous.live && block.live).then(|| block.seen.since(previous.seen))
        });
        let MinedBlock { number, hash, seen, live, .. } = *block;
        self.previous = Some(Previous { number, hash, seen, live });
        let held = u32::try_from(block.transactions.len()).unwrap_or(u32::MAX);
        Block {
            at,
            number,
            hash,
            parent: block.parent,
            timestamp: block.timestamp,
            gas_used: block.gas_used,
            gas_limit: block.gas_limit,
            base_fee: block.base_fee,
            transactions: held.saturating_add(block.missing),
            interval,
        }
    }

    fn mined(
        &mut self,
        mut mined: MinedTransaction,
        block: BlockPlace,
        contracts: &mut Contracts,
        out: &mut Vec<Sample>,
    ) {
        let hash = mined.hash;
        if let Some(held) = self.held.get_mut(&hash) {
            // The chain was reorganised while it waited.
            held.block = block;
            return;
        }
        let again = self.settled.contains(&hash);
        if let (Some(address), true) = (mined.created, mined.success) {
            contracts.created(address, &mined.input);
        }
        let input = std::mem::take(&mut mined.input);
        let deployed = mined.to.is_none().then(|| contracts.target(None, &input));
        let (head, content) = (Head::of(&input), Content::of(mined.to, mined.value, &input));
        let submission = self.pending.remove(&hash);
        let mut held = Held { head, content, mined, deployed, block, submission, again };
        if held.submission.is_none() {
            held.submission = self.hashless.take(&held);
        }
        self.settle_or_hold(held, contracts, out);
    }

    /// A submission without a hash meets the transaction that it became, or waits for it. Of several
    /// alike the first in its sender's order is taken.
    fn find(&mut self, pending: Pending, contracts: &mut Contracts, out: &mut Vec<Sample>) {
        let became = self.held.values().filter(|held| may_be(&pending, held));
        match became.min_by_key(|held| held.mined.nonce).map(|held| held.mined.hash) {
            Some(hash) => self.join(hash, pending, true, contracts, out),
            None => self.hashless.insert(self.now.after(GRACE), pending),
        }
    }

    /// A submission meets its transaction, or waits for it.
    fn join(
        &mut self,
        hash: B256,
        pending: Pending,
        only_grace: bool,
        contracts: &mut Contracts,
        out: &mut Vec<Sample>,
    ) {
        // An answer that came after the grace. One that left later submits the same bytes anew, to
        // a chain that was set back.
        if self.settled.get(&hash).is_some_and(|seen| pending.left <= *seen) {
            return;
        }
        if let Some(mut held) = self.held.remove(&hash) {
            // The first submission of the same bytes is the one that counts.
            held.submission.get_or_insert(pending);
            self.settle_or_hold(held, contracts, out);
            return;
        }
        if self.pending.contains(&hash) {
            return;
        }
        let deadline = self.now.after(if only_grace { GRACE } else { PATIENCE });
        self.pending.insert(hash, deadline, pending);
        while let Some((hash, given_up)) = self.pending.pop_above(MOST_PENDING) {
            out.push(given_up.unmined(hash, TransactionStatus::Lost, contracts));
        }
    }

    fn settle_or_hold(&mut self, held: Held, contracts: &mut Contracts, out: &mut Vec<Sample>) {
        let unnamed = held.mined.to.filter(|to| !contracts.knows(*to));
        if let Some(to) = unnamed {
            self.want(to, contracts);
            self.waiting.entry(to).or_default().push(held.mined.hash);
        }
        if unnamed.is_none() && held.submission.is_some() {
            self.settle(held, contracts, out);
            return;
        }
        let deadline = self.now.after(GRACE);
        self.held.insert(held.mined.hash, deadline, held);
        while let Some((_, held)) = self.held.pop_above(MOST_HELD) {
            self.settle(held, contracts, out);
        }
    }

    fn settle(&mut self, held: Held, contracts: &mut Contracts, out: &mut Vec<Sample>) {
        if let Some(to) = held.mined.to {
            // Others that wait for the same name have their own deadlines.
            self.waiting.remove(&to);
        }
        self.settled.insert(held.mined.hash, self.now.after(SETTLED_FOR), held.block.seen);
        while self.settled.pop_above(MOST_SETTLED).is_some() {}
        if held.again && held.submission.is_none() {
            // Told already, and now in another block by a reorganisation, or announced twice.
            return;
        }
        out.push(held.into_sample(contracts));
    }

    /// Has the code at an address asked for, unless it is known or was asked for a moment ago.
    fn want(&mut self, address: Address, contracts: &Contracts) {
        if contracts.knows(address) {
            return;
        }
        let lately = |at: &Stamp| self.now.since(*at) < ASK_AGAIN;
        if self.asked.get(&address).is_some_and(lately) {
            return;
        }
        if self.asked.len() >= MOST_ASKED {
            self.asked.clear();
        }
        self.asked.insert(address, self.now);
        self.wanted.push(address);
    }
}

#[cfg(test)]
mod tests;
