//! The proxy's thread: accepts clients, serves each in a task, drains at the end.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tower::Service;

use super::admission::Admission;
use super::client::{Client, ClientIo};
use super::download::Download;
use super::headers::Headers;
use super::message::{Arrival, own_message, tell_refused};
use super::recording::Recording;
use super::seen::Seen;
use super::settings::ReverseSettings;
use super::shared::Shared;
use super::trace::Tracing;
use super::upstream::Upstream;
use crate::model::{ConnectionId, Observer, Stamp};
use crate::wire::guard::Guard;

/// Where this proxy's connection numbers begin; below are those of the relay.
const FIRST_CONNECTION: u64 = 1 << 40;

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How long accepting rests when there are no descriptors left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long a client that is still sending may read its answer before its connection is dropped.
const LINGER: Duration = Duration::from_secs(2);

/// Why the proxy could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReverseError {
    #[error(
        "the API proxy cannot listen on {address}: {source}. Stop what holds the port, or configure \
         another one"
    )]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("the API proxy's thread cannot be started: {0}")]
    Start(#[from] std::io::Error),
}

/// How the proxy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy when the time to drain was over, and were cut.
    pub cut: usize,
}

/// Listens on `address`; port 0 takes a free one.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ReverseError> {
    let listen = || {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        )?;
        // A restart must not wait for the old connections' TIME_WAIT.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1_024)?;
        Ok(socket.into())
    };
    listen().map_err(|source| ReverseError::Bind { address, source })
}

/// Serves `listener` on a thread of its own until `shutdown` becomes true or its sender is gone,
/// then lets requests in flight finish, at most for [`ReverseSettings::drain`].
pub fn serve(
    listener: TcpListener,
    settings: ReverseSettings,
    guard: Guard,
    observer: Observer,
    shutdown: watch::Receiver<bool>,
) -> Result<JoinHandle<Drained>, ReverseError> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let thread = std::thread::Builder::new().name("reverse".into()).spawn(move || {
        // Made here: what the connections share never leaves this thread.
        let shared = Rc::new(Shared::new(settings, guard, observer));
        let local = LocalSet::new();
        runtime.block_on(local.run_until(run(listener, shared, shutdown)))
    })?;
    Ok(thread)
}

async fn run(
    listener: tokio::net::TcpListener,
    shared: Rc<Shared>,
    mut shutdown: watch::Receiver<bool>,
) -> Drained {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => accept(stream, peer, &shared),
                Err(error) if is_exhaustion(&error) => {
                    // Idle connections are the descriptors that can be spared.
                    tracing::warn!(%error, "the API proxy cannot accept a connection");
                    shared.pool.clear();
                    tokio::time::sleep(BACK_OFF).await;
                }
                // The client was gone before it was accepted.
                Err(error) => tracing::debug!(%error, "a connection was not accepted"),
            },
            _ = sweep.tick() => shared.pool.sweep(),
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
    }
    drop(listener);
    shared.drain.begin();
    let idle = async {
        while shared.drain.live() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(shared.settings.drain, idle).await;
    shared.pool.clear();
    shared.drain.end();
    Drained { cut: shared.drain.live() }
}

/// Whether accepting failed for want of descriptors or memory, and would fail again at once.
fn is_exhaustion(error: &std::io::Error) -> bool {
    // ENFILE, EMFILE, ENOMEM, ENOBUFS (Linux, macOS). `ErrorKind` has no names for them.
    matches!(error.raw_os_error(), Some(23 | 24 | 12 | 105 | 55))
}

fn accept(stream: TcpStream, peer: SocketAddr, shared: &Rc<Shared>) {
    static NEXT: AtomicU64 = AtomicU64::new(FIRST_CONNECTION);
    let id = ConnectionId(NEXT.fetch_add(1, Relaxed));
    // Failing means that the peer is gone already, which reading will tell.
    let _ = stream.set_nodelay(true);
    let client = Rc::new(Client::new(id, peer, Rc::clone(shared)));
    tokio::task::spawn_local(serve_client(stream, client));
}

