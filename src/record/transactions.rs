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
//! not mined is a sample at once, unless its hash may turn out to be a transaction that exists.
//!
//! A rollback takes transactions off the chain, often before the watcher has seen their blocks: the
//! tests of a suite that begin from a snapshot live for a few milliseconds. Each is recorded all the
//! same, from its block, else from its receipt, else from the answer to its submission, and marked;
//! the same hash sent after a rollback is another transaction. Decoding comes before (`decode::submission`, `decode::revert`),
//! naming is asked of `decode::contracts`, and code that is wanted for it of `chain`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::fate::{BlockPlace, Content, Head, Held, Pending, SubmissionCall};
use super::hashless::Hashless;
use super::on_chain::{Mined, OnChain};
use super::rollbacks::RelayedRollback;
use super::timed::Timed;
use crate::decode::contracts::Contracts;
use crate::decode::multicall;
use crate::model::{
    Block, ChainQuestion, Clock, ContractCode, EmittedLog, EventName, Interval, MinedBlock,
    MinedTransaction, RollbackCause, Sample, Stamp, TransactionStatus, UnixMicros,
};

mod lookups;
mod rollback;
mod submissions;

use rollback::Reorganised;

/// How long a mined transaction waits for its submission's answer and for its contract's name.
pub const GRACE: Duration = Duration::from_secs(1);
/// After how long without a block a submitted transaction counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Transactions that are kept pending; the oldest are given up on first.
pub const MOST_PENDING: usize = 10_000;

/// Mined transactions that are held.
const MOST_HELD: usize = 10_000;
/// How long a transaction whose receipt passed the relay waits for the watcher to report its block.
const RECEIPT_GRACE: Duration = Duration::from_secs(5);
/// Refused ones that wait for news of their hash.
const MAX_REFUSED: usize = 10_000;
/// After how long without a block, and then how often, the node is asked whether it still has a
/// submitted transaction.
const SIGHT_EVERY: Duration = Duration::from_secs(2);
/// Transactions that are asked about at a time, the longest unasked first.
const SIGHTS: usize = 64;
/// Different events of a transaction that are kept.
const MOST_EVENTS: usize = 64;
/// Words of an input that are taken for keys.
const MOST_GIVEN: usize = 8;

/// What following transactions brings about.
#[derive(Default)]
pub struct Told {
    pub samples: Vec<Sample>,
    /// By transaction, what may be the keys of the mappings that it changes.
    pub keys: HashMap<B256, Box<[B256]>>,
    /// What the chain watcher is to be asked.
    pub wanted: Vec<ChainQuestion>,
    /// How long blocks took to be mined, where that can be told.
    pub mined: Vec<Duration>,
}

/// Pending and recently settled transactions.
#[derive(Default)]
pub struct Transactions {
    pending: Timed<Pending>,
    held: Timed<Held>,
    hashless: Hashless,
    /// Refused ones by the hash that their signature gives: the same bytes may have been accepted.
    refused: Timed<Pending>,
    /// Taken off the chain before the watcher reported their block, each with its deadline; the
    /// oldest first.
    rolled_back: VecDeque<(Stamp, B256, Pending)>,
    /// Those that were recorded as mined.
    on_chain: OnChain,
    /// Blocks that a reorganisation took away, and when their transactions count as rolled back.
    reorganised: VecDeque<Reorganised>,
    /// The last rollback through the relay.
    last_rollback: Option<RelayedRollback>,
    /// Whether the node mines what it refuses after running it, as Hardhat does.
    mines_refused: bool,
    /// Calls whose request could not be read, by the hash in their answer.
    unread: Timed<SubmissionCall>,
    /// Held ones by the address whose code they wait for.
    waiting: HashMap<Address, Vec<B256>>,
    /// When the node was last asked about pending ones.
    sighted: Stamp,
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

