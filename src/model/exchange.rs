//! One HTTP request and its response, as the proxies saw them pass.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::cache::CacheOutcome;
use super::coding::Codings;
use super::connection::ConnectionId;
use super::end::End;
use super::label::HttpMethod;
use super::request::Flow;
use super::time::Stamp;
use super::trace::TraceContext;

/// The moments of an exchange. "Read" and "written" are the proxy's own socket calls, after they
/// returned; but a request counts as written to the upstream just before the call that wrote it, so
/// that nothing the upstream does with it can come earlier. Stamps that were never reached equal the
/// last one that was; in a relayed exchange that was cut off, the moment at which it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The request's first byte was read from the client.
    pub request_started: Stamp,
    /// The request's last byte was read from the client.
    pub request_read: Stamp,
    /// The request's last byte was written to the upstream.
    pub request_written: Stamp,
    /// The response's first byte was read from the upstream (the final response, not a 1xx).
    pub response_started: Stamp,
    /// The first byte of the response was written to the client.
    pub response_forwarded: Stamp,
    /// The response's last byte was read from the upstream.
    pub response_read: Stamp,
    /// The response's last byte was written to the client.
    pub response_written: Stamp,
}

impl Timing {
    /// From the first byte in to the last byte out: what the client waited for.
    pub const fn total(&self) -> Duration {
        self.response_written.since(self.request_started)
    }

    /// From the request's last byte leaving to the response's last byte arriving: the upstream's
    /// share.
    pub const fn upstream(&self) -> Duration {
        self.response_read.since(self.request_written)
    }

    /// From the request's last byte leaving to the response's first byte arriving.
    pub const fn first_byte(&self) -> Duration {
        self.response_started.since(self.request_written)
    }

    /// What the proxy itself added: the time it held the end of the request and the beginning of
    /// the response. Waiting for a slow reader or a slow sender is not in it.
    pub const fn overhead(&self) -> Duration {
        self.request_written
            .since(self.request_read)
            .saturating_add(self.response_forwarded.since(self.response_started))
    }
}

/// How many bytes of a body are inspected unless `rpc.capture_bytes` says otherwise. A transaction of
/// six blobs takes 1.7 MB.
pub const INSPECTED_BYTES: usize = 8 << 20;

/// A bounded copy of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The body's beginning, transfer coding removed; the whole body when `bytes.len() == total`.
    pub bytes: Vec<u8>,
    /// The body's real size in bytes, transfer coding removed.
    pub total: u64,
    /// How the bytes are compressed. Nothing is decompressed on the forwarding path.
    pub codings: Codings,
    /// Why the copy ended before its limit, where it did.
    pub stopped: Option<CopyStop>,
}

/// Why a copy ended before its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyStop {
    /// The copies under way had used up the memory that there is for them all.
    BudgetSpent,
    /// The connection could not be followed any further.
    Opaque,
}

impl Captured {
    /// Whether all bytes of the body were captured.
    pub const fn is_complete(&self) -> bool {
        self.stopped.is_none() && self.bytes.len() as u64 == self.total
    }

    /// The whole body, if it was captured whole and is not compressed.
    pub fn whole(&self) -> Option<&[u8]> {
        (self.is_complete() && self.codings == Codings::None).then_some(&self.bytes[..])
    }
}

/// An HTTP exchange that passed the transparent relay.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub connection: ConnectionId,
    pub peer: SocketAddr,
    /// The request's method: `POST`, `OPTIONS`.
    pub http_method: HttpMethod,
    /// The final response's status; 0 when there was none.
    pub status: u16,
    pub timing: Timing,
    pub end: End,
    pub request: Captured,
    pub response: Captured,
    pub trace: Option<TraceContext>,
    /// The client's `User-Agent`; shared by the exchanges of a connection.
    pub user_agent: Option<Arc<str>>,
}

/// An HTTP exchange that passed the reverse proxy.
#[derive(Clone, Debug)]
pub struct ApiExchange {
    pub connection: ConnectionId,
    pub peer: SocketAddr,
    pub http_method: HttpMethod,
    /// The request's path as it was sent, without its query, which may hold keys. The recorder finds
    /// the route by it, then masks what may be secret; only the masked path is stored.
    pub path: Box<str>,
    /// The response's status; what the proxy answered when there was none from the upstream.
    pub status: u16,
    pub timing: Timing,
    pub end: End,
    /// Body size from the client, in bytes.
    pub request_bytes: u64,
    /// Body size to the client, in bytes.
    pub response_bytes: u64,
    /// The context passed to the upstream: the client's trace continued, or a new one.
    pub trace: TraceContext,
    pub cache: CacheOutcome,
    pub flow: Flow,
    /// The upstream's `Server-Timing`, bounded and not yet read.
    pub server_timing: Option<Box<str>>,
}
