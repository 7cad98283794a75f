//! The innermost service: sends a request to the API and waits for the response's head.
//!
//! A request is handed to a connection once. If the connection turns out to have been closed before
//! any of it was written, hyper gives the request back and it goes to another connection; in every
//! other case the API may have acted on it, and the client is told instead.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Request, Response, StatusCode, header, response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::connection::{Connection, Marks};
use super::download::Streaming;
use super::headers::clean_response;
use super::message::{Answer, Passing, Source};
use super::record::Record;
use super::seen::Seen;
use super::shared::Shared;
use super::tunnel::Tunnel;
use super::upload::{Meter, Upload};
use crate::model::{End, Stamp};

/// How long the upstream may take to agree to a body before it is sent anyway: servers of HTTP/1.0
/// and careless ones never do (RFC 9110 10.1.1 forbids waiting for ever).
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends requests to the API.
pub(super) struct Upstream {
    shared: Rc<Shared>,
}

impl Upstream {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { shared }
    }
}

impl Service<Passing> for Upstream {
    type Response = Answer;
    type Error = Infallible;
    type Future = Exchanging;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, passing: Passing) -> Exchanging {
        let Passing { request, mut record, wants_upgrade } = passing;
        let (request, gate) = with_upload(request, &mut record);
        Exchanging {
            shared: Rc::clone(&self.shared),
            record: Some(record),
            gate,
            wants_upgrade,
            step: Step::Unsent(request),
        }
    }
}

/// A request on its way to an answer. Written by hand: as an `async fn` it would be two kilobytes
/// on the heap for each request.
pub(super) struct Exchanging {
    shared: Rc<Shared>,
    /// Taken by the answer.
    record: Option<Record>,
    gate: Option<Arc<AtomicBool>>,
    wants_upgrade: bool,
    step: Step,
}

type Sent = dyn Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>>;

enum Step {
    Unsent(Request<Upload>),
    /// No connection was idle; one is being opened.
    Opening(Request<Upload>, Pin<Box<dyn Future<Output = io::Result<Box<Connection>>>>>),
    Waiting(Waiting),
    /// The upstream switched protocols.
    Switching(Pin<Box<dyn Future<Output = Answer>>>),
    Done,
}

/// A request that was handed to a connection.
struct Waiting {
    connection: Box<Connection>,
    response: Pin<Box<Sent>>,
    gate: Option<Box<Gate>>,
    handed: Stamp,
}

impl Future for Exchanging {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            // Looked at in place: this step is polled the most, and moving it costs.
            if let Step::Waiting(waiting) = &mut this.step {
                let limit = this.shared.settings.first_byte_timeout;
                let waited = ready!(waiting.poll(limit, cx));
                if let Some(answer) = this.waited(waited) {
                    return Poll::Ready(Ok(answer));
                }
            }
            match std::mem::replace(&mut this.step, Step::Done) {
                Step::Unsent(request) => {
                    let now = Stamp::now();
                    match this.shared.pool.take(now, cx) {
                        Some(connection) => this.send(request, connection, now),
                        None => this.open(request),
                    }
                }
                Step::Opening(request, mut opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready(Ok(connection)) => {
                        this.shared.tell_reachable(this.record().client.id, true);
                        this.send(request, connection, Stamp::now());
                    }
                    Poll::Ready(Err(error)) => {
                        let record = this.take_record();
                        this.shared.tell_reachable(record.client.id, false);
                        return Poll::Ready(Ok(unreachable(&this.shared, record, &error)));
                    }
                    Poll::Pending => {
                        this.step = Step::Opening(request, opening);
                        return Poll::Pending;
                    }
                },
                Step::Switching(mut switching) => {
                    let polled = switching.as_mut().poll(cx);
                    if polled.is_pending() {
                        this.step = Step::Switching(switching);
                    }
                    return polled.map(Ok);
                }
                Step::Waiting(_) | Step::Done => {
                    unreachable!("a future is not polled after it is ready")
                }
            }
        }
    }
}

impl Exchanging {
    fn open(&mut self, request: Request<Upload>) {
        let shared = Rc::clone(&self.shared);
        let opening = async move { shared.pool.connector.connect(&shared.settings).await };
        self.step = Step::Opening(request, Box::pin(opening));
    }

