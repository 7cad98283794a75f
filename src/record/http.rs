//! HTTP exchanges with the node into calls: one for each request object, joined to its answer by id.
//!
//! What counts as a call:
//! - a `POST` whose body is a JSON-RPC request or a batch of them. Anything else (`OPTIONS`, `GET`)
//!   is no call, and a `POST` of something else is a parse failure;
//! - every item of a batch, one without a method too, for the node answers each; but a batch without
//!   a single method is no JSON-RPC. An item with neither method nor id, or that is no object, is a
//!   parse failure: the error that answers it cannot be told from others;
//! - of a body that was captured in part, what its beginning shows: a request by its method; a batch
//!   by its items up to there. The rest of a batch, as of one of more than [`jsonrpc::BATCH_LIMIT`]
//!   items, is one call of method `_OTHER` for each answer that none of those items takes, and one
//!   uninspected call for all others;
//! - a body that cannot be read at all as one call of method `_OTHER`.
//!
//! A request that stood alone takes the exchange's answer whatever its id: a node that could not
//! read the id answers `null`. A response object in the place of a batch answers every item.

use std::collections::{HashMap, VecDeque};

use super::calls::{Asked, Desk};
use super::passage::{Caller, Ending, Passage};
use crate::decode::coding::{self, Plain};
use crate::decode::jsonrpc::{self, Answer, BATCH_LIMIT, Envelope, Id, IdKey, Message, Shape};
use crate::model::{
    BatchPlace, End, Event, Exchange, Outcome, Transport, Uninspected, UninspectedReason,
};

/// What came back, as far as it can be told.
struct Reply<'a> {
    message: Option<Message<'a>>,
    /// What becomes of a call that the message does not answer.
    otherwise: Outcome,
    /// Why the answer, or its end, could not be read.
    missing: Option<UninspectedReason>,
}

/// What was asked, as far as it can be told.
enum Requests<'a> {
    /// A request, and why its end is missing.
    Single(Envelope<'a>, Option<UninspectedReason>),
    Batch {
        /// Items that were seen whole.
        items: Vec<Envelope<'a>>,
        /// All items; none where their end is missing.
        size: Option<u32>,
        /// Whether there may be more than `items`.
        is_part: bool,
        /// Why the others were not seen, where it is not that the client left.
        missing: Option<UninspectedReason>,
    },
    Unread(UninspectedReason),
    NotJsonRpc,
}

/// Records the calls of an exchange.
pub(super) fn record(desk: &mut Desk, exchange: &Exchange) {
    if exchange.http_method.as_str() != "POST" {
        return;
    }
    let body = coding::plain(&exchange.request, desk.inspect_bytes);
    let requests = requests(&body, exchange.end);
    if matches!(requests, Requests::NotJsonRpc) {
        desk.outbox.event(&Event::ParseFailure("rpc_request"));
        return;
    }
    desk.peers.connection_seen(exchange.connection, exchange.peer);
    let body = coding::plain(&exchange.response, desk.inspect_bytes);
    let reply = reply(desk, exchange, &body);
    let passage = Passage {
        caller: Caller {
            connection: exchange.connection,
            peer: Some(exchange.peer),
            agent: exchange.user_agent.clone(),
        },
        started: exchange.timing.request_started,
        written: exchange.timing.request_written,
        total: exchange.timing.total(),
        upstream: exchange.timing.upstream(),
        overhead: exchange.timing.overhead(),
        trace: exchange.trace,
    };
    let bytes = exchange.request.total;
    match requests {
        Requests::Single(request, cut) => {
            let asked = desk.ask(&request, Transport::Http, None, bytes, cut);
            let ending = single(&asked, request.id(), &reply, exchange);
            desk.finish(asked, &passage, &ending);
        }
        Requests::Batch { items, size, is_part, missing } => {
            let seen = Seen { items: &items, size, is_part, missing };
            batch(desk, &seen, &reply, &passage, exchange);
        }
        Requests::Unread(reason) => {
            let asked = Desk::unread(Transport::Http, None, bytes, Some(Uninspected::one(reason)));
            let ending = single(&asked, None, &reply, exchange);
            desk.finish(asked, &passage, &ending);
        }
        Requests::NotJsonRpc => {}
    }
}

fn requests<'a>(body: &'a Plain<'_>, end: End) -> Requests<'a> {
    match body.missing {
        Some(reason) if body.bytes.is_empty() => return Requests::Unread(reason),
        // A client that was interrupted in sending is the one whose compressed body may break off.
        Some(reason @ UninspectedReason::Unreadable) if end == End::Complete => {
            return Requests::Unread(reason);
        }
        _ => {}
    }
    let Ok(message) = jsonrpc::read(&body.bytes) else {
        return Requests::NotJsonRpc;
    };
    // A whole body that breaks off is malformed, unless the client was interrupted in sending it.
    if message.cut && body.missing.is_none() && end == End::Complete {
        return Requests::NotJsonRpc;
    }
    let cut = body.missing.filter(|_| message.cut);
    match message.shape {
        Shape::Single(request) if request.has_method() || message.cut => {
            Requests::Single(request, cut)
        }
        Shape::Batch { mut items, .. } if message.cut => {
            jsonrpc::drop_partial(&mut items);
            Requests::Batch { items, size: None, is_part: true, missing: cut }
        }
        Shape::Batch { items, size } if size as usize > BATCH_LIMIT => Requests::Batch {
            items,
            size: Some(size),
            is_part: true,
            missing: Some(UninspectedReason::TooLarge),
        },
        Shape::Batch { items, size } if items.iter().any(Envelope::has_method) => {
            Requests::Batch { items, size: Some(size), is_part: false, missing: None }
        }
        _ => Requests::NotJsonRpc,
    }
}

