//! What a rollback does to transactions: those that wait are recorded from what passed the relay, and
//! those that were recorded are marked.

use std::time::Duration;

use alloy::primitives::B256;

use super::super::fate::{Pending, SeenReceipt};
use super::super::on_chain::Mined;
use super::super::rollbacks::RelayedRollback;
use super::{GRACE, RECEIPT_GRACE, Told, Transactions, events};
use crate::decode::contracts::Contracts;
use crate::decode::receipt::Receipt;
use crate::model::{Rollback, RollbackCause, Sample, Stamp, TransactionStatus, UnixMicros};

/// For how long a reorganisation's transactions may be mined anew before they count as rolled back.
const REORGANISED_WITHIN: Duration = Duration::from_secs(5);
/// Reorganisations that wait so.
const MAX_REORGANISATIONS: usize = 64;
/// Transactions taken off the chain that wait for the watcher's report of their block.
const MAX_ROLLED_BACK: usize = 10_000;

/// Blocks that the watcher found missing.
pub(super) struct Reorganised {
    /// When their transactions count as rolled back.
    pub(super) deadline: Stamp,
    at: UnixMicros,
    lost: u64,
    blocks: Box<[B256]>,
}

impl Transactions {
    /// Sets whether the node mines what it refuses after running it.
    pub fn set_mines_refused(&mut self, mines: bool) {
        self.mines_refused = mines;
    }

    /// A receipt passed the relay: its transaction was mined, whatever becomes of its block.
    pub fn receipt_passed(
        &mut self,
        hash: B256,
        result: &[u8],
        seen: Stamp,
        contracts: &mut Contracts,
    ) {
        self.meet(seen);
        // Nearly always the watcher was first, and nothing needs to be read.
        let wanted = |pending: &&mut Pending| pending.receipt.is_none() && pending.left <= seen;
        let Some(pending) = self.pending.get_mut(&hash).filter(wanted) else { return };
        let Some(receipt) = Receipt::parse(result).filter(|it| it.transaction_hash == hash) else {
            return;
        };
        let (events, beyond) = events(&receipt.logs.different, contracts);
        let events_omitted = receipt.logs.omitted.saturating_add(beyond);
        pending.receipt = Some(Box::new(SeenReceipt { receipt, events, events_omitted, seen }));
        if let Some(pending) = self.pending.remove(&hash) {
            self.pending.insert(hash, self.now.after(RECEIPT_GRACE), pending);
        }
    }

    /// A call that passed the relay rolled the chain back: what was sent since its snapshot is gone.
    pub(in crate::record) fn rolled_back(
        &mut self,
        rollback: RelayedRollback,
        at: UnixMicros,
        contracts: &mut Contracts,
        out: &mut Told,
    ) {
        self.meet(rollback.answered);
        self.last_rollback = Some(rollback);
        let RelayedRollback { cause, since, sent, .. } = rollback;
        let mut transactions = Vec::new();
        if let Some(since) = since {
            let concerned = |pending: &Pending| since <= pending.left && pending.left <= sent;
            let mut taken: Vec<B256> = self
                .pending
                .iter_mut()
                .filter(|(_, pending)| concerned(pending))
                .map(|(hash, _)| *hash)
                .collect();
            taken.sort_unstable();
            let deadline = self.now.after(GRACE);
            for hash in taken {
                if let Some(mut pending) = self.pending.remove(&hash) {
                    pending.rolled_back = Some(cause);
                    self.rolled_back.push_back((deadline, hash, pending));
                }
            }
            for (_, held) in self.held.iter_mut() {
                let sent_then = match &held.submission {
                    Some(submission) => concerned(submission),
                    None => since <= held.block.seen && held.block.seen <= sent,
                };
                if sent_then {
                    held.rolled_back.get_or_insert(cause);
                }
            }
            self.hashless.roll_back(since, sent, cause);
            transactions = self.on_chain.roll_back_sent(since, sent, cause);
        }
        if cause == RollbackCause::Reset {
            transactions.extend(self.on_chain.roll_back_all(sent, cause));
        }
        while self.rolled_back.len() > MAX_ROLLED_BACK
            && let Some((_, hash, pending)) = self.rolled_back.pop_front()
        {
            self.settle_relayed(hash, pending, contracts, out);
        }
        out.samples.push(rollback_sample(at, cause, None, transactions));
    }

