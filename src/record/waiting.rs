//! The requests of one connection that wait for their responses, found by id.
//!
//! Which response ends which request is decided here; what comes of both is `sockets`' business.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::calls::Asked;
use super::http::exact_place;
use super::passage::{Caller, Passage};
use crate::decode::jsonrpc::{Id, IdKey};
use crate::model::{ConnectionId, SocketMessage, Stamp};

/// Requests by their id.
#[derive(Default)]
pub(super) struct WaitingCalls {
    lines: HashMap<IdKey, Line>,
    count: usize,
    /// How many wait of each message that asked for some.
    messages: BTreeMap<u64, usize>,
}

/// The requests that wait with one id: nearly always one, which then takes no further allocation.
struct Line {
    first: Waiting,
    others: VecDeque<Waiting>,
}

/// A request that waits.
pub(super) struct Waiting {
    pub(super) asked: Asked,
    pub(super) exact: u64,
    pub(super) sequence: u64,
    /// The message that asked: the same for all of a batch.
    pub(super) message: u64,
    pub(super) started: Stamp,
    pub(super) read: Stamp,
    pub(super) written: Stamp,
    /// For `eth_subscribe`, to what.
    pub(super) subscription: &'static str,
}

impl Waiting {
    /// The call ended with the answer in `response`.
    pub(super) fn answered(&self, response: &SocketMessage) -> Passage {
        Passage {
            caller: caller(response),
            started: self.started,
            written: self.written,
            total: response.written.since(self.started),
            upstream: response.read.since(self.written),
            overhead: self
                .written
                .since(self.read)
                .saturating_add(response.written.since(response.read)),
            trace: None,
        }
    }

    /// The call ended at `end` without an answer.
    pub(super) fn abandoned(&self, connection: ConnectionId, end: Stamp) -> Passage {
        Passage {
            caller: Caller::gone(connection),
            started: self.started,
            written: self.written,
            total: end.since(self.started),
            upstream: end.since(self.written),
            overhead: self.written.since(self.read),
            trace: None,
        }
    }
}

/// Who is at the client's end of a message.
pub(super) fn caller(message: &SocketMessage) -> Caller {
    let SocketMessage { connection, peer, ref user_agent, .. } = *message;
    Caller { connection, peer: Some(peer), agent: user_agent.clone() }
}

impl Line {
    fn take(mut self, id: Id) -> (Waiting, Option<Self>) {
        let exacts = std::iter::once(&self.first).chain(&self.others).map(|w| w.exact);
        let taken = match exact_place(exacts, id) {
            0 => self.others.pop_front().map(|next| std::mem::replace(&mut self.first, next)),
            place => self.others.remove(place - 1),
        };
        match taken {
            Some(taken) => (taken, Some(self)),
            None => (self.first, None),
        }
    }
}

impl WaitingCalls {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The messages that ask for those that wait.
    pub(super) fn messages(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn put(&mut self, key: IdKey, waiting: Waiting) {
        use std::collections::hash_map::Entry;
        *self.messages.entry(waiting.message).or_default() += 1;
        match self.lines.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Line { first: waiting, others: VecDeque::new() });
            }
            Entry::Occupied(mut line) => line.get_mut().others.push_back(waiting),
        }
        self.count += 1;
    }

    pub(super) fn take(&mut self, id: Id) -> Option<Waiting> {
        let (taken, rest) = self.lines.remove(&id.key)?.take(id);
        if let Some(rest) = rest {
            self.lines.insert(id.key, rest);
        }
        self.count -= 1;
        if let Some(left) = self.messages.get_mut(&taken.message) {
            *left -= 1;
            if *left == 0 {
                self.messages.remove(&taken.message);
            }
        }
        Some(taken)
    }

    /// Takes the only one that waits.
    pub(super) fn take_only(&mut self) -> Option<Waiting> {
        let key = *self.lines.keys().next().filter(|_| self.count == 1)?;
        self.take(Id { key, exact: 0 })
    }

    /// Takes all that came before `sequence`, oldest first.
    pub(super) fn take_before(&mut self, sequence: u64) -> Vec<Waiting> {
        self.take_all_that(|waiting| waiting.sequence < sequence)
    }

    /// Takes all that one message asked for, oldest first.
    pub(super) fn take_of(&mut self, message: u64) -> Vec<Waiting> {
        if !self.messages.contains_key(&message) {
            return Vec::new();
        }
        self.take_all_that(|waiting| waiting.message == message)
    }

    fn take_all_that(&mut self, is_taken: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.lines)
            .into_iter()
            .flat_map(|(key, line)| {
                std::iter::once(line.first).chain(line.others).map(move |waiting| (key, waiting))
            })
            .partition(|(_, waiting)| is_taken(waiting));
        self.count = 0;
        self.messages.clear();
        let mut kept = kept;
        kept.sort_by_key(|(_, waiting)| waiting.sequence);
        for (key, waiting) in kept {
            self.put(key, waiting);
        }
        let mut old: Vec<_> = old.into_iter().map(|(_, waiting)| waiting).collect();
        old.sort_by_key(|waiting| waiting.sequence);
        old
    }

    pub(super) fn sequences(&self) -> impl Iterator<Item = u64> {
        self.lines
            .values()
            .flat_map(|line| std::iter::once(&line.first).chain(&line.others))
            .map(|waiting| waiting.sequence)
    }
}
