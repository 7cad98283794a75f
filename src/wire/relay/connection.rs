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

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};

use super::accept::Shared;
use super::answer::{self, Answer};
use super::lane::{Lane, State};
use crate::decode::follower::Follower;
use crate::decode::http1::{RequestHead, Requests};
use crate::model::{ConnectionEvent, ConnectionId, End, Observation, Proxy, Stamp};
use crate::wire::guard::Refusal;

/// Read at once. One buffer for each thread, used within one step only: an idle connection has none.
const CHUNK: usize = 64 * 1024;

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
    /// A part of a request's head: it passes when the guard has seen all of it.
    held: Vec<u8>,
    /// What to answer in place of passing on, once what was asked before is answered.
    refusal: Option<Answer>,
    /// Whether the first request is a browser's question if it may send another.
    preflight: bool,
    /// Who ended the connection, once somebody did.
    first_gone: Option<End>,
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
        let opened = ConnectionEvent::Opened { proxy: Proxy::Rpc };
        shared.observer.tell(Observation::Connection(id, Stamp::now(), opened));
        let follower = Follower::new(id, peer, shared.limits.clone());
        Self {
            shared,
            id,
            client,
            follower,
            up: Lane::default(),
            down: Lane::default(),
            held: Vec::new(),
            refusal: None,
            preflight: false,
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
            let step =
                SCRATCH.with_borrow_mut(|scratch| match read(&mut self.client, context, scratch) {
                    Poll::Pending => None,
                    Poll::Ready(Err(_) | Ok([])) => Some(Some(Over::Closed)),
                    Poll::Ready(Ok(bytes)) => {
                        let read = Stamp::now();
                        let mut first = std::mem::take(&mut self.held);
                        first.extend_from_slice(bytes);
                        let pass = self.judge(&first, read);
                        self.held = first.split_off(pass);
                        self.up.queue(&first);
                        Some(None)
                    }
                });
            match step {
                None => return Poll::Pending,
                Some(Some(over)) => {
                    // An unfinished head may pass only where nothing is judged by it.
                    if !self.held.is_empty() && self.shared.guard.is_open() {
                        let held = std::mem::take(&mut self.held);
                        self.up.queue(&held);
                        self.end_requests();
                        return Poll::Ready(None);
                    }
                    return Poll::Ready(Some(over));
                }
                Some(None) if !self.up.is_clear() => return Poll::Ready(None),
                Some(None) => {
                    if let Some(answer) = self.refusal.take() {
                        return Poll::Ready(Some(Over::Refused(answer)));
                    }
                }
            }
        }
    }

    /// Connects to the upstream, or tells the client why that is not possible.
    async fn connect(&mut self) -> Option<TcpStream> {
        let settings = &self.shared.settings;
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
        let upstream = &settings.upstream;
        let answer = answer::unreachable(upstream, &reason, self.up.pending(), self.preflight);
        answer::give(&mut self.client, &answer).await;
        let observer = &self.shared.observer;
        self.follower.unreachable(answer.status, Stamp::now(), &mut |told| observer.tell(told));
        None
    }

    async fn refuse(&mut self, answer: &Answer) {
        answer::give(&mut self.client, answer).await;
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
            // The upstream has closed; a client that neither closes nor sends is not waited for.
            if self.down.state == State::Ended {
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
        if self.down.state == State::Dead {
            // The client is gone; what it had sent before was passed on.
            return Some(Over::ClientReset);
        }
        if self.up.state == State::Dead && self.down.is_clear() {
            return Some(Over::UpstreamReset);
        }
        if self.up.is_over() && self.down.is_over() {
            return Some(Over::Closed);
        }
        if self.refusal.is_some() && self.down.is_clear() {
            if self.down.is_over() {
                return Some(Over::Closed);
            }
            if self.follower.is_answered() {
                return self.refusal.take().map(Over::Refused);
            }
        }
        let at_rest = self.up.is_clear() && self.down.is_clear() && self.held.is_empty();
        let idle = at_rest && self.follower.is_idle();
        (idle && self.shared.is_draining()).then_some(Over::Closed)
    }

    /// A step from the client to the upstream.
    fn poll_up(&mut self, upstream: &mut TcpStream, context: &mut Context<'_>) -> Step {
        if self.up.is_over() {
            return Step::Stuck;
        }
        if !self.up.is_clear() {
            let before = self.up.written;
            let flushed = self.up.flush(upstream, context);
            if self.up.written != before {
                self.requests_written();
            }
            return match flushed {
                Poll::Ready(Ok(())) => Step::Moved,
                Poll::Ready(Err(_)) => self.upstream_takes_no_more(),
                Poll::Pending => Step::Stuck,
            };
        }
        if self.up.state == State::Ending {
            return match Pin::new(upstream).poll_shutdown(context) {
                Poll::Ready(_) => {
                    self.up.state = State::Ended;
                    Step::Moved
                }
                Poll::Pending => Step::Stuck,
            };
        }
        if self.refusal.is_some() {
            return Step::Stuck;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            match read(&mut self.client, context, scratch) {
                Poll::Pending => Step::Stuck,
                Poll::Ready(Err(_)) => {
                    self.first_gone.get_or_insert(End::ClientGone);
                    Step::Over(Over::ClientReset)
                }
                Poll::Ready(Ok([])) => {
                    if self.shared.guard.is_open() {
                        let held = std::mem::take(&mut self.held);
                        self.up.queue(&held);
                    }
                    self.end_requests();
                    Step::Moved
                }
                Poll::Ready(Ok(bytes)) => {
                    let read = Stamp::now();
                    let written = if self.held.is_empty() {
                        let pass = self.judge(bytes, read);
                        self.held.extend_from_slice(&bytes[pass..]);
                        self.up.write(upstream, context, &bytes[..pass])
                    } else {
                        let mut joined = std::mem::take(&mut self.held);
                        joined.extend_from_slice(bytes);
                        let pass = self.judge(&joined, read);
                        let written = self.up.write(upstream, context, &joined[..pass]);
                        joined.drain(..pass);
                        // Given back, not kept, when all of it has passed.
                        self.held = if joined.is_empty() { Vec::new() } else { joined };
                        written
                    };
                    match written {
                        Ok(()) => {
                            self.requests_written();
                            Step::Moved
                        }
                        Err(_) => self.upstream_takes_no_more(),
                    }
                }
            }
        })
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
                self.first_gone.get_or_insert(End::UpstreamGone);
                self.down.state = State::Resetting;
                Step::Moved
            }
            Poll::Ready(Ok([])) => {
                let at = Stamp::now();
                self.follower.upstream_closed(at);
                self.responses_written(at);
                self.first_gone.get_or_insert(End::UpstreamGone);
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

    /// Follows a client's bytes and answers how many of them may pass. Sets what to answer when the
    /// rest is refused.
    fn judge(&mut self, bytes: &[u8], read: Stamp) -> usize {
        let Shared { guard, observer, .. } = &*self.shared;
        let (mut refused, mut preflight) = (None, false);
        let admit = |head: &RequestHead<'_>| {
            preflight = head.preflight;
            if guard.is_open() {
                return true;
            }
            // No browser speaks HTTP/1.0 without a Host, so there is nothing to be protected from.
            let host = if head.minor == 0 { head.host.or(Some(b"localhost")) } else { head.host };
            let judged = if head.hosts > 1 {
                Err(None)
            } else {
                guard.admit(host, head.origin).map_err(Some)
            };
            judged.map_err(|refusal| refused = Some(refusal)).is_ok()
        };
        let followed =
            self.follower.from_client(bytes, read, admit, &mut |told| observer.tell(told));
        self.preflight = preflight;
        let (pass, status, reason, message) = match followed {
            Requests::Followed | Requests::Lost(_) => return bytes.len(),
            Requests::HeadAt(at) => return at,
            Requests::RefusedAt(at) => match refused.flatten() {
                Some(refusal) => (at, refusal.status, refusal.reason, Refusal::message(&refusal)),
                None => {
                    (at, 400, "host_repeated", "a request must have one Host header".to_owned())
                }
            },
            Requests::UnreadableAt { .. } if guard.is_open() => {
                self.follower.pass_unreadable(read, &mut |told| observer.tell(told));
                return bytes.len();
            }
            // Where nobody can tell what is asked for, nobody can tell who asks.
            Requests::UnreadableAt { at, too_long: true } => {
                (at, 431, "head_too_long", "a request's head is longer than 64 KiB".to_owned())
            }
            Requests::UnreadableAt { at, too_long: false } => {
                (at, 400, "head_unreadable", "this is not an HTTP/1.1 request".to_owned())
            }
        };
        let event = ConnectionEvent::Refused { proxy: Proxy::Rpc, status, reason };
        observer.tell(Observation::Connection(self.id, read, event));
        self.refusal = Some(answer::refusal(status, &message));
        pass
    }

    fn end_requests(&mut self) {
        self.first_gone.get_or_insert(End::ClientGone);
        self.up.state = State::Ending;
    }

    fn requests_written(&mut self) {
        let observer = &self.shared.observer;
        self.follower.to_upstream(self.up.written, Stamp::now(), &mut |told| observer.tell(told));
    }

    fn responses_written(&mut self, at: Stamp) {
        let observer = &self.shared.observer;
        self.follower.to_client(self.down.written, at, &mut |told| observer.tell(told));
    }

    /// The upstream may have answered before it closed: that is still passed on.
    fn upstream_takes_no_more(&mut self) -> Step {
        self.first_gone.get_or_insert(End::UpstreamGone);
        self.up.die();
        Step::Moved
    }

    /// The client may have sent something before it left: that is still passed on.
    fn client_takes_no_more(&mut self) -> Step {
        self.first_gone.get_or_insert(End::ClientGone);
        self.down.die();
        Step::Moved
    }
}

impl Drop for Connection {
    /// Tells what was under way, however the connection came to its end.
    fn drop(&mut self) {
        let observer = &self.shared.observer;
        // Cut off at shutdown, neither side left: to the client that is a server gone away.
        let end = self.first_gone.unwrap_or(End::UpstreamGone);
        let upgraded = self.follower.was_upgraded();
        self.follower.finish(end, &mut |told| observer.tell(told));
        let closed = ConnectionEvent::Closed {
            proxy: Proxy::Rpc,
            connection: self.id,
            upgraded,
            sent: self.up.written,
            received: self.down.written,
        };
        observer.tell(Observation::Connection(self.id, Stamp::now(), closed));
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
    let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        _ => error.to_string(),
    }
}
