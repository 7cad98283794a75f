//! Gathers what belongs to each request to the API — its calls, its operations, its transactions —
//! until nothing more is expected to be told, and then says where its time went and what is odd
//! about it.
//!
//! Comes after the makers of calls, operations and transactions, who tell each of theirs once; gives
//! breakdowns, findings and events. Which call belongs to which request was decided before: by its
//! trace. Where several requests share a trace (a page that traces itself), the operations around a
//! part say whose it is, and where they do not, its time.
//!
//! ```text
//! request ended ─► waiting, 0.3 s ──────────────────────────────► settled
//!                     └─► its spans are to come ─► patient, 10 s ──┘
//! ```

mod burst;
mod part;
mod settle;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use alloy::primitives::B256;

use crate::model::{
    ApiExchange, AppTiming, Breakdown, Clock, ConnectionId, DatabaseTiming, Event, FindingKind,
    Flow, HttpMethod, Join, Known, Operation, PATIENCE, RequestRef, Route, SETTLE, Stamp,
    UnixMicros, Work, expects_spans,
};

pub(super) use part::{CallPart, MinedPart, Shape};
use part::{OperationPart, Tree};

/// For how long parts are kept for whose trace no request ends.
const ORPHANED: Duration = Duration::from_secs(60);
/// Traces whose parts are kept, parts of all of them, and requests that wait.
const MOST_TREES: usize = 32_768;
const MOST_PARTS: usize = 262_144;
const MOST_WAITING: usize = 32_768;
/// Traces of which only how many parts were left out is kept, so that nobody takes the rest for all.
const MOST_EMPTIED: usize = 65_536;
/// Requests of whose inside nothing is known that wait for an API's first export: its first ones.
const MOST_UNTOLD: usize = 1_024;
/// Settled requests that transactions may still be mined for.
const MOST_SETTLED: usize = 16_384;
/// Calls of the API that may be any request's, remembered for those that end next.
const MOST_AMBIGUOUS: usize = 4_096;
/// A repetition is told once in so long for each route and shape; the counter counts them all.
const TOLD_AGAIN: Duration = Duration::from_secs(10);
const MOST_TOLD: usize = 1_024;

/// A request that has ended.
#[derive(Clone, Debug)]
struct Ended {
    at: UnixMicros,
    trace_id: u128,
    /// The proxy's, which the API's first operation has for its parent.
    span_id: u64,
    method: HttpMethod,
    route: Route,
    status: u16,
    connection: ConnectionId,
    started: Stamp,
    ended: Stamp,
    overhead: Duration,
    /// What `Server-Timing` says of the database.
    told: Option<DatabaseTiming>,
    /// Whether it says anything of the request's inside.
    has_told: bool,
}

/// A request as its transactions find it.
#[derive(Clone, Copy, Debug)]
struct Settled {
    request: RequestRef,
    status: u16,
    connection: ConnectionId,
}

/// Something odd about a request, before its names.
pub(super) struct Odd {
    pub(super) kind: FindingKind,
    pub(super) count: u32,
    pub(super) at: UnixMicros,
    pub(super) span: Duration,
    pub(super) request: RequestRef,
    pub(super) connection: ConnectionId,
    pub(super) query: Option<Box<str>>,
    /// Of repeated calls.
    pub(super) shape: Option<Shape>,
    pub(super) transaction: Option<B256>,
}

/// What comes out.
#[derive(Default)]
pub(super) struct Output {
    pub(super) breakdowns: Vec<Breakdown>,
    pub(super) odd: Vec<Odd>,
    pub(super) events: Vec<Event>,
}

