//! A client's connection: its socket, watched, and what is remembered between its requests.
//!
//! The socket stamps every read and write after the system call returned, lets the framing
//! follower read along, and tells a finished exchange once the response's last byte was written.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::finished::Finished;
use super::framing::{Followed, Follower};
use super::shared::Shared;
use super::tunnel::Tunnel;
use super::waking::Waking;
use crate::model::{Closer, ConnectionEvent, ConnectionId, End, Proxy, Stamp};
use crate::wire::meter::Meter;

/// What is known of a client connection.
pub(super) struct Client {
    pub(super) id: ConnectionId,
    pub(super) peer: SocketAddr,
    pub(super) shared: Rc<Shared>,
    /// The peer's address as `X-Forwarded-For` holds it.
    pub(super) forwarded_for: HeaderValue,
    /// The last `Host` seen and the `Forwarded` value made for it: a connection nearly always
    /// sends the same one.
    pub(super) forwarded: RefCell<Option<(HeaderValue, HeaderValue)>>,
    /// Set when the upstream switched protocols: what to copy to and from once hyper is done.
    pub(super) tunnel: RefCell<Option<Tunnel>>,
    /// The waker of the task that serves this connection, once it runs.
    waking: OnceCell<Arc<Waking>>,
    follower: RefCell<Follower>,
    /// An exchange is under way: its record is not told yet.
    busy: Cell<bool>,
    finished: RefCell<Option<Finished>>,
    /// Whom to wake when everything that hyper has was written.
    awaiting_flush: RefCell<Option<Waker>>,
    first_write: Cell<Option<Stamp>>,
    last_write: Cell<Stamp>,
    /// No more bytes will come.
    ended: Cell<bool>,
    /// The connection became a tunnel: its bytes are no requests.
    upgraded: Cell<bool>,
    sent: Cell<u64>,
    received: Cell<u64>,
    meter: Cell<Meter>,
}

impl Client {
    pub(super) fn new(id: ConnectionId, peer: SocketAddr, shared: Rc<Shared>) -> Self {
        shared.tell(id, ConnectionEvent::Opened { proxy: Proxy::Api, ends: None });
        let address = peer.ip().to_canonical().to_string();
        Self {
            id,
            peer,
            shared,
            forwarded_for: HeaderValue::from_str(&address)
                .expect("an IP address is written in visible ASCII"),
            forwarded: RefCell::default(),
            tunnel: RefCell::default(),
            waking: OnceCell::new(),
            follower: RefCell::default(),
            busy: Cell::new(false),
            finished: RefCell::default(),
            awaiting_flush: RefCell::default(),
            first_write: Cell::new(None),
            last_write: Cell::default(),
            ended: Cell::new(false),
            upgraded: Cell::new(false),
            sent: Cell::new(0),
            received: Cell::new(0),
            meter: Cell::new(Meter::new(Proxy::Api, Stamp::now())),
        }
    }

    /// The waker to poll this connection with, within the task that `waker` wakes.
    pub(super) fn waking(&self, waker: &Waker) -> &Arc<Waking> {
        self.waking.get_or_init(|| Waking::of(waker))
    }

    /// Runs `step`, which makes ready only what is polled right afterwards.
    pub(super) fn quietly<T>(&self, step: impl FnOnce() -> T) -> T {
        match self.waking.get() {
            Some(waking) => waking.quietly(step),
            None => step(),
        }
    }

    /// hyper handed over the next request: what its bytes told.
    pub(super) fn serve(&self) -> Followed {
        self.follower.borrow_mut().serve()
    }

    /// When the last byte of the request being served was read.
    pub(super) fn request_read(&self) -> Option<Stamp> {
        self.follower.borrow().read_at()
    }

    /// Whether the client may still be sending a request that nobody will read.
    pub(super) fn is_sending(&self) -> bool {
        !self.ended.get() && self.follower.borrow().is_inside()
    }

    /// Since when the client has been sending a head while it waits for nothing else.
    pub(super) fn head_began(&self) -> Option<Stamp> {
        if self.busy.get() { None } else { self.follower.borrow().head_began() }
    }

