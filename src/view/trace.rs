//! One request as a tree: its operations, its calls to the node, their transactions.
//!
//! Everything is read by the trace id that the parts were stored with; who belongs to whom was
//! decided when they were recorded. Here it is only put in order.

mod tree;

use std::time::Duration;

use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde_json::{Value, json};

use super::params::{Answer, Fields, invalid};
use super::{Money, State, json as as_json};
use crate::model::{
    Breakdown, HttpRequest, Join, Known, Operation, RpcCall, StateChange, Transaction, UnixMicros,
    settles_after,
};
use crate::store::{
    BreakdownFilter, CallFilter, Cursor, OperationFilter, Page, Paging, Range, RequestFilter,
    StateFilter, Store, StoreError, TransactionFilter,
};

/// Parts of each sort that are told of a trace, the newest; and how many more are counted.
const MOST: usize = 2_000;
const MOST_COUNTED: usize = 100_000;
/// Rows of one page while a trace's few are looked for.
const PAGE: usize = 1_000;
/// How long before its request's first byte, and after its end, what belongs to it is looked for.
const BEFORE: u64 = 1_000_000;
const AFTER: u64 = 60_000_000;
/// How long the recorder and the store may take to have what was settled where it is read.
const WRITTEN: Duration = Duration::from_secs(2);

/// Everything of a trace.
pub(super) struct Trace {
    pub requests: Vec<HttpRequest>,
    pub operations: Vec<Operation>,
    pub calls: Vec<RpcCall>,
    pub transactions: Vec<Transaction>,
    pub states: Vec<StateChange>,
    breakdowns: Vec<Breakdown>,
    /// Calls that may belong to it.
    ambiguous: Vec<RpcCall>,
    left_out: LeftOut,
}

/// How many parts are not told, for there are more than [`MOST`] of their sort.
#[derive(Default)]
struct LeftOut {
    requests: usize,
    operations: usize,
    calls: usize,
    transactions: usize,
    ambiguous: usize,
}

/// What a list holds, as far as it is told.
struct Listed<T> {
    items: Vec<T>,
    left_out: usize,
}

pub async fn trace(params: &Params<'_>, state: &State) -> Answer {
    let now = UnixMicros::now();
    let mut fields = Fields::of(params)?;
    let range = fields.range(now)?;
    let trace_id = fields.trace_id("trace_id")?;
    let hash = fields.parsed("transaction", "a transaction's hash", "\"0x5f…\"")?;
    fields.finish()?;
    let read = move |store: &Store| -> Result<Result<(u128, Trace), Missing>, StoreError> {
        let trace_id = match (trace_id, hash) {
            (Some(trace_id), _) => trace_id,
            (None, Some(hash)) => {
                let filter = TransactionFilter { hash: Some(hash), ..TransactionFilter::default() };
                let found = all(|paging| store.transactions(range, &filter, paging))?;
                match found.items.first() {
                    None => return Ok(Err(Missing::Transaction)),
                    Some(transaction) => match transaction.trace {
                        None => return Ok(Err(Missing::TraceOfTransaction)),
                        Some(trace) => trace.trace_id,
                    },
                }
            }
            (None, None) => return Ok(Err(Missing::Parameter)),
        };
        let trace = Trace::read(store, range, trace_id)?;
        let is_empty = trace.requests.is_empty() && trace.calls.is_empty();
        Ok(if is_empty { Err(Missing::Request) } else { Ok((trace_id, trace)) })
    };
    let (trace_id, trace) = state.archive.read(read).await?.map_err(ErrorObjectOwned::from)?;
    let is_settled = trace.is_settled(now, state.live.now().spans_at);
    Ok(trace.tell(trace_id, is_settled, state.money.as_ref()))
}

/// Why there is no tree.
#[derive(Clone, Copy)]
enum Missing {
    Parameter,
    Transaction,
    TraceOfTransaction,
    Request,
}

impl From<Missing> for ErrorObjectOwned {
    fn from(missing: Missing) -> Self {
        invalid(match missing {
            Missing::Parameter => {
                "expected `trace_id` or `transaction`, found neither; trace ids are in \
                 dappscope_requests, for example {\"trace_id\": \"4bf92f3577b34da6a3ce929d0e0e4736\"}"
            }
            Missing::Transaction => {
                "no such transaction was recorded in this range; ask for a longer one, for example \
                 {\"last\": \"7d\"}"
            }
            Missing::TraceOfTransaction => {
                "this transaction is not known to belong to a request to the API: its call carried \
                 no traceparent, and was not made by the API while one request alone was under way"
            }
            Missing::Request => {
                "nothing of this trace was recorded in this range; ask for a longer one, for \
                 example {\"last\": \"7d\"}"
            }
        })
    }
}

