//! The innermost service: sends a request to the API and waits for the response's head.
//!
//! A request is handed to a connection once. If the connection turns out to have been closed before
//! any of it was written, hyper gives the request back and it goes to another connection; in every
//! other case the API may have acted on it, and the client is told instead.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response, StatusCode, header, response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::body::{Meter, Streaming, Upload};
use super::client::Client;
use super::connection::{Connection, Marks};
use super::headers::clean_response;
use super::message::{Answer, Passing, Source};
use super::record::Record;
use super::shared::Shared;
use super::tunnel::Tunnel;
use crate::model::{End, Stamp};

/// How long the upstream may take to agree to a body before it is sent anyway: servers of HTTP/1.0
/// and careless ones never do (RFC 9110 10.1.1 forbids waiting for ever).
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends requests to the API.
pub(super) struct Upstream {
    shared: Rc<Shared>,
}

/// How waiting for a response's head ended.
enum Waited {
    Answered(Response<Incoming>),
    Failed(TrySendError<Request<Upload>>),
    Overdue,
}

impl Upstream {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { shared }
    }
}

impl Service<Passing> for Upstream {
    type Response = Answer;
    type Error = Infallible;
    /// The one box of a request's way through the layers.
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, passing: Passing) -> Self::Future {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move { Ok(exchange(&shared, passing).await) })
    }
}

async fn exchange(shared: &Shared, passing: Passing) -> Answer {
    let Passing { request, mut record, wants_upgrade } = passing;
    let (mut request, gate) = with_upload(request, &mut record);
    loop {
        let pooled = poll_fn(|cx| Poll::Ready(shared.pool.take(cx))).await;
        let mut connection = match pooled {
            Some(connection) => connection,
            None => match shared.pool.connector.connect(&shared.settings).await {
                Ok(connection) => {
                    shared.tell_reachable(record.client.id, true);
                    connection
                }
                Err(error) => {
                    shared.tell_reachable(record.client.id, false);
                    return unreachable(shared, record, &error);
                }
            },
        };
        connection.marks.begin();
        let gate = gate.clone().map(|gate| Gate::new(gate, &connection));
        let limit = shared.settings.first_byte_timeout;
        match wait(&record.client, &mut connection, request, gate, limit).await {
            Waited::Answered(response) => {
                record.answered(response.status().as_u16(), &connection.marks);
                return answer(shared, response, connection, record, wants_upgrade).await;
            }
            Waited::Failed(mut failed) => match failed.take_message() {
                Some(unsent) => request = unsent,
                None => return gone(shared, record, &failed.into_error(), &connection.marks),
            },
            Waited::Overdue => return overdue(shared, record, &connection.marks),
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

/// Sends the request and drives the connection until the response's head is there.
async fn wait(
    client: &Client,
    connection: &mut Connection,
    request: Request<Upload>,
    mut gate: Option<Gate>,
    limit: Option<Duration>,
) -> Waited {
    let handed = Stamp::now();
    let sent = client.quietly(|| connection.sender.try_send_request(request));
    let mut response = pin!(sent);
    poll_fn(|cx| {
        connection.drive(cx);
        if let Some(gate) = &mut gate
            && gate.poll(cx)
        {
            connection.drive(cx);
        }
        // Only driving the connection brings the response, so nobody need be woken for it.
        match response.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => Poll::Ready(Waited::Answered(response)),
            Poll::Ready(Err(failed)) => Poll::Ready(Waited::Failed(failed)),
            Poll::Pending if is_overdue(connection, handed, limit, cx) => {
                Poll::Ready(Waited::Overdue)
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
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

/// Makes the answer of the upstream's response.
async fn answer(
    shared: &Shared,
    response: Response<Incoming>,
    mut connection: Box<Connection>,
    record: Record,
    wants_upgrade: bool,
) -> Answer {
    let (mut head, incoming) = response.into_parts();
    let keep_alive = clean_response(&mut head);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return switch(shared, head, connection, record, wants_upgrade).await;
    }
    one_length(&mut head);
    let marks = Rc::clone(&connection.marks);
    let sending = record.meter.as_ref().is_some_and(|m| !m.is_done() && !m.is_held());
    let connection = if sending {
        // The response began before the request was whole. From here on both ways must move
        // independently: a client that sends all before it reads would otherwise wait for itself.
        tokio::task::spawn_local(poll_fn(move |cx| {
            if connection.drive(cx) { Poll::Pending } else { Poll::Ready(()) }
        }));
        None
    } else {
        Some(connection)
    };
    let streaming = Streaming { incoming, connection, marks, record: Some(record), keep_alive };
    Answer { head, source: Source::Upstream(streaming) }
}

/// The upstream switched protocols: takes the socket out of hyper's hands.
async fn switch(
    shared: &Shared,
    head: response::Parts,
    mut connection: Box<Connection>,
    record: Record,
    wants_upgrade: bool,
) -> Answer {
    if !wants_upgrade {
        let message = format!(
            "The API at {} switched protocols (101) though the request did not ask for it.",
            shared.settings.upstream.authority()
        );
        let status = StatusCode::BAD_GATEWAY;
        return Answer::own(record, End::UpstreamGone, status, "upstream_protocol", &message);
    }
    poll_fn(|cx| if connection.drive(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
    let (upstream, early) = connection.into_io();
    record.client.tunnel.replace(Some(Tunnel { upstream, early }));
    Answer { head, source: Source::Switched(record) }
}

/// Several equal lengths become one; hyper has refused different ones.
fn one_length(head: &mut response::Parts) {
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next(), lengths.next()) {
        let first = first.clone();
        head.headers.insert(header::CONTENT_LENGTH, first);
    }
}

fn unreachable(shared: &Shared, record: Record, error: &std::io::Error) -> Answer {
    let authority = shared.settings.upstream.authority();
    let message = format!(
        "The API at {authority} cannot be reached: {error}. Start it (for Flask: `flask run --port \
         {}`), or correct the upstream in the configuration.",
        authority.rsplit(':').next().unwrap_or_default()
    );
    let status = StatusCode::BAD_GATEWAY;
    Answer::own(record, End::Unreachable, status, "upstream_unreachable", &message)
}

fn gone(shared: &Shared, mut record: Record, error: &hyper::Error, marks: &Marks) -> Answer {
    if record.meter.as_ref().is_some_and(|meter| meter.has_failed()) {
        // Nobody is there to read this; hyper is about to find out.
        let message = "The request's body broke off.";
        let status = StatusCode::BAD_REQUEST;
        return Answer::own(record, End::ClientGone, status, "client_gone", message);
    }
    record.sent(marks);
    let authority = shared.settings.upstream.authority();
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
         request. `first_byte_timeout` sets the limit.",
        shared.settings.upstream.authority(),
        shared.settings.first_byte_timeout.unwrap_or_default()
    );
    Answer::own(record, End::TimedOut, StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", &message)
}
