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
use crate::decode::coding;
use crate::decode::jsonrpc::{
    self, Answer, BATCH_LIMIT, Envelope, IdKey, Notice, Shape, subscription_id, subscription_kind,
    unsubscribed,
};
use crate::model::{
    BatchPlace, ConnectionId, Direction, Event, OTHER, Outcome, SocketMessage, Stamp, Transport,
    Uninspected, UninspectedReason,
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
    /// Why the last answer that could not be read could not.
    unread_because: Option<UninspectedReason>,
}

impl Socket {
    /// How a call ends that was given up, given how it would end if all answers could be read.
    fn given_up(&self, outcome: Outcome) -> Ending<'static> {
        match outcome {
            Outcome::Uninspected => Ending::uninspected(UninspectedReason::Opaque, 0),
            _ if self.in_doubt => Ending::uninspected(self.unread_because(), 0),
            outcome => Ending::without(outcome, 0),
        }
    }

    fn unread_because(&self) -> UninspectedReason {
        self.unread_because.unwrap_or(UninspectedReason::Unreadable)
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
            let ending = socket.given_up(outcome);
            for waiting in socket.waiting.take_before(u64::MAX) {
                self.waiting -= 1;
                self.input -= waiting.asked.input_bytes();
                abandon(desk, connection, waiting, end, &ending);
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
        let body = coding::plain(&message.payload, desk.inspect_bytes);
        if let Some(reason) = body.missing.filter(|_| body.bytes.is_empty()) {
            let uninspected = Some(Uninspected::one(reason));
            let asked = Desk::unread(Transport::WebSocket, None, bytes, uninspected);
            pass(desk, message, asked, reason);
            return false;
        }
        let (shape, cut) = match jsonrpc::read(&body.bytes) {
            Ok(read) if !read.cut => (read.shape, None),
            Ok(read) if body.missing.is_some() => (read.shape, body.missing),
            _ => {
                desk.outbox.event(&Event::ParseFailure("socket_request"));
                return false;
            }
        };
        match shape {
            Shape::Single(request) if request.has_method() || cut.is_some() => {
                self.asked(desk, message, &request, None, cut);
                cut.is_none() || request.id().is_some()
            }
            Shape::Batch { mut items, size } if cut.is_some() || size as usize > BATCH_LIMIT => {
                let size = if cut.is_some() {
                    jsonrpc::drop_partial(&mut items);
                    u32::try_from(items.len()).map_or(u32::MAX, |seen| seen + 1)
                } else {
                    desk.outbox.event(&Event::BatchSize(size));
                    size
                };
                let is_placed = self.items(desk, message, &items, size);
                let reason = cut.unwrap_or(UninspectedReason::TooLarge);
                let index = u32::try_from(items.len()).unwrap_or(u32::MAX);
                let place = Some(BatchPlace { index, size });
                let uninspected = Some(Uninspected { reason, calls: size.saturating_sub(index) });
                let asked = Desk::unread(Transport::WebSocketBatch, place, bytes, uninspected);
                pass(desk, message, asked, reason);
                is_placed
            }
            Shape::Batch { items, size } if items.iter().any(Envelope::has_method) => {
                desk.outbox.event(&Event::BatchSize(size));
                self.items(desk, message, &items, size);
                true
            }
            _ => {
                desk.outbox.event(&Event::ParseFailure("socket_request"));
                false
            }
        }
    }

    /// Has the items of a batch wait. Returns whether an answer to one of them will be recognised.
    fn items(
        &mut self,
        desk: &mut Desk,
        message: &SocketMessage,
        items: &[Envelope<'_>],
        size: u32,
    ) -> bool {
        let mut is_placed = false;
        for (request, index) in items.iter().zip(0..) {
            if !request.is_request() {
                desk.outbox.event(&Event::ParseFailure("batch_item"));
                continue;
            }
            is_placed |= request.id().is_some();
            let place = Some(BatchPlace { index, size });
            self.asked(desk, message, request, place, None);
        }
        is_placed
    }

    fn asked(
        &mut self,
        desk: &mut Desk,
        message: &SocketMessage,
        request: &Envelope<'_>,
        place: Option<BatchPlace>,
        cut: Option<UninspectedReason>,
    ) {
        let (transport, bytes) = match place {
            None => (Transport::WebSocket, message.payload.total),
            Some(_) => (Transport::WebSocketBatch, request.text.len() as u64),
        };
        let mut asked = desk.ask(request, transport, place, bytes, cut);
        let Some(id) = request.id() else {
            let ending = match cut {
                Some(reason) => Ending::uninspected(reason, 0),
                None => Ending::without(Outcome::Notification, 0),
            };
            return desk.finish(asked, &passed(message), &ending);
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
            let ending = socket.given_up(Outcome::Unanswered);
            for waiting in socket.waiting.take_before(oldest_kept) {
                self.waiting -= 1;
                self.input -= waiting.asked.input_bytes();
                abandon(desk, *id, waiting, now, &ending);
            }
        }
    }

    fn response(&mut self, desk: &mut Desk, message: &SocketMessage) {
        let body = coding::plain(&message.payload, desk.inspect_bytes);
        if let Some(reason) = body.missing.filter(|_| body.bytes.is_empty()) {
            return self.unplaced(desk, message, Err(reason));
        }
        let (shape, cut) = match jsonrpc::read(&body.bytes) {
            Ok(read) if !read.cut => (read.shape, None),
            Ok(read) if body.missing.is_some() => (read.shape, body.missing),
            _ => return desk.outbox.event(&Event::ParseFailure("socket_response")),
        };
        match shape {
            Shape::Single(response) if response.has_method() => {
                self.notified(desk, message, &response);
            }
            Shape::Single(response) => {
                if self.answered(desk, message, &response, None, cut).is_some() {
                    self.settle(desk, message);
                } else if names_nobody(&response) {
                    let error = response
                        .answer()
                        .filter(|answer| cut.is_none() && matches!(answer, Answer::Error { .. }));
                    let unread = cut.unwrap_or(UninspectedReason::Unreadable);
                    self.unplaced(desk, message, error.ok_or(unread));
                } else {
                    self.answered_unread(message.connection);
                }
            }
            Shape::Batch { items, .. } => {
                let (mut placed, mut of) = (false, None);
                for response in &items {
                    if response.has_method() {
                        self.notified(desk, message, response);
                        placed = true;
                        continue;
                    }
                    let bytes = Some(response.text.len() as u64);
                    let answered = self.answered(desk, message, response, bytes, cut);
                    placed |= answered.is_some();
                    of = answered.or(of);
                }
                if let (Some(of), Some(reason)) = (of, cut) {
                    self.end_of_answers(desk, message, of, reason);
                }
                if placed {
                    self.settle(desk, message);
                } else if items.iter().all(names_nobody) {
                    let unread = cut.unwrap_or(UninspectedReason::Unreadable);
                    self.unplaced(desk, message, Err(unread));
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

    /// An answer came whose request is not known: an error for all, or why it could not be read.
    fn unplaced(
        &mut self,
        desk: &mut Desk,
        message: &SocketMessage,
        error: Result<Answer<'_>, UninspectedReason>,
    ) {
        let Some(socket) = self.open.get_mut(&message.connection) else { return };
        socket.unread_because = error.err().or(socket.unread_because);
        if socket.unread > 0 {
            socket.unread -= 1;
            socket.in_doubt = socket.waiting.len() > 0;
        } else if let Ok(error) = error
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
            let reason = socket.unread_because();
            self.answer_all(desk, message, &Ending::uninspected(reason, bytes));
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

    /// The rest of the answers to a message is missing: ends what of it still waits.
    fn end_of_answers(
        &mut self,
        desk: &mut Desk,
        message: &SocketMessage,
        of: u64,
        reason: UninspectedReason,
    ) {
        let Some(socket) = self.open.get_mut(&message.connection) else { return };
        for waiting in socket.waiting.take_of(of) {
            self.waiting -= 1;
            self.input -= waiting.asked.input_bytes();
            desk.outbox.event(&Event::CallEnded);
            let passage = waiting.answered(message);
            desk.finish(waiting.asked, &passage, &Ending::uninspected(reason, 0));
        }
    }

    /// Returns the message that the response answers, if one waited for it.
    fn answered(
        &mut self,
        desk: &mut Desk,
        message: &SocketMessage,
        response: &Envelope<'_>,
        item_bytes: Option<u64>,
        cut: Option<UninspectedReason>,
    ) -> Option<u64> {
        let socket = self.open.get_mut(&message.connection)?;
        let waiting = match response.id() {
            Some(id) => socket.waiting.take(id),
            // The id may stand behind the cut; when only one waits, there is no doubt.
            None if cut.is_some() && item_bytes.is_none() => socket.waiting.take_only(),
            None => None,
        };
        let waiting = waiting?;
        let of = waiting.message;
        self.waiting -= 1;
        self.input -= waiting.asked.input_bytes();
        desk.outbox.event(&Event::CallEnded);
        let bytes = item_bytes.unwrap_or(message.payload.total);
        let answer = response.answer();
        if let Some(Answer::Result(subscription)) = answer
            && waiting.asked.class == Class::Subscribe
            && cut.is_none()
            && socket.subscriptions.len() < MOST_SUBSCRIPTIONS
        {
            socket.subscriptions.insert(subscription_id(subscription).key, waiting.subscription);
        }
        let passage = waiting.answered(message);
        let ending = match answer {
            Some(answer) => Ending::answered(answer, bytes),
            None => match cut {
                Some(reason) => Ending::uninspected(reason, bytes),
                None => Ending::without(Outcome::Unanswered, bytes),
            },
        };
        desk.finish(waiting.asked, &passage, &ending);
        Some(of)
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

fn pass(desk: &mut Desk, message: &SocketMessage, asked: Asked, reason: UninspectedReason) {
    desk.finish(asked, &passed(message), &Ending::uninspected(reason, 0));
}

fn abandon(
    desk: &mut Desk,
    connection: ConnectionId,
    waiting: Waiting,
    end: Stamp,
    ending: &Ending<'_>,
) {
    desk.outbox.event(&Event::CallEnded);
    let passage = waiting.abandoned(connection, end);
    desk.finish(waiting.asked, &passage, ending);
}
