//! Sends whose request could not be read: too large, compressed in an unknown way, or of a transaction
//! type that is not known. Their answer still names the transaction.
//!
//! What a send is answered with is a hash. Of a request whose method is not known, a result of 32 bytes
//! may be anything: it counts as a transaction's hash only once a block holds a transaction with it. Its
//! call waits for that block as long as a mined transaction waits for its submission.

use alloy::primitives::B256;

use super::fate::{SubmissionCall, SubmissionOutcome};
use super::passage::{Ending, Passage};
use super::timed::Timed;
use super::transactions::GRACE;
use crate::decode::jsonrpc::Answer;
use crate::decode::revert::RevertInfo;
use crate::model::{RpcCall, Stamp, TraceContext, UnixMicros};

/// Calls that wait to learn whether their answer named a transaction.
const MOST_WAITING: usize = 10_000;
/// The text of a hash in JSON: quotes, `0x` and 64 digits.
const HASH_TEXT: usize = 68;

/// A call that sent the transaction `hash`, or may have.
pub(super) struct UnreadSend {
    pub(super) hash: B256,
    /// Whether the method is one that sends.
    pub(super) is_send: bool,
    pub(super) call: SubmissionCall,
}

impl UnreadSend {
    /// From the answer to a call; none where it names no transaction.
    pub(super) fn of(
        ending: &Ending<'_>,
        is_send: bool,
        at: UnixMicros,
        passage: &Passage,
        trace: Option<TraceContext>,
    ) -> Option<Self> {
        let (hash, outcome) = match ending.answer? {
            Answer::Result(result) => {
                let hash = if is_send { result_hash(result) } else { hash_text(result) }?;
                (hash, SubmissionOutcome::Accepted(Some(hash)))
            }
            Answer::Error { text, .. } => {
                let refusal = RevertInfo::parse(text);
                (refusal.transaction?, SubmissionOutcome::Refused(refusal))
            }
        };
        let call = SubmissionCall {
            at,
            left: passage.written,
            total: passage.total,
            upstream: passage.upstream,
            outcome,
            caller: passage.caller.clone(),
            trace,
        };
        Some(Self { hash, is_send, call })
    }
}

/// Calls that wait for a block with the transaction that their answer may have named.
#[derive(Default)]
pub(super) struct UnreadSends(Timed<RpcCall>);

impl UnreadSends {
    /// Has a call wait from `now` on; returns one that waits no longer for it, if there is one.
    pub(super) fn wait(&mut self, hash: B256, now: Stamp, call: RpcCall) -> Option<RpcCall> {
        let before = self.0.remove(&hash);
        self.0.insert(hash, now.after(GRACE), call);
        before.or_else(|| self.0.pop_above(MOST_WAITING).map(|(_, call)| call))
    }

    /// A block holds the transaction: its call, if it waits.
    pub(super) fn mined(&mut self, hash: B256) -> Option<RpcCall> {
        let mut call = self.0.remove(&hash)?;
        call.transaction = Some(hash);
        Some(call)
    }

    /// A call that has waited long enough.
    pub(super) fn pop_due(&mut self, now: Stamp) -> Option<RpcCall> {
        self.0.pop_due(now).map(|(_, call)| call)
    }
}

/// The transaction's hash in a send's result: the hash itself, or the receipt that holds it.
pub(super) fn result_hash(result: &[u8]) -> Option<B256> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Receipt {
        transaction_hash: B256,
    }
    if result.first() == Some(&b'{') {
        return serde_json::from_slice::<Receipt>(result).ok().map(|r| r.transaction_hash);
    }
    serde_json::from_slice(result).ok()
}

fn hash_text(result: &[u8]) -> Option<B256> {
    if result.len() == HASH_TEXT { serde_json::from_slice(result).ok() } else { None }
}