#[derive(Default)]
pub(super) struct Trees {
    trees: HashMap<u128, Tree>,
    /// Parts in them.
    held: usize,
    /// Those of them that are not emptied.
    whole: usize,
    /// Traces in the order in which they were first heard of.
    heard: VecDeque<(Stamp, u128)>,
    /// Emptied ones, and when they were.
    emptied: VecDeque<(Stamp, u128)>,
    /// Requests in the order in which they ended, nearly.
    waiting: VecDeque<(Stamp, Ended)>,
    /// Requests whose spans are to come, by trace and span, and when they are given up on.
    patient: HashMap<(u128, u64), Ended>,
    given_up: VecDeque<(Stamp, (u128, u64))>,
    /// By trace and span of the calls that sent their transactions.
    settled: HashMap<(u128, u64), Settled>,
    settled_order: VecDeque<(u128, u64)>,
    /// When the API's process made calls that may be any request's.
    ambiguous: VecDeque<Stamp>,
    /// When spans came last.
    told: Option<Stamp>,
    repeated: HashMap<(Route, u64), Stamp>,
    now: Stamp,
    wall: UnixMicros,
    out: Output,
}

impl Trees {
    /// A request to the API has ended; `app` is what its `Server-Timing` says of its inside.
    pub(super) fn request(
        &mut self,
        exchange: &ApiExchange,
        route: Route,
        at: UnixMicros,
        app: Option<&AppTiming>,
    ) {
        if exchange.flow != Flow::Response {
            // Its time is nobody's wait.
            return;
        }
        let timing = &exchange.timing;
        let ended = Ended {
            at,
            trace_id: exchange.trace.trace_id,
            span_id: exchange.trace.span_id,
            method: exchange.http_method,
            route,
            status: exchange.status,
            connection: exchange.connection,
            started: timing.request_started,
            ended: timing.request_started.after(timing.total()),
            overhead: timing.overhead(),
            told: app.and_then(|app| app.database),
            has_told: app.is_some(),
        };
        self.wait(ended);
    }

    fn wait(&mut self, ended: Ended) {
        let due = ended.ended.after(SETTLE);
        self.waiting.push_back((due, ended));
        if self.waiting.len() > MOST_WAITING
            && let Some((_, oldest)) = self.waiting.pop_front()
        {
            self.settle(&oldest);
        }
    }

    /// A call was answered that belongs to a request, or may.
    pub(super) fn call(&mut self, trace_id: Option<u128>, join: Join, call: CallPart) {
        match trace_id {
            Some(trace_id) if join != Join::Ambiguous => {
                self.put(trace_id, |tree| tree.call(call));
            }
            _ => {
                if self.ambiguous.len() >= MOST_AMBIGUOUS {
                    self.ambiguous.pop_front();
                }
                self.ambiguous.push_back(call.started);
            }
        }
    }

    /// A program has told of a part of its work.
    pub(super) fn operation(&mut self, operation: &Operation) {
        self.told = Some(self.now);
        self.put(operation.trace_id, |tree| tree.operation(OperationPart::of(operation)));
        if operation.work == Work::Server
            && let Some(parent) = operation.parent
            && let Some(ended) = self.patient.remove(&(operation.trace_id, parent))
        {
            // Its server's is the last one to end; what else it holds is in this export.
            self.waiting.push_front((self.now, ended));
        }
    }

    /// A transaction was mined that a call of this trace had sent.
    pub(super) fn mined(&mut self, trace_id: u128, mined: MinedPart) {
        match self.settled.get(&(trace_id, mined.span_id)).copied() {
            Some(settled) => self.tell_mined(&settled, &mined),
            None => self.put(trace_id, |tree| tree.mined(mined)),
        }
    }

