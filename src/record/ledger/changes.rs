//! What changes the code at addresses, as far as calls and answers show it: creations, code that is set,
//! snapshots and rollbacks; and the code that the node answered.
//!
//! Where a chain is rolled back again and again, as by test suites with fixtures, the node's answer to
//! a request for code and the rollback that makes it void may be recorded in either order. So while
//! that goes on an answer rests for [`SETTLES_IN`] before anything goes by it.

use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::Ledger;
use crate::decode::chain_control::ChainControl;
use crate::decode::contracts::ACCOUNT;
use crate::decode::submission::Submission;
use crate::model::{ContractCode, Interval, Sample, Stamp};
use crate::record::code_requests::Request;
use crate::record::creations::Created;
use crate::record::fate::SubmissionOutcome;
use crate::record::outbox::Outbox;

/// How long an answer rests.
const SETTLES_IN: Duration = Duration::from_millis(30);
/// For how long after a snapshot or rollback another is expected.
const CONTROLLED_FOR: Duration = Duration::from_secs(60);
/// Answers that rest at a time.
const MOST_SETTLING: usize = 4_096;

impl Ledger {
    /// A call that changes the chain succeeded in this interval. What a rollback does is
    /// [`Self::code_rolled_back`].
    pub(in crate::record) fn controlled(&mut self, control: &ChainControl, ran: Interval) {
        match control {
            ChainControl::Snapshot => self.controlled = Some(ran.end),
            ChainControl::Revert(_) | ChainControl::Reset => {}
            ChainControl::Rewind => self.code_rolled_back(None, ran),
            ChainControl::SetCode { address, code } => {
                self.contracts.set_code(*address, code, ran);
            }
            ChainControl::SetStorage { address, slot } => {
                self.contracts.set_storage(*address, *slot);
            }
        }
    }

    /// The code at all addresses was put back to the chain's state of `to`, or to one that is not known.
    pub(in crate::record) fn code_rolled_back(&mut self, to: Option<Stamp>, ran: Interval) {
        self.contracts.roll_back(to, ran);
        self.requests.forget();
        self.controlled = Some(ran.end);
    }

    /// The state of the chain changed: code may have come to any address.
    pub(in crate::record) fn state_changed(&mut self, at: Stamp) {
        self.contracts.state_changed(at);
    }

    /// A client read an account's code, which is there.
    pub(in crate::record) fn saw_code(&mut self, account: Address, at: Interval) {
        if self.contracts.contract(account).as_str() == ACCOUNT {
            self.contracts.doubt(account, Interval { start: at.start, end: at.start });
        }
    }

    /// Notes where a submission that the node took creates a contract, and whose delegation it sets.
    pub(super) fn submitted(
        &mut self,
        submission: &Submission,
        outcome: &SubmissionOutcome,
        hash: Option<B256>,
        ran: Interval,
    ) {
        if !matches!(outcome, SubmissionOutcome::Accepted(_)) {
            return;
        }
        for authority in &submission.authorities {
            self.contracts.doubt(*authority, ran);
        }
        if let (None, Some(hash)) = (submission.to, hash) {
            let created = self.creations.accepted(submission, hash, &self.contracts, ran);
            self.created(created);
        }
    }

    /// Whether the node's answers about transactions may say where contracts were created.
    pub(in crate::record) const fn awaits_creations(&self) -> bool {
        self.creations.is_any()
    }

    /// The node answered about a transaction: by its receipt, or by itself.
    pub(in crate::record) fn answered_about(&mut self, hash: B256, result: &[u8], at: Interval) {
        let created = self.creations.answered(hash, result, at);
        self.created(created);
    }

    fn created(&mut self, created: Option<Created>) {
        let Some(Created { address, contract, since, is_certain }) = created else { return };
        self.contracts.created_as(address, contract, since);
        if !is_certain {
            // It goes by the name already; whether the constructor reverted is asked meanwhile.
            self.requests.ask(address, self.now);
        }
    }

    /// The node answered which code is at an address.
    pub(in crate::record) fn code(&mut self, found: ContractCode, outbox: &mut Outbox) {
        let is_rolled_back =
            self.controlled.is_some_and(|at| found.asked.end.since(at) < CONTROLLED_FOR);
        if is_rolled_back && self.settling.len() < MOST_SETTLING {
            self.settling.push_back(found);
        } else {
            self.learn_code(&found, outbox);
        }
    }

    /// Goes by the answers that have rested, and asks again for code that is still waited for. To be
    /// called often: it costs nothing while nothing waits.
    pub(in crate::record) fn advance(&mut self, now: Stamp, outbox: &mut Outbox) {
        self.now = self.now.max(now);
        while self.settling.front().is_some_and(|found| now.since(found.asked.end) >= SETTLES_IN)
            && let Some(found) = self.settling.pop_front()
        {
            self.learn_code(&found, outbox);
        }
        let waited = self.unnamed.addresses().chain(self.transactions.awaited());
        for address in waited {
            if self.requests.ask(address, self.now) == Request::Refused {
                break;
            }
        }
    }

    fn learn_code(&mut self, found: &ContractCode, outbox: &mut Outbox) {
        self.requests.answered(found.address, !found.code.is_empty(), self.now);
        if !self.contracts.learn(found) {
            // The calls that wait for it have it asked for again.
            return;
        }
        let wanted = &mut self.out.wanted;
        for unnamed in self.unnamed.learned(found.address, &self.contracts, wanted) {
            outbox.sample(Sample::Call(unnamed.name(&mut self.contracts)));
        }
        self.transactions.learned(found, &mut self.contracts, &mut self.out);
        self.hand_on(outbox);
    }
}
