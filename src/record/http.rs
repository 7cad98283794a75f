//! HTTP exchanges with the node into calls: one for each request object, joined to its answer by id.
//!
//! What counts as a call:
//! - a `POST` whose body is a JSON-RPC request or a batch of them. Anything else (`OPTIONS`, `GET`)
//!   is no call, and a `POST` of something else is a parse failure;
//! - every item of a batch, one without a method too, for the node answers each; but a batch without
//!   a single method is no JSON-RPC. An item with neither method nor id, or that is no object, is a
//!   parse failure: the error that answers it cannot be told from others;
//! - a body that was captured in part counts by what its beginning shows: a request by its method; a
//!   batch as one uninspected call of method `_OTHER`, as does one of more than
//!   [`jsonrpc::BATCH_LIMIT`] items and a compressed body.
//!
//! A request that stood alone takes the exchange's answer whatever its id: a node that could not
//! read the id answers `null`. A response object in the place of a batch answers every item.

use std::collections::{HashMap, VecDeque};

use super::calls::{Asked, Desk};
use super::passage::{Caller, Ending, Passage};
use crate::decode::jsonrpc::{self, Answer, BATCH_LIMIT, Envelope, Id, IdKey, Message, Shape};
use crate::model::{BatchPlace, Captured, End, Event, Exchange, Inspection, Outcome, Transport};

/// What came back, as far as it can be told.
struct Reply<'a> {
    message: Option<Message<'a>>,
    /// What becomes of a call that the message does not answer.
    otherwise: Outcome,
}

/// What was asked, as far as it can be told.
enum Requests<'a> {
    Single(Envelope<'a>),
    Batch(Vec<Envelope<'a>>),
    /// A batch of which not every item is known.
    PartOfBatch {
        /// Items seen.
        size: u32,
        /// Whether these are all.
        is_all: bool,
    },
    Unread,
    NotJsonRpc,
}

/// Records the calls of an exchange.
pub(super) fn record(desk: &mut Desk, exchange: &Exchange) {
    if exchange.http_method.as_str() != "POST" {
        return;
    }
    let requests = requests(&exchange.request, exchange.end);
    if matches!(requests, Requests::NotJsonRpc) {
        desk.outbox.event(&Event::ParseFailure("rpc_request"));
        return;
    }
    desk.peers.connection_seen(exchange.connection, exchange.peer);
    let reply = reply(desk, exchange);
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
        Requests::Single(request) => {
            let asked = desk.ask(&request, Transport::Http, None, bytes);
            let ending = single(&asked, request.id(), &reply, exchange);
            desk.finish(asked, &passage, &ending);
        }
        Requests::Batch(items) => batch(desk, &items, &reply, &passage, exchange.response.total),
        Requests::PartOfBatch { size, is_all } => {
            if is_all {
                desk.outbox.event(&Event::BatchSize(size));
            }
            let place = Some(BatchPlace { index: 0, size });
            let outcome = match reply.otherwise {
                Outcome::Unanswered => Outcome::Uninspected,
                otherwise => otherwise,
            };
            let asked = Desk::unread(Transport::HttpBatch, place, bytes);
            desk.finish(asked, &passage, &Ending::without(outcome, exchange.response.total));
        }
        Requests::Unread => {
            let asked = Desk::unread(Transport::Http, None, bytes);
            let ending = single(&asked, None, &reply, exchange);
            desk.finish(asked, &passage, &ending);
        }
        Requests::NotJsonRpc => {}
    }
}

fn requests(body: &Captured, end: End) -> Requests<'_> {
    if body.inspection == Inspection::Encoded || (body.bytes.is_empty() && body.total > 0) {
        return Requests::Unread;
    }
    let Ok(message) = jsonrpc::read(&body.bytes) else {
        return Requests::NotJsonRpc;
    };
    // A whole body that breaks off is malformed, unless the client was interrupted in sending it.
    let captured_whole = body.bytes.len() as u64 == body.total;
    if message.cut && captured_whole && end == End::Complete {
        return Requests::NotJsonRpc;
    }
    match message.shape {
        Shape::Single(request) if request.has_method() || message.cut => Requests::Single(request),
        Shape::Batch { size, .. } if message.cut || size as usize > BATCH_LIMIT => {
            Requests::PartOfBatch { size, is_all: !message.cut }
        }
        Shape::Batch { items, .. } if items.iter().any(Envelope::has_method) => {
            Requests::Batch(items)
        }
        _ => Requests::NotJsonRpc,
    }
}

fn reply<'a>(desk: &mut Desk, exchange: &'a Exchange) -> Reply<'a> {
    let without = |otherwise| Reply { message: None, otherwise };
    match exchange.end {
        End::Complete => {}
        End::ClientGone => return without(Outcome::ClientGone),
        End::UpstreamGone => return without(Outcome::UpstreamGone),
        End::Unreachable => return without(Outcome::Connect),
        End::TimedOut => return without(Outcome::Timeout),
        End::Stopped => return without(Outcome::Stopped),
    }
    let Captured { bytes, total, inspection } = &exchange.response;
    let is_success = (200..300).contains(&exchange.status);
    let hidden = *inspection == Inspection::Encoded || (bytes.is_empty() && *total > 0);
    if hidden {
        let status = Outcome::Http(exchange.status);
        return without(if is_success { Outcome::Uninspected } else { status });
    }
    let in_part = (bytes.len() as u64) < *total;
    match jsonrpc::read(bytes) {
        Ok(message) if !message.cut => {
            Reply { message: Some(message), otherwise: Outcome::Unanswered }
        }
        Ok(message) if in_part => Reply { message: Some(message), otherwise: Outcome::Uninspected },
        _ => {
            if is_success && !bytes.is_empty() {
                desk.outbox.event(&Event::ParseFailure("rpc_response"));
            }
            without(Outcome::Http(exchange.status))
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
    let outcome = match reply.otherwise {
        Outcome::Http(_) if asked.is_notification && is_success && bytes == 0 => {
            Outcome::Notification
        }
        // There was JSON, but no response in it.
        Outcome::Unanswered => Outcome::Http(exchange.status),
        otherwise => otherwise,
    };
    Ending::without(outcome, bytes)
}

fn batch(
    desk: &mut Desk,
    requests: &[Envelope<'_>],
    reply: &Reply<'_>,
    passage: &Passage,
    response_bytes: u64,
) {
    let size = u32::try_from(requests.len()).unwrap_or(u32::MAX);
    desk.outbox.event(&Event::BatchSize(size));
    let mut answers = Answers::of(reply, response_bytes);
    for (request, index) in requests.iter().zip(0..) {
        if !request.is_request() {
            desk.outbox.event(&Event::ParseFailure("batch_item"));
            continue;
        }
        let place = Some(BatchPlace { index, size });
        let asked = desk.ask(request, Transport::HttpBatch, place, request.text.len() as u64);
        let ending = match answers.take(request.id()) {
            Some((answer, bytes)) => Ending::answered(answer, bytes),
            None if asked.is_notification && reply.message.is_some() => {
                Ending::without(Outcome::Notification, 0)
            }
            None => Ending::without(reply.otherwise, 0),
        };
        desk.finish(asked, passage, &ending);
    }
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
}

/// Which of those with an equal key is meant: the first whose digits are the same too, else the
/// first. Looks at the nearest ones only, so that many equal ids do not cost a square.
pub(super) fn exact_place(exacts: impl Iterator<Item = u64>, id: Id) -> usize {
    exacts.take(64).position(|exact| exact == id.exact).unwrap_or(0)
}
