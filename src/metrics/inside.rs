//! What requests to the API cost inside: their calls, their queries, where their time went, the gas
//! that they caused.

use prometheus::local::{LocalCounter, LocalHistogram};
use prometheus::{CounterVec, Error, HistogramVec, IntCounterVec, Registry};

use super::buckets::WITHIN_REQUEST;
use super::family;
use super::room::{Room, histogram};
use super::series::{Flush, Table};
use crate::model::{Breakdown, LabelKey, Part, Route};

/// The families.
#[derive(Clone)]
pub struct Inside {
    calls: HistogramVec,
    queries: HistogramVec,
    time: CounterVec,
    gas: IntCounterVec,
    reverted: IntCounterVec,
    repeated_queries: IntCounterVec,
}

impl Inside {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let route = &["http_route"];
        Ok(Self {
            calls: family::histograms(
                registry,
                "http_server_rpc_calls",
                "RPC calls that a request made, as far as they are known to be its own.",
                WITHIN_REQUEST,
                route,
            )?,
            queries: family::histograms(
                registry,
                "http_server_db_queries",
                "Queries to databases that a request made; only of requests whose queries are told.",
                WITHIN_REQUEST,
                route,
            )?,
            time: family::float_counters(
                registry,
                "http_server_time_seconds_total",
                "Seconds that requests spent in each part: database, evm (the node running \
                 contracts), rpc (the node otherwise), proxy, app (the rest). Only of requests of \
                 whose inside something is known.",
                &["http_route", "part"],
            )?,
            gas: family::counters(
                registry,
                "http_server_transaction_gas_total",
                "Gas used by transactions that requests sent.",
                route,
            )?,
            reverted: family::counters(
                registry,
                "http_server_transactions_reverted_total",
                "Transactions that reverted while the request that sent them was answered as a \
                 success.",
                route,
            )?,
            repeated_queries: family::counters(
                registry,
                "db_client_n_plus_one_total",
                "Requests that made similar queries again and again, where one would serve.",
                route,
            )?,
        })
    }

    /// A transaction of a request was mined.
    pub fn mined(&self, route: Route, gas: u64, reverted_after_success: bool) {
        let route = &[route.as_str()];
        self.gas.with_label_values(route).inc_by(gas);
        self.reverted.with_label_values(route).inc_by(u64::from(reverted_after_success));
    }

    pub fn repeated_queries(&self, route: Route) {
        self.repeated_queries.with_label_values(&[route.as_str()]).inc();
    }
}

/// What is known of requests, by route at hand.
pub struct Breakdowns {
    family: Inside,
    room: Room,
    routes: Table<LabelKey, RouteSeries>,
}

struct RouteSeries {
    calls: LocalHistogram,
    queries: LocalHistogram,
    /// By [`Part`]; none before something is known of the inside of one of its requests.
    parts: Option<[LocalCounter; 5]>,
}

impl Flush for RouteSeries {
    fn flush(&mut self) {
        self.calls.flush();
        self.queries.flush();
        self.parts.iter().flatten().for_each(LocalCounter::flush);
    }
}

impl Breakdowns {
    pub fn new(family: Inside, room: Room) -> Self {
        Self { family, room, routes: Table::new() }
    }

    pub fn record(&mut self, breakdown: &Breakdown) {
        let time = self.family.time.clone();
        let route = self.fitting(breakdown.route);
        let series = self.route(route);
        if let Some(queries) = breakdown.queries.filter(|_| breakdown.left_out == 0) {
            series.queries.observe(f64::from(queries));
        }
        if !breakdown.is_whole() {
            return;
        }
        series.calls.observe(f64::from(breakdown.rpc_calls));
        let open = |part: Part| time.with_label_values(&[route.as_str(), part.as_str()]).local();
        let parts = series.parts.get_or_insert_with(|| Part::ALL.map(open));
        for part in Part::ALL {
            parts[part as usize].inc_by(breakdown.part(part).as_secs_f64());
        }
    }

    /// A request made no calls, and nobody told of its queries.
    pub fn nothing_told(&mut self, route: Route) {
        let route = self.fitting(route);
        self.route(route).calls.observe(0.0);
    }

    pub fn flush(&mut self) {
        self.routes.flush();
    }

    /// `route`, or that of all for which there is no room.
    fn fitting(&self, route: Route) -> Route {
        let lines = 2 * histogram(WITHIN_REQUEST) + Part::ALL.len();
        let fits = self.routes.knows(&LabelKey::from(route))
            || self.room.take(lines, route.as_str().len());
        if fits { route } else { Route::other() }
    }

    fn route(&mut self, route: Route) -> &mut RouteSeries {
        let family = &self.family;
        self.routes.touch(LabelKey::from(route), || {
            let label = &[route.as_str()];
            RouteSeries {
                calls: family.calls.with_label_values(label).local(),
                queries: family.queries.with_label_values(label).local(),
                parts: None,
            }
        })
    }
}