    /// Lets time pass; to be called a few times a second.
    pub(super) fn tick(&mut self, now: Stamp, clock: &Clock) {
        (self.now, self.wall) = (now, clock.wall(now));
        while let Some((due, _)) = self.waiting.front()
            && *due <= now
            && let Some((_, ended)) = self.waiting.pop_front()
        {
            if self.is_to_be_told(&ended) {
                let key = (ended.trace_id, ended.span_id);
                self.given_up.push_back((ended.ended.after(PATIENCE), key));
                self.patient.insert(key, ended);
            } else {
                self.settle(&ended);
            }
        }
        while let Some((due, key)) = self.given_up.front()
            && (*due <= now || self.patient.len() > MOST_WAITING)
        {
            let ended = self.patient.remove(key);
            self.given_up.pop_front();
            if let Some(ended) = ended {
                self.settle(&ended);
            }
        }
        while self.heard.front().is_some_and(|(heard, _)| now.since(*heard) >= ORPHANED) {
            self.forget_oldest();
        }
        while self.emptied.front().is_some_and(|(when, _)| now.since(*when) >= ORPHANED) {
            self.forget_oldest_emptied();
        }
        while self.ambiguous.front().is_some_and(|made| now.since(*made) > ORPHANED) {
            self.ambiguous.pop_front();
        }
    }

    /// Settles everything as it is.
    pub(super) fn finish(&mut self) {
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(_, ended)| ended);
        let patient = std::mem::take(&mut self.patient).into_values();
        for ended in waiting.chain(patient).collect::<Vec<_>>() {
            self.settle(&ended);
        }
    }

    /// Takes out what there is to be told.
    pub(super) fn take(&mut self) -> Output {
        std::mem::take(&mut self.out)
    }

    /// Whether spans of it are still to come.
    fn is_to_be_told(&self, ended: &Ended) -> bool {
        let tree = self.trees.get(&ended.trace_id);
        if tree.is_some_and(|tree| tree.has_server(ended.span_id)) {
            return false;
        }
        let known = if tree.is_some_and(|tree| tree.calls.iter().any(|c| c.carried_trace)) {
            Known::PassedOn
        } else if ended.has_told
            || tree.is_some()
            || self.has_ambiguous(ended)
            || self.patient.len() >= MOST_UNTOLD
        {
            Known::Something
        } else {
            Known::Nothing
        };
        expects_spans(known, self.told.map(|told| self.now.since(told)))
    }

    /// Whether some calls may be its or another request's.
    fn has_ambiguous(&self, ended: &Ended) -> bool {
        self.ambiguous.iter().any(|made| ended.started <= *made && *made <= ended.ended)
    }

    fn put(&mut self, trace_id: u128, put: impl FnOnce(&mut Tree)) {
        let tree = self.trees.entry(trace_id).or_insert_with(|| {
            self.heard.push_back((self.now, trace_id));
            self.whole += 1;
            Tree::new(self.now)
        });
        let before = tree.len();
        put(tree);
        self.held += tree.len() - before;
        while self.is_full() && !self.heard.is_empty() {
            self.empty_oldest();
        }
    }

    fn is_full(&self) -> bool {
        self.whole > MOST_TREES || self.held > MOST_PARTS
    }

    /// Makes room. Its request is told with how much of it is missing.
    fn empty_oldest(&mut self) {
        if let Some((heard, trace_id)) = self.heard.pop_front()
            && let Some(tree) = self.trees.get_mut(&trace_id)
            && tree.heard == heard
            && !tree.is_emptied
        {
            self.held -= tree.len();
            self.whole -= 1;
            tree.empty();
            self.emptied.push_back((self.now, trace_id));
            if self.emptied.len() > MOST_EMPTIED {
                self.forget_oldest_emptied();
            }
        }
    }

    fn forget_oldest_emptied(&mut self) {
        if let Some((_, trace_id)) = self.emptied.pop_front()
            && self.trees.get(&trace_id).is_some_and(|tree| tree.is_emptied)
        {
            self.trees.remove(&trace_id);
        }
    }

    fn forget(&mut self, trace_id: u128) {
        if let Some(tree) = self.trees.remove(&trace_id) {
            self.held -= tree.len();
            self.whole -= usize::from(!tree.is_emptied);
        }
    }

    fn forget_oldest(&mut self) {
        // A trace that was heard of again, after its parts were taken, is not as old as this.
        if let Some((heard, trace_id)) = self.heard.pop_front()
            && self.trees.get(&trace_id).is_some_and(|tree| tree.heard == heard && !tree.is_emptied)
        {
            self.forget(trace_id);
        }
    }
}
