//! What is kept of a call, an operation and a transaction until their request is settled, and to
//! which request each belongs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;

use crate::decode::sql::Statement;
use crate::model::{Method, Operation, Stamp, UnixMicros, Work};
use crate::record::findings::Subject;
use crate::record::repeats::Question;

/// Parts of one trace that are kept of each sort.
const MOST: usize = 4_096;
/// How far the API's clock may be from this one's. It is the same machine's nearly always.
const CLOCKS_APART_US: u64 = 20_000;

/// A call of a request.
#[derive(Clone, Debug)]
pub(in crate::record) struct CallPart {
    /// The caller's operation, as its `traceparent` says; the request's own of one that was joined.
    pub(in crate::record) span_id: u64,
    /// Whether it named its trace itself.
    pub(in crate::record) carried_trace: bool,
    pub(in crate::record) started: Stamp,
    /// It left for the node.
    pub(in crate::record) left: Stamp,
    pub(in crate::record) upstream: Duration,
    /// The relay's own share; of a batch its first item has all.
    pub(in crate::record) overhead: Duration,
    /// Whether the node runs a contract for it.
    pub(in crate::record) runs_code: bool,
    /// Whether it sends a transaction, which may be mined long after.
    pub(in crate::record) sends: bool,
    /// Whether one multicall could ask it with others of its request.
    pub(in crate::record) gathers: bool,
    /// What it asks; none of what is asked repeatedly for good reason.
    pub(in crate::record) shape: Option<Shape>,
    /// Its method and params: the same question again is no other one.
    pub(in crate::record) question: Option<Question>,
}

/// What makes calls similar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::record) struct Shape {
    pub(in crate::record) method: Method,
    /// The function; none of a read of state, whose accounts differ.
    pub(in crate::record) function: Option<Subject>,
}

/// A mined transaction of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::record) struct MinedPart {
    /// As [`CallPart::span_id`] of the call that sent it.
    pub(in crate::record) span_id: u64,
    pub(in crate::record) hash: B256,
    /// In gas units.
    pub(in crate::record) gas: u64,
    pub(in crate::record) reverted: bool,
}

/// An operation of a request.
#[derive(Clone, Debug)]
pub(super) struct OperationPart {
    span_id: u64,
    parent: Option<u64>,
    at: UnixMicros,
    duration: Duration,
    is_server: bool,
    query: Option<QueryPart>,
}

/// A query of an operation.
#[derive(Clone, Debug)]
struct QueryPart {
    fingerprint: Arc<str>,
    /// Opens, ends or sets up something, so that it is no sign of a loop.
    is_housekeeping: bool,
}

/// The parts of a trace.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// When its trace was heard of, since it last had no parts.
    pub(super) heard: Stamp,
    pub(super) calls: Vec<CallPart>,
    operations: Vec<OperationPart>,
    mined: Vec<MinedPart>,
    /// Parts for which there was no room.
    left_out: u32,
    /// There was no room for any of its parts, and none is taken any more.
    pub(super) is_emptied: bool,
}

/// The request that parts are looked for.
pub(super) struct Whose {
    pub(super) span_id: u64,
    pub(super) at: UnixMicros,
    pub(super) started: Stamp,
    pub(super) ended: Stamp,
}

/// The parts of one request.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) calls: Vec<CallPart>,
    pub(super) mined: Vec<MinedPart>,
    /// When each query began and how long it took, with its fingerprint, where it may be one of a
    /// loop's.
    pub(super) queries: Vec<(UnixMicros, Duration, Option<Arc<str>>)>,
    /// Whether operations were told at all.
    pub(super) has_operations: bool,
    /// Parts of its trace for which there was no room. Whose they were is not known.
    pub(super) left_out: u32,
}

/// What the operations say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Above {
    ThisRequest,
    /// Another's, or nobody's that is known.
    Elsewhere,
}

impl OperationPart {
    pub(super) fn of(operation: &Operation) -> Self {
        Self {
            span_id: operation.span_id,
            parent: operation.parent,
            at: operation.at,
            duration: operation.duration,
            is_server: operation.work == Work::Server,
            query: match &operation.work {
                Work::Query(query) => Some(QueryPart {
                    fingerprint: Arc::clone(&query.fingerprint),
                    is_housekeeping: Statement::is_housekeeping(
                        query.operation.map(|it| it.as_str()),
                        &query.fingerprint,
                    ),
                }),
                _ => None,
            },
        }
    }
}

impl Tree {
    pub(super) fn new(heard: Stamp) -> Self {
        Self { heard, ..Self::default() }
    }

    pub(super) fn call(&mut self, call: CallPart) {
        self.left_out += put(&mut self.calls, call, self.is_emptied);
    }

    pub(super) fn operation(&mut self, operation: OperationPart) {
        self.left_out += put(&mut self.operations, operation, self.is_emptied);
    }

