//! Which calls through the relay roll the chain back, and how far.
//!
//! Owns the snapshots that passed the relay and the last rollback that did. The relay sees a rollback
//! before the watcher does, and sees those that the watcher misses: a chain that mines again at once
//! looks as if nothing had happened. What a rollback means for transactions is
//! [`super::transactions`]' business.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use alloy::primitives::U256;

use crate::decode::chain_control::{ChainControl, snapshot_id};
use crate::model::{Interval, RollbackCause, Stamp};

/// Snapshots that are remembered; the oldest are forgotten first.
const MAX_SNAPSHOTS: usize = 1_024;
/// For how long after such a call the watcher's news of lost blocks is put down to it. It looks at
/// once, but a node that mines has to answer first.
const ATTRIBUTED_FOR: Duration = Duration::from_secs(10);

/// A rollback that was answered through the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RelayedRollback {
    pub cause: RollbackCause,
    /// What was sent from this moment on is gone; none where the snapshot did not pass the relay, so
    /// that only the watcher finds out how far the chain went back.
    pub since: Option<Stamp>,
    /// When the call left for the node.
    pub sent: Stamp,
    /// When its answer was read.
    pub answered: Stamp,
}

/// Snapshots and the last rollback.
#[derive(Default)]
pub(super) struct Rollbacks {
    snapshots: HashMap<U256, Stamp>,
    order: VecDeque<U256>,
    last: Option<RelayedRollback>,
}

impl Rollbacks {
    /// A call that changes the chain was answered with `result`. Returns the rollback that it is; none
    /// for any other, and for a snapshot that the node did not know.
    pub(super) fn controlled(
        &mut self,
        control: &ChainControl,
        result: &[u8],
        ran: Interval,
    ) -> Option<RelayedRollback> {
        let (cause, since) = match control {
            ChainControl::Snapshot => {
                if let Some(id) = snapshot_id(result) {
                    self.remember(id, ran.start);
                }
                return None;
            }
            ChainControl::Revert(_) if result != b"true" => return None,
            ChainControl::Revert(id) => {
                let since = id.and_then(|id| self.snapshots.get(&id).copied());
                (RollbackCause::EvmRevert, since)
            }
            ChainControl::Reset => {
                self.snapshots.clear();
                self.order.clear();
                (RollbackCause::Reset, Some(Stamp::default()))
            }
            // How far it goes back, the watcher finds out.
            ChainControl::Rewind
            | ChainControl::SetCode { .. }
            | ChainControl::SetStorage { .. } => return None,
        };
        let rollback = RelayedRollback { cause, since, sent: ran.start, answered: ran.end };
        self.last = Some(rollback);
        Some(rollback)
    }

    fn remember(&mut self, id: U256, taken: Stamp) {
        if self.snapshots.insert(id, taken).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > MAX_SNAPSHOTS {
            if let Some(oldest) = self.order.pop_front() {
                self.snapshots.remove(&oldest);
            }
        }
    }

    /// The call to which blocks that are found missing at `now` are put down.
    pub(super) fn cause(&self, now: Stamp) -> Option<RollbackCause> {
        self.last.filter(|last| now.since(last.answered) < ATTRIBUTED_FOR).map(|last| last.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    fn ran() -> Interval {
        Interval { start: at(30), end: at(31) }
    }

    #[test]
    fn a_revert_reaches_back_to_its_snapshot() {
        let mut rollbacks = Rollbacks::default();
        for (id, taken) in [("\"0x1\"", 10), ("\"0x2\"", 20)] {
            let taken = Interval { start: at(taken), end: at(taken + 1) };
            let none = rollbacks.controlled(&ChainControl::Snapshot, id.as_bytes(), taken);
            assert_eq!(none, None);
        }
        let called = |it: &mut Rollbacks, id: u64, result: &[u8]| {
            it.controlled(&ChainControl::Revert(Some(U256::from(id))), result, ran())
        };
        let since = |found: Option<RelayedRollback>| found.unwrap().since;
        assert_eq!(since(called(&mut rollbacks, 1, b"true")), Some(at(10)));
        assert_eq!(since(called(&mut rollbacks, 2, b"true")), Some(at(20)));
        assert_eq!(since(called(&mut rollbacks, 7, b"true")), None);
        assert_eq!(called(&mut rollbacks, 1, b"false"), None);
        let all = rollbacks.controlled(&ChainControl::Reset, b"true", ran()).unwrap();
        assert_eq!((all.cause, all.since), (RollbackCause::Reset, Some(Stamp::default())));
        assert_eq!(since(called(&mut rollbacks, 1, b"true")), None);
    }

    #[test]
    fn lost_blocks_are_put_down_to_a_call_of_a_moment_ago() {
        let mut rollbacks = Rollbacks::default();
        assert_eq!(rollbacks.cause(at(10)), None);
        rollbacks.controlled(&ChainControl::Revert(None), b"true", ran());
        assert_eq!(rollbacks.cause(at(9_000)), Some(RollbackCause::EvmRevert));
        assert_eq!(rollbacks.cause(at(60_000)), None);
    }

    #[test]
    fn snapshots_are_bounded() {
        let mut rollbacks = Rollbacks::default();
        for id in 0..2 * MAX_SNAPSHOTS {
            let id = format!("\"{id:#x}\"");
            rollbacks.controlled(&ChainControl::Snapshot, id.as_bytes(), ran());
        }
        let kept = (rollbacks.snapshots.len(), rollbacks.order.len());
        assert_eq!(kept, (MAX_SNAPSHOTS, MAX_SNAPSHOTS));
    }
}
