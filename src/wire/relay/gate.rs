//! What of a client's bytes may pass to the upstream: all of them, once the guard has seen the head
//! of the request that they belong to.
//!
//! Owns the part of a head that is held back and the refusal that stops a connection. The rules are
//! [`Guard`]'s. What is held when the client ends never passes: a part of a head asks for nothing.

use std::borrow::Cow;

use super::accept::Shared;
use super::answer::{self, Answer};
use crate::decode::follower::Follower;
use crate::decode::http1::{RequestHead, Requests};
use crate::model::{ConnectionEvent, ConnectionId, Observation, Proxy, Stamp};
use crate::wire::guard::{Guard, Refusal};

/// A connection's gate.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// A part of a request's head: it passes when the guard has seen all of it.
    held: Vec<u8>,
    /// What to answer in place of passing on, once what was asked before is answered.
    pub refusal: Option<Answer>,
    /// Whether the last head that passed is a browser's question if it may send another request.
    pub preflight: bool,
}

/// What does not pass: where it begins, and what is said of it.
struct Stopped {
    at: usize,
    status: u16,
    reason: &'static str,
    message: String,
}

impl Gate {
    /// Whether nothing is held back.
    pub fn is_clear(&self) -> bool {
        self.held.is_empty()
    }

    /// What of `bytes`, read at `read`, and of what was held back before them may pass now.
    pub fn pass<'a>(
        &mut self,
        bytes: &'a [u8],
        read: Stamp,
        id: ConnectionId,
        follower: &mut Follower,
        shared: &Shared,
    ) -> Cow<'a, [u8]> {
        if self.held.is_empty() {
            let pass = self.judge(bytes, read, id, follower, shared);
            self.held.extend_from_slice(&bytes[pass..]);
            // An open guard holds nothing back: what is held is the follower's copy.
            let pass = if shared.guard.is_open() { bytes.len() } else { pass };
            return Cow::Borrowed(&bytes[..pass]);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(bytes);
        let pass = self.judge(&joined, read, id, follower, shared);
        self.held = joined.split_off(pass);
        if shared.guard.is_open() { Cow::Borrowed(bytes) } else { Cow::Owned(joined) }
    }

    /// Follows `bytes` and answers how many of them may pass. Sets the refusal when that is not all
    /// for good.
    fn judge(
        &mut self,
        bytes: &[u8],
        read: Stamp,
        id: ConnectionId,
        follower: &mut Follower,
        Shared { guard, observer, .. }: &Shared,
    ) -> usize {
        let (mut refused, preflight) = (None, &mut self.preflight);
        let admit = |head: &RequestHead<'_>| {
            *preflight = head.preflight;
            refused = refuse(guard, head);
            refused.is_none()
        };
        let stopped =
            match follower.from_client(bytes, read, admit, &mut |told| observer.tell(told)) {
                Requests::Followed | Requests::Lost(_) => return bytes.len(),
                Requests::HeadAt(at) => return at,
                Requests::RefusedAt(at) => {
                    let (status, reason, message) = refused.unwrap_or_default();
                    Stopped { at, status, reason, message }
                }
                Requests::UnreadableAt { .. } if guard.is_open() => {
                    follower.pass_unreadable(read, &mut |told| observer.tell(told));
                    return bytes.len();
                }
                // Where nobody can tell what is asked for, nobody can tell who asks.
                Requests::UnreadableAt { at, too_long: true } => Stopped {
                    at,
                    status: 431,
                    reason: "head_too_long",
                    message: "dappscope: a request's head is longer than 64 KiB".to_owned(),
                },
                Requests::UnreadableAt { at, too_long: false } => Stopped {
                    at,
                    status: 400,
                    reason: "head_unreadable",
                    message: "dappscope: this is not an HTTP/1.1 request".to_owned(),
                },
            };
        let Stopped { at, status, reason, message } = stopped;
        let event = ConnectionEvent::Refused { proxy: Proxy::Rpc, status, reason };
        observer.tell(Observation::Connection(id, read, event));
        self.refusal = Some(answer::refusal(status, &message));
        at
    }
}

/// Status, reason and message if the request is not to pass.
fn refuse(guard: &Guard, head: &RequestHead<'_>) -> Option<(u16, &'static str, String)> {
    if guard.is_open() {
        return None;
    }
    if head.hosts > 1 {
        // The guard would judge by one of them and the node by another.
        let message = "dappscope: a request must have exactly one Host header".to_owned();
        return Some((400, "host_repeated", message));
    }
    // No browser speaks HTTP/1.0 without a Host, so there is nothing to be protected from.
    let host = if head.minor == 0 { head.host.or(Some(b"localhost")) } else { head.host };
    let refusal = guard.admit(host, head.origin).err()?;
    Some((refusal.status, refusal.reason, Refusal::message(&refusal)))
}
