//! Each route of the API: how often, how fast, how much, what a cache did with it, and where its time
//! went inside.
//!
//! Nearly all of it comes from roll-ups, so it holds for any range, whatever the number of requests;
//! only gas is read from the transactions, the newest [`MOST`] of the range.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::json::{self, ratio};
use crate::model::{CacheOutcome, Part};
use crate::store::{
    BreakdownFilter, Measure, Page, Paging, Range, Store, StoreError, Summary, TransactionFilter,
};

/// Transactions and requests that are looked through for gas.
const MOST: usize = 10_000;

/// Gas used, and how many requests used it, by method and route.
type Gas = HashMap<(String, String), (u64, u64)>;

/// What was found, by method and route.
pub type Found = BTreeMap<(String, String), Counted>;

/// What is known of one route under one method.
#[derive(Default)]
pub struct Counted {
    requests: Option<Summary>,
    request_bytes: Option<Summary>,
    response_bytes: Option<Summary>,
    /// In the order of [`CacheOutcome::ALL`]; unknown ones are not counted here.
    cache: [Option<Summary>; CacheOutcome::ALL.len()],
    /// In the order of [`Part::ALL`].
    parts: [Option<Summary>; Part::ALL.len()],
    calls: Option<Summary>,
    queries: Option<Summary>,
    /// Of the transactions that its requests sent, in gas units, and how many requests sent some.
    gas: Option<(u64, u64)>,
}

/// Reads what is known of one route, or of all. Blocks.
pub fn read(store: &Store, range: Range, route: Option<&str>) -> Result<Found, StoreError> {
    let mut found = Found::new();
    let wanted = |it: &str| route.is_none_or(|route| route == it);
    let measures = [
        Measure::RequestDuration,
        Measure::RequestBytes,
        Measure::ResponseBytes,
        Measure::RequestCalls,
        Measure::RequestQueries,
    ];
    for measure in measures {
        for (key, summary) in store.summaries(measure, range)? {
            let Some((method, route)) = key.split_once(' ') else { continue };
            if !wanted(route) {
                continue;
            }
            let counted = found.entry((method.to_owned(), route.to_owned())).or_default();
            match measure {
                Measure::RequestBytes => counted.request_bytes = Some(summary),
                Measure::ResponseBytes => counted.response_bytes = Some(summary),
                Measure::RequestCalls => counted.calls = Some(summary),
                Measure::RequestQueries => counted.queries = Some(summary),
                _ => counted.requests = Some(summary),
            }
        }
    }
    for (key, summary) in store.summaries(Measure::CacheResult, range)? {
        let Some((key, outcome)) = key.rsplit_once(' ') else { continue };
        let Some((method, route)) = key.split_once(' ') else { continue };
        let outcome = CacheOutcome::ALL.into_iter().find(|it| it.as_str() == outcome);
        if let (Some(outcome), true) = (outcome, wanted(route)) {
            let counted = found.entry((method.to_owned(), route.to_owned())).or_default();
            counted.cache[outcome as usize] = Some(summary);
        }
    }
    for (key, summary) in store.summaries(Measure::RequestPart, range)? {
        let Some((key, part)) = key.rsplit_once(' ') else { continue };
        let Some((method, route)) = key.split_once(' ') else { continue };
        let part = Part::ALL.into_iter().find(|it| it.as_str() == part);
        if let (Some(part), true) = (part, wanted(route)) {
            let counted = found.entry((method.to_owned(), route.to_owned())).or_default();
            counted.parts[part as usize] = Some(summary);
        }
    }
    for (key, gas) in gas(store, range)? {
        if let Some(counted) = found.get_mut(&key) {
            counted.gas = Some(gas);
        }
    }
    Ok(found)
}