    /// A block came. Tells the block, and every transaction in it that is complete.
    pub fn block(
        &mut self,
        block: MinedBlock,
        clock: &Clock,
        contracts: &mut Contracts,
        out: &mut Told,
    ) {
        self.meet(block.seen);
        let place = BlockPlace {
            number: block.number,
            hash: block.hash,
            gas_limit: block.gas_limit,
            transactions: block.transactions.len(),
            seen: block.seen,
            at: clock.wall(block.seen),
            live: block.live,
        };
        out.samples.push(Sample::Block(Box::new(self.block_sample(&block, place.at))));
        let taken: HashSet<_> = block.transactions.iter().map(|t| (t.from, t.nonce)).collect();
        for mined in block.transactions {
            self.mined(mined, place, contracts, out);
        }
        self.replaced(&taken, block.seen, contracts, out);
    }

    /// The contracts have learnt what is at an address: tells the transactions that waited for it.
    pub fn learned(&mut self, found: &ContractCode, contracts: &mut Contracts, out: &mut Told) {
        for hash in self.waiting.remove(&found.address).unwrap_or_default() {
            let Some(held) = self.held.get_mut(&hash) else { continue };
            if held.mined.created == Some(found.address) && !found.code.is_empty() {
                held.code_bytes = u32::try_from(found.code.len()).ok();
            }
            // The size of a deployment's code is asked for once.
            let is_size = held.mined.created == Some(found.address);
            let asked_again =
                held.missing(contracts).filter(|next| *next != found.address || !is_size);
            if let Some(next) = asked_again {
                out.wanted.push(ChainQuestion::Code(next));
                self.waiting.entry(next).or_default().push(hash);
            } else if held.submission.is_some()
                && let Some(held) = self.held.remove(&hash)
            {
                self.settle(held, contracts, out);
            }
        }
    }

    /// The addresses whose code mined transactions wait for.
    pub fn awaited(&self) -> impl Iterator<Item = Address> {
        self.waiting.keys().copied()
    }

    /// Tells what has waited long enough. To be called a few times a second.
    pub fn expire(&mut self, now: Stamp, contracts: &mut Contracts, out: &mut Told) {
        self.meet(now);
        while let Some((_, held)) =
            self.held.pop_due(now).or_else(|| self.held.pop_above(MOST_HELD))
        {
            self.settle(held, contracts, out);
        }
        while let Some((hash, pending)) =
            self.pending.pop_due(now).or_else(|| self.pending.pop_above(MOST_PENDING))
        {
            if pending.receipt.is_some() || pending.refusal.is_some() {
                self.settle_relayed(hash, pending, contracts, out);
            } else {
                out.samples.push(pending.unmined(hash, TransactionStatus::Lost, contracts));
            }
        }
        while let Some(pending) = self.hashless.pop_due(now) {
            let mined = self.mines_refused && pending.rolled_back.is_some();
            out.samples.push(pending.relayed(B256::ZERO, mined, contracts));
        }
        while let Some((hash, pending)) =
            self.refused.pop_due(now).or_else(|| self.refused.pop_above(MAX_REFUSED))
        {
            out.samples.push(pending.unmined(hash, TransactionStatus::Rejected, contracts));
        }
        while let Some((_, hash, pending)) = self.rolled_back.pop_front_if(|(due, ..)| *due <= now)
        {
            self.settle_relayed(hash, pending, contracts, out);
        }
        while let Some(reorganised) = self.reorganised.pop_front_if(|it| it.deadline <= now) {
            self.lose(&reorganised, RollbackCause::Reorganisation, out);
        }
        while self.unread.pop_due(now).is_some() {}
        let held = &self.held;
        self.waiting.retain(|_, hashes| {
            hashes.retain(|hash| held.contains(hash));
            !hashes.is_empty()
        });
        self.ask_sights(now, out);
    }

