//! One client's connection through the relay, from its first byte to the end of both directions.
//!
//! Both directions are driven by one task, by hand: a request costs one read and one write, and so
//! does its response, with no buffer held between them, no timer, no channel and no other task.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};

use super::answer::{self, Answer};
use super::gate::Gate;
use super::lane::{Lane, State};
use super::shared::Shared;
use crate::decode::follower::Follower;
use crate::model::{Closer, ConnectionEvent, ConnectionId, End, Ends, Observation, Proxy, Stamp};
use crate::wire::meter::Meter;

/// Read at once. One buffer for each thread, used within one step only: an idle connection has none.
const CHUNK: usize = 64 * 1024;
/// How long the rest of a request is waited for before it is told that the node cannot be reached.
/// Clients send a body right after its head; one that waits for `100 Continue` is not to wait long.
const BODY_WITHIN: Duration = Duration::from_millis(250);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// A client's connection.
pub(super) struct Connection {
    shared: Arc<Shared>,
    id: ConnectionId,
    client: TcpStream,
    follower: Follower,
    /// From the client to the upstream.
    up: Lane,
    /// From the upstream to the client.
    down: Lane,
    gate: Gate,
    meter: Meter,
    /// Who ended the connection, and when, once somebody did.
    first_gone: Option<(Closer, Stamp)>,
}

/// What a step of one direction came to.
enum Step {
    /// Something moved: look again.
    Moved,
    /// Nothing can move until a socket is ready.
    Stuck,
    Over(Over),
}

/// How a connection ends.
enum Over {
    /// Both sides closed, or there is nothing left to wait for.
    Closed,
    ClientReset,
    UpstreamReset,
    /// The guard refused a request.
    Refused(Answer),
}

impl Connection {
    pub fn new(shared: Arc<Shared>, client: TcpStream, peer: SocketAddr) -> Self {
        let id = ConnectionId::next();
        let ends = Some(Ends { peer, local: client.local_addr().ok() });
        let (now, opened) = (Stamp::now(), ConnectionEvent::Opened { proxy: Proxy::Rpc, ends });
        shared.observer.tell(Observation::Connection(id, now, opened));
        let follower = Follower::new(id, peer, shared.limits.clone());
        Self {
            shared,
            id,
            client,
            follower,
            up: Lane::default(),
            down: Lane::default(),
            gate: Gate::default(),
            meter: Meter::new(Proxy::Rpc, now),
            first_gone: None,
        }
    }

    /// Serves the client until the connection is over.
    pub async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut stopping = pin!(shared.stopping());
        // Polled once, which is enough to be woken by it: asking again at each wake would cost more
        // than reading the flag.
        poll_fn(|context| {
            let _ = stopping.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
        // A failure here shows again with the first byte.
        let _ = self.client.set_nodelay(true);
        let opened =
            timeout(shared.settings.head_timeout, poll_fn(|context| self.poll_first_head(context)));
        match opened.await {
            Ok(None) => {}
            Ok(Some(Over::Refused(answer))) => return self.refuse(&answer).await,
            Ok(Some(_)) | Err(_) => return,
        }
        let Some(mut upstream) = self.connect().await else { return };
        let mut lingering = None;
        match poll_fn(|context| self.poll(&mut upstream, &mut lingering, context)).await {
            Over::Closed => {}
            Over::ClientReset => reset(&upstream),
            Over::UpstreamReset => reset(&self.client),
            Over::Refused(answer) => {
                drop(upstream);
                self.refuse(&answer).await;
            }
        }
    }

    /// Reads until something may pass to the upstream.
    fn poll_first_head(&mut self, context: &mut Context<'_>) -> Poll<Option<Over>> {
        loop {
            if self.shared.is_draining() {
                return Poll::Ready(Some(Over::Closed));
            }
            match self.poll_queue(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Some(Over::Closed)),
            }
            if !self.up.is_clear() {
                return Poll::Ready(None);
            }
            if let Some(answer) = self.gate.refusal.take() {
                return Poll::Ready(Some(Over::Refused(answer)));
            }
        }
    }