    fn send(&mut self, request: Request<Upload>, mut connection: Box<Connection>, now: Stamp) {
        connection.marks.begin();
        let gate = self.gate.clone().map(|gate| Box::new(Gate::new(gate, &connection)));
        let client = &self.record().client;
        let response = client.quietly(|| connection.sender.try_send_request(request));
        let response = Box::pin(response);
        self.step = Step::Waiting(Waiting { connection, response, gate, handed: now });
    }

    /// The answer; none when the request goes to another connection.
    fn waited(&mut self, waited: Waited) -> Option<Answer> {
        let Step::Waiting(Waiting { connection, .. }) =
            std::mem::replace(&mut self.step, Step::Done)
        else {
            unreachable!("called only while waiting")
        };
        match waited {
            Ok(Some(response)) => {
                let mut record = self.take_record();
                record.answered(response.status().as_u16(), &connection.marks);
                self.answer(response, connection, record)
            }
            Ok(None) => {
                let record = self.take_record();
                Some(overdue(&self.shared, record, &connection.marks))
            }
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => {
                    self.step = Step::Unsent(unsent);
                    None
                }
                None => {
                    let (record, error) = (self.take_record(), failed.into_error());
                    Some(gone(&self.shared, record, &error, &connection.marks))
                }
            },
        }
    }

    /// Makes the answer of the upstream's response; none when it takes another step.
    fn answer(
        &mut self,
        response: Response<Incoming>,
        mut connection: Box<Connection>,
        mut record: Record,
    ) -> Option<Answer> {
        let (mut head, incoming) = response.into_parts();
        let seen = Seen::of(&head.headers);
        record.describe(&head, seen);
        let keep_alive = clean_response(&mut head, seen);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if !self.wants_upgrade {
                return Some(unasked_switch(&self.shared, record));
            }
            self.step = Step::Switching(Box::pin(switch(head, connection, record)));
            return None;
        }
        let marks = Rc::clone(&connection.marks);
        let sending = record.meter.as_ref().is_some_and(|m| !m.is_done() && !m.is_held());
        let connection = if sending {
            // The response began before the request was whole. From here on both ways must move
            // independently: a client that sends all before it reads would otherwise wait for
            // itself.
            tokio::task::spawn_local(poll_fn(move |cx| {
                if connection.drive(cx) { Poll::Pending } else { Poll::Ready(()) }
            }));
            None
        } else {
            Some(connection)
        };
        let record = Some(record);
        let streaming = Streaming { incoming, connection, marks, record, broken: None, keep_alive };
        Some(Answer { head, source: Source::Upstream(streaming) })
    }

    fn record(&self) -> &Record {
        self.record.as_ref().expect("taken only by what ends the exchange")
    }

    fn take_record(&mut self) -> Record {
        self.record.take().expect("taken only by what ends the exchange")
    }
}

/// The response's head; none when the upstream is overdue; the request itself when nothing of it
/// was sent.
type Waited = Result<Option<Response<Incoming>>, TrySendError<Request<Upload>>>;

impl Waiting {
    fn poll(&mut self, limit: Option<Duration>, cx: &mut Context<'_>) -> Poll<Waited> {
        let connection = &mut self.connection;
        connection.drive(cx);
        if let Some(gate) = &mut self.gate
            && gate.poll(cx)
        {
            connection.drive(cx);
        }
        // Only driving the connection brings the response, so nobody need be woken for it.
        match self.response.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Poll::Ready(result.map(Some)),
            Poll::Pending if is_overdue(connection, self.handed, limit, cx) => {
                Poll::Ready(Ok(None))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Wraps the body so that it is counted, and held back where the client waits for a word.
fn with_upload(
    request: Request<Incoming>,
    record: &mut Record,
) -> (Request<Upload>, Option<Arc<AtomicBool>>) {
    let (parts, incoming) = request.into_parts();
    if incoming.is_end_stream() {
        return (Request::from_parts(parts, Upload::Empty), None);
    }
    let expects = parts
        .headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let gate = expects.then(|| Arc::new(AtomicBool::new(false)));
    let meter = Rc::new(Meter::new(gate.clone()));
    record.meter = Some(Rc::clone(&meter));
    let mut request = Request::from_parts(parts, Upload::Streaming { incoming, meter });
    if let Some(gate) = &gate {
        let gate = Arc::clone(gate);
        hyper::ext::on_informational(&mut request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                gate.store(true, Relaxed);
            }
        });
    }
    (request, gate)
}

/// The client waits to be told to send its body.
struct Gate {
    open: Arc<AtomicBool>,
    patience: Pin<Box<Sleep>>,
    marks: Rc<Marks>,
    seen: bool,
}

impl Gate {
    fn new(open: Arc<AtomicBool>, connection: &Connection) -> Self {
        let patience = Box::pin(tokio::time::sleep(PATIENCE));
        Self { open, patience, marks: Rc::clone(&connection.marks), seen: false }
    }

