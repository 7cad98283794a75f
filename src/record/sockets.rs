//! WebSocket messages into calls: requests wait here, by connection and id, for their responses.
//!
//! Each request object of a message is a call of its own. Of several that wait with the same id, the
//! first is answered first. A request without id is over when it was passed on. What waits is
//! bounded: at [`MOST_OF_ONE`] on a connection, and [`MOST_OF_ALL`] on all together, the oldest
//! tenth is given up as unanswered. A message that cannot be looked into (compressed, or too long to
//! be captured with its id) is one uninspected call.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::calls::{Asked, Desk, Ending, Passage};
use super::heads::Heads;
use super::http::exact_place;
use super::methods::Class;
use crate::decode::jsonrpc::{
    self, Answer, BATCH_LIMIT, Envelope, Id, IdKey, Notice, Shape, subscription_id,
    subscription_kind, unsubscribed,
};
use crate::model::{
    BatchPlace, ConnectionId, Direction, Event, Inspection, OTHER, Outcome, SocketMessage, Stamp,
    Transport,
};

/// The most requests that wait on one connection.
pub(super) const MOST_OF_ONE: usize = 10_000;
/// The most requests that wait on all connections together.
pub(super) const MOST_OF_ALL: usize = 100_000;
/// The most subscriptions that are known by kind on one connection; others are `_OTHER`.
const MOST_SUBSCRIPTIONS: usize = 1_000;

#[derive(Default)]
pub(super) struct Sockets {
    open: HashMap<ConnectionId, Socket>,
    /// Requests waiting on all connections.
    waiting: usize,
    /// Requests so far: tells which of two is older.
    sequence: u64,
    pub(super) heads: Heads,
}

#[derive(Default)]
struct Socket {
    waiting: HashMap<IdKey, Line>,
    /// Requests waiting on this connection.
    count: usize,
    subscriptions: HashMap<IdKey, &'static str>,
}

/// The requests that wait with one id: nearly always one, which then takes no further allocation.
struct Line {
    first: Waiting,
    others: VecDeque<Waiting>,
}

struct Waiting {
    asked: Asked,
    exact: u64,
    sequence: u64,
    started: Stamp,
    read: Stamp,
    written: Stamp,
    /// For `eth_subscribe`, to what.
    subscription: &'static str,
}

impl Waiting {
    /// The call ended with the answer in `response`.
    fn answered(&self, connection: ConnectionId, response: &SocketMessage) -> Passage {
        Passage {
            connection,
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
    fn abandoned(&self, connection: ConnectionId, end: Stamp) -> Passage {
        Passage {
            connection,
            started: self.started,
            written: self.written,
            total: end.since(self.started),
            upstream: end.since(self.written),
            overhead: self.written.since(self.read),
            trace: None,
        }
    }
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

impl Socket {
    fn put(&mut self, key: IdKey, waiting: Waiting) {
        use std::collections::hash_map::Entry;
        match self.waiting.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Line { first: waiting, others: VecDeque::new() });
            }
            Entry::Occupied(mut line) => line.get_mut().others.push_back(waiting),
        }
        self.count += 1;
    }

    fn take(&mut self, id: Id) -> Option<Waiting> {
        let (taken, rest) = self.waiting.remove(&id.key)?.take(id);
        if let Some(rest) = rest {
            self.waiting.insert(id.key, rest);
        }
        self.count -= 1;
        Some(taken)
    }

    /// Takes the only one that waits.
    fn take_only(&mut self) -> Option<Waiting> {
        let key = *self.waiting.keys().next().filter(|_| self.count == 1)?;
        self.take(Id { key, exact: 0 })
    }

    /// Takes all that came before `sequence`, oldest first.
    fn take_before(&mut self, sequence: u64) -> Vec<Waiting> {
        let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .flat_map(|(key, line)| {
                std::iter::once(line.first).chain(line.others).map(move |waiting| (key, waiting))
            })
            .partition(|(_, waiting)| waiting.sequence < sequence);
        self.count = 0;
        let mut kept = kept;
        kept.sort_by_key(|(_, waiting)| waiting.sequence);
        for (key, waiting) in kept {
            self.put(key, waiting);
        }
        let mut old: Vec<_> = old.into_iter().map(|(_, waiting)| waiting).collect();
        old.sort_by_key(|waiting| waiting.sequence);
        old
    }

    fn sequences(&self) -> impl Iterator<Item = u64> {
        self.waiting
            .values()
            .flat_map(|line| std::iter::once(&line.first).chain(&line.others))
            .map(|waiting| waiting.sequence)
    }
}

