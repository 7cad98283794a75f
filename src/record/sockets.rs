//! WebSocket messages into calls: requests wait here, by connection and id, for their responses.
//!
//! Each request object of a message is a call of its own. Of several that wait with the same id, the
//! first is answered first. A request without id is over when it was passed on. What waits is
//! bounded: at [`MOST_OF_ONE`] on a connection, and [`MOST_OF_ALL`] on all together, the oldest
//! tenth is given up as unanswered. A message that cannot be looked into (compressed, or too long to
//! be captured with its id) is one uninspected call.
//!
//! A node also sends what does not tell, or does not let see, which request it answers: compressed,
//! or an error whose id is `null`. Such an answer is
//! - that of a message which could not be looked into itself, where one was passed on before;
//! - else, if it is an error and one message waits, the answer to all that this one asked, as over
//!   HTTP;
//! - else remembered: once no more messages wait than such answers came, what waits was answered
//!   without being inspected. A compressed notification counts as an answer, too.

use std::collections::HashMap;
use std::time::Duration;

use super::calls::{Asked, Desk};
use super::heads::Heads;
use super::methods::Class;
use super::passage::{Ending, Passage};
use super::waiting::{Waiting, WaitingCalls, caller};
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
    /// Messages so far that asked for something.
    messages: u64,
    pub(super) heads: Heads,
}

#[derive(Default)]
struct Socket {
    waiting: WaitingCalls,
    subscriptions: HashMap<IdKey, &'static str>,
    /// Messages passed on without being looked into, whose answers are still to come.
    unread: u64,
    /// Answers to nobody knows which of those that wait.
    unplaced: u64,
    /// Whether what waits may have been answered already.
    in_doubt: bool,
}

impl Socket {
    /// How a call ends that was given up, given how it would end if all answers could be read.
    const fn given_up(&self, outcome: Outcome) -> Outcome {
        if self.in_doubt { Outcome::Uninspected } else { outcome }
    }
}

impl Sockets {
    /// Records what a message says.
    pub(super) fn message(&mut self, desk: &mut Desk, message: &SocketMessage) {
        desk.peers.connection_seen(message.connection, message.peer);
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
            let outcome = socket.given_up(outcome);
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
        self.messages += 1;
        if !self.requests(desk, message) {
            self.open.entry(message.connection).or_default().unread += 1;
        }
    }

    /// Answers whether all that is answered to the message will be recognised as its answer.
    fn requests(&mut self, desk: &mut Desk, message: &SocketMessage) -> bool {
        let bytes = message.payload.total;
        let captured_whole = message.payload.whole().is_some();
        let read = jsonrpc::read(&message.payload.bytes);
        let (shape, cut) = match read {
            _ if message.payload.inspection == Inspection::Encoded => {
                pass(desk, message, Desk::unread(Transport::WebSocket, None, bytes));
                return false;
            }
            Ok(read) if !(read.cut && captured_whole) => (read.shape, read.cut),
            Err(_) if !captured_whole && message.payload.bytes.is_empty() => {
                pass(desk, message, Desk::unread(Transport::WebSocket, None, bytes));
                return false;
            }
            _ => {
                desk.outbox.event(&Event::ParseFailure("socket_request"));
                return false;
            }
        };
        match shape {
            Shape::Single(request) if request.has_method() || cut => {
                self.asked(desk, message, &request, None, cut);
                !cut || request.id().is_some()
            }
            Shape::Batch { size, .. } if cut || size as usize > BATCH_LIMIT => {
                if !cut {
                    desk.outbox.event(&Event::BatchSize(size));
                }
                let place = Some(BatchPlace { index: 0, size });
                pass(desk, message, Desk::unread(Transport::WebSocketBatch, place, bytes));
                false
            }
            Shape::Batch { items, size } if items.iter().any(Envelope::has_method) => {
                desk.outbox.event(&Event::BatchSize(size));
                for (request, index) in items.iter().zip(0..) {
                    if !request.is_request() {
                        desk.outbox.event(&Event::ParseFailure("batch_item"));
                        continue;
                    }
                    let place = Some(BatchPlace { index, size });
                    self.asked(desk, message, request, place, false);
                }
                true
            }
            _ => {
                desk.outbox.event(&Event::ParseFailure("socket_request"));
                false
            }
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
            message: self.messages,
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
            let outcome = socket.given_up(Outcome::Unanswered);
            for waiting in socket.waiting.take_before(oldest_kept) {
                self.waiting -= 1;
                self.input -= waiting.asked.input_bytes();
                abandon(desk, *id, waiting, now, outcome);
            }
        }
    }