    /// Whether the client is still connected, as far as it was seen.
    pub(super) fn is_connected(&self) -> bool {
        !self.ended.get()
    }

    /// How an exchange ends that is given up on now: the client left, or the proxy ends.
    pub(super) fn end_of_unfinished(&self) -> End {
        let is_cut = self.shared.drain.is_over() && self.is_connected();
        if is_cut { End::Stopped } else { End::ClientGone }
    }

    /// An exchange has begun; [`finish`](Self::finish) or [`break_off`](Self::break_off) ends it.
    pub(super) fn begin(&self) {
        self.busy.set(true);
    }

    /// The exchange ended without a response that could be written to its end.
    pub(super) fn break_off(&self) {
        self.busy.set(false);
    }

    /// A response is about to be written.
    pub(super) fn begin_response(&self) {
        self.first_write.set(None);
    }

    /// The response was handed over whole; it is told once it is written.
    pub(super) fn finish(&self, finished: Finished) {
        self.finished.replace(Some(finished));
    }

    /// Has `waker` woken when everything that hyper has was written.
    pub(super) fn await_flush(&self, waker: &Waker) {
        self.awaiting_flush.replace(Some(waker.clone()));
    }

    /// Whether [`await_flush`](Self::await_flush) still waits.
    pub(super) fn awaits_flush(&self) -> bool {
        self.awaiting_flush.borrow().is_some()
    }

    /// The first and last write since [`begin_response`](Self::begin_response).
    pub(super) fn written(&self) -> Option<(Stamp, Stamp)> {
        Some((self.first_write.get()?, self.last_write.get()))
    }

    pub(super) fn upgrade(&self) {
        self.upgraded.set(true);
        let event = ConnectionEvent::Upgraded { proxy: Proxy::Api, connection: self.id };
        self.shared.tell(self.id, event);
    }

    fn read(&self, bytes: &[u8]) {
        self.sent.set(self.sent.get() + bytes.len() as u64);
        let now = Stamp::now();
        if !self.upgraded.get() {
            self.follower.borrow_mut().read(bytes, now);
        }
        self.tell_bytes(now);
    }

    fn wrote(&self, count: usize) {
        self.received.set(self.received.get() + count as u64);
        let now = Stamp::now();
        self.last_write.set(now);
        if self.first_write.get().is_none() {
            self.first_write.set(Some(now));
        }
        self.tell_bytes(now);
    }

    fn tell_bytes(&self, now: Stamp) {
        let mut meter = self.meter.get();
        if let Some(passed) = meter.passed(self.sent.get(), self.received.get(), now) {
            self.meter.set(meter);
            self.shared.tell(self.id, passed);
        }
    }

    /// Everything that hyper had was written.
    fn flushed(&self) {
        if let Some(waker) = self.awaiting_flush.take() {
            waker.wake();
        }
        if let Some(finished) = self.finished.take() {
            self.busy.set(false);
            finished.tell(self.written(), &self.shared.observer);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(finished) = self.finished.take() {
            let end = self.end_of_unfinished();
            finished.tell_unwritten(end, self.written(), &self.shared.observer);
        }
        if let Some(passed) = self.meter.get().rest(self.sent.get(), self.received.get()) {
            self.shared.tell(self.id, passed);
        }
        let event = ConnectionEvent::Closed {
            proxy: Proxy::Api,
            connection: self.id,
            by: if self.ended.get() { Closer::Client } else { Closer::Proxy },
            upgraded: self.upgraded.get(),
            sent: self.sent.get(),
            received: self.received.get(),
        };
        self.shared.tell(self.id, event);
    }
}

/// A client's socket.
pub(super) struct ClientIo {
    pub(super) stream: TcpStream,
    pub(super) client: Rc<Client>,
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        let new = &buffer.filled()[before..];
        if new.is_empty() {
            self.client.ended.set(true);
        } else {
            self.client.read(new);
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.client.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.client.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.client.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
