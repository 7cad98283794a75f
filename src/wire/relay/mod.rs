//! The transparent relay in front of the node: bytes read from one socket are written to the other,
//! unaltered, and a copy is followed.
//!
//! Owns the sockets, one upstream connection for each client connection, the guard's place before
//! the first byte passes, and the order of ends and resets. What the bytes mean is
//! [`decode::follower`](crate::decode::follower)'s; what becomes of observations is the recorder's.
//! Runs on current-thread runtimes of its own, one for each listener, away from everything that
//! decodes or stores.

mod accept;
mod answer;
mod connection;
mod gate;
mod lane;
mod shared;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use crate::model::{Flights, INSPECTED_BYTES, Observer, Underway};
use crate::wire::guard::Guard;
use shared::Shared;

/// Connections that may wait to be accepted. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// How the relay behaves.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// The node as `host:port`; a name is resolved anew for each connection.
    pub upstream: String,
    /// Bytes kept of each body and of each WebSocket message.
    pub capture_limit: usize,
    /// Bytes kept of all bodies and messages under way together; beyond it only sizes are told.
    pub capture_total: usize,
    /// Requests of one connection that may await their response and still be followed.
    pub pipeline_limit: usize,
    /// How long the node may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a client may take from connecting to the end of its first request's head.
    pub head_timeout: Duration,
    /// How long a client may stay silent after the node has closed its side.
    pub half_closed_timeout: Duration,
    /// How long connections may go on after the shutdown signal.
    pub drain: Duration,
    /// Counts the calls over HTTP under way, for whoever shows it; a batch is one.
    pub active: Underway,
    /// The requests to the API under way, which are told of calls that name their trace.
    pub flights: Flights,
}

impl RelaySettings {
    /// The defaults, with the node at `upstream` (`host:port`).
    pub fn new(upstream: impl Into<String>) -> Self {
        Self {
            upstream: upstream.into(),
            capture_limit: INSPECTED_BYTES,
            capture_total: 64 * 1024 * 1024,
            pipeline_limit: 1_024,
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(60),
            half_closed_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            active: Underway::default(),
            flights: Flights::default(),
        }
    }
}

/// Why the relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the relay was given no listener; bind at least one")]
    NoListener,
    #[error("cannot run the relay on its listener: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot start a thread for the relay: {0}")]
    Thread(#[source] io::Error),
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    threads: Vec<JoinHandle<()>>,
    local: SocketAddr,
}

impl Relay {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits until it has stopped: after the shutdown signal and the end of its connections, or of
    /// the drain time. Blocks. Answers whether no thread of it panicked.
    pub fn join(self) -> bool {
        let ends: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        ends.iter().all(Result::is_ok)
    }
}

/// Binds one listener for each of `threads` to `address`; port 0 picks one port for all of them.
///
/// Refuses an address that somebody listens on, also where several listeners share it.
pub fn bind(address: SocketAddr, threads: usize) -> io::Result<Vec<TcpListener>> {
    let shared = threads > 1;
    let first = if shared && address.port() != 0 {
        // Sharing a port would also let a second dappscope in, unnoticed: look first.
        drop(listen(address, false)?);
        listen(address, true)?
    } else {
        listen(address, shared)?
    };
    let address = first.local_addr()?;
    let others = (1..threads).map(|_| listen(address, true));
    std::iter::once(Ok(first)).chain(others).collect()
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Runs the relay on `listeners`, one thread for each, until `shutdown` becomes true (or its sender
/// is gone) and the connections have ended.
#[expect(clippy::needless_pass_by_value, reason = "handed over for good")]
pub fn serve(
    listeners: Vec<TcpListener>,
    settings: RelaySettings,
    guard: Guard,
    observer: Observer,
    shutdown: watch::Receiver<bool>,
) -> Result<Relay, StartError> {
    let local = listeners
        .first()
        .ok_or(StartError::NoListener)?
        .local_addr()
        .map_err(StartError::Runtime)?;
    let shared = Arc::new(Shared::new(settings, guard, observer));
    let mut threads = Vec::with_capacity(listeners.len());
    for (number, listener) in listeners.into_iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        listener.set_nonblocking(true).map_err(StartError::Runtime)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(StartError::Runtime)?
        };
        let (shared, shutdown) = (Arc::clone(&shared), shutdown.clone());
        let thread = std::thread::Builder::new()
            .name(format!("relay-{number}"))
            .spawn(move || {
                runtime.block_on(accept::run(listener, shared, shutdown));
                // A name that is still being resolved must not hold up the end.
                runtime.shutdown_background();
            })
            .map_err(StartError::Thread)?;
        threads.push(thread);
    }
    Ok(Relay { threads, local })
}
