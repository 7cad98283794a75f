//! Makes a family and registers it in one step, so that none is made and then forgotten.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Registers `family` and hands it back.
fn keep<F: Collector + Clone + 'static>(registry: &Registry, family: F) -> Result<F, Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    keep(registry, Histogram::with_opts(options)?)
}

pub fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
    labels: &[&str],
) -> Result<HistogramVec, Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    keep(registry, HistogramVec::new(options, labels)?)
}

pub fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, Error> {
    keep(registry, IntCounter::new(name, help)?)
}

pub fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, Error> {
    keep(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

/// Counters of what is no whole number: seconds, ETH.
pub fn float_counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<CounterVec, Error> {
    keep(registry, CounterVec::new(Opts::new(name, help), labels)?)
}

pub fn gauge(registry: &Registry, name: &str, help: &str) -> Result<Gauge, Error> {
    keep(registry, Gauge::new(name, help)?)
}

pub fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, Error> {
    keep(registry, GaugeVec::new(Opts::new(name, help), labels)?)
}

pub fn integer_gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, Error> {
    keep(registry, IntGauge::new(name, help)?)
}

pub fn integer_gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, Error> {
    keep(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

/// Lets series begin at zero, so that their first increase shows as one.
pub fn begin<'a>(family: &IntCounterVec, values: impl IntoIterator<Item = &'a str>) {
    for value in values {
        family.with_label_values(&[value]);
    }
}

/// Brings a counter up to a total that is kept elsewhere; a total that fell is left alone, since a
/// counter never falls.
pub fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// A count as a gauge's value; gauges are signed.
pub fn as_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as a histogram's value. Above 2⁵³ it loses its last bits, far beyond every bucket.
#[expect(clippy::cast_precision_loss, reason = "see the doc comment")]
pub const fn as_value(count: u64) -> f64 {
    count as f64
}
