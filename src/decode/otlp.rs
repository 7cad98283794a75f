//! An export of spans, as OpenTelemetry's SDKs send it (`ExportTraceServiceRequest`), into [`Spans`].
//!
//! Owns both encodings, protobuf and JSON, and the bounds: of what an export holds nothing is kept
//! but the spans' own few fields and the numbers that are listed, at most [`MOST_SPANS`] of them, with texts cut to the lengths that
//! [`Span`](crate::model::Span) names. Both are read from the bytes as they lie there, for an export
//! of a few bytes may claim millions of empty spans. Takes no part in HTTP.
//!
//! Source: opentelemetry-proto 1.x, `opentelemetry/proto/trace/v1/trace.proto`; for JSON the OTLP
//! specification's "JSON Protobuf Encoding".

mod draft;
mod json;
mod protobuf;
#[cfg(test)]
mod tests;

use crate::model::{CustomMetrics, Spans};

/// Spans taken of one export; SDKs send at most 512 unless they are told otherwise.
pub const MOST_SPANS: usize = 16_384;

/// Why an export could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    #[error(
        "expected an ExportTraceServiceRequest in protobuf, found in its {message} {found}; is \
         Content-Type what the body is?"
    )]
    Protobuf { message: &'static str, found: String },
    #[error("expected an ExportTraceServiceRequest in JSON, found at {place}: {found}")]
    Json { place: String, found: String },
}

/// Reads an export in protobuf, with the numbers of `listed` metrics.
///
/// # Errors
/// It is cut off, or no protobuf.
pub fn protobuf(bytes: &[u8], listed: &CustomMetrics) -> Result<Spans, OtlpError> {
    protobuf::read(bytes, listed)
}

/// Reads an export in JSON, with the numbers of `listed` metrics.
///
/// # Errors
/// It is no JSON, or a field that is used has another type than the protocol says.
pub fn json(bytes: &[u8], listed: &CustomMetrics) -> Result<Spans, OtlpError> {
    json::read(bytes, listed)
}
