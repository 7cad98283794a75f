//! JSON-RPC families: every item of a batch and every WebSocket request counts as one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use prometheus::local::LocalIntCounter;
use prometheus::{Error, Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::buckets::{COUNT, LATENCY, SIZE};
use super::error_type::{ErrorType, ErrorTypes};
use super::exchanges::Exchanges;
use super::family;
use super::series::Table;
use crate::model::{LabelKey, Method, RpcCall, Transport, UninspectedReason};

/// The families.
#[derive(Clone)]
pub struct Rpc {
    duration: HistogramVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
    pub batch_size: Histogram,
    /// Over both transports. WebSockets tell each beginning and end; calls over HTTP are counted
    /// elsewhere and taken over at each scrape.
    pub active: IntGauge,
    active_over_http: Arc<AtomicI64>,
    uninspected: IntCounterVec,
    duplicates: IntCounterVec,
    pub notifications: IntCounterVec,
    pub notification_lag: Histogram,
    pub connections: IntGaugeVec,
}

impl Rpc {
    /// So many calls over HTTP are under way now.
    pub fn take_over_active(&self, over_http: u64) {
        let now = family::as_gauge(over_http);
        self.active.add(now - self.active_over_http.swap(now, Relaxed));
    }

    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            duration: family::histograms(
                registry,
                "rpc_server_call_duration_seconds",
                "Time in seconds from a JSON-RPC call's first byte in to its answer's last byte \
                 out, by method, by what went wrong (the JSON-RPC code from the body, a word, or \
                 nothing) and by transport. A batch item's time is its batch's.",
                LATENCY,
                &["rpc_method", "error_type", "transport"],
            )?,
            request_size: family::histograms(
                registry,
                "rpc_server_request_size_bytes",
                "Size in bytes of a call's request object.",
                SIZE,
                &["rpc_method"],
            )?,
            response_size: family::histograms(
                registry,
                "rpc_server_response_size_bytes",
                "Size in bytes of a call's response object.",
                SIZE,
                &["rpc_method"],
            )?,
            batch_size: family::histogram(
                registry,
                "rpc_server_batch_size",
                "Calls in a JSON-RPC batch.",
                COUNT,
            )?,
            active: family::integer_gauge(
                registry,
                "rpc_server_active_calls",
                "Calls that await their answer; a batch over HTTP is one.",
            )?,
            active_over_http: Arc::default(),
            uninspected: {
                let family = family::counters(
                    registry,
                    "rpc_server_calls_uninspected_total",
                    "Calls whose request or answer could not be read, by reason; what is known of \
                     them is in the other families. The rest of a batch counts with as many calls \
                     as are known to be in it.",
                    &["reason"],
                )?;
                family::begin(&family, UninspectedReason::ALL.map(UninspectedReason::as_str));
                family
            },
            duplicates: family::counters(
                registry,
                "rpc_server_duplicate_calls_total",
                "Reads with the method and params of one answered since the last block: what a \
                 cache or a multicall would save.",
                &["rpc_method"],
            )?,
            notifications: family::counters(
                registry,
                "rpc_server_notifications_total",
                "Subscription notifications that the node sent, by kind of subscription.",
                &["subscription"],
            )?,
            notification_lag: family::histogram(
                registry,
                "rpc_server_notification_lag_seconds",
                "Time in seconds from a block being seen to its newHeads notification being \
                 passed on.",
                LATENCY,
            )?,
            connections: family::integer_gauges(
                registry,
                "rpc_server_connections",
                "Client connections to the relay that are open, by transport.",
                &["transport"],
            )?,
        })
    }
}

/// Calls by method, error and transport, and sizes and repetitions by method, at hand.
pub struct Calls {
    families: Rpc,
    errors: ErrorTypes,
    series: Exchanges<(LabelKey, ErrorType, Transport), LabelKey>,
    duplicates: Table<LabelKey, LocalIntCounter>,
}

impl Calls {
    pub fn new(families: Rpc) -> Self {
        Self {
            families,
            errors: ErrorTypes::default(),
            series: Exchanges::new(),
            duplicates: Table::new(),
        }
    }

    pub fn record(&mut self, call: &RpcCall) {
        let Self { families, errors, series, .. } = self;
        let method = LabelKey::from(call.method);
        let name = call.method.as_str();
        let error = errors.of(call.outcome);
        let (duration, sizes) = series.touch(
            ((method, error, call.transport), method),
            || {
                let labels = [name, errors.text(error), call.transport.as_str()];
                families.duration.with_label_values(&labels)
            },
            || {
                [&families.request_size, &families.response_size]
                    .map(|family| family.with_label_values(&[name]))
            },
        );
        if let Some(it) = call.detail.as_ref().and_then(|detail| detail.uninspected) {
            let counter = families.uninspected.with_label_values(&[it.reason.as_str()]);
            counter.inc_by(u64::from(it.calls));
        }
        duration.observe(call.total.as_secs_f64());
        sizes.request.observe(family::as_value(call.request_bytes));
        // A call without an answer has no answer of size zero.
        if call.response_bytes > 0 {
            sizes.response.observe(family::as_value(call.response_bytes));
        }
    }

    /// A call repeated one answered before.
    pub fn duplicate(&mut self, method: Method) {
        let family = &self.families.duplicates;
        let open = || family.with_label_values(&[method.as_str()]).local();
        self.duplicates.touch(LabelKey::from(method), open).inc();
    }

    pub fn flush(&mut self) {
        self.series.flush();
        self.duplicates.flush();
    }
}