    /// Reads once, and queues what may pass. Answers whether the client is still there.
    fn poll_queue(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        SCRATCH.with_borrow_mut(|scratch| match read(&mut self.client, context, scratch) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_) | Ok([])) => {
                self.gone(Closer::Client);
                Poll::Ready(false)
            }
            Poll::Ready(Ok(bytes)) => {
                let (gate, shared, now) = (&mut self.gate, &self.shared, Stamp::now());
                let pass = gate.pass(bytes, now, self.id, &mut self.follower, shared);
                self.up.queue(&pass);
                Poll::Ready(true)
            }
        })
    }

    /// Reads what is still to come of the first request, or the beginning of what is much: the
    /// request's id and method stand there.
    fn poll_first_body(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.follower.is_asking()
            && self.gate.refusal.is_none()
            && self.up.pending().len() < CHUNK
        {
            match self.poll_queue(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(true) => {}
                Poll::Ready(false) => break,
            }
        }
        Poll::Ready(())
    }

    /// Connects to the upstream, or tells the client why that is not possible.
    async fn connect(&mut self) -> Option<TcpStream> {
        let shared = Arc::clone(&self.shared);
        let settings = &shared.settings;
        let connecting = timeout(settings.connect_timeout, TcpStream::connect(&settings.upstream));
        let reason = match connecting.await {
            Ok(Ok(upstream)) => {
                let _ = upstream.set_nodelay(true);
                self.shared.note_upstream(self.id, true);
                return Some(upstream);
            }
            Ok(Err(error)) => in_words(&error),
            Err(_) => format!("no answer within {:?}", settings.connect_timeout),
        };
        self.shared.note_upstream(self.id, false);
        let _ = timeout(BODY_WITHIN, poll_fn(|context| self.poll_first_body(context))).await;
        let upstream = &settings.upstream;
        let answer = answer::unreachable(upstream, &reason, self.up.pending(), self.gate.preflight);
        answer::give(&mut self.client, &answer).await;
        let (observer, now) = (&shared.observer, Stamp::now());
        let Answer { status, size, .. } = answer;
        self.follower.unreachable(status, size, now, &mut |told| observer.tell(told));
        answer::drain(&mut self.client).await;
        None
    }

    async fn refuse(&mut self, answer: &Answer) {
        answer::give(&mut self.client, answer).await;
        answer::drain(&mut self.client).await;
    }

    /// Moves bytes both ways until nothing can move or the connection is over.
    fn poll(
        &mut self,
        upstream: &mut TcpStream,
        lingering: &mut Option<Pin<Box<Sleep>>>,
        context: &mut Context<'_>,
    ) -> Poll<Over> {
        loop {
            let up = match self.poll_up(upstream, context) {
                Step::Over(over) => return Poll::Ready(over),
                Step::Moved => true,
                Step::Stuck => false,
            };
            let down = match self.poll_down(upstream, context) {
                Step::Over(over) => return Poll::Ready(over),
                Step::Moved => true,
                Step::Stuck => false,
            };
            if up || down {
                if let Some(lingering) = lingering {
                    let until = Instant::now() + self.shared.settings.half_closed_timeout;
                    lingering.as_mut().reset(until);
                }
                continue;
            }
            if let Some(over) = self.is_over() {
                return Poll::Ready(over);
            }
            // The upstream has closed; a client that neither closes nor sends is not waited for. Or
            // the client has, and what it sent waits for an answer that does not come.
            let unanswered = self.up.state == State::Ending && self.gate.is_waiting();
            if self.down.state == State::Ended || unanswered {
                let pause = self.shared.settings.half_closed_timeout;
                let lingering =
                    lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
                if lingering.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Over::Closed);
                }
            }
            return Poll::Pending;
        }
    }

    /// Whether there is nothing left to wait for, now that nothing can move.
    fn is_over(&mut self) -> Option<Over> {
        // The client is gone. What it had sent before is passed on as far as the upstream takes it:
        // one that waits for its response to be read would never take it.
        if self.down.state == State::Dead && (self.up.is_over() || !self.up.is_clear()) {
            return Some(Over::ClientReset);
        }
        // The upstream is gone. What it had answered before is passed on until its end is read.
        if self.up.state == State::Dead && self.down.is_over() {
            return Some(Over::UpstreamReset);
        }
        if self.up.is_over() && self.down.is_over() {
            return Some(Over::Closed);
        }
        if self.gate.refusal.is_some() && self.down.is_clear() {
            if self.down.is_over() {
                return Some(Over::Closed);
            }
            if self.follower.is_answered() {
                return self.gate.refusal.take().map(Over::Refused);
            }
        }
        // A part of a head that the gate holds is no request yet: nobody waits for its answer.
        let at_rest = self.up.is_clear() && self.down.is_clear() && !self.gate.is_waiting();
        let idle = at_rest && self.follower.is_idle();
        (idle && self.shared.is_draining()).then_some(Over::Closed)
    }

    /// A step from the client to the upstream.
    fn poll_up(&mut self, upstream: &mut TcpStream, context: &mut Context<'_>) -> Step {
        if self.up.is_over() {
            return Step::Stuck;
        }
        if !self.up.is_clear() {
            let (before, at) = (self.up.written, Stamp::now());
            let flushed = self.up.flush(upstream, context);
            if self.up.written != before {
                self.requests_written(at);
                if before == 0 {
                    // While the node works: the client may close as soon as it has its response.
                    self.shared.observer.wake_recorder();
                }
            }
            return match flushed {
                Poll::Ready(Ok(())) => Step::Moved,
                Poll::Ready(Err(_)) => self.upstream_takes_no_more(),
                Poll::Pending => Step::Stuck,
            };
        }
        if self.gate.is_waiting() && !self.follower.is_undecided() {
            return self.pass(upstream, context, &[]);
        }
        if self.up.state == State::Ending {
            if self.gate.is_waiting() && !self.shared.guard.is_open() {
                return Step::Stuck;
            }
            return match Pin::new(upstream).poll_shutdown(context) {
                Poll::Ready(_) => {
                    self.up.state = State::Ended;
                    Step::Moved
                }
                Poll::Pending => Step::Stuck,
            };
        }
        if self.gate.refusal.is_some() || self.gate.is_full() {
            return Step::Stuck;
        }
        SCRATCH.with_borrow_mut(|scratch| match read(&mut self.client, context, scratch) {
            Poll::Pending => Step::Stuck,
            Poll::Ready(Err(_)) => {
                self.gone(Closer::Client);
                Step::Over(Over::ClientReset)
            }
            Poll::Ready(Ok([])) => {
                self.gone(Closer::Client);
                self.up.state = State::Ending;
                Step::Moved
            }
            Poll::Ready(Ok(bytes)) => self.pass(upstream, context, bytes),
        })
    }

    /// Passes on what may pass of `bytes` and of what was held back before them.
    fn pass(&mut self, upstream: &mut TcpStream, context: &mut Context<'_>, bytes: &[u8]) -> Step {
        let (gate, shared, now) = (&mut self.gate, &self.shared, Stamp::now());
        let pass = gate.pass(bytes, now, self.id, &mut self.follower, shared);
        let at = Stamp::now();
        match self.up.write(upstream, context, &pass) {
            Ok(()) => {
                self.requests_written(at);
                Step::Moved
            }
            Err(_) => self.upstream_takes_no_more(),
        }
    }

    /// A step from the upstream to the client.
    fn poll_down(&mut self, upstream: &mut TcpStream, context: &mut Context<'_>) -> Step {
        if self.down.is_over() {
            return Step::Stuck;
        }
        if !self.down.is_clear() {
            let before = self.down.written;
            let flushed = self.down.flush(&mut self.client, context);
            if self.down.written != before {
                self.responses_written(Stamp::now());
            }
            return match flushed {
                Poll::Ready(Ok(())) => Step::Moved,
                Poll::Ready(Err(_)) => self.client_takes_no_more(),
                Poll::Pending => Step::Stuck,
            };
        }
        match self.down.state {
            State::Resetting => return Step::Over(Over::UpstreamReset),
            State::Ending => {
                return match Pin::new(&mut self.client).poll_shutdown(context) {
                    Poll::Ready(_) => {
                        self.down.state = State::Ended;
                        Step::Moved
                    }
                    Poll::Pending => Step::Stuck,
                };
            }
            State::Open | State::Ended | State::Dead => {}
        }
        SCRATCH.with_borrow_mut(|scratch| match read(upstream, context, scratch) {
            Poll::Pending => Step::Stuck,
            Poll::Ready(Err(_)) => {
                self.gone(Closer::Upstream);
                self.down.state = State::Resetting;
                Step::Moved
            }
            Poll::Ready(Ok([])) => {
                let at = Stamp::now();
                self.follower.upstream_closed(at);
                self.responses_written(at);
                self.gone(Closer::Upstream);
                self.down.state = State::Ending;
                Step::Moved
            }
            Poll::Ready(Ok(bytes)) => {
                let read = Stamp::now();
                // Written before it is followed: the client does not wait for the observing.
                let written = self.down.write(&mut self.client, context, bytes);
                let at = Stamp::now();
                let observer = &self.shared.observer;
                self.follower.from_upstream(bytes, read, &mut |told| observer.tell(told));
                self.responses_written(at);
                match written {
                    Ok(()) => Step::Moved,
                    Err(_) => self.client_takes_no_more(),
                }
            }
        })
    }

    /// `at` is from before the writing: while that returns, a node that mines at once is done.
    fn requests_written(&mut self, at: Stamp) {
        let observer = &self.shared.observer;
        self.follower.to_upstream(self.up.written, at, &mut |told| observer.tell(told));
        self.tell_bytes(at);
    }

    fn responses_written(&mut self, at: Stamp) {
        let shared = &self.shared;
        self.follower.to_client(self.down.written, at, &mut |told| shared.passed_on(told));
        self.tell_bytes(at);
    }

    fn tell_bytes(&mut self, at: Stamp) {
        if let Some(passed) = self.meter.passed(self.up.written, self.down.written, at) {
            self.shared.observer.tell(Observation::Connection(self.id, at, passed));
        }
    }

    fn gone(&mut self, who: Closer) {
        self.first_gone.get_or_insert_with(|| (who, Stamp::now()));
    }

    /// The upstream may have answered before it closed: that is still passed on.
    fn upstream_takes_no_more(&mut self) -> Step {
        self.gone(Closer::Upstream);
        self.up.die();
        Step::Moved
    }

    /// The client may have sent something before it left: that is still passed on.
    fn client_takes_no_more(&mut self) -> Step {
        self.gone(Closer::Client);
        self.down.die();
        Step::Moved
    }
}

