//! When and where a call passed, and what came of it: what those who follow exchanges and messages
//! find out, for those who make samples of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::decode::jsonrpc::Answer;
use crate::model::{ConnectionId, Outcome, Stamp, TraceContext, UninspectedReason};

/// Who called.
#[derive(Clone, Debug)]
pub struct Caller {
    pub connection: ConnectionId,
    /// Its end of the connection, and its `User-Agent`, while they matter.
    pub peer: Option<SocketAddr>,
    pub agent: Option<Arc<str>>,
}

/// When and where a call passed.
pub(super) struct Passage {
    pub(super) caller: Caller,
    /// The request's first byte was read.
    pub(super) started: Stamp,
    /// The request's last byte was about to be written to the node.
    pub(super) written: Stamp,
    pub(super) total: Duration,
    pub(super) upstream: Duration,
    pub(super) overhead: Duration,
    pub(super) trace: Option<TraceContext>,
}

/// What came of a call.
pub(super) struct Ending<'a> {
    pub(super) outcome: Outcome,
    pub(super) answer: Option<Answer<'a>>,
    pub(super) response_bytes: u64,
    /// Why the answer could not be read; only of [`Outcome::Uninspected`].
    pub(super) uninspected: Option<UninspectedReason>,
}

impl Caller {
    /// Somebody who is gone.
    pub const fn gone(connection: ConnectionId) -> Self {
        Self { connection, peer: None, agent: None }
    }
}

impl<'a> Ending<'a> {
    /// No answer was seen.
    pub(super) const fn without(outcome: Outcome, response_bytes: u64) -> Self {
        Self { outcome, answer: None, response_bytes, uninspected: None }
    }

    /// The answer could not be read.
    pub(super) const fn uninspected(reason: UninspectedReason, response_bytes: u64) -> Self {
        Self { uninspected: Some(reason), ..Self::without(Outcome::Uninspected, response_bytes) }
    }

    pub(super) const fn answered(answer: Answer<'a>, response_bytes: u64) -> Self {
        let outcome = match answer {
            Answer::Result(_) => Outcome::Success,
            Answer::Error { code, .. } => Outcome::Error(code),
        };
        Self { outcome, answer: Some(answer), response_bytes, uninspected: None }
    }
}
