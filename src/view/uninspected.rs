//! The calls of a range that could not be read: how many, why, and of how many the outcome is unknown.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::json;
use crate::model::UninspectedReason;
use crate::store::{Measure, Range, Store, StoreError, Summary};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uninspected {
    /// Calls by reason, where there are any; the rest of a batch counts with all calls known to be in it.
    by_reason: BTreeMap<UninspectedReason, u64>,
    /// Recorded calls whose outcome is not known, by method.
    unknown: BTreeMap<String, u64>,
}

impl Uninspected {
    #[cfg(test)]
    pub const NONE: Self = Self { by_reason: BTreeMap::new(), unknown: BTreeMap::new() };

    /// Blocks.
    pub fn read(store: &Store, range: Range) -> Result<Self, StoreError> {
        Ok(Self::of(store.summaries(Measure::Uninspected, range)?))
    }

    pub fn of(summaries: Vec<(String, Summary)>) -> Self {
        let mut all = Self::default();
        for (key, summary) in summaries {
            let (reason, method) = key.split_once(' ').unwrap_or((&key, ""));
            // A key of a later version, or of too many: counted below no reason that is known here.
            let known = UninspectedReason::ALL.into_iter().find(|it| it.as_str() == reason);
            let reason = known.unwrap_or(UninspectedReason::Unreadable);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let calls = summary.sum as u64;
            *all.by_reason.entry(reason).or_default() += calls;
            if summary.errors > 0 {
                *all.unknown.entry(method.to_owned()).or_default() += summary.errors;
            }
        }
        all
    }

    /// Calls that could not be read, in whole or in part.
    pub fn calls(&self) -> u64 {
        self.by_reason.values().sum()
    }

    /// Recorded calls whose outcome is not known.
    pub fn unknown(&self) -> u64 {
        self.unknown.values().sum()
    }

    /// A summary of calls, of one method or of all, with the share that failed of those whose outcome
    /// is known.
    pub fn share(&self, method: Option<&str>, summary: &Summary, value: &mut Value) {
        let unknown = match method {
            Some(method) => self.unknown.get(method).copied().unwrap_or(0),
            None => self.unknown(),
        };
        value["unknown"] = unknown.into();
        let known = summary.count.saturating_sub(unknown);
        value["error_ratio"] = json::ratio(summary.errors, known).into();
    }

    /// `12 calls could not be read: 9 too large, 3 compressed`; none where all could.
    pub fn in_words(&self, grouped: impl Fn(u64) -> String) -> Option<String> {
        let calls = self.calls();
        if calls == 0 {
            return None;
        }
        let mut reasons: Vec<_> = self.by_reason.iter().collect();
        reasons.sort_by_key(|(_, calls)| std::cmp::Reverse(**calls));
        let subject = if calls == 1 {
            "1 RPC call".to_owned()
        } else {
            format!("{} RPC calls", grouped(calls))
        };
        if let [(reason, _)] = reasons[..] {
            return Some(format!("{subject} could not be read: {}", reason.in_words()));
        }
        let reasons: Vec<_> = reasons
            .into_iter()
            .map(|(reason, calls)| format!("{} {}", grouped(*calls), reason.in_words()))
            .collect();
        Some(format!("{subject} could not be read: {}", reasons.join(", ")))
    }

    pub fn to_json(&self) -> Value {
        let by_reason: serde_json::Map<_, _> = self
            .by_reason
            .iter()
            .map(|(reason, calls)| (reason.as_str().to_owned(), Value::from(*calls)))
            .collect();
        json!({ "calls": self.calls(), "by_reason": by_reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(count: u64, errors: u64, sum: f64) -> Summary {
        Summary { count, errors, sum, min: 1, max: 1, p50: 1, p95: 1, p99: 1 }
    }

    fn some() -> Uninspected {
        Uninspected::of(vec![
            ("too_large _OTHER".into(), summary(2, 2, 8.0)),
            ("too_large eth_getLogs".into(), summary(1, 0, 1.0)),
            ("compressed eth_call".into(), summary(3, 3, 3.0)),
        ])
    }

    #[test]
    fn reasons_are_counted_and_put_into_words() {
        let words = some().in_words(|n| n.to_string()).unwrap();
        assert_eq!(words, "12 RPC calls could not be read: 9 too large, 3 compressed");
        let one = Uninspected::of(vec![("opaque _OTHER".into(), summary(1, 1, 1.0))]);
        let words = one.in_words(|n| n.to_string()).unwrap();
        assert_eq!(words, "1 RPC call could not be read: no HTTP");
        assert_eq!(Uninspected::default().in_words(|n| n.to_string()), None);
        let expected = json!({ "calls": 12, "by_reason": { "compressed": 3, "too_large": 9 } });
        assert_eq!(some().to_json(), expected);
    }

    #[test]
    fn a_share_of_failures_is_of_the_calls_whose_outcome_is_known() {
        let mut value = json!({});
        some().share(None, &summary(10, 1, 0.0), &mut value);
        assert_eq!(value, json!({ "unknown": 5, "error_ratio": 0.2 }));
        some().share(Some("eth_call"), &summary(3, 0, 0.0), &mut value);
        assert_eq!(value, json!({ "unknown": 3, "error_ratio": null }));
    }
}