/// Gas used, and the requests that sent the transactions, by method and route.
fn gas(store: &Store, range: Range) -> Result<Gas, StoreError> {
    let filter = TransactionFilter { through_relay: Some(true), ..TransactionFilter::default() };
    let transactions = newest(|paging| store.transactions(range, &filter, paging))?;
    let mut by_trace: HashMap<u128, u64> = HashMap::new();
    for transaction in transactions {
        if let (Some(trace), Some(gas)) = (transaction.trace, transaction.gas_used) {
            *by_trace.entry(trace.trace_id).or_default() += gas;
        }
    }
    let mut gas = Gas::new();
    if by_trace.is_empty() {
        return Ok(gas);
    }
    let filter = BreakdownFilter::default();
    for breakdown in newest(|paging| store.breakdowns(range, &filter, paging))? {
        if let Some(used) = by_trace.remove(&breakdown.trace_id) {
            let key = (breakdown.method.to_string(), breakdown.route.to_string());
            let (sum, requests) = gas.entry(key).or_default();
            *sum += used;
            *requests += 1;
        }
    }
    Ok(gas)
}

fn newest<T>(read: impl Fn(Paging) -> Result<Page<T>, StoreError>) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let page = read(Paging { limit: MOST, before })?;
        found.extend(page.items);
        before = page.next;
        if before.is_none() || found.len() >= MOST {
            return Ok(found);
        }
    }
}

/// The routes that took the most time altogether first, at most `limit`.
pub fn tell(found: Found, range: Range, limit: usize) -> Value {
    let mut routes: Vec<_> = found.into_iter().collect();
    let spent = |counted: &Counted| counted.requests.map_or(0.0, |requests| requests.sum);
    routes.sort_by(|(_, a), (_, b)| spent(b).total_cmp(&spent(a)));
    let left_out = routes.len().saturating_sub(limit);
    routes.truncate(limit);
    json!({
        "from_ms": json::millis(range.from),
        "until_ms": json::millis(range.until),
        "left_out": left_out,
        "routes": routes.iter().map(|((method, route), counted)| json!({
            "method": method,
            "route": route,
            "requests": counted.requests.map(|it| json::summary(&it, "us")),
            "request_bytes": counted.request_bytes.map(|it| json::summary(&it, "bytes")),
            "response_bytes": counted.response_bytes.map(|it| json::summary(&it, "bytes")),
            "cache": cache(counted),
            "settled": counted.calls.map_or(0, |calls| calls.count),
            "share": share(counted),
            "per_request": per_request(counted),
        })).collect::<Vec<_>>(),
    })
}

/// Each part's share of the time, of those requests of whose inside something is known.
fn share(counted: &Counted) -> Value {
    let sum = |part: Part| counted.parts[part as usize].map_or(0.0, |summary| summary.sum);
    let whole: f64 = Part::ALL.into_iter().map(sum).sum();
    if whole <= 0.0 {
        return Value::Null;
    }
    let shares = Part::ALL.map(|part| (part.as_str().to_owned(), json!(sum(part) / whole)));
    Value::Object(shares.into_iter().collect())
}

/// Means; none of what is not told. Gas is that of the requests that sent transactions.
#[expect(clippy::cast_precision_loss, reason = "gas and counts stay far below 2^53")]
fn per_request(counted: &Counted) -> Value {
    let mean = |summary: Summary| summary.sum / summary.count as f64;
    let calls = counted.calls.map(mean);
    json!({
        "rpc_calls": calls,
        "queries": counted.queries.map(mean),
        "gas": counted.gas.map(|(gas, requests)| gas as f64 / requests as f64),
    })
}

/// Requests by outcome, and the hit ratio: hits of hits, misses and stale ones.
fn cache(counted: &Counted) -> Value {
    let of = |outcome: CacheOutcome| counted.cache[outcome as usize];
    let count = |outcome| of(outcome).map_or(0, |summary| summary.count);
    let known: u64 = CacheOutcome::ALL.into_iter().map(count).sum();
    let all = counted.requests.map_or(known, |requests| requests.count);
    let hits = count(CacheOutcome::Hit);
    let asked = hits + count(CacheOutcome::Miss) + count(CacheOutcome::Stale);
    let mut value = json!({
        "hit_ratio": ratio(hits, asked),
        "hit_p50_us": of(CacheOutcome::Hit).map(|summary| summary.p50),
        "miss_p50_us": of(CacheOutcome::Miss).map(|summary| summary.p50),
    });
    for outcome in CacheOutcome::ALL {
        value[outcome.as_str()] = match outcome {
            CacheOutcome::Unknown => all.saturating_sub(known),
            known => count(known),
        }
        .into();
    }
    value
}
