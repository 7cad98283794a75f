//! Families of the store, from numbers that are handed in at each scrape: the store lies above this
//! module.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily, MetricType, Summary};
use prometheus::{Error, IntCounter, IntGauge, Registry};

use super::family;

const WRITE_SECONDS: &str = "dappscope_store_write_seconds";
const WRITE_HELP: &str = "Time in seconds that the store spent in committed writes, waiting for the \
                          disk included: the sum, and how many they were.";

/// The store in numbers, as they are at a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StoreNumbers {
    /// Size of its files, in bytes.
    pub bytes: u64,
    /// Writes, reads and openings that failed.
    pub errors: u64,
    /// Committed writes.
    pub writes: u64,
    /// Time spent in these.
    pub write_time: Duration,
}

/// The families; registered only where there is a store.
pub struct StoreFamilies {
    bytes: IntGauge,
    errors: IntCounter,
    writes: Writes,
}

impl StoreFamilies {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let writes = Writes::new()?;
        registry.register(Box::new(writes.clone()))?;
        Ok(Self {
            bytes: family::integer_gauge(
                registry,
                "dappscope_store_bytes",
                "Size in bytes of the store's files.",
            )?,
            errors: family::counter(
                registry,
                "dappscope_store_errors_total",
                "Store operations that failed.",
            )?,
            writes,
        })
    }

    pub fn refresh(&self, numbers: StoreNumbers) {
        self.bytes.set(family::as_gauge(numbers.bytes));
        family::raise(&self.errors, numbers.errors);
        *self.writes.last() = numbers;
    }
}

/// A summary without quantiles: the store keeps a sum and a count, and the crate has no such metric.
#[derive(Clone)]
struct Writes {
    desc: Desc,
    last: Arc<Mutex<StoreNumbers>>,
}

impl Writes {
    fn new() -> Result<Self, Error> {
        let desc = Desc::new(WRITE_SECONDS.into(), WRITE_HELP.into(), Vec::new(), HashMap::new())?;
        Ok(Self { desc, last: Arc::default() })
    }

    fn last(&self) -> std::sync::MutexGuard<'_, StoreNumbers> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Writes {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let last = *self.last();
        let mut summary = Summary::default();
        summary.set_sample_count(last.writes);
        summary.set_sample_sum(last.write_time.as_secs_f64());
        let mut metric = Metric::default();
        metric.set_summary(summary);
        let mut family = MetricFamily::default();
        family.set_name(WRITE_SECONDS.into());
        family.set_help(WRITE_HELP.into());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
