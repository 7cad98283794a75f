//! The overview: am I OK, in words, and the numbers that the words rest on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::archive::Health;
use super::fates::Fates;
use super::json;
use super::live::Now;
use super::uninspected::Uninspected;
use super::verdict::{Facts, verdict};
use super::watched::watched;
use crate::model::{
    Block, DropReason, Queue, SampleKind, Tally, TransactionStatus, UNKNOWN, UnixMicros, remedy,
};
use crate::store::{
    BlockFilter, CallFilter, Measure, Paging, Range, SeriesQuery, Store, StoreError, Summary,
};

/// Entries of a top list.
const TOP: usize = 20;
/// Calls of which the relay's own share is told.
const WEIGHED: usize = 1_000;

/// What the store tells about a range.
pub struct Stored {
    calls: Option<Summary>,
    requests: Option<Summary>,
    confirmation: Option<Summary>,
    block_interval: Option<Summary>,
    block_gas: Option<Summary>,
    uninspected: Uninspected,
    methods: Vec<(String, Summary)>,
    routes: Vec<(String, Summary)>,
    gas: Vec<(String, Summary)>,
    transactions: Fates,
    /// The relay's own share of the newest calls, sorted.
    overhead: Vec<Duration>,
    last_block: Option<Block>,
    watched: Duration,
}

/// Reads everything the overview needs, at the moment `now` of a program that runs since `began`.
/// Blocks.
pub fn read(
    store: &Store,
    range: Range,
    began: UnixMicros,
    now: UnixMicros,
) -> Result<Stored, StoreError> {
    let whole = |measure| -> Result<Option<Summary>, StoreError> {
        let query = SeriesQuery { measure, key: None, range, points: 1 };
        Ok(store.series(&query)?.points.first().map(|point| point.summary))
    };
    let overhead = {
        let paging = Paging { limit: WEIGHED, before: None };
        let page = store.calls(range, &CallFilter::default(), paging)?;
        let mut shares: Vec<_> = page.items.iter().map(|call| call.overhead).collect();
        shares.sort_unstable();
        shares
    };
    let transactions = Fates::read(store, range)?;
    Ok(Stored {
        calls: whole(Measure::CallDuration)?,
        requests: whole(Measure::RequestDuration)?,
        confirmation: match transactions.complete {
            true => transactions.confirmation(),
            false => whole(Measure::Confirmation)?,
        },
        block_interval: whole(Measure::BlockInterval)?,
        block_gas: whole(Measure::BlockGas)?,
        uninspected: Uninspected::read(store, range)?,
        methods: top(store.summaries(Measure::CallDuration, range)?),
        routes: top(store.summaries(Measure::RequestDuration, range)?),
        gas: top(match transactions.gas() {
            Some(exact) => exact,
            None => store.summaries(Measure::GasUsed, range)?,
        }),
        transactions,
        overhead,
        last_block: store
            .blocks(range, &BlockFilter::default(), Paging { limit: 1, before: None })?
            .items
            .pop(),
        watched: watched(store, range, began, now)?,
    })
}

/// The keys that took the most altogether.
fn top(mut keys: Vec<(String, Summary)>) -> Vec<(String, Summary)> {
    keys.sort_by(|(_, a), (_, b)| b.sum.total_cmp(&a.sum));
    keys.truncate(TOP);
    keys
}

/// What is known of this very moment.
pub struct Moment<'a> {
    pub at: UnixMicros,
    pub now: &'a Now,
    pub tally: &'a Tally,
    pub queue: &'a Queue,
    pub health: &'a Health,
}

/// What to set, where an exporter of spans is refused: that shows nowhere else.
fn hints(refused: &BTreeMap<&'static str, u64>) -> Vec<String> {
    let each = refused.iter().filter_map(|(reason, count)| {
        let (times, reason) = (if *count == 1 { "time" } else { "times" }, *reason);
        let remedy = remedy(reason)?;
        Some(format!("An export of spans was refused {count} {times} ({reason}). {remedy}"))
    });
    each.collect()
}

