//! A proxy, upstreams written by hand and raw clients, all on real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dappscope::model::{
    ApiExchange, ConnectionEvent, ConnectionId, Observation, Observer, Queue, Tally,
};
use dappscope::wire::guard::Guard;
use dappscope::wire::reverse::{Drained, ReverseSettings, bind, serve};
use tokio::sync::watch;

pub use crate::support_patience::{PATIENCE, measured_once};

/// A proxy under test.
pub struct Proxy {
    pub address: SocketAddr,
    pub queue: Arc<Queue>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Drained>>,
}

impl Proxy {
    pub fn start(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| {})
    }

    pub fn with(upstream: SocketAddr, change: impl FnOnce(&mut ReverseSettings)) -> Self {
        let mut settings = ReverseSettings::new(upstream.to_string().parse().unwrap());
        change(&mut settings);
        let queue = Queue::new(100_000, 1 << 24, Arc::new(Tally::default()));
        let (stop, stopped) = watch::channel(false);
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let observer = Observer::new(&queue);
        let thread = serve(listener, settings, Guard::default(), observer, stopped);
        Self { address, queue, stop, thread: Some(thread.unwrap()) }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Asks the proxy to stop and waits until it has.
    pub fn stop(&mut self) -> Drained {
        self.ask_to_stop();
        self.thread.take().expect("stopped once").join().unwrap()
    }

    pub fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// The next observation for which `pick` has an answer; others are thrown away.
    pub fn await_observation<T>(&self, pick: impl Fn(&Observation) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            match self.queue.take() {
                Some(observation) => {
                    if let Some(found) = pick(&observation) {
                        return found;
                    }
                }
                None => {
                    assert!(started.elapsed() < PATIENCE, "the observation never came");
                    std::thread::yield_now();
                }
            }
        }
    }

    pub fn await_request(&self) -> ApiExchange {
        self.await_observation(|observation| match observation {
            Observation::Request(exchange) => Some((**exchange).clone()),
            _ => None,
        })
    }

    pub fn await_event<T>(&self, pick: impl Fn(ConnectionId, &ConnectionEvent) -> Option<T>) -> T {
        self.await_observation(|observation| match observation {
            Observation::Connection(id, _, event) => pick(*id, event),
            _ => None,
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An upstream whose connections are each served by `handle`, in threads.
pub struct Api {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Api {
    pub fn start(handle: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (handle, counted) = (Arc::new(handle), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, SeqCst);
                let handle = Arc::clone(&handle);
                let stream = stream.unwrap();
                std::thread::spawn(move || handle(Peer::new(stream)));
            }
        });
        Self { address, connections }
    }

    /// One that answers every request with what `answer` makes of its head and body.
    pub fn answering(answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> Self {
        Self::start(move |mut peer| {
            while let Some(request) = peer.read_message() {
                peer.write(answer(&request));
            }
        })
    }

    /// One that never answers; it says of each request, in the other end of the channel, that its
    /// head has arrived.
    pub fn silent() -> (Self, Receiver<()>) {
        let (arrived, arrivals) = channel();
        let api = Self::start(move |mut peer: Peer| {
            while peer.read_head().is_some() {
                let _ = arrived.send(());
            }
        });
        (api, arrivals)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// The other end of a connection, whichever it is.
pub struct Peer {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

pub type Client = Peer;

/// A message's head as it came, and its body with the transfer coding removed.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub head: String,
    pub body: Vec<u8>,
    pub trailers: String,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may have closed, and a test that cares will see it when reading.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// A line with its end; empty at the end of the stream.
    pub fn read_line(&mut self) -> String {
        let mut line = Vec::new();
        let _ = self.reader.read_until(b'\n', &mut line);
        String::from_utf8_lossy(&line).into_owned()
    }

    /// A message's head, or the section of trailers, with the empty line.
    pub fn read_head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let line = self.read_line();
            if line.is_empty() {
                return None;
            }
            head.push_str(&line);
            if line == "\r\n" {
                return Some(head);
            }
        }
    }

    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).expect("the bytes that were announced");
        bytes
    }

    /// One chunk; empty for the last.
    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.read_line();
        let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
        let bytes = self.read_exact(size);
        if size > 0 {
            assert_eq!(self.read_line(), "\r\n");
        }
        Some(bytes)
    }

    /// A whole message with a length or chunks; one without either has no body. None when the
    /// stream ends before.
    pub fn read_message(&mut self) -> Option<Message> {
        let head = self.read_head()?;
        self.read_rest(head)
    }

    pub fn read_rest(&mut self, head: String) -> Option<Message> {
        let mut message = Message { head, ..Message::default() };
        if message.header("transfer-encoding").is_some() {
            loop {
                let chunk = self.read_chunk()?;
                if chunk.is_empty() {
                    message.trailers = self.read_head()?;
                    return Some(message);
                }
                message.body.extend(chunk);
            }
        }
        if let Some(length) = message.header("content-length") {
            message.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut message.body).ok()?;
        }
        Some(message)
    }

    /// Like [`read_rest`](Self::read_rest), for a body that may break off anywhere.
    pub fn read_rest_quietly(&mut self, head: String) -> Option<Message> {
        let message = Message { head, ..Message::default() };
        let rest = self.read_to_end().unwrap_or_default();
        let whole = match message.header("content-length") {
            Some(length) => rest.len() >= length.parse().unwrap(),
            None => rest.ends_with(b"0\r\n\r\n"),
        };
        whole.then_some(message)
    }

    /// Everything up to the end of the stream; an error when it was reset.
    pub fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub fn send(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.write(request);
        self.read_message().expect("a response")
    }

    /// Resets the connection instead of closing it.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Message {
    /// The values of all lines with this name, joined as a list.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A response with a length.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

pub fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
}
