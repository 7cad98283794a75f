//! Where pending transactions are: the node is asked now and then, and its answers end the wait for
//! those that it does not know any more.

use alloy::primitives::{Address, B256};

use super::super::fate::Pending;
use super::super::passage::Caller;
use super::{SIGHT_EVERY, SIGHTS, Told, Transactions};
use crate::decode::contracts::Contracts;
use crate::model::{ChainQuestion, Sight, Stamp, TransactionStatus};

impl Transactions {
    /// The node told where a submitted transaction is.
    pub fn sighted(&mut self, hash: B256, sight: Sight, contracts: &mut Contracts, out: &mut Told) {
        match sight {
            Sight::Pending { from } => {
                if let Some(pending) = self.pending.get_mut(&hash) {
                    pending.from = Some(from);
                }
            }
            Sight::Gone => {
                if let Some(mut pending) = self.pending.remove(&hash) {
                    if let Some(cause) = self.rolled_back_since(&pending) {
                        pending.rolled_back = Some(cause);
                        self.settle_relayed(hash, pending, contracts, out);
                        return;
                    }
                    let status = match self.has_twin(&mut pending) {
                        true => TransactionStatus::Replaced,
                        false => TransactionStatus::Dropped,
                    };
                    out.samples.push(pending.unmined(hash, status, contracts));
                }
            }
            // Its block is on its way here.
            Sight::Mined => {}
        }
    }

    /// A pending transaction that waits for a nonce before its own, which nobody has sent: its nonce
    /// and who sent it; told once.
    pub fn waits_in_vain(&mut self, hash: B256, from: Address) -> Option<(u64, Caller)> {
        let pending = self.pending.get_mut(&hash).filter(|pending| !pending.ahead)?;
        let (nonce, caller) = (pending.nonce?, pending.caller.clone());
        let before = Some(nonce.checked_sub(1)?);
        let is_next = self
            .pending
            .iter_mut()
            .any(|(_, other)| other.nonce == before && other.sender() == Some(from));
        if is_next {
            return None;
        }
        self.pending.get_mut(&hash)?.ahead = true;
        Some((nonce, caller))
    }

    /// Whether another pending transaction has the same sender and nonce.
    pub(super) fn has_twin(&mut self, of: &mut Pending) -> bool {
        let (Some(from), Some(nonce)) = (of.sender(), of.nonce) else { return false };
        self.pending.iter_mut().any(|(_, other)| {
            other.nonce == Some(nonce) && other.left >= of.left && other.sender() == Some(from)
        })
    }

    /// Asks where those are that have been pending for a while.
    pub(super) fn ask_sights(&mut self, now: Stamp, out: &mut Told) {
        if self.pending.len() == 0 || now.since(self.sighted) < SIGHT_EVERY {
            return;
        }
        self.sighted = now;
        let mut due: Vec<(Stamp, B256)> = self
            .pending
            .iter_mut()
            .filter(|(_, pending)| now.since(pending.sighted) >= SIGHT_EVERY)
            .map(|(hash, pending)| (pending.sighted, *hash))
            .collect();
        due.sort_unstable();
        for (_, hash) in due.into_iter().take(SIGHTS) {
            if let Some(pending) = self.pending.get_mut(&hash) {
                pending.sighted = now;
                out.wanted.push(ChainQuestion::Sight(hash));
            }
        }
    }
}
