//! Time inside the API's functions, whoever tells it.

use std::time::Duration;

use prometheus::local::LocalHistogram;
use prometheus::{Error, HistogramVec, Registry};

use super::buckets::LATENCY;
use super::family;
use super::series::Table;
use crate::model::{AppFunction, LabelKey};

/// The family.
#[derive(Clone)]
pub struct Functions {
    duration: HistogramVec,
}

impl Functions {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let duration = family::histograms(
            registry,
            "app_function_duration_seconds",
            "Time in seconds that a request spent in a function of the API, as the API tells it.",
            LATENCY,
            &["function"],
        )?;
        Ok(Self { duration })
    }
}

/// Functions at hand.
pub struct FunctionTimes {
    family: Functions,
    series: Table<LabelKey, LocalHistogram>,
}

impl FunctionTimes {
    pub fn new(family: Functions) -> Self {
        Self { family, series: Table::new() }
    }

    pub fn observe(&mut self, function: AppFunction, took: Duration) {
        let family = &self.family.duration;
        let open = || family.with_label_values(&[function.as_str()]).local();
        self.series.touch(LabelKey::from(function), open).observe(took.as_secs_f64());
    }

    pub fn flush(&mut self) {
        self.series.flush();
    }
}