    fn response(&mut self, desk: &mut Desk, message: &SocketMessage) {
        if message.payload.inspection == Inspection::Encoded {
            return self.unplaced(desk, message, None);
        }
        let captured_whole = message.payload.whole().is_some();
        let (shape, cut) = match jsonrpc::read(&message.payload.bytes) {
            Ok(read) if !(read.cut && captured_whole) => (read.shape, read.cut),
            Err(_) if !captured_whole && message.payload.bytes.is_empty() => {
                return self.unplaced(desk, message, None);
            }
            _ => return desk.outbox.event(&Event::ParseFailure("socket_response")),
        };
        match shape {
            Shape::Single(response) if response.has_method() => {
                self.notified(desk, message, &response);
            }
            Shape::Single(response) => {
                if self.answered(desk, message, &response, None, cut) {
                    self.settle(desk, message);
                } else if names_nobody(&response) {
                    let error = response
                        .answer()
                        .filter(|answer| !cut && matches!(answer, Answer::Error { .. }));
                    self.unplaced(desk, message, error);
                } else {
                    self.answered_unread(message.connection);
                }
            }
            Shape::Batch { items, .. } => {
                let mut placed = false;
                for response in &items {
                    if response.has_method() {
                        self.notified(desk, message, response);
                        placed = true;
                        continue;
                    }
                    let bytes = Some(response.text.len() as u64);
                    placed |= self.answered(desk, message, response, bytes, cut);
                }
                if placed {
                    self.settle(desk, message);
                } else if items.iter().all(names_nobody) {
                    self.unplaced(desk, message, None);
                } else {
                    self.answered_unread(message.connection);
                }
            }
        }
    }

    /// An id came back that nobody waits for: of a message that was not looked into, if there is one.
    fn answered_unread(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.open.get_mut(&connection) {
            socket.unread = socket.unread.saturating_sub(1);
        }
    }

    /// An answer came that does not tell, or does not let see, to what; an `error` is for all.
    fn unplaced(&mut self, desk: &mut Desk, message: &SocketMessage, error: Option<Answer<'_>>) {
        let Some(socket) = self.open.get_mut(&message.connection) else { return };
        if socket.unread > 0 {
            socket.unread -= 1;
            socket.in_doubt = socket.waiting.len() > 0;
        } else if let Some(error) = error
            && socket.waiting.messages() == 1
        {
            self.answer_all(desk, message, &Ending::answered(error, message.payload.total));
        } else {
            socket.unplaced += 1;
            socket.in_doubt = true;
            self.settle(desk, message);
        }
    }

    /// Ends what must have been answered by what could not be placed.
    fn settle(&mut self, desk: &mut Desk, message: &SocketMessage) {
        let Some(socket) = self.open.get_mut(&message.connection) else { return };
        let waiting = socket.waiting.messages() as u64;
        if waiting <= socket.unplaced {
            let bytes = if waiting == 1 { message.payload.total } else { 0 };
            self.answer_all(desk, message, &Ending::without(Outcome::Uninspected, bytes));
        }
    }

    /// Ends all that waits on the connection with `message`.
    fn answer_all(&mut self, desk: &mut Desk, message: &SocketMessage, ending: &Ending<'_>) {
        let Some(socket) = self.open.get_mut(&message.connection) else { return };
        (socket.unplaced, socket.in_doubt) = (0, false);
        if socket.waiting.len() == 0 {
            return;
        }
        for waiting in socket.waiting.take_before(u64::MAX) {
            self.waiting -= 1;
            self.input -= waiting.asked.input_bytes();
            desk.outbox.event(&Event::CallEnded);
            let passage = waiting.answered(message);
            desk.finish(waiting.asked, &passage, ending);
        }
    }

    /// Answers whether somebody waited for the response.
    fn answered(
        &mut self,
        desk: &mut Desk,
        message: &SocketMessage,
        response: &Envelope<'_>,
        item_bytes: Option<u64>,
        cut: bool,
    ) -> bool {
        let Some(socket) = self.open.get_mut(&message.connection) else { return false };
        let waiting = match response.id() {
            Some(id) => socket.waiting.take(id),
            // The id may stand behind the cut; when only one waits, there is no doubt.
            None if cut && item_bytes.is_none() => socket.waiting.take_only(),
            None => None,
        };
        let Some(waiting) = waiting else { return false };
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
        let passage = waiting.answered(message);
        let ending = match answer {
            Some(answer) => Ending::answered(answer, bytes),
            None if cut => Ending::without(Outcome::Uninspected, bytes),
            None => Ending::without(Outcome::Unanswered, bytes),
        };
        desk.finish(waiting.asked, &passage, &ending);
        true
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

/// Whether a response carries no id, or the `null` of a node that could not tell it.
fn names_nobody(response: &Envelope<'_>) -> bool {
    response.id().is_none_or(|id| id.key == IdKey::Null)
}

/// The passage of a message to which no answer is awaited.
fn passed(message: &SocketMessage) -> Passage {
    Passage {
        caller: caller(message),
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
