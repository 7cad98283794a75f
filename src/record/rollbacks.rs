//! Which calls through the relay roll the chain back, and how far.
//!
//! Owns the snapshots that passed the relay and the last rollback that did. The relay sees a rollback
//! before the watcher does, and sees those that the watcher misses: a chain that mines again at once
//! looks as if nothing had happened. What a rollback means for transactions is
//! [`super::transactions`]' business.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use alloy::primitives::U256;

use crate::model::{Method, RollbackCause, Stamp};

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
    /// `evm_snapshot` was answered with this result; it had left for the node at `sent`.
    pub(super) fn snapshot_taken(&mut self, result: &[u8], sent: Stamp) {
        let Ok(id) = serde_json::from_slice::<U256>(result) else { return };
        if self.snapshots.insert(id, sent).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > MAX_SNAPSHOTS {
            if let Some(oldest) = self.order.pop_front() {
                self.snapshots.remove(&oldest);
            }
        }
    }

    /// A call of `method`, which replaces the chain, was answered with `result`. None where it
    /// changed nothing: the node did not know the snapshot.
    pub(super) fn called(
        &mut self,
        method: Method,
        snapshot: Option<U256>,
        result: &[u8],
        (sent, answered): (Stamp, Stamp),
    ) -> Option<RelayedRollback> {
        let rollback = if method.as_str().ends_with("_revert") {
            if result != b"true" {
                return None;
            }
            let since = snapshot.and_then(|id| self.snapshots.get(&id).copied());
            RelayedRollback { cause: RollbackCause::EvmRevert, since, sent, answered }
        } else {
            self.snapshots.clear();
            self.order.clear();
            let since = Some(Stamp::default());
            RelayedRollback { cause: RollbackCause::Reset, since, sent, answered }
        };
        self.last = Some(rollback);
        Some(rollback)
    }

    /// The call to which blocks that are found missing at `now` are put down.
    pub(super) fn cause(&self, now: Stamp) -> Option<RollbackCause> {
        self.last.filter(|last| now.since(last.answered) < ATTRIBUTED_FOR).map(|last| last.cause)
    }
}

/// The snapshot that the params of `evm_revert` name.
pub(super) fn snapshot_in(params: &[u8]) -> Option<U256> {
    if params.len() > 256 {
        return None;
    }
    serde_json::from_slice::<Vec<U256>>(params).ok()?.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_revert_reaches_back_to_its_snapshot() {
        let mut rollbacks = Rollbacks::default();
        rollbacks.snapshot_taken(b"\"0x1\"", at(10));
        rollbacks.snapshot_taken(b"\"0x2\"", at(20));
        let revert = Method::known("evm_revert");
        let called = |it: &mut Rollbacks, params: &[u8], result: &[u8]| {
            it.called(revert, snapshot_in(params), result, (at(30), at(31)))
        };
        let since = |found: Option<RelayedRollback>| found.unwrap().since;
        assert_eq!(since(called(&mut rollbacks, b"[\"0x1\"]", b"true")), Some(at(10)));
        assert_eq!(since(called(&mut rollbacks, b"[\"0x02\"]", b"true")), Some(at(20)));
        assert_eq!(since(called(&mut rollbacks, b"[2]", b"true")), Some(at(20)));
        assert_eq!(since(called(&mut rollbacks, b"[\"0x7\"]", b"true")), None);
        assert_eq!(called(&mut rollbacks, b"[\"0x1\"]", b"false"), None);
        let reset = Method::known("hardhat_reset");
        let all = rollbacks.called(reset, None, b"true", (at(40), at(41))).unwrap();
        assert_eq!((all.cause, all.since), (RollbackCause::Reset, Some(Stamp::default())));
        assert_eq!(since(called(&mut rollbacks, b"[\"0x1\"]", b"true")), None);
    }

    #[test]
    fn lost_blocks_are_put_down_to_a_call_of_a_moment_ago() {
        let mut rollbacks = Rollbacks::default();
        assert_eq!(rollbacks.cause(at(10)), None);
        rollbacks.called(Method::known("anvil_revert"), None, b"true", (at(10), at(11)));
        assert_eq!(rollbacks.cause(at(9_000)), Some(RollbackCause::EvmRevert));
        assert_eq!(rollbacks.cause(at(60_000)), None);
    }

    #[test]
    fn snapshots_are_bounded() {
        let mut rollbacks = Rollbacks::default();
        for id in 0..2 * MAX_SNAPSHOTS {
            rollbacks.snapshot_taken(format!("\"{id:#x}\"").as_bytes(), at(1));
        }
        assert_eq!(
            (rollbacks.snapshots.len(), rollbacks.order.len()),
            (MAX_SNAPSHOTS, MAX_SNAPSHOTS)
        );
    }
}
