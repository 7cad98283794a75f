//! Prometheus families and their exposition.
//!
//! Owns the names, help texts, labels and buckets, one family struct for each area, all built by
//! `register` and owned by [`Metrics`]; there are no globals. Fed by the recorder through
//! [`MetricsSink`]; read by the page's `/metrics`. Knows neither the store nor the proxies: what
//! they count is handed in at the scrape through [`Sources`].

mod api;
mod app;
mod buckets;
mod chain;
mod contracts;
mod custom;
mod error_type;
mod exchanges;
mod family;
mod functions;
mod inside;
mod machine;
mod own;
mod room;
mod rpc;
mod series;
mod sink;
mod store;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{AtomicI64, GenericGauge};
use prometheus::{Encoder, Registry, TextEncoder};

pub use sink::MetricsSink;
pub use store::StoreNumbers;

use crate::model::{CustomMetrics, Queue, Tally};

/// The type of the exposition, for the `Content-Type` header.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A number that somebody else keeps, read at each scrape; must be quick.
pub type Reading<T> = Box<dyn Fn() -> T + Send + Sync>;

/// What is counted elsewhere and taken over at each scrape. A source that is not there leaves its
/// families unregistered.
pub struct Sources {
    pub tally: Arc<Tally>,
    pub queue: Arc<Queue>,
    pub store: Option<Reading<StoreNumbers>>,
    /// Calls over HTTP that the relay has under way.
    pub active_calls: Reading<u64>,
    /// Requests that the reverse proxy has under way.
    pub active_requests: Option<Reading<u64>>,
    /// Metrics of the dapp's own.
    pub custom: CustomMetrics,
}

/// All families of the program.
pub struct Metrics {
    registry: Registry,
    families: Families,
    store: Option<(store::StoreFamilies, Reading<StoreNumbers>)>,
    active_calls: Reading<u64>,
    active_requests: Option<(GenericGauge<AtomicI64>, Reading<u64>)>,
    tally: Arc<Tally>,
    queue: Arc<Queue>,
    /// Held while totals kept elsewhere are taken over: two scrapes must not add the same
    /// difference.
    scraping: Mutex<()>,
}

/// One family struct for each area.
struct Families {
    rpc: rpc::Rpc,
    contracts: contracts::Contracts,
    chain: chain::Chain,
    api: api::Api,
    functions: functions::Functions,
    inside: inside::Inside,
    app: app::App,
    custom: custom::Custom,
    machine: machine::Machine,
    own: own::Own,
    room: room::Room,
}

impl Metrics {
    /// Registers every family.
    ///
    /// # Errors
    /// Two families of one name, or a name that Prometheus does not accept: mistakes in this
    /// module that its tests find.
    pub fn new(sources: Sources) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let families = Families {
            rpc: rpc::Rpc::register(&registry)?,
            contracts: contracts::Contracts::register(&registry)?,
            chain: chain::Chain::register(&registry)?,
            api: api::Api::register(&registry)?,
            functions: functions::Functions::register(&registry)?,
            inside: inside::Inside::register(&registry)?,
            app: app::App::register(&registry)?,
            custom: custom::Custom::register(&registry, &sources.custom)?,
            machine: machine::Machine::register(&registry)?,
            own: own::Own::register(&registry)?,
            room: room::Room::new(),
        };
        let store = match sources.store {
            Some(reading) => Some((store::StoreFamilies::register(&registry)?, reading)),
            None => None,
        };
        let active_requests = match sources.active_requests {
            Some(reading) => Some((
                family::integer_gauge(
                    &registry,
                    "http_server_active_requests",
                    "Requests to the API that await the end of their response.",
                )?,
                reading,
            )),
            None => None,
        };
        Ok(Self {
            registry,
            families,
            store,
            active_calls: sources.active_calls,
            active_requests,
            tally: sources.tally,
            queue: sources.queue,
            scraping: Mutex::new(()),
        })
    }

    /// A sink that feeds these families; one for each recording thread.
    pub fn sink(&self) -> MetricsSink {
        MetricsSink::new(&self.families)
    }

    /// Everything in Prometheus's text format 0.0.4.
    pub fn encode(&self) -> Vec<u8> {
        let gathered = {
            let _one_at_a_time = self.scraping.lock().unwrap_or_else(PoisonError::into_inner);
            self.families.own.refresh(&self.tally, &self.queue);
            if let Some((families, reading)) = &self.store {
                families.refresh(reading());
            }
            self.families.rpc.take_over_active((self.active_calls)());
            if let Some((gauge, reading)) = &self.active_requests {
                gauge.set(family::as_gauge(reading()));
            }
            self.registry.gather()
        };
        let mut text = Vec::with_capacity(64 * 1024);
        if let Err(error) = TextEncoder::new().encode(&gathered, &mut text) {
            // Writing into memory cannot fail; a family that cannot be encoded is a mistake here,
            // and what was encoded before it is still good.
            tracing::error!(%error, "a metric family could not be encoded");
        }
        text
    }
}
