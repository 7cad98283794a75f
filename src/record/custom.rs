//! The numbers that the API tells of itself, by names that the configuration lists: from its
//! `Server-Timing` headers, and from attributes of its spans.
//!
//! A span's number belongs to the request of its trace. Where that has not ended yet the number waits
//! for it; after a while it is told without a route.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::outbox::Outbox;
use super::recent::Recent;
use crate::decode::server_timing::{self, Entry};
use crate::model::{
    ApiExchange, CustomId, CustomKind, CustomMetric, CustomMetrics, Event, Route, Span, Stamp,
};

/// Requests whose route is remembered for their spans.
const MOST_REQUESTS: usize = 16_384;
/// Traces whose numbers wait for their request, and numbers that wait for each.
const MOST_WAITING: usize = 1_024;
const MOST_NUMBERS: usize = 64;
/// For how long they wait: somebody calls the API past the proxy, or it works without being called.
const PATIENCE: Duration = Duration::from_secs(10);

type Number = (CustomId, f64);

pub(super) struct Custom {
    metrics: CustomMetrics,
    /// Routes by the request, as the proxy's span names it, and by its trace.
    requests: Recent<(u128, u64), Route>,
    traces: Recent<u128, Route>,
    waiting: HashMap<u128, Vec<Number>>,
    order: VecDeque<(Stamp, u128)>,
}

impl Custom {
    pub(super) fn new(metrics: CustomMetrics) -> Self {
        Self {
            metrics,
            requests: Recent::holding(MOST_REQUESTS),
            traces: Recent::holding(MOST_REQUESTS),
            waiting: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// A request has ended.
    pub(super) fn request(&mut self, exchange: &ApiExchange, route: Route, outbox: &mut Outbox) {
        if self.metrics.is_empty() {
            return;
        }
        let trace = exchange.trace;
        self.requests.put((trace.trace_id, trace.span_id), route);
        self.traces.put(trace.trace_id, route);
        for number in self.waiting.remove(&trace.trace_id).into_iter().flatten() {
            self.tell(number, route, outbox);
        }
        let told = exchange.server_timing.as_deref().unwrap_or_default();
        for entry in server_timing::entries(told) {
            if let Some(id) = self.metrics.find(entry.name)
                && let Some(number) = number_of(&entry, self.metrics.get(id))
            {
                self.tell((id, number), route, outbox);
            }
        }
    }

    /// Spans have come.
    pub(super) fn spans(&mut self, spans: &[Span], now: Stamp, outbox: &mut Outbox) {
        for span in spans.iter().filter(|span| !span.numbers.is_empty()) {
            let exact = span.parent.and_then(|it| self.requests.get(&(span.trace_id, it)));
            match exact.or_else(|| self.traces.get(&span.trace_id)).copied() {
                Some(route) => {
                    for number in &span.numbers {
                        self.tell(*number, route, outbox);
                    }
                }
                None => self.wait(span, now, outbox),
            }
        }
    }

    /// Lets time pass; to be called a few times a second.
    pub(super) fn tick(&mut self, now: Stamp, outbox: &mut Outbox) {
        while self.order.front().is_some_and(|(since, _)| now.since(*since) >= PATIENCE) {
            self.give_up(outbox);
        }
    }

    /// Tells what waits as it is.
    pub(super) fn finish(&mut self, outbox: &mut Outbox) {
        while !self.order.is_empty() {
            self.give_up(outbox);
        }
    }

    fn wait(&mut self, span: &Span, now: Stamp, outbox: &mut Outbox) {
        if !self.waiting.contains_key(&span.trace_id) {
            if self.order.len() >= MOST_WAITING {
                self.give_up(outbox);
            }
            self.order.push_back((now, span.trace_id));
        }
        let waiting = self.waiting.entry(span.trace_id).or_default();
        let room = MOST_NUMBERS.saturating_sub(waiting.len());
        waiting.extend(span.numbers.iter().take(room));
    }

    fn give_up(&mut self, outbox: &mut Outbox) {
        let Some((_, trace_id)) = self.order.pop_front() else { return };
        for number in self.waiting.remove(&trace_id).into_iter().flatten() {
            self.tell(number, Route::unknown(), outbox);
        }
    }

    fn tell(&self, (metric, value): Number, route: Route, outbox: &mut Outbox) {
        let may_fall = self.metrics.get(metric).kind == CustomKind::Gauge;
        if value.is_finite() && (value >= 0.0 || may_fall) {
            outbox.event(&Event::Custom { metric, route, value });
        } else {
            outbox.event(&Event::ParseFailure("custom_value"));
        }
    }
}

/// What an entry tells, in the metric's unit: `dur`, which is in milliseconds, of one that is a time;
/// the number that `desc` begins with otherwise. No number where it tells something else; none where it
/// tells nothing.
fn number_of(entry: &Entry<'_>, metric: &CustomMetric) -> Option<f64> {
    if metric.is_time() && entry.has_duration {
        return Some(entry.duration.map_or(f64::NAN, |it| it.as_secs_f64()));
    }
    match entry.description.split_whitespace().next() {
        Some(told) => Some(told.parse().unwrap_or(f64::NAN)),
        // A time, of what is none.
        None => entry.has_duration.then_some(f64::NAN),
    }
}

#[cfg(test)]
mod tests;