impl Sockets {
    /// Records what a message says.
    pub(super) fn message(&mut self, desk: &mut Desk, message: &SocketMessage) {
        match message.direction {
            Direction::Request => self.request(desk, message),
            Direction::Response => self.response(desk, message),
        }
    }

    /// The connection is gone, or is not observed any more: what waits on it ends with `outcome`.
    pub(super) fn forget(
        &mut self,
        desk: &mut Desk,
        connection: ConnectionId,
        end: Stamp,
        outcome: Outcome,
    ) {
        if let Some(mut socket) = self.open.remove(&connection) {
            self.waiting -= socket.count;
            for waiting in socket.take_before(u64::MAX) {
                abandon(desk, connection, waiting, end, outcome);
            }
        }
    }

    /// Ends all that waits.
    pub(super) fn forget_all(&mut self, desk: &mut Desk, end: Stamp, outcome: Outcome) {
        let mut connections: Vec<_> = self.open.keys().copied().collect();
        connections.sort_unstable();
        for connection in connections {
            self.forget(desk, connection, end, outcome);
        }
    }

    fn request(&mut self, desk: &mut Desk, message: &SocketMessage) {
        let bytes = message.payload.total;
        let captured_whole = message.payload.whole().is_some();
        let read = jsonrpc::read(&message.payload.bytes);
        let (shape, cut) = match read {
            _ if message.payload.inspection == Inspection::Encoded => {
                return pass(desk, message, Desk::unread(Transport::WebSocket, None, bytes));
            }
            Ok(read) if !(read.cut && captured_whole) => (read.shape, read.cut),
            Err(_) if !captured_whole && message.payload.bytes.is_empty() => {
                return pass(desk, message, Desk::unread(Transport::WebSocket, None, bytes));
            }
            _ => return desk.outbox.event(&Event::ParseFailure("socket_request")),
        };
        match shape {
            Shape::Single(request) if request.has_method() || cut => {
                self.asked(desk, message, &request, None, cut);
            }
            Shape::Batch { size, .. } if cut || size as usize > BATCH_LIMIT => {
                let place = Some(BatchPlace { index: 0, size });
                pass(desk, message, Desk::unread(Transport::WebSocketBatch, place, bytes));
            }
            Shape::Batch { items, size } if items.iter().any(Envelope::has_method) => {
                desk.outbox.event(&Event::BatchSize(size));
                for (request, index) in items.iter().zip(0..) {
                    let place = Some(BatchPlace { index, size });
                    self.asked(desk, message, request, place, false);
                }
            }
            _ => desk.outbox.event(&Event::ParseFailure("socket_request")),
        }
    }

    fn asked(
        &mut self,
        desk: &mut Desk,
        message: &SocketMessage,
        request: &Envelope<'_>,
        place: Option<BatchPlace>,
        cut: bool,
    ) {
        let (transport, bytes) = match place {
            None => (Transport::WebSocket, message.payload.total),
            Some(_) => (Transport::WebSocketBatch, request.text.len() as u64),
        };
        let asked = desk.ask(request, transport, place, bytes);
        let Some(id) = request.id() else {
            let outcome = if cut { Outcome::Uninspected } else { Outcome::Notification };
            let passage = passed(message);
            return desk.finish(asked, &passage, &Ending::without(outcome, 0));
        };
        let params = request.params.unwrap_or_default();
        let socket = self.open.entry(message.connection).or_default();
        let mut subscription = OTHER;
        match asked.class {
            Class::Subscribe => subscription = subscription_kind(params),
            Class::Unsubscribe => {
                if let Some(ended) = unsubscribed(params) {
                    socket.subscriptions.remove(&ended.key);
                }
            }
            _ => {}
        }
        self.sequence += 1;
        let waiting = Waiting {
            asked,
            exact: id.exact,
            sequence: self.sequence,
            started: message.started,
            read: message.read,
            written: message.written,
            subscription,
        };
        socket.put(id.key, waiting);
        self.waiting += 1;
        desk.outbox.event(&Event::CallStarted);
        let is_full = socket.count > MOST_OF_ONE;
        if is_full {
            self.thin_out(desk, Some(message.connection), MOST_OF_ONE, message.written);
        }
        if self.waiting > MOST_OF_ALL {
            self.thin_out(desk, None, MOST_OF_ALL, message.written);
        }
    }

