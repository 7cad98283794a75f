//! The layer that asks the guard whether `Host` and `Origin` may pass.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::{HeaderMap, Response, header};
use tower::Service;

use super::body::Download;
use super::message::{Arrival, refuse};
use super::refusals::Either;
use super::seen::Seen;

/// Refuses requests of foreign pages.
pub(super) struct Admission<S> {
    inner: S,
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
    type Future = Either<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let headers = arrival.request.headers();
        // A request without `Host` came here only as HTTP/1.0, which no browser speaks.
        let host = headers.get(header::HOST).map_or(&b"localhost"[..], |host| host.as_bytes());
        let origin = if arrival.seen.has(Seen::ORIGIN) { origin(headers) } else { None };
        match arrival.client.shared.guard.admit(Some(host), origin) {
            Ok(()) => Either::Passed(self.inner.call(arrival)),
            Err(refusal) => {
                let (status, reason, message) = (refusal.status, refusal.reason, refusal.message());
                let response = refuse(&arrival.client, status, reason, &message, false);
                Either::Refused(Some(Box::new(response)))
            }
        }
    }
}

/// The `Origin`; of several, which no browser sends, a text that is never allowed.
fn origin(headers: &HeaderMap) -> Option<&[u8]> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let first = origins.next()?;
    Some(if origins.next().is_some() { b"several origins" } else { first.as_bytes() })
}
