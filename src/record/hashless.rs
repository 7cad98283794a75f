//! Submissions that were refused without a hash though their code ran: Hardhat 3 answers so, and
//! mines the transaction all the same.
//!
//! What was asked for tells which transaction of a block it became. Which of the two comes first,
//! and what is made of them, is [`super::transactions`]' business.

use std::collections::VecDeque;

use super::fate::{Held, Pending};
use crate::model::{RollbackCause, Stamp};

/// The most that are kept; of more, the oldest is given up on.
const MOST: usize = 1_000;

/// Refused submissions, the oldest first, each with the time at which it counts as not mined.
#[derive(Default)]
pub struct Hashless(VecDeque<(Stamp, Pending)>);

impl Hashless {
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn insert(&mut self, deadline: Stamp, pending: Pending) {
        self.0.push_back((deadline, pending));
    }

    /// Takes out the one that became this transaction.
    pub fn take(&mut self, held: &Held) -> Option<Pending> {
        let at = self.0.iter().position(|(_, pending)| may_be(pending, held))?;
        self.0.remove(at).map(|(_, pending)| pending)
    }

    /// Marks those that were sent between two moments as taken off the chain.
    pub fn roll_back(&mut self, since: Stamp, before: Stamp, cause: RollbackCause) {
        for (_, pending) in &mut self.0 {
            if since <= pending.left && pending.left <= before {
                pending.rolled_back.get_or_insert(cause);
            }
        }
    }

    /// Takes out one that was not mined in time, or that there is no room for.
    pub fn pop_due(&mut self, now: Stamp) -> Option<Pending> {
        let (deadline, _) = self.0.front()?;
        if *deadline > now && self.0.len() <= MOST {
            return None;
        }
        self.0.pop_front().map(|(_, pending)| pending)
    }
}

/// Whether a refused submission without a hash may have become this transaction, which nobody
/// claimed yet.
pub fn may_be(pending: &Pending, held: &Held) -> bool {
    let mined = &held.mined;
    !mined.success
        && held.submission.is_none()
        && !held.is_moved
        && held.content == pending.content
        && pending.from.is_none_or(|from| from == mined.from)
        && pending.nonce.is_none_or(|nonce| nonce == mined.nonce)
        && pending.gas_limit.is_none_or(|gas| gas == mined.gas_limit)
        // What was mined before it was sent is somebody else's.
        && pending.left <= held.block.seen
}
