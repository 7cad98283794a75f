//! Am I OK? The judgement that the overview opens with, and why.
//!
//! Its limits are those of the alert rules' defaults; small numbers are never judged.

use std::time::Duration;

use super::archive::Health;
use super::json::percent;
use super::live::Now;
use crate::store::Summary;

/// Fewer than these are too few to call a share of them high.
const ENOUGH: u64 = 20;
/// The same of transactions, which a person sends one by one.
const ENOUGH_TRANSACTIONS: u64 = 10;
/// A transaction pending for longer is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// How it stands, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    /// Nothing has passed, so nothing can be said.
    NoTraffic,
    Warning,
    Critical,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoTraffic => "no_traffic",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What is judged.
pub struct Facts<'a> {
    /// Length of the range.
    pub seconds: f64,
    pub calls: Option<Summary>,
    pub requests: Option<Summary>,
    pub succeeded: u64,
    pub reverted: u64,
    pub rejected: u64,
    pub lost: u64,
    /// Of reverts and rejections.
    pub commonest_reason: Option<&'a str>,
    pub now: &'a Now,
    /// Samples lost since the start.
    pub dropped: u64,
    pub health: &'a Health,
    /// Whether anything has passed since the start, in the range or before it.
    pub ever: bool,
}

#[derive(Debug, PartialEq)]
pub struct Verdict {
    pub level: Level,
    /// What is wrong, worst first; what passed, when nothing is.
    pub reasons: Vec<String>,
    ever: bool,
    /// Whether some failed, of too few to call their share high.
    few: bool,
}

impl Verdict {
    pub fn text(&self) -> String {
        let opening = match self.level {
            Level::Ok if self.few => "Too little to judge",
            Level::Ok => "All well",
            Level::NoTraffic if self.ever => "Nothing in this range",
            Level::NoTraffic => "No traffic yet",
            Level::Warning => "Look at this",
            Level::Critical => "Something is broken",
        };
        format!("{opening}: {}.", self.reasons.join("; "))
    }
}

pub fn verdict(facts: &Facts<'_>) -> Verdict {
    let mut found = Vec::new();
    reachability(facts, &mut found);
    shares(facts, &mut found);
    if !facts.health.recording {
        let why = facts.health.trouble.as_deref().unwrap_or("its last write failed");
        found.push((Level::Warning, format!("nothing is being recorded: {why}")));
    }
    if facts.dropped > 0 {
        let words = format!(
            "{} samples were lost since the start, so the numbers are too low",
            grouped(facts.dropped)
        );
        found.push((Level::Warning, words));
    }
    if let Some(level) = found.iter().map(|(level, _)| *level).max() {
        // A stable sort: within a level the order above stays.
        found.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        let reasons = found.into_iter().map(|(_, words)| words).collect();
        return Verdict { level, reasons, ever: facts.ever, few: false };
    }
    let passed = passed(facts);
    if passed.is_empty() {
        let words = format!("nothing passed in the last {}", in_words(facts.seconds));
        return Verdict {
            level: Level::NoTraffic,
            reasons: vec![words],
            ever: facts.ever,
            few: false,
        };
    }
    let few =
        [facts.calls, facts.requests].into_iter().flatten().any(|it| it.errors * 2 > it.count);
    Verdict { level: Level::Ok, reasons: passed, ever: facts.ever, few }
}

fn reachability(facts: &Facts<'_>, found: &mut Vec<(Level, String)>) {
    let node_down = facts.now.node.as_ref().is_some_and(|node| !node.up);
    if node_down || facts.now.rpc.is_some_and(|reach| !reach.up) {
        let unanswered = facts.now.node.as_ref().and_then(|node| node.unanswered);
        let words = match unanswered {
            None => "the node does not answer".to_owned(),
            Some(question) => format!("the node does not answer; when it fell, {question}"),
        };
        found.push((Level::Critical, words));
    }
    if facts.now.api.is_some_and(|reach| !reach.up) {
        found.push((Level::Critical, "the API does not answer".to_owned()));
    }
    if let Some(waiting) = facts.now.oldest_pending.filter(|waiting| *waiting > STUCK) {
        let words = format!(
            "{} transactions are pending, the oldest for {}",
            grouped(facts.now.pending),
            in_words(waiting.as_secs_f64())
        );
        found.push((Level::Warning, words));
    }
    if facts.lost > 0 {
        let words = format!("{} transactions never got a receipt", grouped(facts.lost));
        found.push((Level::Warning, words));
    }
}

fn shares(facts: &Facts<'_>, found: &mut Vec<(Level, String)>) {
    if let Some(Summary { count, errors, .. }) = facts.calls
        && count >= ENOUGH
        && errors * 20 > count
    {
        let words = format!("{} of {} RPC calls failed", percent(errors, count), grouped(count));
        found.push((Level::Warning, words));
    }
    if let Some(Summary { count, errors, .. }) = facts.requests
        && count >= ENOUGH
        && errors * 100 > count
    {
        let level = if errors * 4 > count { Level::Critical } else { Level::Warning };
        let words = format!("{} of {} API requests failed", percent(errors, count), grouped(count));
        found.push((level, words));
    }
    let unhappy = facts.reverted + facts.rejected;
    let all = facts.succeeded + unhappy;
    if all >= ENOUGH_TRANSACTIONS && unhappy * 10 > all {
        let mut words = format!(
            "{} of {} transactions were reverted or rejected",
            percent(unhappy, all),
            grouped(all)
        );
        if let Some(reason) = facts.commonest_reason {
            words.push_str(&format!(", most often for {reason:?}"));
        }
        found.push((Level::Warning, words));
    }
}

