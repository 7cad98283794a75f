//! The layer that lets requests in or refuses them: first those that two readers could understand
//! differently, then those of foreign pages, whose `Host` and `Origin` the guard judges.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Response, header};
use tower::Service;

use super::download::Download;
use super::message::{Arrival, refuse};
use super::refusals::{Refused, examine};
use super::seen::Seen;
use crate::wire::cors::CrossOrigin;

/// Refuses what must not reach the API.
pub(super) struct Admission<S> {
    inner: S,
}

/// Either an answer at once or the inner service's.
pub(super) enum Admitted<F> {
    Refused(Option<Box<Response<Download>>>),
    Passed(F),
}

impl<S> Admission<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Arrival> for Admission<S>
where
    S: Service<Arrival, Response = Response<Download>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Download>;
    type Error = Infallible;
    type Future = Admitted<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut arrival: Arrival) -> Self::Future {
        let Some(mut response) = ambiguity(&mut arrival).or_else(|| foreign(&arrival)) else {
            return Admitted::Passed(self.inner.call(arrival));
        };
        let origin = origin(arrival.request.headers());
        if origin.is_some_and(|origin| arrival.client.shared.guard.admits_origin(origin))
            && let Some(cross_origin) = CrossOrigin::of(&arrival.request)
        {
            *response.status_mut() = cross_origin.allow(response.status(), response.headers_mut());
        }
        Admitted::Refused(Some(Box::new(response)))
    }
}

impl<F> Future for Admitted<F>
where
    F: Future<Output = Result<Response<Download>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Refused(response) => {
                let response = response.take().expect("a future is not polled after it is ready");
                Poll::Ready(Ok(*response))
            }
            Self::Passed(future) => Pin::new(future).poll(cx),
        }
    }
}

/// The answer to a request that could be understood in two ways. It ends the connection: what
/// comes next on it could be a part of the same request.
fn ambiguity(arrival: &mut Arrival) -> Option<Response<Download>> {
    let judged = match arrival.followed.flaw {
        Some(flaw) => Err(Refused::from(flaw)),
        None => examine(&mut arrival.request),
    };
    let Refused { status, reason, message } = judged.err()?;
    Some(refuse(&arrival.client, status, reason, message, true))
}

/// The answer to a request of a foreign page.
fn foreign(arrival: &Arrival) -> Option<Response<Download>> {
    let headers = arrival.request.headers();
    // A request without `Host` came here only as HTTP/1.0, which no browser speaks.
    let host = headers.get(header::HOST).map_or(&b"localhost"[..], |host| host.as_bytes());
    let origin = if arrival.seen.has(Seen::ORIGIN) { origin(headers) } else { None };
    let refusal = arrival.client.shared.guard.admit(Some(host), origin).err()?;
    Some(refuse(&arrival.client, refusal.status, refusal.reason, &refusal.message(), false))
}

/// The `Origin`; of several, which no browser sends, a text that is never allowed.
fn origin(headers: &HeaderMap) -> Option<&[u8]> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let first = origins.next()?;
    Some(if origins.next().is_some() { b"several origins" } else { first.as_bytes() })
}
