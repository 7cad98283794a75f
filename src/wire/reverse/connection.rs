//! One connection to the API: opened, driven, watched.
//!
//! hyper's client connection is a future that somebody has to poll. Here the exchange that holds
//! the connection polls it, within the client's own task: no second task is woken for each request
//! and each response, which is what makes a pooled client dear.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::settings::ReverseSettings;
use super::upload::Upload;
use crate::model::Stamp;

/// When bytes last went over an upstream connection.
#[derive(Default)]
pub(super) struct Marks {
    last_write: Cell<Stamp>,
    first_read: Cell<Option<Stamp>>,
    last_read: Cell<Stamp>,
    probe: Cell<bool>,
}

impl Marks {
    /// A request is about to be sent.
    pub(super) fn begin(&self) {
        self.first_read.set(None);
    }

    /// An interim response was read: what comes next is the response's first byte.
    pub(super) fn forget_first_read(&self) {
        self.first_read.set(None);
    }

    pub(super) fn last_write(&self) -> Stamp {
        self.last_write.get()
    }

    pub(super) fn first_read(&self) -> Stamp {
        self.first_read.get().unwrap_or_else(|| self.last_read.get())
    }

    pub(super) fn last_read(&self) -> Stamp {
        self.last_read.get()
    }
}

/// A connection to the API, with nobody else's request on it.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Upload>,
    driver: http1::Connection<TokioIo<UpstreamIo>, Upload>,
    pub(super) marks: Rc<Marks>,
    /// The driver has finished and must not be polled again.
    ended: bool,
    /// Wakes the task to look whether the upstream is overdue. Kept from request to request and
    /// set anew only when it fires, so a request costs no timer.
    pub(super) alarm: Option<Pin<Box<Sleep>>>,
    /// In the pool: since when, and until when it may be used.
    pub(super) idle_since: Stamp,
    pub(super) idle_until: Stamp,
}

impl Connection {
    async fn open(stream: TcpStream, preserve_header_case: bool) -> io::Result<Box<Self>> {
        stream.set_nodelay(true)?;
        let marks = Rc::new(Marks::default());
        let io = UpstreamIo { stream, marks: Rc::clone(&marks) };
        let (sender, driver) = http1::Builder::new()
            .preserve_header_case(preserve_header_case)
            .title_case_headers(preserve_header_case)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        Ok(Box::new(Self {
            sender,
            driver,
            marks,
            ended: false,
            alarm: None,
            idle_since: Stamp::default(),
            idle_until: Stamp::default(),
        }))
    }

    /// Moves bytes, both ways, as far as they go now. Whether the connection is still alive.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.ended {
            // An error is told to the request that suffers from it; without one nobody needs it.
            self.ended = self.driver.poll_without_shutdown(cx).is_ready();
        }
        !self.ended
    }

    /// Whether another request can be sent right now. `probe` asks the system itself whether the
    /// upstream has closed, in case the event has not been delivered yet.
    pub(super) fn is_reusable(&mut self, probe: bool, cx: &mut Context<'_>) -> bool {
        self.marks.probe.set(probe);
        let alive = self.drive(cx);
        self.marks.probe.set(false);
        alive && self.sender.is_ready()
    }

    /// After a switch of protocols: the socket and what was read beyond the response's head.
    pub(super) fn into_io(self) -> (UpstreamIo, Bytes) {
        let parts = self.driver.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

/// The upstream's socket.
pub(super) struct UpstreamIo {
    stream: TcpStream,
    marks: Rc<Marks>,
}

impl UpstreamIo {
    /// Asks the system whether the peer has closed, without taking bytes.
    fn peek(&self) -> Poll<io::Result<()>> {
        let mut byte = [MaybeUninit::uninit()];
        match socket2::SockRef::from(&self.stream).peek(&mut byte) {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Bytes were written, which began at `at`. The writing may wake the API, and on the same core
    /// the API may answer before it returns.
    fn wrote(&self, at: Stamp) {
        self.marks.last_write.set(at);
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() > before {
                    let now = Stamp::now();
                    self.marks.last_read.set(now);
                    if self.marks.first_read.get().is_none() {
                        self.marks.first_read.set(Some(now));
                    }
                }
                Poll::Ready(result)
            }
            Poll::Pending if self.marks.probe.get() => self.peek(),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let at = Stamp::now();
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.wrote(at);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let at = Stamp::now();
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.wrote(at);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Opens connections, and remembers which address of the upstream's name worked.
#[derive(Default)]
pub(super) struct Connector {
    known: RefCell<Vec<SocketAddr>>,
}

impl Connector {
    /// Opens a connection to the first address that accepts one.
    pub(super) async fn connect(&self, settings: &ReverseSettings) -> io::Result<Box<Connection>> {
        let attempt = async {
            let known = self.known.borrow().clone();
            // `localhost` is two addresses and a server often listens on one: the one that worked
            // comes first next time, and nothing is resolved again until it fails.
            if let Ok(stream) = connect_first(&known).await {
                return Ok::<_, io::Error>(stream.0);
            }
            let found = tokio::net::lookup_host(settings.upstream.as_str()).await?;
            let (stream, address) = connect_first(&found.collect::<Vec<_>>()).await?;
            self.known.replace(vec![address]);
            Ok(stream)
        };
        let stream = match tokio::time::timeout(settings.connect_timeout, attempt).await {
            Ok(stream) => stream?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        Connection::open(stream, settings.preserve_header_case).await
    }
}

async fn connect_first(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}