/// The whole answer.
pub fn tell(stored: &Stored, range: Range, moment: &Moment<'_>) -> Value {
    let Moment { at, now, tally, queue, health } = *moment;
    let seconds = Duration::from_micros(range.until.0 - range.from.0).as_secs_f64();
    let load = |summary: &Option<Summary>| {
        summary.as_ref().map(|summary| {
            let mut value = json::summary(summary, "us");
            value["per_second"] = (count(summary.count) / stored.watched.as_secs_f64()).into();
            value
        })
    };
    let transactions = &stored.transactions;
    let block = now.block.as_ref().or(stored.last_block.as_ref());
    let dropped = DropReason::ALL.iter().map(|&reason| tally.dropped(reason)).sum();
    let facts = Facts {
        seconds,
        calls: stored.calls,
        uninspected: &stored.uninspected,
        requests: stored.requests,
        succeeded: transactions.of(TransactionStatus::Success),
        reverted: transactions.of(TransactionStatus::Reverted),
        rejected: transactions.of(TransactionStatus::Rejected),
        lost: transactions.of(TransactionStatus::Lost),
        commonest_reason: transactions
            .reasons(2)
            .into_iter()
            .map(|(reason, _)| reason)
            .find(|reason| *reason != UNKNOWN),
        unexplained: transactions.unexplained().map(|(_, count)| count).sum(),
        now,
        dropped,
        health,
        ever: SampleKind::ALL.iter().any(|&kind| kind != SampleKind::Host && tally.seen(kind) > 0),
    };
    let verdict = verdict(&facts);
    json!({
        "at_ms": json::millis(at),
        "version": env!("CARGO_PKG_VERSION"),
        "from_ms": json::millis(range.from),
        "until_ms": json::millis(range.until),
        "watched_ms": json::micros(stored.watched) / 1_000,
        "verdict": {
            "level": verdict.level.as_str(),
            "text": verdict.text(),
            "reasons": verdict.reasons,
        },
        "calls": load(&stored.calls).zip(stored.calls).map(|(mut value, summary)| {
            stored.uninspected.share(None, &summary, &mut value);
            value
        }),
        "uninspected": stored.uninspected.to_json(),
        "requests": load(&stored.requests),
        "methods": stored.methods.iter().map(|(method, summary)| {
            let mut value = json::summary(summary, "us");
            value["method"] = method.as_str().into();
            stored.uninspected.share(Some(method), summary, &mut value);
            value
        }).collect::<Vec<_>>(),
        "routes": stored.routes.iter().map(|(key, summary)| {
            let (method, route) = key.split_once(' ').unwrap_or(("", key));
            let mut value = json::summary(summary, "us");
            value["method"] = method.into();
            value["route"] = route.into();
            value
        }).collect::<Vec<_>>(),
        "transactions": {
            "success": facts.succeeded,
            "reverted": facts.reverted,
            "rejected": facts.rejected,
            "lost": facts.lost,
            "replaced": transactions.of(TransactionStatus::Replaced),
            "dropped": transactions.of(TransactionStatus::Dropped),
            "unknown": transactions.of(TransactionStatus::Unknown),
            "rolled_back": transactions.rolled_back,
            "complete": transactions.complete,
            "pending": now.pending,
            "oldest_pending_us": now.oldest_pending.map(json::micros),
            "reasons": transactions.reasons(TOP).into_iter()
                .map(|(reason, count)| json!({ "reason": reason, "count": count }))
                .collect::<Vec<_>>(),
            "unexplained": transactions.unexplained()
                .map(|(why, count)| json!({ "why": why.as_str(), "count": count }))
                .collect::<Vec<_>>(),
        },
        "gas": stored.gas.iter().map(|(key, summary)| {
            // A contract's name may have its source's in it, dot and all; a function's has none.
            let (contract, function) = key.rsplit_once('.').unwrap_or((key, ""));
            let mut value = json::summary(summary, "gas");
            value["contract"] = contract.into();
            value["function"] = function.into();
            value["exact"] = transactions.complete.into();
            value
        }).collect::<Vec<_>>(),
        "confirmation": stored.confirmation.map(|summary| {
            let mut value = json::summary(&summary, "us");
            value["exact"] = transactions.complete.into();
            value
        }),
        "block": block.map(json::block),
        "block_age_us": block.map(|block| at.0.saturating_sub(block.at.0)),
        "blocks": {
            "interval": stored.block_interval.map(|summary| json::summary(&summary, "us")),
            "gas_used": stored.block_gas.map(|summary| json::summary(&summary, "gas")),
        },
        "node": now.node.as_ref().map(|node| json!({
            "up": node.up,
            "client": node.client,
            "chain_id": node.chain_id,
            "since_ms": node.since.map(json::millis),
            "head": node.head,
            "restarts": node.restarts,
        })),
        "hints": hints(&now.refused_exports),
        "upstreams": {
            "rpc": now.rpc.map(|reach| reach.up),
            "api": now.api.map(|reach| reach.up),
        },
        "machine": now.reading.as_ref().map(|reading| {
            let mut machine = json::reading(reading);
            for process in machine["processes"].as_array_mut().into_iter().flatten() {
                let restarts = process["process"].as_str().map_or(0, |role| now.restarts.of(role));
                process["restarts"] = restarts.into();
            }
            machine
        }),
        "monitor": {
            "seen": by_kind(|kind| tally.seen(kind)),
            "stored": by_kind(|kind| tally.stored(kind)),
            "dropped": DropReason::ALL.iter()
                .map(|&reason| (reason.as_str().to_owned(), Value::from(tally.dropped(reason))))
                .collect::<serde_json::Map<_, _>>(),
            "queue_depth": queue.depth(),
            "queue_capacity": queue.capacity(),
            "overhead": percentiles(&stored.overhead),
            "store": {
                "recording": health.recording,
                "trouble": health.trouble,
                "bytes": health.bytes,
            },
        },
    })
}

fn by_kind(count: impl Fn(SampleKind) -> u64) -> Value {
    SampleKind::ALL
        .iter()
        .map(|&kind| (kind.as_str().to_owned(), Value::from(count(kind))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Of durations in ascending order.
fn percentiles(sorted: &[Duration]) -> Value {
    if sorted.is_empty() {
        return Value::Null;
    }
    let at = |percent: usize| json::micros(sorted[(sorted.len() - 1) * percent / 100]);
    json!({
        "of_newest_calls": sorted.len(),
        "p50_us": at(50),
        "p95_us": at(95),
        "p99_us": at(99),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
const fn count(count: u64) -> f64 {
    count as f64
}