fn passed(facts: &Facts<'_>) -> Vec<String> {
    let mut passed = Vec::new();
    if let Some(Summary { count, errors, p95, .. }) = facts.calls {
        passed.push(format!(
            "{} RPC calls, {} failed, 95 % within {}",
            grouped(count),
            percent(errors, count),
            micros_in_words(p95)
        ));
    }
    if let Some(Summary { count, errors, p95, .. }) = facts.requests {
        passed.push(format!(
            "{} API requests, {} failed, 95 % within {}",
            grouped(count),
            percent(errors, count),
            micros_in_words(p95)
        ));
    }
    let mined = facts.succeeded + facts.reverted;
    if mined + facts.rejected > 0 {
        let unhappy = facts.reverted + facts.rejected;
        passed.push(format!(
            "{} transactions mined, {} reverted or rejected",
            grouped(mined),
            grouped(unhappy)
        ));
    }
    passed
}

/// A count as the page writes it: `21,505`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in words: `95 s`, `12 min`, `3 h`, `4 days`.
pub fn in_words(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn micros_in_words(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::live::Node;

    const CALLS: Summary = Summary {
        count: 1_000,
        errors: 2,
        sum: 1e6,
        min: 90,
        max: 9_000,
        p50: 800,
        p95: 4_100,
        p99: 8_000,
    };

    const RECORDING: Health = Health { recording: true, trouble: None, bytes: 0 };

    fn facts(now: &Now) -> Facts<'_> {
        Facts {
            seconds: 900.0,
            calls: Some(CALLS),
            requests: None,
            succeeded: 0,
            reverted: 0,
            rejected: 0,
            lost: 0,
            commonest_reason: None,
            now,
            dropped: 0,
            health: &RECORDING,
            ever: false,
        }
    }

    #[test]
    fn a_quiet_success_is_told_with_its_numbers() {
        let now = Now::default();
        let verdict = verdict(&facts(&now));
        assert_eq!(verdict.level, Level::Ok);
        assert_eq!(verdict.text(), "All well: 1,000 RPC calls, 0.2 % failed, 95 % within 4.1 ms.");
    }

    #[test]
    fn no_traffic_is_not_called_well() {
        let now = Now::default();
        let verdict = verdict(&Facts { calls: None, ..facts(&now) });
        assert_eq!(verdict.level, Level::NoTraffic);
        assert_eq!(verdict.text(), "No traffic yet: nothing passed in the last 15 min.");
        let later = super::verdict(&Facts { calls: None, ever: true, ..facts(&now) });
        assert_eq!(later.text(), "Nothing in this range: nothing passed in the last 15 min.");
    }

    #[test]
    fn a_node_that_is_down_comes_before_everything_else() {
        let node = Node::unknown();
        let now = Now { node: Some(node), ..Now::default() };
        let failing = Summary { errors: 100, ..CALLS };
        let verdict = verdict(&Facts { calls: Some(failing), dropped: 3, ..facts(&now) });
        assert_eq!(verdict.level, Level::Critical);
        assert_eq!(verdict.reasons[0], "the node does not answer");
        assert_eq!(verdict.reasons[1], "10.0 % of 1,000 RPC calls failed");
        assert_eq!(verdict.reasons.len(), 3);
    }

    #[test]
    fn a_node_that_fell_over_a_question_is_reported_with_it() {
        let unanswered = crate::model::Unanswered {
            purpose: "traces",
            method: "debug_traceTransaction",
            calls: 1,
            waited: Duration::from_millis(12_300),
        };
        let mut node = Node::unknown();
        node.unanswered = Some(unanswered);
        let now = Now { node: Some(node), ..Now::default() };
        assert_eq!(
            verdict(&facts(&now)).reasons[0],
            "the node does not answer; when it fell, it had not answered dappscope's own \
             debug_traceTransaction (for traces) for 12.30 s"
        );
    }

    #[test]
    fn a_store_that_cannot_write_is_told_of() {
        let now = Now::default();
        let full = Health { recording: false, trouble: Some("disk full".to_owned()), bytes: 0 };
        let verdict = verdict(&Facts { health: &full, ..facts(&now) });
        assert_eq!(verdict.reasons, ["nothing is being recorded: disk full"]);
    }

    #[test]
    fn many_reverts_are_told_with_their_commonest_reason() {
        let now = Now::default();
        let commonest_reason = Some("NotForSale");
        let many = Facts { succeeded: 13, reverted: 7, commonest_reason, ..facts(&now) };
        assert_eq!(
            verdict(&many).text(),
            "Look at this: 35.0 % of 20 transactions were reverted or rejected, most often for \
             \"NotForSale\"."
        );
        let few = Facts { succeeded: 8, reverted: 2, ..facts(&now) };
        assert_eq!(verdict(&few).level, Level::Warning);
        let fewer = Facts { succeeded: 6, reverted: 3, ..facts(&now) };
        assert_eq!(verdict(&fewer).level, Level::Ok);
        let seldom = Facts { succeeded: 900, reverted: 60, ..facts(&now) };
        assert_eq!(verdict(&seldom).level, Level::Ok);
    }

    #[test]
    fn counts_are_written_as_the_page_writes_them() {
        let written = [0, 999, 1_000, 21_505, 1_234_567].map(grouped);
        assert_eq!(written, ["0", "999", "1,000", "21,505", "1,234,567"]);
    }

    #[test]
    fn a_few_failures_among_few_calls_are_no_warning() {
        let now = Now::default();
        let few = Summary { count: 4, errors: 2, ..CALLS };
        let verdict = verdict(&Facts { calls: Some(few), reverted: 1, ..facts(&now) });
        assert_eq!(verdict.level, Level::Ok);
    }
}
