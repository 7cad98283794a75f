//! One WebSocket message, as the relay saw it pass.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connection::ConnectionId;
use super::exchange::Captured;
use super::time::Stamp;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

/// A whole data message (text or binary, all its fragments); control frames are not told.
#[derive(Clone, Debug)]
pub struct SocketMessage {
    pub connection: ConnectionId,
    pub direction: Direction,
    /// Its first byte was read.
    pub started: Stamp,
    /// Its last byte was read.
    pub read: Stamp,
    /// Its last byte was written to the other side: towards the client after the socket call, towards
    /// the upstream before it, so that nothing the upstream does with it can come earlier.
    pub written: Stamp,
    /// The payload, unmasked.
    pub payload: Captured,
    pub peer: SocketAddr,
    pub user_agent: Option<Arc<str>>,
}
