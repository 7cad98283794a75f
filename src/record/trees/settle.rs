//! A request with all its parts into its breakdown, and what is odd about it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::burst::{Burst, bursts};
use super::part::{CallPart, MinedPart, Parts, Whose};
use super::{Ended, MOST_SETTLED, MOST_TOLD, Odd, Settled, TOLD_AGAIN, Trees};
use crate::model::{Breakdown, Event, FindingKind, Join, RequestRef, Route, Stamp, ToldBy};
use crate::record::n_plus_one::{Similar, repeated};

impl Trees {
    /// Says what a request came to.
    pub(super) fn settle(&mut self, ended: &Ended) {
        let parts = self.take_parts(ended);
        let has_ambiguous = self.has_ambiguous(ended);
        let request =
            RequestRef { trace_id: ended.trace_id, method: ended.method, route: ended.route };
        let settled = Settled { request, status: ended.status, connection: ended.connection };
        for mined in &parts.mined {
            self.tell_mined(&settled, mined);
        }
        let is_known =
            parts.has_operations || !parts.calls.is_empty() || ended.has_told || parts.left_out > 0;
        if !is_known && !has_ambiguous {
            self.out.events.push(Event::NothingTold { route: ended.route });
            return;
        }
        self.remember(settled, &parts.calls);
        self.find_repetitions(ended, &parts, request);
        self.out.breakdowns.push(breakdown(ended, &parts, has_ambiguous));
    }

    fn take_parts(&mut self, ended: &Ended) -> Parts {
        let Some(tree) = self.trees.get_mut(&ended.trace_id) else { return Parts::default() };
        let Ended { span_id, at, started, ended: end, .. } = *ended;
        let before = tree.len();
        let parts = tree.take(&Whose { span_id, at, started, ended: end });
        let left = tree.len();
        self.held -= before - left;
        if left == 0 && !tree.is_emptied {
            self.forget(ended.trace_id);
        }
        parts
    }

    /// Keeps what the request's transactions need that are mined later: by the calls that sent them,
    /// for several requests may share a trace.
    fn remember(&mut self, settled: Settled, calls: &[CallPart]) {
        let trace_id = settled.request.trace_id;
        for sender in calls.iter().filter(|call| call.sends) {
            let key = (trace_id, sender.span_id);
            if self.settled.insert(key, settled).is_none() {
                self.settled_order.push_back(key);
            }
            if self.settled.len() > MOST_SETTLED
                && let Some(oldest) = self.settled_order.pop_front()
            {
                self.settled.remove(&oldest);
            }
        }
    }

    pub(super) fn tell_mined(&mut self, settled: &Settled, mined: &MinedPart) {
        let Settled { request, status, connection } = *settled;
        let reverted_after_success = mined.reverted && (200..300).contains(&status);
        let MinedPart { gas, .. } = *mined;
        let route = request.route;
        self.out.events.push(Event::RequestMined { route, gas, reverted_after_success });
        if reverted_after_success {
            self.out.odd.push(Odd {
                kind: FindingKind::RevertedAfterSuccess,
                count: 1,
                at: self.wall,
                span: Duration::ZERO,
                request,
                connection,
                query: None,
                shape: None,
                transaction: Some(mined.hash),
            });
        }
    }

    fn find_repetitions(&mut self, ended: &Ended, parts: &Parts, request: RequestRef) {
        let total = ended.ended.since(ended.started);
        let odd = |kind, count, span| Odd {
            kind,
            count,
            at: ended.at,
            span,
            request,
            connection: ended.connection,
            query: None,
            shape: None,
            transaction: None,
        };
        let queries =
            parts.queries.iter().filter_map(|(_, took, it)| Some((it.as_deref()?, *took)));
        let queries = repeated(queries, total);
        if !queries.is_empty() {
            self.out.events.push(Event::RepeatedQueries { route: ended.route });
        }
        for Similar { shape, count, took } in queries {
            if self.is_news(ended.route, shape) {
                let odd = odd(FindingKind::RepeatedQueries, count, took);
                self.out.odd.push(Odd { query: Some(shape.into()), ..odd });
            }
        }
        // What is asked with the same params is a repetition of another kind, told by its own finder.
        let mut asked = HashSet::new();
        let is_new = |call: &&CallPart| call.question.is_none_or(|it| asked.insert(it));
        let calls = parts.calls.iter().filter(is_new);
        let calls = calls.filter_map(|call| Some((call.shape?, call.upstream)));
        let similar = repeated(calls, total);
        // What is wasted is counted once: a multicall is the cure for similar ones as well.
        let is_similar = |call: &&CallPart| similar.iter().any(|it| call.shape == Some(it.shape));
        let bursts = bursts(parts.calls.iter().filter(|call| !is_similar(call)));
        for Burst { count, span, shape } in bursts {
            let odd = odd(FindingKind::MulticallBurst, count, span);
            self.tell_calls(Odd { shape: Some(shape), ..odd });
        }
        for Similar { shape, count, took } in similar {
            let odd = odd(FindingKind::RepeatedCallsInRequest, count, took);
            self.tell_calls(Odd { shape: Some(shape), ..odd });
        }
    }

