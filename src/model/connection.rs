//! Connections as the proxies see them: who is connected, and how far they can be followed.

use super::owner::Ends;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A client connection, unique in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// An id that no other connection of this process has, whichever proxy accepted it.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

/// Which of the two proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// The transparent relay in front of the node.
    Rpc,
    /// The reverse proxy in front of the API.
    Api,
}

impl Proxy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Api => "api",
        }
    }
}

/// Why a connection's bytes are passed on without being understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opaque {
    /// The client's bytes are not HTTP/1.1 (TLS, HTTP/2 prior knowledge, anything else).
    RequestNotHttp,
    /// The upstream's bytes are not an HTTP/1.1 response to what was asked.
    ResponseNotHttp,
    /// A tunnel (`CONNECT`) or an upgrade to something other than WebSocket.
    UnknownUpgrade,
    /// WebSocket frames that break RFC 6455.
    SocketFraming,
    /// More requests were pipelined than are remembered.
    PipelineTooDeep,
}

impl Opaque {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestNotHttp => "request_not_http",
            Self::ResponseNotHttp => "response_not_http",
            Self::UnknownUpgrade => "unknown_upgrade",
            Self::SocketFraming => "socket_framing",
            Self::PipelineTooDeep => "pipeline_too_deep",
        }
    }
}

/// Who ended a connection first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closer {
    Client,
    Upstream,
    /// The proxy: a refusal, an upstream that could not be reached, a time limit, the shutdown.
    Proxy,
}

/// What happened to a connection.
#[derive(Clone, Debug)]
pub enum ConnectionEvent {
    /// A client connected. `transport` is `http` until an upgrade.
    Opened {
        proxy: Proxy,
        /// By which the client's process is found; `None` where it is of no interest.
        ends: Option<Ends>,
    },
    /// The connection became a WebSocket.
    Upgraded { proxy: Proxy, connection: ConnectionId },
    /// From here on its bytes are passed on unobserved.
    Opaque { connection: ConnectionId, why: Opaque },
    /// The guard refused a request, with what it answered.
    Refused { proxy: Proxy, status: u16, reason: &'static str },
    /// Bytes that passed since this was told last.
    Passed {
        proxy: Proxy,
        /// From the client to the upstream.
        sent: u64,
        /// From the upstream to the client.
        received: u64,
    },
    /// Gone, with all the bytes that passed; each was told by [`Self::Passed`] already.
    Closed {
        proxy: Proxy,
        connection: ConnectionId,
        by: Closer,
        /// Whether it had become a WebSocket.
        upgraded: bool,
        /// Bytes from the client to the upstream.
        sent: u64,
        /// Bytes from the upstream to the client.
        received: u64,
    },
    /// The upstream could or could not be reached; told when it changes.
    Upstream { proxy: Proxy, reachable: bool },
}
