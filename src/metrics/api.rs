//! HTTP API families, by OpenTelemetry's names.

use prometheus::local::LocalHistogram;
use prometheus::{Error, HistogramVec, Registry};

use super::buckets::{LATENCY, SIZE};
use super::family;
use super::series::{Flush, LabelKey, Place, Table};
use crate::model::HttpRequest;

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

/// Requests by route and status, at hand.
pub struct Requests {
    families: Api,
    durations: Table<(LabelKey, LabelKey, u16), Timed>,
    sizes: Table<(LabelKey, LabelKey), Sizes>,
}

struct Timed {
    duration: LocalHistogram,
    sizes: Place,
}

struct Sizes {
    request: LocalHistogram,
    response: LocalHistogram,
}

impl Flush for Timed {
    fn flush(&mut self) {
        self.duration.flush();
    }
}

impl Flush for Sizes {
    fn flush(&mut self) {
        self.request.flush();
        self.response.flush();
    }
}

impl Requests {
    pub fn new(families: Api) -> Self {
        Self { families, durations: Table::new(), sizes: Table::new() }
    }

    pub fn record(&mut self, request: &HttpRequest) {
        let Self { families, durations, sizes } = self;
        let status = if STATUSES.contains(&request.status) { request.status } else { 0 };
        let route = (LabelKey::from(request.method), LabelKey::from(request.route));
        let timed = durations.touch((route.0, route.1, status), || {
            let (method, path) = (request.method.as_str(), request.route.as_str());
            let status =
                if status == 0 { crate::model::OTHER.to_owned() } else { status.to_string() };
            Timed {
                duration: families.duration.with_label_values(&[method, path, &status]).local(),
                sizes: sizes.place(route, || Sizes {
                    request: families.request_size.with_label_values(&[method, path]).local(),
                    response: families.response_size.with_label_values(&[method, path]).local(),
                }),
            }
        });
        timed.duration.observe(request.total.as_secs_f64());
        let sizes = sizes.at(timed.sizes);
        sizes.request.observe(family::as_value(request.request_bytes));
        sizes.response.observe(family::as_value(request.response_bytes));
    }

    pub fn flush(&mut self) {
        self.durations.flush();
        self.sizes.flush();
    }
}