    /// The watcher found `lost` blocks missing, of which it had reported `blocks`; `cause` is the call
    /// through the relay to which that is put down.
    pub fn blocks_lost(
        &mut self,
        blocks: Box<[B256]>,
        lost: u64,
        cause: Option<RollbackCause>,
        at: UnixMicros,
        out: &mut Told,
    ) {
        self.previous = None;
        let deadline = self.now.after(REORGANISED_WITHIN);
        let lost = Reorganised { deadline, at, lost, blocks };
        if let Some(cause) = cause {
            self.lose(&lost, cause, out);
            return;
        }
        // Its transactions are mined again in the blocks that take their place, most likely.
        self.reorganised.push_back(lost);
        while self.reorganised.len() > MAX_REORGANISATIONS
            && let Some(oldest) = self.reorganised.pop_front()
        {
            self.lose(&oldest, RollbackCause::Reorganisation, out);
        }
    }

    /// Marks what lost blocks held.
    pub(super) fn lose(&mut self, lost: &Reorganised, cause: RollbackCause, out: &mut Told) {
        for (_, held) in self.held.iter_mut() {
            if lost.blocks.contains(&held.block.hash) {
                held.rolled_back.get_or_insert(cause);
            }
        }
        let hashes = self.on_chain.roll_back_blocks(&lost.blocks, cause);
        // A rollback that passed the relay has its sample already.
        if cause == RollbackCause::Reorganisation || !hashes.is_empty() {
            out.samples.push(rollback_sample(lost.at, cause, Some(lost.lost), hashes));
        }
    }

    /// What may have taken a pending transaction off the chain that the node does not know any more.
    pub(super) fn rolled_back_since(&self, pending: &Pending) -> Option<RollbackCause> {
        let relayed = self.last_rollback.filter(|last| pending.left <= last.sent);
        let mined = pending.receipt.is_some()
            || pending.refusal.as_ref().is_some_and(|refusal| refusal.transaction.is_some());
        relayed.map(|last| last.cause).or(mined.then_some(RollbackCause::Reorganisation))
    }

    /// Records a transaction from what passed the relay.
    pub(super) fn settle_relayed(
        &mut self,
        hash: B256,
        pending: Pending,
        contracts: &mut Contracts,
        out: &mut Told,
    ) {
        let mined = self.mines_refused && pending.rolled_back.is_some();
        let receipt = pending.receipt.as_ref();
        let entry = Mined {
            hash,
            sent: Some(pending.left),
            seen: receipt.map_or_else(|| pending.left.after(pending.upstream), |it| it.seen),
            block: receipt.and_then(|it| it.receipt.block_hash),
            rolled_back: pending.rolled_back,
        };
        let sample = pending.relayed(hash, mined, contracts);
        if !matches!(&sample, Sample::Transaction(it) if it.status == TransactionStatus::Rejected) {
            self.on_chain.insert(entry, self.now);
        }
        out.samples.push(sample);
    }
}

fn rollback_sample(
    at: UnixMicros,
    cause: RollbackCause,
    blocks: Option<u64>,
    mut transactions: Vec<B256>,
) -> Sample {
    let omitted = transactions.len().saturating_sub(Rollback::MAX_TRANSACTIONS);
    transactions.truncate(Rollback::MAX_TRANSACTIONS);
    let omitted = u32::try_from(omitted).unwrap_or(u32::MAX);
    let transactions = transactions.into();
    Sample::Rollback(Box::new(Rollback { at, cause, blocks, transactions, omitted }))
}
