//! The transactions that were recorded as mined and whose blocks a rollback may still take away.
//!
//! Owns which of several transactions of one hash is the newest, what was seen of its block, and
//! which of them a rollback concerns. When a transaction is recorded, and what a rollback is, is
//! [`super::transactions`]' business.

use std::collections::{HashMap, VecDeque};

use alloy::primitives::B256;

use crate::model::{RollbackCause, Stamp};

/// Transactions that are remembered; the oldest are forgotten first, and then no rollback marks them.
const MAX_ENTRIES: usize = 50_000;

/// A transaction that was recorded as mined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mined {
    pub hash: B256,
    /// When its submission left for the node; none for one that did not pass the relay.
    pub sent: Option<Stamp>,
    /// When its block, or else the answer that proves it was mined, was read.
    pub seen: Stamp,
    /// The block that holds it, where that was seen.
    pub block: Option<B256>,
    /// What took it off the chain.
    pub rolled_back: Option<RollbackCause>,
}

/// Entries in the order in which they were recorded.
#[derive(Default)]
pub(super) struct OnChain {
    entries: VecDeque<Entry>,
    /// Number of the first of `entries`.
    first: u64,
    /// The newest entry of a hash.
    by_hash: HashMap<B256, u64>,
    by_block: HashMap<B256, Vec<u64>>,
}

struct Entry {
    mined: Mined,
    recorded: Stamp,
}

impl OnChain {
    pub(super) fn insert(&mut self, mined: Mined, recorded: Stamp) {
        let number = self.first + self.entries.len() as u64;
        self.by_hash.insert(mined.hash, number);
        if let Some(block) = mined.block {
            self.by_block.entry(block).or_default().push(number);
        }
        self.entries.push_back(Entry { mined, recorded });
        while self.entries.len() > MAX_ENTRIES {
            self.forget_oldest();
        }
    }

    /// The newest transaction of this hash.
    pub(super) fn newest(&self, hash: &B256) -> Option<&Mined> {
        self.entry(*self.by_hash.get(hash)?).map(|entry| &entry.mined)
    }

    /// The newest transaction of this hash is in this block now: it was recorded before its block was
    /// seen, or a reorganisation moved it.
    pub(super) fn move_to(&mut self, hash: &B256, block: B256) {
        let Some(&number) = self.by_hash.get(hash) else { return };
        let Some(index) = self.index(number) else { return };
        let before = self.entries[index].mined.block.replace(block);
        if before == Some(block) {
            return;
        }
        if let Some(before) = before {
            self.forget_in_block(before, number);
        }
        self.by_block.entry(block).or_default().push(number);
    }

    /// Marks what was sent between two moments, and gives the hashes of those that were not marked
    /// before.
    pub(super) fn roll_back_sent(
        &mut self,
        since: Stamp,
        before: Stamp,
        cause: RollbackCause,
    ) -> Vec<B256> {
        // Nothing is recorded before it is sent, so older entries need no look.
        let newest = self.entries.iter_mut().rev().take_while(|entry| entry.recorded >= since);
        let mut hashes = Vec::new();
        for Entry { mined, .. } in newest {
            let concerned = mined.sent.is_some_and(|sent| since <= sent && sent <= before);
            if concerned && mined.rolled_back.is_none() {
                mined.rolled_back = Some(cause);
                hashes.push(mined.hash);
            }
        }
        hashes.reverse();
        hashes
    }

    /// The same for what these blocks hold.
    pub(super) fn roll_back_blocks(&mut self, blocks: &[B256], cause: RollbackCause) -> Vec<B256> {
        let mut numbers: Vec<u64> =
            blocks.iter().filter_map(|block| self.by_block.remove(block)).flatten().collect();
        numbers.sort_unstable();
        let mut hashes = Vec::new();
        for number in numbers {
            let Some(index) = self.index(number) else { continue };
            let mined = &mut self.entries[index].mined;
            if mined.rolled_back.is_none() {
                mined.rolled_back = Some(cause);
                hashes.push(mined.hash);
            }
        }
        hashes
    }

    /// Marks all that is left, as when the chain was begun anew.
    pub(super) fn roll_back_all(&mut self, before: Stamp, cause: RollbackCause) -> Vec<B256> {
        let mut hashes = Vec::new();
        for Entry { mined, .. } in &mut self.entries {
            if mined.rolled_back.is_none() && mined.sent.unwrap_or(mined.seen) <= before {
                mined.rolled_back = Some(cause);
                hashes.push(mined.hash);
            }
        }
        hashes
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?)
            .ok()
            .filter(|index| *index < self.entries.len())
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(self.index(number)?)
    }

    fn forget_oldest(&mut self) {
        let Some(Entry { mined, .. }) = self.entries.pop_front() else { return };
        let number = self.first;
        self.first += 1;
        if self.by_hash.get(&mined.hash) == Some(&number) {
            self.by_hash.remove(&mined.hash);
        }
        if let Some(block) = mined.block {
            self.forget_in_block(block, number);
        }
    }

    fn forget_in_block(&mut self, block: B256, number: u64) {
        if let Some(numbers) = self.by_block.get_mut(&block) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_block.remove(&block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    fn mined(hash: u8, sent_ms: u64, block: u8) -> Mined {
        Mined {
            hash: B256::repeat_byte(hash),
            sent: Some(at(sent_ms)),
            seen: at(sent_ms + 1),
            block: Some(B256::repeat_byte(block)),
            rolled_back: None,
        }
    }

    fn hashes(bytes: &[u8]) -> Vec<B256> {
        bytes.iter().map(|byte| B256::repeat_byte(*byte)).collect()
    }

    #[test]
    fn a_rollback_marks_what_was_sent_after_its_snapshot_once() {
        let mut chain = OnChain::default();
        for (hash, sent) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
            chain.insert(mined(hash, sent, hash), at(sent + 5));
        }
        let cause = RollbackCause::EvmRevert;
        assert_eq!(chain.roll_back_sent(at(20), at(35), cause), hashes(&[2, 3]));
        assert_eq!(chain.roll_back_sent(at(20), at(35), cause), hashes(&[]));
        assert_eq!(chain.roll_back_blocks(&hashes(&[3, 4]), cause), hashes(&[4]));
        assert_eq!(chain.roll_back_all(at(50), RollbackCause::Reset), hashes(&[1]));
    }

    #[test]
    fn of_one_hash_the_newest_counts_and_memory_is_bounded() {
        let mut chain = OnChain::default();
        chain.insert(mined(1, 10, 1), at(11));
        chain.roll_back_sent(at(0), at(15), RollbackCause::EvmRevert);
        chain.insert(mined(1, 20, 2), at(21));
        let newest = chain.newest(&B256::repeat_byte(1)).unwrap();
        assert_eq!((newest.sent, newest.rolled_back), (Some(at(20)), None));
        for i in 0..=MAX_ENTRIES as u64 {
            let hash = alloy::primitives::U256::from(i + 1_000).into();
            chain.insert(Mined { hash, block: Some(hash), ..mined(0, 30, 0) }, at(31));
        }
        assert_eq!(chain.len(), MAX_ENTRIES);
        assert!(chain.newest(&B256::repeat_byte(1)).is_none());
        assert_eq!((chain.by_hash.len(), chain.by_block.len()), (MAX_ENTRIES, MAX_ENTRIES));
    }
}
