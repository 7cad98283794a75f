//! WebSocket messages into calls: requests wait here, by connection and id, for their responses.
//!
//! Each request object of a message is a call of its own. Of several that wait with the same id, the
//! first is answered first. A request without id is over when it was passed on. What waits is
//! bounded: at [`MOST_OF_ONE`] on a connection, and [`MOST_OF_ALL`] on all together, the oldest
//! tenth is given up as unanswered. A message that cannot be looked into (compressed, or too long to
//! be captured with its id) is one uninspected call.

use std::collections::HashMap;
use std::time::Duration;

use super::calls::{Asked, Desk};
use super::heads::Heads;
use super::methods::Class;
use super::passage::{Ending, Passage};
use super::waiting::{Waiting, WaitingCalls};
use crate::decode::jsonrpc::{
    self, Answer, BATCH_LIMIT, Envelope, IdKey, Notice, Shape, subscription_id, subscription_kind,
    unsubscribed,
};
use crate::model::{
    BatchPlace, ConnectionId, Direction, Event, Inspection, OTHER, Outcome, SocketMessage, Stamp,
    Transport,
};

/// The most requests that wait on one connection.
pub(super) const MOST_OF_ONE: usize = 10_000;
/// The most requests that wait on all connections together.
pub(super) const MOST_OF_ALL: usize = 100_000;
/// The most bytes of input that waiting sends hold together. Beyond that a send is recorded as a call
/// alone, and its transaction is known from its block only.
const MOST_INPUT: usize = 64 << 20;
/// The most subscriptions that are known by kind on one connection; others are `_OTHER`.
const MOST_SUBSCRIPTIONS: usize = 1_000;

#[derive(Default)]
pub(super) struct Sockets {
    /// Each leaves when it closes, which the queue never drops.
    open: HashMap<ConnectionId, Socket>,
    /// Requests waiting on all connections.
    waiting: usize,
    /// Bytes of input that they hold.
    input: usize,
    /// Requests so far: tells which of two is older.
    sequence: u64,
    pub(super) heads: Heads,
}

#[derive(Default)]
struct Socket {
    waiting: WaitingCalls,
    subscriptions: HashMap<IdKey, &'static str>,
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
            for waiting in socket.waiting.take_before(u64::MAX) {
                self.waiting -= 1;
                self.input -= waiting.asked.input_bytes();
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
                if !cut {
                    desk.outbox.event(&Event::BatchSize(size));
                }
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
        let mut asked = desk.ask(request, transport, place, bytes);
        let Some(id) = request.id() else {
            let outcome = if cut { Outcome::Uninspected } else { Outcome::Notification };
            let passage = passed(message);
            return desk.finish(asked, &passage, &Ending::without(outcome, 0));
        };
        if self.input + asked.input_bytes() > MOST_INPUT {
            asked.forget_submission();
        }
        self.input += asked.input_bytes();
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
        socket.waiting.put(id.key, waiting);
        self.waiting += 1;
        desk.outbox.event(&Event::CallStarted);
        let is_full = socket.waiting.len() > MOST_OF_ONE;
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
            .flat_map(|(_, socket)| socket.waiting.sequences())
            .collect();
        let place = (most / 10).min(sequences.len().saturating_sub(1));
        if sequences.is_empty() {
            return;
        }
        let (_, &mut oldest_kept, _) = sequences.select_nth_unstable(place);
        for (id, socket) in self.open.iter_mut().filter(|(id, _)| concerned(id)) {
            for waiting in socket.waiting.take_before(oldest_kept) {
                self.waiting -= 1;
                self.input -= waiting.asked.input_bytes();
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
            Some(id) => socket.waiting.take(id),
            // The id may stand behind the cut; when only one waits, there is no doubt.
            None if cut && item_bytes.is_none() => socket.waiting.take_only(),
            None => None,
        };
        let Some(waiting) = waiting else { return };
        self.waiting -= 1;
        self.input -= waiting.asked.input_bytes();
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