async fn serve_client(stream: TcpStream, client: Rc<Client>) {
    let shared = Rc::clone(&client.shared);
    let seat = shared.drain.sit();
    let case = shared.settings.preserve_header_case;
    let io = TokioIo::new(ClientIo { stream, client: Rc::clone(&client) });
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        .preserve_header_case(case)
        .title_case_headers(case)
        .serve_connection(io, Entry::new(&client));
    let waker = poll_fn(|cx| Poll::Ready(Waker::from(Arc::clone(client.waking(cx.waker()))))).await;
    seat.wake_me(&waker);
    let mut draining = false;
    let mut head_alarm = None;
    let end = poll_fn(|_| {
        let cx = &mut Context::from_waker(&waker);
        if shared.drain.has_begun() && !std::mem::replace(&mut draining, true) {
            Pin::new(&mut connection).graceful_shutdown();
        }
        match connection.poll_without_shutdown(cx) {
            Poll::Ready(Err(error)) if error.is_parse() => Poll::Ready(Served::Malformed),
            Poll::Ready(_) => Poll::Ready(Served::Ended),
            // hyper would wait for the end of a head that was begun.
            Poll::Pending if draining && client.head_began().is_some() => {
                Poll::Ready(Served::Unasked)
            }
            Poll::Pending => poll_head_alarm(&mut head_alarm, &client, cx),
        }
    })
    .await;
    let parts = connection.into_parts();
    let tunnel = client.tunnel.take();
    let mut io = parts.io.into_inner();
    let malformed = matches!(end, Served::Malformed);
    match end {
        Served::Ended => {}
        Served::Unasked => return,
        Served::Malformed => tell_refused(&client, 400, "malformed"),
        Served::HeadOverdue => {
            tell_refused(&client, 408, HEAD_TIMEOUT);
            // hyper, which makes all other answers, has nothing to answer: there is no request.
            let _ = io.write_all(&head_overdue(shared.settings.head_timeout)).await;
        }
    }
    if let Some(tunnel) = tunnel {
        client.upgrade();
        // Either side may end a tunnel at any time, in any way.
        let _ = tunnel.run(io, parts.read_buf).await;
    } else if client.is_sending() || (malformed && client.is_connected()) {
        linger(io.stream).await;
    }
}

/// How hyper came to its end with a client.
enum Served {
    Ended,
    /// It read what is no request, and answered so.
    Malformed,
    /// The proxy goes down, and the client has begun a head at most.
    Unasked,
    /// The client began a head and did not finish it in time.
    HeadOverdue,
}

/// Waits for the end of a head that was begun. hyper's own timer would be set for each request and
/// would close idle connections; nearly all heads come whole, and then nothing is set here.
fn poll_head_alarm(
    alarm: &mut Option<Pin<Box<tokio::time::Sleep>>>,
    client: &Client,
    cx: &mut Context<'_>,
) -> Poll<Served> {
    let Some(began) = client.head_began() else {
        *alarm = None;
        return Poll::Pending;
    };
    let limit = client.shared.settings.head_timeout;
    let left = || limit.saturating_sub(Stamp::now().since(began));
    let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(left())));
    while alarm.as_mut().poll(cx).is_ready() {
        // It may have been set for an earlier head.
        let left = left();
        if left.is_zero() {
            return Poll::Ready(Served::HeadOverdue);
        }
        alarm.as_mut().reset(tokio::time::Instant::now() + left);
    }
    Poll::Pending
}

const HEAD_TIMEOUT: &str = "head_timeout";

/// The answer to half a head, as it goes over the wire.
fn head_overdue(limit: Duration) -> Vec<u8> {
    let message = format!("The request's head was not whole {limit:?} after its first byte.");
    let body = own_message(StatusCode::REQUEST_TIMEOUT, HEAD_TIMEOUT, &message).into_body();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), &body].concat()
}

/// Lets a client read its answer that did not expect one yet. Closing a socket with unread bytes
/// resets it, and a reset destroys the answer on its way.
async fn linger(mut stream: TcpStream) {
    let _ = tokio::time::timeout(LINGER, async {
        stream.shutdown().await?;
        let mut nowhere = vec![0; 16 * 1_024];
        while stream.read(&mut nowhere).await? > 0 {}
        Ok::<_, std::io::Error>(())
    })
    .await;
}

type Layers = Admission<Tracing<Headers<Recording<Upstream>>>>;

/// Where hyper hands a request to the layers.
struct Entry {
    client: Rc<Client>,
    layers: RefCell<Layers>,
}

impl Entry {
    fn new(client: &Rc<Client>) -> Self {
        let upstream = Upstream::new(Rc::clone(&client.shared));
        let layers = Admission::new(Tracing::new(Headers::new(Recording::new(upstream))));
        Self { client: Rc::clone(client), layers: RefCell::new(layers) }
    }
}

impl hyper::service::Service<Request<Incoming>> for Entry {
    type Response = Response<Download>;
    type Error = Infallible;
    type Future = <Layers as Service<Arrival>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let followed = self.client.serve();
        let client = Rc::clone(&self.client);
        let seen = Seen::of(request.headers());
        let arrival =
            Arrival { request, client, followed, seen, trace: None, wants_upgrade: false };
        // Every layer is always ready: `poll_ready` has nothing to say here.
        self.layers.borrow_mut().call(arrival)
    }
}
