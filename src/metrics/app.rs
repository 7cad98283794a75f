//! What the application tells of its own inside: queries, and the spans they come from. Functions are in [`super::functions`].

use std::time::Duration;

use prometheus::{Error, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::buckets::DATABASE;
use super::family;
use crate::model::{Event, Query};

/// The families.
#[derive(Clone)]
pub struct App {
    queries: HistogramVec,
    spans: IntCounterVec,
    refused: IntCounterVec,
    excluded: IntCounter,
}

impl App {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let spans = family::counters(
            registry,
            "dappscope_spans_total",
            "Spans that arrived from OpenTelemetry, by result: taken, repeated as they had come \
             before, or left_out for want of an id or because one export held too many.",
            &["result"],
        )?;
        family::begin(&spans, ["taken", "repeated", "left_out"]);
        let refused = family::counters(
            registry,
            "dappscope_exports_refused_total",
            "Exports of spans that were answered with an error, by reason.",
            &["reason"],
        )?;
        family::begin(&refused, Event::EXPORT_REFUSALS);
        Ok(Self {
            queries: family::histograms(
                registry,
                "db_client_operation_duration_seconds",
                "Time in seconds of a query to a database, by system, operation and table; each \
                 is counted once, however many spans tell of it.",
                DATABASE,
                &["db_system_name", "db_operation_name", "db_collection_name"],
            )?,
            spans,
            refused,
            excluded: family::counter(
                registry,
                "dappscope_requests_excluded_total",
                "Requests to the API that are in no figure, as api.exclude says.",
            )?,
        })
    }

    pub fn query(&self, query: &Query, took: Duration) {
        let operation = query.operation.as_ref().map_or("", |label| label.as_str());
        let collection = query.collection.as_ref().map_or("", |label| label.as_str());
        let labels = [query.system.as_str(), operation, collection];
        self.queries.with_label_values(&labels).observe(took.as_secs_f64());
    }

    pub fn spans(&self, taken: u64, left_out: u64, repeated: u64) {
        self.spans.with_label_values(&["taken"]).inc_by(taken);
        self.spans.with_label_values(&["repeated"]).inc_by(repeated);
        self.spans.with_label_values(&["left_out"]).inc_by(left_out);
    }

    pub fn excluded(&self) {
        self.excluded.inc();
    }

    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}