    /// The chain is another one: what was pending there will never be mined, and is told as lost after
    /// a grace, in which the new chain's first blocks are caught up on. They hold what was sent
    /// between the restart and its being noticed.
    pub fn restarted(&mut self) {
        let latest = self.now.after(GRACE);
        self.pending.hurry(latest);
        self.held.hurry(latest);
        self.on_chain.clear();
        self.reorganised.clear();
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

    /// Tells the pending ones that can never be mined, since others of their sender and nonce were.
    fn replaced(
        &mut self,
        taken: &HashSet<(Address, u64)>,
        seen: Stamp,
        contracts: &mut Contracts,
        out: &mut Told,
    ) {
        if taken.is_empty() || self.pending.len() == 0 {
            return;
        }
        let nonces: HashSet<u64> = taken.iter().map(|(_, nonce)| *nonce).collect();
        let mut replaced = Vec::new();
        for (hash, pending) in self.pending.iter_mut() {
            // What was sent after the block was seen met a chain that had been set back.
            if let Some(nonce) = pending.nonce.filter(|nonce| nonces.contains(nonce))
                && pending.left <= seen
                && pending.sender().is_some_and(|from| taken.contains(&(from, nonce)))
            {
                replaced.push(*hash);
            }
        }
        for hash in replaced {
            if let Some(pending) = self.pending.remove(&hash) {
                let status = TransactionStatus::Replaced;
                out.samples.push(pending.unmined(hash, status, contracts));
            }
        }
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
        out: &mut Told,
    ) {
        let hash = mined.hash;
        self.refused.remove(&hash);
        let mut earlier = None;
        if let Some(held) = self.held.remove(&hash) {
            if held.rollback().is_some() {
                // Another transaction of the same bytes, on a chain that is no more.
                self.settle(held, contracts, out);
            } else {
                // A reorganisation, in which it was mined anew: perhaps with another outcome.
                earlier = held.submission;
            }
        }
        let unread = self.unread.remove(&hash).map(Pending::unread);
        let submission = self.claim(&hash, block.seen).or(earlier).or(unread);
        if submission.is_none() && self.is_known(&hash, &block) {
            return;
        }
        let newest = self.on_chain.newest(&hash);
        let is_moved = newest.is_some_and(|newest| newest.rolled_back.is_none());
        let rolled_back = submission.as_ref().and_then(|submission| submission.rolled_back);
        let ran = submission.as_ref().map(Pending::ran);
        if let (Some(address), true, None) = (mined.created, mined.success, rolled_back) {
            let sent = ran.map(|ran| ran.start);
            contracts.mined_creation(address, &mined.input, sent, block.seen);
        }
        for authority in &mined.authorities {
            contracts.doubt(*authority, Interval { start: block.seen, end: block.seen });
        }
        let input = std::mem::take(&mut mined.input);
        let with_input = !input.is_empty();
        let named = match rolled_back {
            // Another contract may be at its target by now.
            Some(_) => submission.as_ref().and_then(|submission| submission.named),
            // In the order of the blocks: an upgrade before it is known by its event.
            None => {
                let to = mined.to;
                let is_known =
                    to.is_none_or(|to| contracts.missing_at(to, with_input, ran).is_none());
                is_known.then(|| contracts.target_at(to, &input, ran))
            }
        };
        let (head, content) = (Head::of(&input), Content::of(mined.to, mined.value, &input));
        let inner = multicall::open(&input).unwrap_or_default();
        let (events, more) = events(&std::mem::take(&mut mined.logs), contracts);
        mined.logs_omitted = mined.logs_omitted.saturating_add(more);
        let keys = keys(&mined, &input);
        let code_bytes = None;
        let mut held = Held {
            mined,
            events,
            keys,
            inner,
            head,
            content,
            named,
            block,
            submission,
            code_bytes,
            rolled_back: None,
            is_moved,
        };
        if held.submission.is_none() {
            held.submission = self.hashless.take(&held);
        }
        self.settle_or_hold(held, contracts, out);
    }

    fn settle_or_hold(&mut self, held: Held, contracts: &mut Contracts, out: &mut Told) {
        if let Some(missing) = held.missing(contracts) {
            out.wanted.push(ChainQuestion::Code(missing));
            self.waiting.entry(missing).or_default().push(held.mined.hash);
        } else if held.submission.is_some() {
            self.settle(held, contracts, out);
            return;
        }
        let deadline = self.now.after(GRACE);
        self.held.insert(held.mined.hash, deadline, held);
        while let Some((_, held)) = self.held.pop_above(MOST_HELD) {
            self.settle(held, contracts, out);
        }
    }

    /// The submission that became what a block holds: of those sent before it was seen the newest.
    fn claim(&mut self, hash: &B256, seen: Stamp) -> Option<Pending> {
        if self.pending.get(hash).is_some_and(|pending| pending.left <= seen) {
            return self.pending.remove(hash);
        }
        let fits = |(_, own, pending): &(Stamp, B256, Pending)| own == hash && pending.left <= seen;
        let index = self.rolled_back.iter().rposition(fits)?;
        self.rolled_back.remove(index).map(|(_, _, pending)| pending)
    }

    /// Whether a transaction of this block is recorded already: the block was announced twice, or the
    /// relay saw it first.
    fn is_known(&mut self, hash: &B256, block: &BlockPlace) -> bool {
        let Some(newest) = self.on_chain.newest(hash) else { return false };
        let known = match newest.block {
            Some(recorded) => recorded == block.hash,
            // Recorded from what the relay saw of it.
            None => true,
        } || (newest.rolled_back.is_some() && block.seen <= newest.seen);
        if known {
            self.on_chain.move_to(hash, block.hash);
        }
        known
    }

    fn settle(&mut self, held: Held, contracts: &mut Contracts, out: &mut Told) {
        if held.is_moved && held.submission.is_none() {
            // Recorded already, and in another block now by a reorganisation.
            self.on_chain.move_to(&held.mined.hash, held.block.hash);
            return;
        }
        let entry = Mined {
            hash: held.mined.hash,
            sent: held.submission.as_ref().map(|submission| submission.left),
            seen: held.block.seen,
            block: Some(held.block.hash),
            rolled_back: held.rollback(),
        };
        self.on_chain.insert(entry, self.now);
        out.mined.extend(held.mining());
        out.keys.insert(held.mined.hash, held.keys.clone());
        out.samples.push(held.into_sample(contracts));
    }
}

/// The events of logs, counted, and the number of logs beyond the bound of different events. To be
/// called as soon as the logs are there: an upgrade is one.
fn events(logs: &[EmittedLog], contracts: &mut Contracts) -> (Vec<(Address, EventName, u32)>, u32) {
    let mut counted: Vec<(Address, EventName, u32)> = Vec::new();
    let mut omitted = 0_u32;
    for log in logs {
        let event = contracts.event(log.address, log.topic);
        let same = |it: &&mut (Address, EventName, u32)| (it.0, it.1) == (log.address, event);
        if let Some((_, _, count)) = counted.iter_mut().find(same) {
            *count = count.saturating_add(log.count);
        } else if counted.len() < MOST_EVENTS {
            counted.push((log.address, event, log.count));
        } else {
            omitted = omitted.saturating_add(log.count);
        }
    }
    (counted, omitted)
}

/// What a transaction may have used as the keys of mappings: its accounts, and what it was given.
fn keys(mined: &MinedTransaction, input: &[u8]) -> Box<[B256]> {
    let accounts = [Some(mined.from), mined.to, mined.created].into_iter().flatten();
    let given = input.get(4..).unwrap_or_default().chunks_exact(32).map(B256::from_slice);
    let given = given.take(if mined.to.is_some() { MOST_GIVEN } else { 0 });
    accounts.map(|account| account.into_word()).chain(given).collect()
}

#[cfg(test)]
mod tests;
