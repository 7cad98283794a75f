//! A submission was answered: it meets the transaction that it became, waits for it, or is recorded as
//! refused.

use alloy::primitives::B256;

use super::super::fate::{Pending, SubmissionCall, SubmissionOutcome};
use super::super::hashless::may_be;
use super::super::on_chain::Mined;
use super::{GRACE, MAX_REFUSED, MOST_PENDING, PATIENCE, RECEIPT_GRACE, Told, Transactions};
use crate::decode::contracts::Contracts;
use crate::decode::revert::{RefusalKind, RevertInfo};
use crate::decode::submission::Submission;
use crate::model::{ChainQuestion, TransactionStatus};

impl Transactions {
    /// A submission was answered.
    pub fn submitted(
        &mut self,
        submission: Submission,
        call: &SubmissionCall,
        contracts: &mut Contracts,
        out: &mut Told,
    ) {
        self.meet(call.left.after(call.total));
        let (told, refusal) = match &call.outcome {
            SubmissionOutcome::Accepted(hash) => (*hash, None),
            SubmissionOutcome::Refused(info) => (info.transaction, Some(info)),
            SubmissionOutcome::Unanswered => (None, None),
        };
        let hash = told.or(submission.hash);
        let pending = Pending::new(submission, call, refusal, contracts);
        let unnamed = pending.to.filter(|_| pending.named.is_none());
        if let Some(missing) =
            unnamed.and_then(|to| contracts.missing_at(to, pending.head.is_any(), None))
        {
            out.wanted.push(ChainQuestion::Code(missing));
        }
        // Without a txHash an error means "not mined", except that nodes which leave it out say in
        // words that the code ran; then a block may still bring it.
        let ran = refusal.is_some_and(|info| info.kind.ran());
        match (hash, refusal) {
            (None, Some(_)) if ran => self.find(pending, contracts, out),
            (Some(hash), Some(info)) if told.is_none() && !ran => {
                self.refuse(hash, info, pending, contracts, out);
            }
            (None, Some(_)) => {
                let status = TransactionStatus::Rejected;
                out.samples.push(pending.unmined(B256::ZERO, status, contracts));
            }
            (Some(hash), _) => {
                let only_grace = refusal.is_some() && told.is_none();
                self.join(hash, pending, only_grace, contracts, out);
            }
            (None, _) => {}
        }
    }

    /// A call whose request could not be read was answered with what is, or may be, a transaction's
    /// hash. Returns whether a transaction with that hash is known.
    pub fn unread(
        &mut self,
        hash: B256,
        call: &SubmissionCall,
        contracts: &mut Contracts,
        out: &mut Told,
    ) -> bool {
        self.meet(call.left.after(call.total));
        if let Some(mut held) = self.held.remove(&hash) {
            held.submission.get_or_insert_with(|| Pending::unread(call.clone()));
            self.settle_or_hold(held, contracts, out);
            return true;
        }
        let is_on_chain = self.on_chain.newest(&hash).is_some_and(|it| it.rolled_back.is_none());
        if is_on_chain || self.pending.contains(&hash) {
            return true;
        }
        self.unread.insert(hash, self.now.after(PATIENCE), call.clone());
        while self.unread.pop_above(MOST_PENDING).is_some() {}
        false
    }

    /// A submission without a hash meets the transaction that it became, or waits for it. Of several
    /// alike the first in its sender's order is taken.
    pub(super) fn find(&mut self, pending: Pending, contracts: &mut Contracts, out: &mut Told) {
        let became = self.held.values().filter(|held| may_be(&pending, held));
        match became.min_by_key(|held| held.mined.nonce).map(|held| held.mined.hash) {
            Some(hash) => self.join(hash, pending, true, contracts, out),
            None => self.hashless.insert(self.now.after(GRACE), pending),
        }
    }

    /// A submission meets its transaction, or waits for it.
    pub(super) fn join(
        &mut self,
        hash: B256,
        pending: Pending,
        only_grace: bool,
        contracts: &mut Contracts,
        out: &mut Told,
    ) {
        self.refused.remove(&hash);
        // An answer that came after the grace. One that left later submits the same bytes anew, to
        // a chain that was rolled back.
        let late = |mined: &Mined| mined.rolled_back.is_none() && pending.left <= mined.seen;
        if self.on_chain.newest(&hash).is_some_and(late) {
            return;
        }
        if let Some(mut held) = self.held.remove(&hash) {
            let is_rolled_back = held.submission.is_some() && held.rollback().is_some();
            if is_rolled_back || pending.left > held.block.seen {
                // Sent after that block was seen, or after its chain was rolled back: another
                // transaction of the same bytes.
                self.settle(held, contracts, out);
            } else {
                // The first submission of the same bytes is the one that counts.
                held.submission.get_or_insert(pending);
                self.settle_or_hold(held, contracts, out);
                return;
            }
        }
        if self.pending.contains(&hash) {
            return;
        }
        let deadline = self.now.after(match pending.refusal {
            _ if only_grace => GRACE,
            // The node named it, so it is mined.
            Some(_) => RECEIPT_GRACE,
            None => PATIENCE,
        });
        self.pending.insert(hash, deadline, pending);
        while let Some((hash, given_up)) = self.pending.pop_above(MOST_PENDING) {
            out.samples.push(given_up.unmined(hash, TransactionStatus::Lost, contracts));
        }
    }

    /// Holds a refused submission until it is clear whether the same bytes were accepted.
    pub(super) fn refuse(
        &mut self,
        hash: B256,
        refusal: &RevertInfo,
        pending: Pending,
        contracts: &mut Contracts,
        out: &mut Told,
    ) {
        let is_on_chain = self.on_chain.newest(&hash).is_some_and(|it| it.rolled_back.is_none());
        let is_known = is_on_chain
            || self.pending.contains(&hash)
            || self.held.contains(&hash)
            || self.refused.contains(&hash)
            // The node has it already, from whomever.
            || refusal.kind == RefusalKind::AlreadyKnown;
        if is_known {
            return;
        }
        self.refused.insert(hash, self.now.after(GRACE), pending);
        while let Some((hash, pending)) = self.refused.pop_above(MAX_REFUSED) {
            out.samples.push(pending.unmined(hash, TransactionStatus::Rejected, contracts));
        }
    }
}