    /// Gives up the oldest tenth of those that wait, on one connection or on all.
    fn thin_out(&mut self, desk: &mut Desk, of: Option<ConnectionId>, most: usize, now: Stamp) {
        let concerned = |id: &ConnectionId| of.is_none_or(|of| of == *id);
        let mut sequences: Vec<_> = self
            .open
            .iter()
            .filter(|(id, _)| concerned(id))
            .flat_map(|(_, socket)| socket.sequences())
            .collect();
        let place = (most / 10).min(sequences.len().saturating_sub(1));
        if sequences.is_empty() {
            return;
        }
        let (_, &mut oldest_kept, _) = sequences.select_nth_unstable(place);
        for (id, socket) in self.open.iter_mut().filter(|(id, _)| concerned(id)) {
            for waiting in socket.take_before(oldest_kept) {
                self.waiting -= 1;
                abandon(desk, *id, waiting, now, Outcome::Unanswered);
            }
        }
    }

    fn response(&mut self, desk: &mut Desk, message: &SocketMessage) {
        if message.payload.inspection == Inspection::Encoded {
            return;
        }
        let captured_whole = message.payload.whole().is_some();
        let (shape, cut) = match jsonrpc::read(&message.payload.bytes) {
            Ok(read) if !(read.cut && captured_whole) => (read.shape, read.cut),
            Err(_) if !captured_whole && message.payload.bytes.is_empty() => return,
            _ => return desk.outbox.event(&Event::ParseFailure("socket_response")),
        };
        match shape {
            Shape::Single(response) => self.answered(desk, message, &response, None, cut),
            Shape::Batch { items, .. } => {
                for response in &items {
                    let bytes = Some(response.text.len() as u64);
                    self.answered(desk, message, response, bytes, cut);
                }
            }
        }
    }

    fn answered(
        &mut self,
        desk: &mut Desk,
        message: &SocketMessage,
        response: &Envelope<'_>,
        item_bytes: Option<u64>,
        cut: bool,
    ) {
        if response.has_method() {
            return self.notified(desk, message, response);
        }
        let Some(socket) = self.open.get_mut(&message.connection) else { return };
        let waiting = match response.id() {
            Some(id) => socket.take(id),
            // The id may stand behind the cut; when only one waits, there is no doubt.
            None if cut && item_bytes.is_none() => socket.take_only(),
            None => None,
        };
        let Some(waiting) = waiting else { return };
        self.waiting -= 1;
        desk.outbox.event(&Event::CallEnded);
        let bytes = item_bytes.unwrap_or(message.payload.total);
        let answer = response.answer();
        if let Some(Answer::Result(subscription)) = answer
            && waiting.asked.class == Class::Subscribe
            && !cut
            && socket.subscriptions.len() < MOST_SUBSCRIPTIONS
        {
            socket.subscriptions.insert(subscription_id(subscription).key, waiting.subscription);
        }
        let passage = waiting.answered(message.connection, message);
        let ending = match answer {
            Some(answer) => Ending::answered(answer, bytes),
            None if cut => Ending::without(Outcome::Uninspected, bytes),
            None => Ending::without(Outcome::Unanswered, bytes),
        };
        desk.finish(waiting.asked, &passage, &ending);
    }

    fn notified(&mut self, desk: &mut Desk, message: &SocketMessage, envelope: &Envelope<'_>) {
        let notice = Notice::of(envelope);
        let subscription = notice
            .and_then(|notice| {
                let socket = self.open.get(&message.connection)?;
                socket.subscriptions.get(&notice.subscription.key).copied()
            })
            .unwrap_or(OTHER);
        let head = notice.filter(|_| subscription == "newHeads").and_then(|notice| notice.head());
        let event = match head {
            Some(block) => self.heads.notified(block, message.written),
            None => Some(Event::Notification { subscription, lag: None }),
        };
        if let Some(event) = event {
            desk.outbox.event(&event);
        }
    }
}

/// The passage of a message to which no answer is awaited.
fn passed(message: &SocketMessage) -> Passage {
    Passage {
        connection: message.connection,
        started: message.started,
        written: message.written,
        total: message.written.since(message.started),
        upstream: Duration::ZERO,
        overhead: message.written.since(message.read),
        trace: None,
    }
}

fn pass(desk: &mut Desk, message: &SocketMessage, asked: Asked) {
    desk.finish(asked, &passed(message), &Ending::without(Outcome::Uninspected, 0));
}

fn abandon(
    desk: &mut Desk,
    connection: ConnectionId,
    waiting: Waiting,
    end: Stamp,
    outcome: Outcome,
) {
    desk.outbox.event(&Event::CallEnded);
    let passage = waiting.abandoned(connection, end);
    desk.finish(waiting.asked, &passage, &Ending::without(outcome, 0));
}