impl Trace {
    fn read(store: &Store, range: Range, trace_id: u128) -> Result<Self, StoreError> {
        let id = Some(trace_id);
        let filter = RequestFilter { trace_id: id, ..RequestFilter::default() };
        let mut left_out = LeftOut::default();
        let mut requests =
            all(|paging| store.requests(range, &filter, paging))?.count(&mut left_out.requests);
        requests.sort_by_key(|request| request.at);
        let window = match (requests.first(), requests.last()) {
            (Some(first), Some(last)) => Range {
                from: UnixMicros(first.at.0.saturating_sub(BEFORE)),
                until: UnixMicros(end(last).0.saturating_add(AFTER)),
            },
            _ => range,
        };
        let filter = CallFilter { trace_id: id, ..CallFilter::default() };
        let calls = all(|paging| store.calls(window, &filter, paging))?.count(&mut left_out.calls);
        let filter = OperationFilter { trace_id: id };
        let operations = all(|paging| store.operations(window, &filter, paging))?
            .count(&mut left_out.operations);
        let filter = TransactionFilter { trace_id: id, ..TransactionFilter::default() };
        let transactions = all(|paging| store.transactions(window, &filter, paging))?
            .count(&mut left_out.transactions);
        let mut states = Vec::new();
        for transaction in &transactions {
            // Traced when they are mined, which may be long after.
            let range = Range { from: transaction.at, until: UnixMicros(u64::MAX) };
            let filter = StateFilter { hash: Some(transaction.hash), ..StateFilter::default() };
            states.extend(all(|paging| store.states(range, &filter, paging))?.items);
        }
        let filter = BreakdownFilter { trace_id: id };
        let breakdowns = all(|paging| store.breakdowns(window, &filter, paging))?.items;
        let mut ambiguous = Vec::new();
        for during in together(&requests) {
            let read = |paging| store.calls(during, &CallFilter::default(), paging);
            let may = all_that(read, |call| call.joined_by == Some(Join::Ambiguous))?;
            ambiguous.extend(may.count(&mut left_out.ambiguous));
            if ambiguous.len() + left_out.ambiguous >= MOST_COUNTED {
                break;
            }
        }
        left_out.ambiguous += ambiguous.len().saturating_sub(MOST);
        ambiguous.truncate(MOST);
        Ok(Self {
            requests,
            operations,
            calls,
            transactions,
            states,
            breakdowns,
            ambiguous,
            left_out,
        })
    }

    /// Whether nothing more is expected. `spans_at` is when spans came last, of any request.
    fn is_settled(&self, now: UnixMicros, spans_at: Option<UnixMicros>) -> bool {
        if self.breakdowns.len() >= self.requests.len() {
            return true;
        }
        let between =
            |from: UnixMicros, to: UnixMicros| Duration::from_micros(to.0.saturating_sub(from.0));
        let ended = self.requests.iter().map(end).max().unwrap_or_default();
        let known = if self.calls.iter().any(|call| call.joined_by == Some(Join::Trace)) {
            Known::PassedOn
        } else if !self.calls.is_empty()
            || !self.operations.is_empty()
            || !self.ambiguous.is_empty()
            || self.requests.iter().any(|request| request.app.is_some())
        {
            Known::Something
        } else {
            Known::Nothing
        };
        let expected = settles_after(known, spans_at.map(|at| between(at, ended)));
        between(ended, now) > expected + WRITTEN
    }

    fn tell(&self, trace_id: u128, is_settled: bool, money: Option<&Money>) -> Value {
        let gas: u64 = self.transactions.iter().filter_map(|one| one.gas_used).sum();
        let LeftOut { requests, operations, calls, transactions, ambiguous } = self.left_out;
        json!({
            "trace_id": format!("{trace_id:032x}"),
            "is_settled": is_settled,
            "request": self.requests.first().map(as_json::request),
            "breakdown": self.breakdowns.last().map(as_json::breakdown),
            "gas_used": gas,
            "tree": tree::of(self, money),
            "ambiguous": self.ambiguous.iter().map(as_json::call).collect::<Vec<_>>(),
            "left_out": {
                "requests": requests,
                "operations": operations,
                "calls": calls,
                "transactions": transactions,
                "ambiguous": ambiguous,
            },
        })
    }
}

fn end(request: &HttpRequest) -> UnixMicros {
    let total: Duration = request.total;
    UnixMicros(request.at.0.saturating_add(as_json::micros(total)).saturating_add(1))
}

/// When requests were under way, those that overlap taken as one: a call may be any one's of them,
/// and is told once. `requests` come in the order in which they began.
fn together(requests: &[HttpRequest]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for request in requests {
        match ranges.last_mut() {
            Some(last) if request.at <= last.until => last.until = last.until.max(end(request)),
            _ => ranges.push(Range { from: request.at, until: end(request) }),
        }
    }
    ranges
}

impl<T> Listed<T> {
    /// What is told; the others are added to `left_out`.
    fn count(self, left_out: &mut usize) -> Vec<T> {
        *left_out += self.left_out;
        self.items
    }
}

/// All that a list holds, as far as it is told; pages of few finds may be short.
fn all<T>(read: impl Fn(Paging) -> Result<Page<T>, StoreError>) -> Result<Listed<T>, StoreError> {
    all_that(read, |_| true)
}

/// The same of those that are wanted.
fn all_that<T>(
    read: impl Fn(Paging) -> Result<Page<T>, StoreError>,
    wanted: impl Fn(&T) -> bool,
) -> Result<Listed<T>, StoreError> {
    let mut found = Listed { items: Vec::new(), left_out: 0 };
    let mut before: Option<Cursor> = None;
    loop {
        let page = read(Paging { limit: PAGE, before })?;
        found.items.extend(page.items.into_iter().filter(&wanted));
        found.left_out += found.items.len().saturating_sub(MOST);
        found.items.truncate(MOST);
        before = page.next;
        if before.is_none() || found.left_out >= MOST_COUNTED {
            return Ok(found);
        }
    }
}
