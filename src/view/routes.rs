//! Each route of the API: how often, how fast, how much, and what a cache did with it.
//!
//! All of it comes from roll-ups, so it holds for any range, whatever the number of requests.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::json::{self, ratio};
use crate::model::CacheOutcome;
use crate::store::{Measure, Range, Store, StoreError, Summary};

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
}

/// Reads what is known of one route, or of all. Blocks.
pub fn read(store: &Store, range: Range, route: Option<&str>) -> Result<Found, StoreError> {
    let mut found = Found::new();
    let wanted = |it: &str| route.is_none_or(|route| route == it);
    let measures = [Measure::RequestDuration, Measure::RequestBytes, Measure::ResponseBytes];
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
    Ok(found)
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
        })).collect::<Vec<_>>(),
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
