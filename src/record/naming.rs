//! Names requests to the API by their routes, and learns these from what the API itself tells.
//!
//! The API's own span of a request says which of its routes served it. It is believed when it is the
//! child of a span that the reverse proxy opened, of which nobody but the API knows the id, and when
//! it matches the path of that request: an exporter cannot invent routes. Spans come after the
//! request nearly always, so requests are remembered for a while; what comes before waits for it.
//!
//! What is learned is told as a sample, and again once a day while it is in use: the samples of a
//! start before name the routes of the next.

use std::collections::HashMap;
use std::time::Duration;

use super::outbox::Outbox;
use super::recent::Recent;
use crate::decode::routes::Routes;
use crate::model::kind::RouteKind;
use crate::model::{
    ApiExchange, Event, LabelKind, LearnedRoute, Route, Sample, Span, SpanKind, Spans, Stamp,
    TELLING, UnixMicros,
};

/// Requests that are remembered for their spans: those of some seconds.
const MOST_REQUESTS: usize = 16_384;
/// Routes that wait for their request.
const MOST_WAITING: usize = 1_024;
/// A longer path is not remembered, in bytes: the next one on its route is shorter.
const LONGEST_PATH: usize = 256;
/// Requests that are remembered between two ticks while no spans are expected: enough to learn from
/// the first export.
const UNTOLD: u32 = 16;
/// How often what is in use is looked at, and how often it is told.
const LOOK: Duration = Duration::from_secs(60);
const DAY_MICROS: u64 = 24 * 3_600 * 1_000_000;

/// A request, as its trace names it: the trace, and the proxy's span in it.
type RequestId = (u128, u64);

/// Names requests.
pub(super) struct Naming {
    routes: Routes,
    /// What was learned, as it was told, and when that was told last.
    learned: HashMap<Box<str>, UnixMicros>,
    /// Paths of requests whose span may come.
    requests: Recent<RequestId, Box<str>>,
    /// Routes of requests that have not ended.
    waiting: Recent<RequestId, Box<str>>,
    /// When spans came last.
    told: Option<Stamp>,
    /// How many requests may be remembered before the next tick.
    room: u32,
    looked: Stamp,
}

impl Naming {
    /// Names by `routes`, and by what was learned before.
    pub(super) fn new(mut routes: Routes, before: Vec<LearnedRoute>) -> Self {
        let mut learned: HashMap<Box<str>, UnixMicros> = HashMap::new();
        for LearnedRoute { at, pattern } in before {
            if let Some(told) = learned.get_mut(&pattern) {
                *told = at.max(*told);
            } else if routes.recall(&pattern) {
                learned.insert(pattern, at);
            }
        }
        Self {
            routes,
            learned,
            requests: Recent::holding(MOST_REQUESTS),
            waiting: Recent::holding(MOST_WAITING),
            told: None,
            room: UNTOLD,
            looked: Stamp::default(),
        }
    }

    /// Lets time pass; to be called a few times a second.
    pub(super) fn tick(&mut self, now: Stamp, wall: UnixMicros, outbox: &mut Outbox) {
        let is_told = self.told.is_some_and(|told| now.since(told) < TELLING);
        self.room = if is_told { u32::MAX } else { UNTOLD };
        if now.since(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        for pattern in self.routes.used() {
            if let Some(told) = self.learned.get_mut(pattern)
                && wall.0.saturating_sub(told.0) >= DAY_MICROS
            {
                *told = wall;
                outbox.sample(sample(wall, pattern));
            }
        }
    }

    /// The route of a request that has ended.
    pub(super) fn request(
        &mut self,
        exchange: &ApiExchange,
        wall: UnixMicros,
        outbox: &mut Outbox,
    ) -> Route {
        let id = (exchange.trace.trace_id, exchange.trace.span_id);
        if let Some(told) = self.waiting.take(&id) {
            self.learn(&told, &exchange.path, wall, outbox);
        } else if self.room > 0 && exchange.path.len() <= LONGEST_PATH {
            self.room -= 1;
            self.requests.put(id, exchange.path.clone());
        }
        let before = self.routes.overflow();
        let route = self.routes.route(&exchange.path, exchange.status);
        if self.routes.overflow() > before {
            outbox.event(&Event::LabelOverflow { label: RouteKind::NAME });
        }
        route
    }

    /// An export has come.
    pub(super) fn spans(
        &mut self,
        told: &Spans,
        now: Stamp,
        wall: UnixMicros,
        outbox: &mut Outbox,
    ) {
        self.told = Some(now);
        self.room = u32::MAX;
        for span in &told.spans {
            let Span { kind: SpanKind::Server, parent: Some(parent), route: Some(route), .. } =
                span
            else {
                continue;
            };
            if self.learned.contains_key(route) {
                continue;
            }
            let id = (span.trace_id, *parent);
            match self.requests.take(&id) {
                Some(path) => self.learn(route, &path, wall, outbox),
                None => self.waiting.put(id, route.clone()),
            }
        }
    }

    fn learn(&mut self, told: &str, path: &str, wall: UnixMicros, outbox: &mut Outbox) {
        if self.routes.learn(told, path) {
            self.learned.insert(told.into(), wall);
            outbox.sample(sample(wall, told));
        }
    }
}

fn sample(at: UnixMicros, pattern: &str) -> Sample {
    Sample::Route(Box::new(LearnedRoute { at, pattern: pattern.into() }))
}

#[cfg(test)]
mod tests;