    /// Opens the gate when patience is over. Whether it was opened just now.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if self.seen {
            return false;
        }
        let agreed = self.open.load(Relaxed);
        if agreed {
            self.marks.forget_first_read();
        } else if self.patience.as_mut().poll(cx).is_ready() {
            self.open.store(true, Relaxed);
        } else {
            return false;
        }
        self.seen = true;
        true
    }
}

/// Whether nothing was written for longer than `limit` and no response came. A body that is still
/// being sent is not the upstream's delay.
fn is_overdue(
    connection: &mut Connection,
    handed: Stamp,
    limit: Option<Duration>,
    cx: &mut Context<'_>,
) -> bool {
    let Some(limit) = limit else { return false };
    let marks = &connection.marks;
    let alarm = connection.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
    while alarm.as_mut().poll(cx).is_ready() {
        let waited = Stamp::now().since(marks.last_write().max(handed));
        if waited >= limit {
            return true;
        }
        alarm.as_mut().reset(Instant::now() + (limit - waited));
    }
    false
}

/// Takes the socket out of hyper's hands.
async fn switch(head: response::Parts, mut connection: Box<Connection>, record: Record) -> Answer {
    poll_fn(|cx| if connection.drive(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
    let (upstream, early) = connection.into_io();
    record.client.tunnel.replace(Some(Tunnel { upstream, early }));
    Answer { head, source: Source::Switched(record) }
}

fn unasked_switch(shared: &Shared, record: Record) -> Answer {
    let message = format!(
        "The API at {} switched protocols (101) though the request did not ask for it.",
        shared.settings.upstream
    );
    let status = StatusCode::BAD_GATEWAY;
    Answer::own(record, End::UpstreamGone, status, "upstream_protocol", &message)
}

fn unreachable(shared: &Shared, record: Record, error: &io::Error) -> Answer {
    let authority = &shared.settings.upstream;
    let message = format!(
        "The API at {authority} cannot be reached: {error}. Start it (for Flask: `flask run --port \
         {}`), or correct the upstream in the configuration.",
        authority.port_u16().unwrap_or(80)
    );
    let status = StatusCode::BAD_GATEWAY;
    Answer::own(record, End::Unreachable, status, "upstream_unreachable", &message)
}

fn gone(shared: &Shared, mut record: Record, error: &hyper::Error, marks: &Marks) -> Answer {
    if record.meter.as_ref().is_some_and(|meter| meter.has_failed()) {
        let status = StatusCode::BAD_REQUEST;
        if record.client.is_connected() {
            let message = "The request's body is not what its Transfer-Encoding says: a chunk's \
                           size or end is malformed. The API has seen the part before it.";
            return Answer::own(record, End::Complete, status, "malformed_body", message);
        }
        // Nobody is there to read this; hyper is about to find out.
        let message = "The request's body broke off.";
        return Answer::own(record, End::ClientGone, status, "client_gone", message);
    }
    record.sent(marks);
    let authority = &shared.settings.upstream;
    let what = if error.is_parse() {
        "sent something that is not an HTTP/1.1 response"
    } else {
        "closed the connection before it had answered"
    };
    let message = format!(
        "The API at {authority} {what} ({error}). The request may have been acted upon, so it was \
         not repeated. Look into the API's own log."
    );
    Answer::own(record, End::UpstreamGone, StatusCode::BAD_GATEWAY, "upstream_gone", &message)
}

fn overdue(shared: &Shared, mut record: Record, marks: &Marks) -> Answer {
    record.sent(marks);
    let message = format!(
        "The API at {} did not begin to answer within {:?}. It may still be working on the \
         request. `api.response_timeout_ms` sets the limit.",
        shared.settings.upstream,
        shared.settings.first_byte_timeout.unwrap_or_default()
    );
    Answer::own(record, End::TimedOut, StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", &message)
}
