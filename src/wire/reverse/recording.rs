//! The layer that opens the record of an exchange, and closes the gap between an answer and the
//! response that hyper writes: `Server-Timing`, and who tells the record when.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Response};
use tower::Service;

use super::client::Client;
use super::download::Download;
use super::message::{Answer, Arrival, Passing, Source};
use super::record::Record;
use super::seen::Seen;
use crate::model::End;
use crate::wire::cors::CrossOrigin;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Records exchanges.
pub(super) struct Recording<S> {
    inner: S,
}

/// The response, once there is an answer.
pub(super) struct Answering<F> {
    inner: F,
    client: Rc<Client>,
    cross_origin: Option<Box<CrossOrigin>>,
}

impl<S> Recording<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Arrival> for Recording<S>
where
    S: Service<Passing, Response = Answer, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Download>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let Arrival { request, client, followed, seen, trace, wants_upgrade } = arrival;
        let has_origin = seen.has(Seen::ORIGIN);
        let cross_origin = has_origin.then(|| CrossOrigin::of(&request)).flatten().map(Box::new);
        let trace = trace.expect("the tracing layer comes before this one");
        let (method, uri) = (request.method(), request.uri());
        let record = Record::open(Rc::clone(&client), method, uri, followed, trace);
        let inner = self.inner.call(Passing { request, record, wants_upgrade });
        Answering { inner, client, cross_origin }
    }
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Answer, Infallible>> + Unpin,
{
    type Output = Result<Response<Download>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Answer { mut head, source } = std::task::ready!(Pin::new(&mut this.inner).poll(cx))?;
        this.client.begin_response();
        let body = match source {
            Source::Own(body, mut record, end) => {
                if let Some(cross_origin) = this.cross_origin.take() {
                    head.status = cross_origin.allow(head.status, &mut head.headers);
                    record.refused(head.status.as_u16());
                }
                record.finish(end, None);
                Download::Own(body)
            }
            Source::Switched(record) => {
                record.finish(End::Complete, None);
                Download::Empty
            }
            Source::Upstream(mut streaming) => {
                if this.client.shared.settings.server_timing
                    && let Some(record) = &streaming.record
                {
                    head.headers.append(SERVER_TIMING, server_timing(record));
                }
                if http_body::Body::is_end_stream(&streaming.incoming) {
                    streaming.finish(cx);
                    Download::Empty
                } else {
                    Download::Streaming(streaming)
                }
            }
        };
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

/// `proxy;dur=0.123, rpc;dur=8.250;desc="3 calls"`, in milliseconds: what the proxy itself has added up
/// to now, and the node's time for the calls that named the request's trace.
fn server_timing(record: &Record) -> HeaderValue {
    const LONGEST: usize = 120;
    let parts = |duration: Duration| (duration.as_micros() / 1_000, duration.as_micros() % 1_000);
    let mut text = [0; LONGEST];
    let mut left = &mut text[..];
    // They hold any number of microseconds that two durations can, and any count of calls.
    let (millis, micros) = parts(record.overhead());
    let _ = write!(left, "proxy;dur={millis}.{micros:03}");
    let made = record.calls_made();
    if made.exchanges > 0 {
        let (millis, micros) = parts(made.took);
        let plural = if made.exchanges == 1 { "" } else { "s" };
        let count = made.exchanges;
        let _ = write!(left, ", rpc;dur={millis}.{micros:03};desc=\"{count} call{plural}\"");
    }
    let length = LONGEST - left.len();
    HeaderValue::from_bytes(&text[..length]).unwrap_or(HeaderValue::from_static("proxy"))
}
