//! What of a client's bytes may pass to the upstream: all of them, once the guard has seen the head
//! of the request that they belong to.
//!
//! Owns what is held back and the refusal that stops a connection. The rules are [`Guard`]'s.
//!
//! A byte passes a guard that is not open for one of two reasons only: it belongs to a request whose
//! head was admitted, or the connection is no HTTP any more, as the upstream has agreed in answer to
//! an admitted request (`101`, or 2xx to `CONNECT`). Where neither can be told, the connection is
//! answered 400 and ends, rather than go on unjudged: by way of one odd request everything after it
//! would pass. That touches no legal traffic. A request whose end two readers may see in different
//! places (`Content-Length` beside `Transfer-Encoding`, two lengths, a broken chunk) is no legal one,
//! and no browser or Ethereum client sends it; what comes after an upgrade request is held until its
//! response has decided, and then judged or passed, unaltered; and a node that answers nonsense, or a
//! pipeline too deep, stops the observing, not the judging.
//!
//! A part of a head that is held when the client ends never passes: it asks for nothing.

use std::borrow::Cow;

use super::answer::{self, Answer};
use super::shared::Shared;
use crate::decode::follower::Follower;
use crate::decode::http1::{LONGEST_HEAD, RequestHead, Requests, Unreadable};
use crate::model::{ConnectionEvent, ConnectionId, Observation, Opaque, Proxy, Stamp};
use crate::wire::guard::{Guard, Refusal};

/// A connection's gate.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// A part of a request's head: it passes when the guard has seen all of it. Or what came after
    /// an upgrade request: it passes, or is judged, when that was answered.
    held: Vec<u8>,
    /// Whether what is held waits for the answer to an upgrade.
    waiting: bool,
    /// What to answer in place of passing on, once what was asked before is answered.
    pub refusal: Option<Answer>,
    /// Whether the last head that passed is a browser's question if it may send another request.
    pub preflight: bool,
}

/// Status, reason and message of what does not pass.
type Refused = (u16, &'static str, String);

impl Gate {
    /// Whether something is held until an upgrade is answered.
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Whether so much is held that the client has to wait for that answer as well.
    pub fn is_full(&self) -> bool {
        self.waiting && self.held.len() >= LONGEST_HEAD
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
        let tell = &mut |told| observer.tell(told);
        let followed = follower.from_client(bytes, read, admit, tell);
        self.waiting = matches!(followed, Requests::UndecidedAt(_));
        let (at, (status, reason, message)) = match followed {
            Requests::Followed => return bytes.len(),
            Requests::UndecidedAt(at) if guard.is_open() && bytes.len() - at > LONGEST_HEAD => {
                self.waiting = false;
                follower.pass_unread(Opaque::UnknownUpgrade, read, tell);
                return bytes.len();
            }
            Requests::HeadAt(at) | Requests::UndecidedAt(at) => return at,
            Requests::UnreadableAt(..) if guard.is_open() => {
                follower.pass_unread(Opaque::RequestNotHttp, read, tell);
                return bytes.len();
            }
            Requests::UnreadableAt(at, why) => (at, unreadable(why)),
            Requests::RefusedAt(at) => (at, refused.unwrap_or_default()),
        };
        let event = ConnectionEvent::Refused { proxy: Proxy::Rpc, status, reason };
        observer.tell(Observation::Connection(id, read, event));
        self.refusal = Some(answer::refusal(status, &message));
        at
    }
}

/// Status, reason and message for what nobody can judge.
fn unreadable(why: Unreadable) -> Refused {
    let (status, reason, message) = match why {
        Unreadable::NotHttp => {
            (400, "head_unreadable", "dappscope: this is not an HTTP/1.1 request")
        }
        Unreadable::HeadTooLong => {
            (431, "head_too_long", "dappscope: a request's head is longer than 64 KiB")
        }
        Unreadable::Framing => (
            400,
            "framing_ambiguous",
            "dappscope: where this request ends cannot be told. Send exactly one plain \
             Content-Length, or exactly `Transfer-Encoding: chunked` with sound chunks.",
        ),
        Unreadable::Upgrade => (
            400,
            "upgrade_unclear",
            "dappscope: the node's answer to an upgrade could not be read, so what comes after it \
             cannot be judged. Use a new connection.",
        ),
    };
    (status, reason, message.to_owned())
}

/// Status, reason and message if the request is not to pass.
fn refuse(guard: &Guard, head: &RequestHead<'_>) -> Option<Refused> {
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
    let named = head.authority.map_or(Ok(()), |authority| guard.admit(Some(authority), None));
    let refusal = guard.admit(host, head.origin).and(named).err()?;
    Some((refusal.status, refusal.reason, Refusal::message(&refusal)))
}