    /// Tells of calls that could have been saved, or counts them when that was told a moment ago.
    fn tell_calls(&mut self, odd: Odd) {
        if self.is_news(odd.request.route, (odd.kind, odd.shape)) {
            self.out.odd.push(odd);
        } else if let Some(calls) = odd.kind.wasted(odd.count) {
            self.out.events.push(Event::Wasted { finding: odd.kind, calls });
        }
    }

    /// Whether a repetition was not told a moment ago.
    fn is_news(&mut self, route: Route, shape: impl Hash) -> bool {
        let mut hasher = DefaultHasher::new();
        shape.hash(&mut hasher);
        let key = (route, hasher.finish());
        let now = self.now;
        if self.repeated.get(&key).is_some_and(|told| now.since(*told) < TOLD_AGAIN) {
            return false;
        }
        if self.repeated.len() >= MOST_TOLD {
            self.repeated.retain(|_, told| now.since(*told) < TOLD_AGAIN);
        }
        // Beyond that many within ten seconds nobody reads them.
        let has_room = self.repeated.len() < MOST_TOLD;
        if has_room {
            self.repeated.insert(key, now);
        }
        has_room
    }
}

/// Where the time went. Parts that were told to overlap, as those of threads do, are cut to what is
/// left: the proxies' own first, then the node, then the database.
fn breakdown(ended: &Ended, parts: &Parts, has_ambiguous: bool) -> Breakdown {
    let total = ended.ended.since(ended.started);
    let mut left = total;
    let mut cut = |part: Duration| {
        let part = part.min(left);
        left -= part;
        part
    };
    let relay: Duration = parts.calls.iter().map(|call| call.overhead).sum();
    let proxy = cut(ended.overhead.saturating_add(relay));
    let intervals = |chosen: fn(&CallPart) -> bool| {
        let calls = parts.calls.iter().filter(move |call| chosen(call));
        covered(calls.map(|call| (nanos(call.left), nanos(call.left.after(call.upstream)))))
    };
    let node = intervals(|_| true);
    let evm = intervals(|call| call.runs_code);
    let (evm, rpc) = (cut(evm), cut(node.saturating_sub(evm)));
    let (told_by, queries, database) = if parts.has_operations {
        let each = parts.queries.iter().map(|(at, took, _)| {
            let begun = at.0.saturating_mul(1_000);
            (begun, begun.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)))
        });
        (ToldBy::Spans, Some(counted(parts.queries.len())), covered(each))
    } else if let Some(told) = ended.told {
        let queries = told.queries.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        (ToldBy::ServerTiming, queries, told.took)
    } else if ended.has_told {
        (ToldBy::ServerTiming, None, Duration::ZERO)
    } else {
        (ToldBy::Nobody, None, Duration::ZERO)
    };
    Breakdown {
        at: ended.at,
        trace_id: ended.trace_id,
        method: ended.method,
        route: ended.route,
        status: ended.status,
        told_by,
        joined_by: if parts.calls.is_empty() {
            has_ambiguous.then_some(Join::Ambiguous)
        } else if parts.calls.iter().all(|call| call.carried_trace) {
            Some(Join::Trace)
        } else {
            Some(Join::Alone)
        },
        queries,
        rpc_calls: counted(parts.calls.len()),
        total,
        database: cut(database),
        evm,
        rpc,
        proxy,
        left_out: parts.left_out,
    }
}

/// How much time is within at least one of these.
fn covered(intervals: impl Iterator<Item = (u64, u64)>) -> Duration {
    let mut intervals: Vec<(u64, u64)> = intervals.collect();
    intervals.sort_unstable();
    let mut sum = 0;
    let mut reached = 0;
    for (from, until) in intervals {
        sum += until.saturating_sub(from.max(reached));
        reached = reached.max(until);
    }
    Duration::from_nanos(sum)
}

const fn nanos(stamp: Stamp) -> u64 {
    stamp.as_nanos()
}

fn counted(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_covered_twice_counts_once() {
        let covered = |intervals: &[(u64, u64)]| covered(intervals.iter().copied()).as_nanos();
        assert_eq!(covered(&[]), 0);
        assert_eq!(covered(&[(5, 10), (0, 3)]), 8);
        assert_eq!(covered(&[(0, 10), (2, 4), (8, 12), (12, 13)]), 13);
        assert_eq!(covered(&[(7, 7), (9, 3)]), 0);
    }
}