fn reply<'a>(desk: &mut Desk, exchange: &Exchange, body: &'a Plain<'_>) -> Reply<'a> {
    let without = |otherwise| Reply { message: None, otherwise, missing: None };
    match exchange.end {
        End::Complete => {}
        End::ClientGone => return without(Outcome::ClientGone),
        End::UpstreamGone => return without(Outcome::UpstreamGone),
        End::Unreachable => return without(Outcome::Connect),
        End::TimedOut => return without(Outcome::Timeout),
        End::Stopped => return without(Outcome::Stopped),
    }
    let is_success = (200..300).contains(&exchange.status);
    let hidden = match body.missing {
        Some(UninspectedReason::Unreadable) => true,
        Some(_) => body.bytes.is_empty(),
        None => false,
    };
    if hidden {
        let is_opaque = body.missing == Some(UninspectedReason::Opaque);
        return if is_success || is_opaque {
            Reply { message: None, otherwise: Outcome::Uninspected, missing: body.missing }
        } else {
            without(Outcome::Http(exchange.status))
        };
    }
    match jsonrpc::read(&body.bytes) {
        Ok(message) if !message.cut => {
            Reply { message: Some(message), otherwise: Outcome::Unanswered, missing: None }
        }
        Ok(message) if body.missing.is_some() => {
            Reply { message: Some(message), otherwise: Outcome::Uninspected, missing: body.missing }
        }
        _ => {
            if is_success && !body.bytes.is_empty() {
                desk.outbox.event(&Event::ParseFailure("rpc_response"));
            }
            without(Outcome::Http(exchange.status))
        }
    }
}

impl<'a> Reply<'a> {
    /// How a call ends that is not answered by what could be read.
    fn otherwise(&self, bytes: u64) -> Ending<'a> {
        match (self.otherwise, self.missing) {
            (Outcome::Uninspected, Some(reason)) => Ending::uninspected(reason, bytes),
            (outcome, _) => Ending::without(outcome, bytes),
        }
    }
}

/// What came of a request that stood alone.
fn single<'a>(asked: &Asked, id: Option<Id>, reply: &Reply<'a>, exchange: &Exchange) -> Ending<'a> {
    let bytes = exchange.response.total;
    let answer = match reply.message.as_ref().map(|message| &message.shape) {
        Some(Shape::Single(response)) => response.answer(),
        Some(Shape::Batch { items, .. }) => {
            items.iter().find(|item| item.id() == id).and_then(Envelope::answer)
        }
        None => None,
    };
    if let Some(answer) = answer {
        return Ending::answered(answer, bytes);
    }
    let is_success = (200..300).contains(&exchange.status);
    match reply.otherwise {
        Outcome::Http(_) if asked.is_notification && is_success && bytes == 0 => {
            Ending::without(Outcome::Notification, bytes)
        }
        // A batch of which no item was seen, and so no id to find an answer by.
        Outcome::Unanswered if asked.uninspected.is_some() => {
            let reason = asked.uninspected.map(|it| it.reason);
            Ending::uninspected(reason.unwrap_or(UninspectedReason::Unreadable), bytes)
        }
        // There was JSON, but no response in it.
        Outcome::Unanswered => Ending::without(Outcome::Http(exchange.status), bytes),
        _ => reply.otherwise(bytes),
    }
}

/// What was seen of a batch.
struct Seen<'r, 'a> {
    items: &'r [Envelope<'a>],
    /// All items, where that is known.
    size: Option<u32>,
    is_part: bool,
    missing: Option<UninspectedReason>,
}

fn batch(
    desk: &mut Desk,
    seen: &Seen<'_, '_>,
    reply: &Reply<'_>,
    passage: &Passage,
    exchange: &Exchange,
) {
    let known = count(seen.items.len());
    // Where the requests end is not known, but where their answers do.
    let size = seen.size.or_else(|| reply.size());
    if let Some(size) = size {
        desk.outbox.event(&Event::BatchSize(size));
    }
    let size = size.unwrap_or(0).max(known + u32::from(seen.is_part));
    let mut answers = Answers::of(reply, exchange.response.total);
    for (request, index) in seen.items.iter().zip(0..) {
        if !request.is_request() {
            desk.outbox.event(&Event::ParseFailure("batch_item"));
            continue;
        }
        let place = Some(BatchPlace { index, size });
        let bytes = request.text.len() as u64;
        let asked = desk.ask(request, Transport::HttpBatch, place, bytes, None);
        let ending = match answers.take(request.id()) {
            Some((answer, bytes)) => Ending::answered(answer, bytes),
            None if asked.is_notification && reply.message.is_some() => {
                Ending::without(Outcome::Notification, 0)
            }
            None => reply.otherwise(0),
        };
        desk.finish(asked, passage, &ending);
    }
    if seen.is_part {
        let bytes = seen.items.iter().map(|item| item.text.len() as u64).sum();
        let bytes = exchange.request.total.saturating_sub(bytes);
        rest(desk, (known, size, bytes), seen.missing, reply, &mut answers, passage);
    }
}

