//! A request to the API.

use std::time::Duration;

use super::connection::ConnectionId;
use super::exchange::End;
use super::label::{HttpMethod, Route};
use super::time::UnixMicros;
use super::trace::TraceContext;

/// One HTTP request to the API and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRequest {
    /// When its first byte arrived.
    pub at: UnixMicros,
    pub method: HttpMethod,
    pub route: Route,
    /// Without the query.
    pub path: Box<str>,
    pub status: u16,
    pub end: End,
    pub connection: ConnectionId,
    /// Body sizes, in bytes.
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// First request byte in to last response byte out.
    pub total: Duration,
    /// Last request byte out to last response byte in.
    pub upstream: Duration,
    /// Last request byte out to first response byte in.
    pub first_byte: Duration,
    /// The proxy's own share.
    pub overhead: Duration,
    pub trace: TraceContext,
}
