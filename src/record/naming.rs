//! Names requests to the API by their routes, and learns these from what the API itself tells.
//!
//! The API's own span of a request says which of its routes served it. It is believed when it is the
//! child of a span that the reverse proxy opened, of which nobody but the API knows the id, and when
//! it matches the path of that request, or its end below a mount: an exporter cannot invent routes.
//! Spans come after the request nearly always, so requests are remembered for a while; what comes
//! before waits for it. Where several known routes match a request's path and no span has shown which
//! one the API prefers, the request is held until its own span arrives, for two seconds at most.
//!
//! What is learned is told as a sample, and again once a day while it is in use: the samples of a
//! start before name the routes of the next.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
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
/// For how long a request is held whose route is not sure, and how many are.
const HELD_FOR: Duration = Duration::from_secs(2);
const MOST_HELD: usize = 1_024;
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
    /// Requests whose route only their span can say, in the order in which they ended.
    held: VecDeque<(Stamp, ApiExchange)>,
    /// When spans came last.
    told: Option<Stamp>,
    now: Stamp,
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
            held: VecDeque::new(),
            told: None,
            now: Stamp::default(),
            room: UNTOLD,
            looked: Stamp::default(),
        }
    }

    /// Lets time pass; to be called a few times a second.
    pub(super) fn tick(&mut self, now: Stamp, wall: UnixMicros, outbox: &mut Outbox) {
        self.now = now;
        self.room = if self.expects_spans() { u32::MAX } else { UNTOLD };
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

    /// Names a request that has ended. Returns `None` while it is held for its span.
    pub(super) fn request(
        &mut self,
        exchange: ApiExchange,
        wall: UnixMicros,
        outbox: &mut Outbox,
    ) -> Option<(ApiExchange, Route)> {
        let id = request_id(&exchange);
        if let Some(reported) = self.waiting.take(&id) {
            if let Some(route) = self.learn(&reported, &exchange.path, wall, outbox) {
                return Some((exchange, route));
            }
        } else if self.room > 0 && exchange.path.len() <= LONGEST_PATH {
            self.room -= 1;
            self.requests.put(id, exchange.path.clone());
            if self.expects_spans()
                && self.held.len() < MOST_HELD
                && !self.routes.is_sure(&exchange.path)
            {
                self.held.push_back((self.now, exchange));
                return None;
            }
        }
        let route = self.route(&exchange, outbox);
        Some((exchange, route))
    }

    /// Returns the requests that were held for [`HELD_FOR`], or all that are held.
    pub(super) fn release(&mut self, all: bool, outbox: &mut Outbox) -> Vec<(ApiExchange, Route)> {
        let mut released = Vec::new();
        while let Some((held, _)) = self.held.front()
            && (all || self.now.since(*held) >= HELD_FOR)
            && let Some((_, exchange)) = self.held.pop_front()
        {
            let route = self.route(&exchange, outbox);
            released.push((exchange, route));
        }
        released
    }

    /// Whether requests on this path are in no figure.
    pub(super) fn excludes(&self, path: &str) -> bool {
        self.routes.excludes(path)
    }

    /// A path with what may be secret in it hidden.
    pub(super) fn mask(&self, path: Box<str>) -> Box<str> {
        match self.routes.mask(&path) {
            Cow::Borrowed(_) => path,
            Cow::Owned(masked) => masked.into(),
        }
    }

    /// Learns from an export of spans. Returns the requests that were held for it.
    pub(super) fn spans(
        &mut self,
        export: &Spans,
        now: Stamp,
        wall: UnixMicros,
        outbox: &mut Outbox,
    ) -> Vec<(ApiExchange, Route)> {
        self.told = Some(now);
        self.now = self.now.max(now);
        self.room = u32::MAX;
        let mut released = Vec::new();
        for span in &export.spans {
            let Span { kind: SpanKind::Server, parent: Some(parent), route: Some(route), .. } =
                span
            else {
                continue;
            };
            let id = (span.trace_id, *parent);
            let Some(path) = self.requests.take(&id) else {
                self.waiting.put(id, route.clone());
                continue;
            };
            let learned = self.learn(route, &path, wall, outbox);
            let held = self.held.iter().position(|(_, exchange)| request_id(exchange) == id);
            if let Some((_, exchange)) = held.and_then(|at| self.held.remove(at)) {
                let route = learned.unwrap_or_else(|| self.route(&exchange, outbox));
                released.push((exchange, route));
            }
        }
        released
    }

    /// Whether spans have arrived lately, so that more are expected.
    fn expects_spans(&self) -> bool {
        self.told.is_some_and(|told| self.now.since(told) < TELLING)
    }

    fn route(&mut self, exchange: &ApiExchange, outbox: &mut Outbox) -> Route {
        let before = self.routes.overflow();
        let route = self.routes.route(&exchange.path, exchange.status);
        if self.routes.overflow() > before {
            outbox.event(&Event::LabelOverflow { label: RouteKind::NAME });
        }
        route
    }

    /// Learns a route that the span of a request with this path reported. Returns the request's route,
    /// unless it was not believed.
    fn learn(
        &mut self,
        reported: &str,
        path: &str,
        wall: UnixMicros,
        outbox: &mut Outbox,
    ) -> Option<Route> {
        let learned = self.routes.learn(reported, path);
        if let Some(pattern) = learned.added {
            outbox.sample(sample(wall, &pattern));
            self.learned.insert(pattern, wall);
        }
        learned.route
    }
}

const fn request_id(exchange: &ApiExchange) -> RequestId {
    (exchange.trace.trace_id, exchange.trace.span_id)
}

fn sample(at: UnixMicros, pattern: &str) -> Sample {
    Sample::Route(Box::new(LearnedRoute { at, pattern: pattern.into() }))
}

#[cfg(test)]
mod tests;
