//! What the relay's tests share: a running relay, and upstreams that do as they are told.
#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "../support_patience/mod.rs"]
mod support_patience;
pub mod traffic;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dappscope::model::{
    ConnectionEvent, Exchange, Observation, Observer, Queue, SocketMessage, Tally,
};
use dappscope::wire::guard::Guard;
use dappscope::wire::relay::{Relay, RelaySettings, bind, serve};
use tokio::sync::watch;

pub use self::support_patience::*;

/// A relay that runs until it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub queue: Arc<Queue>,
    stop: watch::Sender<bool>,
    relay: Option<Relay>,
    seen: Vec<Observation>,
}

impl Running {
    pub fn new(upstream: SocketAddr) -> Self {
        Self::with(RelaySettings::new(upstream.to_string()), true)
    }

    pub fn guarded(upstream: SocketAddr) -> Self {
        Self::with(RelaySettings::new(upstream.to_string()), false)
    }

    pub fn with(settings: RelaySettings, open: bool) -> Self {
        let queue = Queue::new(4_096, 512 << 20, Arc::new(Tally::default()));
        let (stop, stopped) = watch::channel(false);
        let guard = Guard::new(open, Vec::new(), Vec::new());
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let relay = serve(listeners, settings, guard, Observer::new(&queue), stopped).unwrap();
        Self { address: relay.local_addr(), queue, stop, relay: Some(relay), seen: Vec::new() }
    }

    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    pub fn signal_shutdown(&self) {
        let _ = self.stop.send(true);
    }

    /// Waits until everything has ended.
    pub fn join(&mut self) {
        if let Some(relay) = self.relay.take() {
            assert!(relay.join(), "no thread of the relay panics");
        }
    }

    /// Everything observed so far.
    pub fn observed(&mut self) -> &[Observation] {
        while let Some(observation) = self.queue.take() {
            self.seen.push(observation);
        }
        &self.seen
    }

    /// Waits until what was observed fulfils `condition`.
    pub fn until(&mut self, condition: impl Fn(&[Observation]) -> bool) -> &[Observation] {
        let start = Instant::now();
        while !condition(self.observed()) {
            assert!(start.elapsed() < PATIENCE, "observed only {:#?}", self.seen);
            std::thread::sleep(Duration::from_millis(1));
        }
        &self.seen
    }

    /// Waits for `count` exchanges.
    pub fn exchanges(&mut self, count: usize) -> Vec<Exchange> {
        exchanges(self.until(|seen| exchanges(seen).len() >= count))
    }

    /// Waits for `count` WebSocket messages.
    pub fn messages(&mut self, count: usize) -> Vec<SocketMessage> {
        messages(self.until(|seen| messages(seen).len() >= count))
    }

    /// Waits for an event of a connection.
    pub fn event(&mut self, wanted: impl Fn(&ConnectionEvent) -> bool) {
        self.until(|seen| {
            seen.iter().any(|o| matches!(o, Observation::Connection(_, _, event) if wanted(event)))
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal_shutdown();
    }
}

pub fn exchanges(seen: &[Observation]) -> Vec<Exchange> {
    seen.iter()
        .filter_map(|o| match o {
            Observation::Exchange(exchange) => Some((**exchange).clone()),
            _ => None,
        })
        .collect()
}

pub fn messages(seen: &[Observation]) -> Vec<SocketMessage> {
    seen.iter()
        .filter_map(|o| match o {
            Observation::Socket(message) => Some((**message).clone()),
            _ => None,
        })
        .collect()
}

/// An upstream that serves each connection with `serve`, on a thread of its own.
pub fn upstream(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, serve) = (connection.unwrap(), serve.clone());
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            connection.set_nodelay(true).unwrap();
            std::thread::spawn(move || serve(connection));
        }
    });
    address
}

/// An upstream that takes one connection and hands it out.
pub fn one_connection() -> (SocketAddr, JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = std::thread::spawn(move || {
        let connection = listener.accept().unwrap().0;
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.set_nodelay(true).unwrap();
        connection
    });
    (address, taken)
}

/// An upstream that answers every request head that comes with `answer`, on kept connections.
/// Requests must have no body, or one that comes with the head and holds no empty line.
pub fn answering(answer: &'static [u8]) -> SocketAddr {
    upstream(move |mut connection| {
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count) = connection.read(&mut chunk)
            && count > 0
        {
            seen.extend_from_slice(&chunk[..count]);
            while let Some(at) = find(&seen, b"\r\n\r\n") {
                seen.drain(..at + 4);
                if connection.write_all(answer).is_err() {
                    return;
                }
            }
        }
    })
}

/// Reads until `end` was seen.
pub fn read_until(from: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        match from.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    bytes
}

pub fn read_exactly(from: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads until the other side ends.
pub fn read_all(from: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn end(socket: &TcpStream) {
    socket.shutdown(Shutdown::Write).unwrap();
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Resident memory of this process, in bytes.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}
