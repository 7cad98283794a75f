//! What the reverse proxy is told: where the API is, and how long to wait for it.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;

use crate::decode::routes::Patterns;
use crate::model::Flights;

/// How the reverse proxy behaves.
#[derive(Clone, Debug)]
pub struct ReverseSettings {
    /// The API's `host:port`; an IPv6 address is in brackets.
    pub upstream: Authority,
    /// How long to wait for a connection to the API; 502 afterwards.
    pub connect_timeout: Duration,
    /// How long a client may take from the first byte of a request's head to its last; 408
    /// afterwards. Neither a connection on which nothing was begun nor a response under way counts.
    pub head_timeout: Duration,
    /// How long the API may take from the request's last byte written to the first byte of its
    /// response; 504 afterwards. `None` waits for ever.
    pub first_byte_timeout: Option<Duration>,
    /// Idle connections to the API that are kept.
    pub idle_connections: usize,
    /// How long an idle connection to the API is kept, if the API itself does not say less
    /// (`Keep-Alive: timeout=5`).
    pub idle_timeout: Duration,
    /// Whether `Server-Timing: proxy;dur=…` is appended to responses.
    pub server_timing: bool,
    /// Whether header names keep the case in which they were sent, and new ones are written
    /// `Like-This`. Otherwise all are written in lower case, as HTTP/2 does; names have no case in
    /// HTTP, and keeping it costs about a tenth of the proxy's time.
    pub preserve_header_case: bool,
    /// How long requests in flight may take once a shutdown was asked for.
    pub drain: Duration,
    /// Where the requests under way are told.
    pub flights: Flights,
    /// Paths on which requests are long polls, beside those of Socket.IO, which are known.
    pub long_polls: Arc<Patterns>,
}

impl ReverseSettings {
    /// The defaults, in front of `upstream`.
    pub fn new(upstream: Authority) -> Self {
        Self {
            upstream,
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(30),
            first_byte_timeout: Some(Duration::from_secs(60)),
            idle_connections: 128,
            idle_timeout: Duration::from_secs(30),
            server_timing: true,
            preserve_header_case: false,
            drain: Duration::from_secs(10),
            flights: Flights::default(),
            long_polls: Arc::default(),
        }
    }
}