impl Drop for Connection {
    /// Tells what was under way, however the connection came to its end.
    fn drop(&mut self) {
        let observer = &self.shared.observer;
        let now = Stamp::now();
        let (by, at) = self.first_gone.unwrap_or((Closer::Proxy, now));
        let end = match by {
            Closer::Client => End::ClientGone,
            Closer::Upstream => End::UpstreamGone,
            // Whatever is under way is cut off by nothing but the shutdown.
            Closer::Proxy => End::Stopped,
        };
        let upgraded = self.follower.was_upgraded();
        self.follower.finish(end, at, &mut |told| observer.tell(told));
        if let Some(passed) = self.meter.rest(self.up.written, self.down.written) {
            observer.tell(Observation::Connection(self.id, now, passed));
        }
        let closed = ConnectionEvent::Closed {
            proxy: Proxy::Rpc,
            connection: self.id,
            by,
            upgraded,
            sent: self.up.written,
            received: self.down.written,
        };
        observer.tell(Observation::Connection(self.id, now, closed));
    }
}

/// Reads what there is, at most a chunk. Empty means that the sender ended. A read that does not
/// fill the buffer is known to have emptied the socket, so it is not followed by another.
fn read<'a>(
    from: &mut TcpStream,
    context: &mut Context<'_>,
    scratch: &'a mut [u8],
) -> Poll<io::Result<&'a [u8]>> {
    let mut buffer = ReadBuf::new(scratch);
    match Pin::new(from).poll_read(context, &mut buffer) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) => {
            let count = buffer.filled().len();
            Poll::Ready(Ok(&scratch[..count]))
        }
    }
}

/// Closing this socket will reset its connection: the other side did the same.
fn reset(socket: &TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        _ => error.to_string(),
    }
}
