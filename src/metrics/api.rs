//! HTTP API families, by OpenTelemetry's names.

use prometheus::{Error, HistogramVec, Registry};

use super::buckets::{LATENCY, SIZE};
use super::exchanges::Exchanges;
use super::family;
use super::series::LabelKey;
use crate::model::{HttpRequest, OTHER};

/// Statuses that HTTP knows; what is outside them (an upstream may send 999) shares one label.
const STATUSES: std::ops::RangeInclusive<u16> = 100..=599;

/// The families.
#[derive(Clone)]
pub struct Api {
    duration: HistogramVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
}

impl Api {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let route = &["http_request_method", "http_route"];
        Ok(Self {
            duration: family::histograms(
                registry,
                "http_server_request_duration_seconds",
                "Time in seconds from a request's first byte in to its response's last byte out, \
                 by method, route and status.",
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
        })
    }
}

/// Requests by route and status, and sizes by route, at hand.
pub struct Requests {
    families: Api,
    series: Exchanges<(LabelKey, LabelKey, u16), (LabelKey, LabelKey)>,
}

impl Requests {
    pub fn new(families: Api) -> Self {
        Self { families, series: Exchanges::new() }
    }

    pub fn record(&mut self, request: &HttpRequest) {
        let Self { families, series } = self;
        let status = STATUSES.contains(&request.status).then_some(request.status);
        let route = (LabelKey::from(request.method), LabelKey::from(request.route));
        let (method, path) = (request.method.as_str(), request.route.as_str());
        let (duration, sizes) = series.touch(
            ((route.0, route.1, status.unwrap_or(0)), route),
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
    }
}
