//! HTTP API families, by OpenTelemetry's names.

use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{Error, HistogramVec, IntCounterVec, IntGauge, Registry};

use super::buckets::{LATENCY, SIZE, STREAM};
use super::exchanges::Exchanges;
use super::family;
use super::room::{Room, histogram};
use super::series::{Flush, Table};
use crate::model::{CacheOutcome, End, Flow, HttpMethod, HttpRequest, LabelKey, OTHER, Route};

/// Statuses that HTTP knows; what is outside them (an upstream may send 999) shares one label.
const STATUSES: std::ops::RangeInclusive<u16> = 100..=599;

/// The families.
#[derive(Clone)]
pub struct Api {
    duration: HistogramVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
    first_byte: HistogramVec,
    streams: HistogramVec,
    cache: IntCounterVec,
    aborted: IntCounterVec,
    upgrades: IntCounterVec,
    pub sockets: IntGauge,
}

impl Api {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let route = &["http_request_method", "http_route"];
        Ok(Self {
            duration: family::histograms(
                registry,
                "http_server_request_duration_seconds",
                "Time in seconds from a request's first byte in to its response's last byte out, \
                 by method, route and status; event streams and WebSockets are left out.",
                LATENCY,
                &["http_request_method", "http_route", "http_response_status_code"],
            )?,
            request_size: family::histograms(
                registry,
                "http_server_request_body_size_bytes",
                "Size in bytes of a request's body.",
                SIZE,
                route,
            )?,
            response_size: family::histograms(
                registry,
                "http_server_response_body_size_bytes",
                "Size in bytes of a response's body.",
                SIZE,
                route,
            )?,
            first_byte: family::histograms(
                registry,
                "http_server_time_to_first_byte_seconds",
                "Time in seconds from a request's last byte out to its response's first byte in; \
                 of event streams too.",
                LATENCY,
                &["http_route"],
            )?,
            streams: family::histograms(
                registry,
                "http_server_event_stream_duration_seconds",
                "Time in seconds that a stream of server-sent events lasted.",
                STREAM,
                &["http_route"],
            )?,
            cache: family::counters(
                registry,
                "http_server_cache_requests_total",
                "Requests by what a cache did with them, as the response's headers tell.",
                &["http_route", "result"],
            )?,
            aborted: family::counters(
                registry,
                "http_server_aborted_requests_total",
                "Requests whose client went away before it had the whole response.",
                &["http_route"],
            )?,
            upgrades: family::counters(
                registry,
                "http_server_upgrades_total",
                "Requests after which the connection switched protocols, to WebSocket mostly.",
                &["http_route"],
            )?,
            sockets: family::integer_gauge(
                registry,
                "http_server_active_websockets",
                "Connections to the API that switched protocols and are open.",
            )?,
        })
    }
}

/// Requests by route and status, and sizes by route, at hand.
pub struct Requests {
    families: Api,
    room: Room,
    series: Exchanges<(LabelKey, LabelKey, u16), (LabelKey, LabelKey)>,
    routes: Table<LabelKey, ByRoute>,
}

/// What is told of a route without its method.
struct ByRoute {
    first_byte: LocalHistogram,
    /// In the order of [`CacheOutcome::ALL`].
    cache: [LocalIntCounter; CacheOutcome::ALL.len()],
    aborted: LocalIntCounter,
}

impl ByRoute {
    /// Lines on the page, those of event streams and upgrades included.
    const LINES: usize = histogram(LATENCY) + histogram(STREAM) + CacheOutcome::ALL.len() + 2;

    fn open(families: &Api, route: Route) -> Self {
        let route = route.as_str();
        let cache = |outcome: CacheOutcome| {
            families.cache.with_label_values(&[route, outcome.as_str()]).local()
        };
        Self {
            first_byte: families.first_byte.with_label_values(&[route]).local(),
            cache: CacheOutcome::ALL.map(cache),
            aborted: families.aborted.with_label_values(&[route]).local(),
        }
    }
}

impl Flush for ByRoute {
    fn flush(&mut self) {
        self.first_byte.flush();
        self.cache.iter().for_each(LocalIntCounter::flush);
        self.aborted.flush();
    }
}

impl Requests {
    pub fn new(families: Api, room: Room) -> Self {
        Self { families, room, series: Exchanges::new(), routes: Table::new() }
    }

    pub fn record(&mut self, request: &HttpRequest) {
        let fitting = self.fitting(request.route);
        let route = fitting.as_str();
        match request.flow {
            Flow::Response => self.response(request),
            Flow::Events | Flow::LongPoll => {
                let family = self.families.streams.with_label_values(&[route]);
                family.observe(request.total.as_secs_f64());
            }
            Flow::Socket => return self.families.upgrades.with_label_values(&[route]).inc(),
        }
        let Self { families, routes, .. } = self;
        let by_route = routes.touch(fitting.into(), || ByRoute::open(families, fitting));
        // Zero is "no response came": a moment that was never reached equals the one before it.
        if !request.first_byte.is_zero() && request.flow != Flow::LongPoll {
            by_route.first_byte.observe(request.first_byte.as_secs_f64());
        }
        if request.flow == Flow::Response {
            by_route.cache[request.cache as usize].inc();
            // Leaving is how a stream ends.
            by_route.aborted.inc_by(u64::from(request.end == End::ClientGone));
        }
    }

    /// `route`, or that of all for which there is no room.
    fn fitting(&self, route: Route) -> Route {
        let fits = self.routes.knows(&LabelKey::from(route))
            || self.room.take(ByRoute::LINES, route.as_str().len());
        if fits { route } else { Route::other() }
    }

    /// Whether there is room for the series of such requests.
    fn fits(&self, method: HttpMethod, route: Route, status: Option<u16>) -> bool {
        let sizes = (LabelKey::from(method), LabelKey::from(route));
        let time = (sizes.0, sizes.1, status.unwrap_or(0));
        let (knows_time, knows_sizes) = self.series.knows(&time, &sizes);
        let lines = histogram(LATENCY) + if knows_sizes { 0 } else { 2 * histogram(SIZE) };
        knows_time || self.room.take(lines, method.as_str().len() + route.as_str().len())
    }

    fn response(&mut self, request: &HttpRequest) {
        let status = STATUSES.contains(&request.status).then_some(request.status);
        let (method, route, status) = match self.fits(request.method, request.route, status) {
            true => (request.method, request.route, status),
            false => (HttpMethod::other(), Route::other(), None),
        };
        let Self { families, series, .. } = self;
        let key = (LabelKey::from(method), LabelKey::from(route));
        let (method, path) = (method.as_str(), route.as_str());
        let (duration, sizes) = series.touch(
            ((key.0, key.1, status.unwrap_or(0)), key),
            || {
                let status = status.map_or_else(|| OTHER.to_owned(), |status| status.to_string());
                families.duration.with_label_values(&[method, path, &status])
            },
            || {
                [&families.request_size, &families.response_size]
                    .map(|family| family.with_label_values(&[method, path]))
            },
        );
        duration.observe(request.total.as_secs_f64());
        sizes.request.observe(family::as_value(request.request_bytes));
        sizes.response.observe(family::as_value(request.response_bytes));
    }

    pub fn flush(&mut self) {
        self.series.flush();
        self.routes.flush();
    }
}