    pub(super) fn mined(&mut self, mined: MinedPart) {
        self.left_out += put(&mut self.mined, mined, self.is_emptied);
    }

    /// Leaves out all that it holds and all that is still to come, so that others have room.
    pub(super) fn empty(&mut self) {
        let parts = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let left_out = self.left_out.saturating_add(parts);
        *self = Self { left_out, is_emptied: true, ..Self::new(self.heard) };
    }

    /// Its parts.
    pub(super) fn len(&self) -> usize {
        self.calls.len() + self.operations.len() + self.mined.len()
    }

    /// Whether the API's own operation for the request of this span was told.
    pub(super) fn has_server(&self, span_id: u64) -> bool {
        self.operations.iter().any(|one| one.is_server && one.parent == Some(span_id))
    }

    /// Takes out what belongs to a request.
    pub(super) fn take(&mut self, whose: &Whose) -> Parts {
        // Thousands of requests may share a trace of thousands of operations, none of them theirs.
        let is_above = |one: &OperationPart| one.parent == Some(whose.span_id);
        if self.calls.is_empty() && self.mined.is_empty() && !self.operations.iter().any(is_above) {
            return Parts { left_out: self.left_out, ..Parts::default() };
        }
        let parents: HashMap<u64, Option<u64>> =
            self.operations.iter().map(|one| (one.span_id, one.parent)).collect();
        let mut ways = Ways { parents, wanted: whose.span_id, known: HashMap::new() };
        let during = |moment: Stamp| whose.started <= moment && moment <= whose.ended;
        let calls = self.calls.extract_if(.., |call| {
            ways.above(call.span_id).map_or(during(call.started), |it| it == Above::ThisRequest)
        });
        let calls: Vec<_> = calls.collect();
        let mined = self.mined.extract_if(.., |mined| {
            let sent = || calls.iter().any(|it| it.sends && it.span_id == mined.span_id);
            ways.above(mined.span_id).map_or_else(sent, |it| it == Above::ThisRequest)
        });
        let mined = mined.collect();
        let operations = self.operations.extract_if(.., |one| {
            ways.above(one.span_id).map_or(whose.holds(one.at), |it| it == Above::ThisRequest)
        });
        let operations: Vec<_> = operations.collect();
        let has_operations = !operations.is_empty();
        let queries = operations
            .into_iter()
            .filter_map(|one| {
                let QueryPart { fingerprint, is_housekeeping } = one.query?;
                // Without its text one query is as good as another, and the same of none.
                let is_telling = !is_housekeeping && !fingerprint.is_empty();
                Some((one.at, one.duration, is_telling.then_some(fingerprint)))
            })
            .collect();
        Parts { calls, mined, queries, has_operations, left_out: self.left_out }
    }
}

impl Whose {
    /// Whether something that began at this time of day began within the request.
    fn holds(&self, at: UnixMicros) -> bool {
        let took = u64::try_from(self.ended.since(self.started).as_micros()).unwrap_or(u64::MAX);
        let from = self.at.0.saturating_sub(CLOCKS_APART_US);
        let until = self.at.0.saturating_add(took).saturating_add(CLOCKS_APART_US);
        (from..=until).contains(&at.0)
    }
}

/// The ways up from operations to a request. Each operation is passed once, however many are below
/// it: a trace may be thousands deep, and be looked through for each of thousands of requests.
struct Ways {
    parents: HashMap<u64, Option<u64>>,
    wanted: u64,
    /// Of operations that were passed.
    known: HashMap<u64, Above>,
}

impl Ways {
    /// Whose an operation is, as those around it say; none where nothing is around it.
    fn above(&mut self, span_id: u64) -> Option<Above> {
        let mut passed = Vec::new();
        let mut at = span_id;
        let found = loop {
            if at == self.wanted {
                break Above::ThisRequest;
            }
            if let Some(known) = self.known.get(&at) {
                break *known;
            }
            match self.parents.get(&at) {
                Some(Some(parent)) => {
                    // Whoever comes here again goes in a circle, which has no request.
                    self.known.insert(at, Above::Elsewhere);
                    passed.push(at);
                    at = *parent;
                }
                // It began its own trace.
                Some(None) => break Above::Elsewhere,
                None if passed.is_empty() => return None,
                None => break Above::Elsewhere,
            }
        };
        if found == Above::ThisRequest {
            self.known.extend(passed.into_iter().map(|span_id| (span_id, found)));
        }
        Some(found)
    }
}

/// Puts a part to the others, or answers that one was left out.
fn put<T>(parts: &mut Vec<T>, part: T, is_emptied: bool) -> u32 {
    let has_room = !is_emptied && parts.len() < MOST;
    if has_room {
        parts.push(part);
    }
    u32::from(!has_room)
}
