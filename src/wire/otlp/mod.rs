//! The receiver of what instrumented programs tell (:4318): OTLP over HTTP, spans only.
//!
//! Owns the listener, the bounds of an export and its answers; reading one is
//! [`decode::otlp`](crate::decode::otlp)'s. Web pages are kept away by the guard that the proxies use.
//! Emits one [`Observation::Spans`](crate::model::Observation) for each export that was read.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/traces` | 200, in the request's own content type; what was left out is told |
//! | `POST /v1/metrics`, `/v1/logs` | 200, and nothing is made of it: exporters would log each 404 |
//! | malformed, too large, too slow | 400, 413, 408 |
//! | no room beside others that have not come whole | 503 |
//! | neither protobuf nor JSON, neither gzip nor plain | 415 |
//! | another method, another path | 405, 404 |
//!
//! None of these statuses makes an exporter send the same again but 408 and 503, which is meant so.

mod answer;
mod body;
mod server;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::HeaderValue;

pub use server::{OtlpServerError, Settings, bind, serve};

/// What a body that comes with this `Content-Encoding` holds; none of one that is refused. For
/// [`wire::hostile`](crate::wire::hostile).
pub(super) fn inflated(body: &[u8], encoding: &HeaderValue) -> Option<Bytes> {
    body::decoded(Bytes::copy_from_slice(body), Some(encoding)).ok()
}
