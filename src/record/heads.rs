//! How long after a block was seen its `newHeads` notifications were passed on.
//!
//! The watcher sees a block on a connection of its own and tells it only once it has the receipts,
//! so the notifications usually come first here: they wait, for a bounded time and number.

use std::collections::VecDeque;
use std::time::Duration;

use alloy::primitives::B256;

use crate::model::{Event, Stamp};

/// How many blocks are remembered.
const BLOCKS: usize = 128;
/// How many notifications wait for their block.
const WAITING: usize = 4_096;
/// How long a notification waits for its block.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Heads {
    /// Hash and moment of the latest blocks, oldest first.
    seen: VecDeque<(B256, Stamp)>,
    /// Block, and when its notification was passed on; oldest first.
    waiting: VecDeque<(B256, Stamp)>,
}

fn event(lag: Option<Duration>) -> Event {
    Event::Notification { subscription: "newHeads", lag }
}

impl Heads {
    /// A notification of a block was passed on; gives the event, or what had to make room for it.
    pub(super) fn notified(&mut self, block: B256, forwarded: Stamp) -> Option<Event> {
        if let Some((_, seen)) = self.seen.iter().rev().find(|(hash, _)| *hash == block) {
            return Some(event(Some(forwarded.since(*seen))));
        }
        self.waiting.push_back((block, forwarded));
        let is_too_many = self.waiting.len() > WAITING;
        (is_too_many && self.waiting.pop_front().is_some()).then(|| event(None))
    }

    /// A block was seen; tells of the notifications that waited for it.
    pub(super) fn block(&mut self, block: B256, seen: Stamp, mut tell: impl FnMut(&Event)) {
        if self.seen.len() == BLOCKS {
            self.seen.pop_front();
        }
        self.seen.push_back((block, seen));
        self.waiting.retain(|(hash, forwarded)| {
            let is_other = *hash != block;
            if !is_other {
                tell(&event(Some(forwarded.since(seen))));
            }
            is_other
        });
    }

    /// Tells of those that have waited too long by `now`, without a lag.
    pub(super) fn expire(&mut self, now: Stamp, mut tell: impl FnMut(&Event)) {
        while let Some((_, forwarded)) = self.waiting.front()
            && now.since(*forwarded) > PATIENCE
        {
            self.waiting.pop_front();
            tell(&event(None));
        }
    }

    /// Tells of all that wait, without a lag.
    pub(super) fn give_up(&mut self, mut tell: impl FnMut(&Event)) {
        for _ in self.waiting.drain(..) {
            tell(&event(None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Stamp {
        Stamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_notification_waits_for_its_block_to_be_told() {
        let (first, second) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let mut heads = Heads::default();
        let mut told = Vec::new();
        assert_eq!(heads.notified(first, at(7)), None);
        assert_eq!(heads.notified(second, at(8)), None);
        heads.block(first, at(5), |e| told.push(e.clone()));
        assert_eq!(told, [event(Some(Duration::from_millis(2)))]);
        assert_eq!(heads.notified(first, at(9)), Some(event(Some(Duration::from_millis(4)))));
        heads.expire(at(2_009), |e| told.push(e.clone()));
        assert_eq!(told[1..], [event(None)]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut heads = Heads::default();
        for i in 0..WAITING {
            assert_eq!(heads.notified(B256::repeat_byte(1), at(i as u64)), None);
        }
        assert_eq!(heads.notified(B256::repeat_byte(1), at(9)), Some(event(None)));
    }
}
