//! The layer that opens the record of an exchange, and closes the gap between an answer and the
//! response that hyper writes: `Server-Timing`, and who tells the record when.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Response};
use tower::Service;

use super::client::Client;
use super::download::Download;
use super::message::{Answer, Arrival, Passing, Source};
use super::record::Record;
use crate::model::End;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Records exchanges.
pub(super) struct Recording<S> {
    inner: S,
}

/// The response, once there is an answer.
pub(super) struct Answering<F> {
    inner: F,
    client: Rc<Client>,
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
        let Arrival { request, client, followed, trace, wants_upgrade, .. } = arrival;
        let trace = trace.expect("the tracing layer comes before this one");
        let (method, path) = (request.method(), request.uri().path());
        let record = Record::open(Rc::clone(&client), method, path, followed, trace);
        let inner = self.inner.call(Passing { request, record, wants_upgrade });
        Answering { inner, client }
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
            Source::Own(body, record, end) => {
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

/// `proxy;dur=0.123`: what the proxy itself has added up to now, in milliseconds.
fn server_timing(record: &Record) -> HeaderValue {
    let micros = record.overhead().as_micros();
    let mut text = [0; 40];
    let mut left = &mut text[..];
    // 40 bytes hold any number of microseconds that a duration can.
    let _ = write!(left, "proxy;dur={}.{:03}", micros / 1_000, micros % 1_000);
    let length = 40 - left.len();
    HeaderValue::from_bytes(&text[..length]).unwrap_or(HeaderValue::from_static("proxy"))
}
