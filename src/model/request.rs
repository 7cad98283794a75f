//! A request to the API.

use std::time::Duration;

use super::cache::CacheOutcome;
use super::connection::ConnectionId;
use super::end::End;
use super::label::{AppFunction, HttpMethod, Route};
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
    pub cache: CacheOutcome,
    pub flow: Flow,
    /// What the API told of its own time; few do.
    pub app: Option<Box<AppTiming>>,
}

/// How an answer flows: what its time means depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flow {
    /// A response that ends when it is told.
    #[default]
    Response,
    /// Server-sent events: it ends when one of the two has enough, so its time is nobody's wait.
    Events,
    /// The connection switched protocols, to WebSocket nearly always. Told when it did; its times
    /// are those of the handshake.
    Socket,
    /// A long poll: the API answers when there is something to say, so its time is no latency.
    LongPoll,
}

impl Flow {
    pub const ALL: [Self; 4] = [Self::Response, Self::Events, Self::Socket, Self::LongPoll];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Events => "events",
            Self::Socket => "socket",
            Self::LongPoll => "long_poll",
        }
    }
}

/// Where a request's time went inside the API, as its `Server-Timing` header tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppTiming {
    /// The entry `db`.
    pub database: Option<DatabaseTiming>,
    /// The entries `fn.…`, in their order. Functions nest: they do not add up.
    pub functions: Box<[(AppFunction, Duration)]>,
}

/// A request's share of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseTiming {
    /// All queries together.
    pub took: Duration,
    /// Queries, where the description tells.
    pub queries: Option<u64>,
}