/// The items of a batch that were not seen: from the one of index `known` on, of `size`.
fn rest(
    desk: &mut Desk,
    (known, size, bytes): (u32, u32, u64),
    reason: Option<UninspectedReason>,
    reply: &Reply<'_>,
    answers: &mut Answers<'_, '_>,
    passage: &Passage,
) {
    let mut index = known;
    for (answer, bytes) in answers.take_rest().into_iter().take((size - known) as usize) {
        let place = Some(BatchPlace { index, size });
        let uninspected = reason.map(Uninspected::one);
        let asked = Desk::unread(Transport::HttpBatch, place, 0, uninspected);
        desk.finish(asked, passage, &Ending::answered(answer, bytes));
        index += 1;
    }
    if index == size {
        return;
    }
    let place = Some(BatchPlace { index, size });
    let uninspected = reason.map(|reason| Uninspected { reason, calls: size - index });
    let asked = Desk::unread(Transport::HttpBatch, place, bytes, uninspected);
    let ending = match answers.for_all {
        Some((answer, _)) => Ending::answered(answer, 0),
        None => match (reply.otherwise, reason) {
            (Outcome::Unanswered, Some(reason)) => Ending::uninspected(reason, 0),
            _ => reply.otherwise(0),
        },
    };
    desk.finish(asked, passage, &ending);
}

impl Reply<'_> {
    /// How many answers there are, if all of them could be counted.
    const fn size(&self) -> Option<u32> {
        match &self.message {
            Some(Message { shape: Shape::Batch { size, .. }, cut: false }) => Some(*size),
            _ => None,
        }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX - 1)
}

/// The answers of a batch, to be taken by id; of equal ids, in order.
struct Answers<'r, 'a> {
    /// The items not taken yet while they come in the order of the requests, as nodes send them.
    in_order: &'r [Envelope<'a>],
    /// The same by id, from the first one on that did not.
    by_id: Option<HashMap<IdKey, VecDeque<&'r Envelope<'a>>>>,
    for_all: Option<(Answer<'a>, u64)>,
}

impl<'r, 'a> Answers<'r, 'a> {
    fn of(reply: &'r Reply<'a>, response_bytes: u64) -> Self {
        let (in_order, for_all) = match reply.message.as_ref().map(|message| &message.shape) {
            Some(Shape::Batch { items, .. }) => (&items[..], None),
            Some(Shape::Single(response)) => {
                (&[][..], response.answer().map(|answer| (answer, response_bytes)))
            }
            None => (&[][..], None),
        };
        Self { in_order, by_id: None, for_all }
    }

    fn take(&mut self, id: Option<Id>) -> Option<(Answer<'a>, u64)> {
        if self.for_all.is_some() {
            return self.for_all;
        }
        let id = id?;
        if self.by_id.is_none()
            && let [next, rest @ ..] = self.in_order
            && next.id() == Some(id)
        {
            self.in_order = rest;
            return next.answer().map(|answer| (answer, next.text.len() as u64));
        }
        let in_order = self.in_order;
        let by_id = self.by_id.get_or_insert_with(|| {
            let mut by_id = HashMap::<_, VecDeque<_>>::with_capacity(in_order.len());
            for item in in_order {
                if let Some(id) = item.id() {
                    by_id.entry(id.key).or_default().push_back(item);
                }
            }
            by_id
        });
        let same = by_id.get_mut(&id.key)?;
        let place = exact_place(same.iter().map(|item| item.id().map_or(0, |id| id.exact)), id);
        let item = same.remove(place)?;
        item.answer().map(|answer| (answer, item.text.len() as u64))
    }

    /// Answers that no item took and that name a request, in the order in which they came.
    fn take_rest(&mut self) -> Vec<(Answer<'a>, u64)> {
        let mut left: Vec<_> = match self.by_id.take() {
            None => std::mem::take(&mut self.in_order).iter().collect(),
            Some(by_id) => by_id.into_values().flatten().collect(),
        };
        // All lie in one text.
        left.sort_by_key(|item| item.text.as_ptr());
        let named =
            left.into_iter().filter(|item| item.id().is_some_and(|id| id.key != IdKey::Null));
        named.filter_map(|item| item.answer().map(|it| (it, item.text.len() as u64))).collect()
    }
}

/// Which of those with an equal key is meant: the first whose digits are the same too, else the
/// first. Looks at the nearest ones only, so that many equal ids do not cost a square.
pub(super) fn exact_place(exacts: impl Iterator<Item = u64>, id: Id) -> usize {
    exacts.take(64).position(|exact| exact == id.exact).unwrap_or(0)
}
