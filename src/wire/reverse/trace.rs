//! The layer that continues the client's trace, or begins one, so that a request can be found again
//! in the spans and RPC calls it caused.
//!
//! Follows W3C Trace Context: the trace id is kept, the span id is ours, a malformed `traceparent`
//! starts a new trace and takes its `tracestate` along. New traces are marked as sampled: an SDK
//! that samples by its parent would otherwise record nothing.

use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue};
use tower::Service;

use super::ids::Ids;
use super::message::Arrival;
use super::seen::Seen;
use crate::model::TraceContext;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Sets `traceparent`.
pub(super) struct Tracing<S> {
    inner: S,
}

impl<S> Tracing<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Service<Arrival>> Service<Arrival> for Tracing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut arrival: Arrival) -> Self::Future {
        let context = {
            let mut ids = arrival.client.shared.ids.borrow_mut();
            trace(arrival.request.headers_mut(), arrival.seen, &mut ids)
        };
        arrival.trace = Some(context);
        self.inner.call(arrival)
    }
}

/// Sets the headers for the upstream and tells the context they carry.
fn trace(headers: &mut HeaderMap, seen: Seen, ids: &mut Ids) -> TraceContext {
    let parent = if seen.has(Seen::TRACEPARENT) { parent(headers) } else { None };
    let context = match parent {
        Some(parent) => TraceContext { span_id: ids.next(), ..parent },
        None => {
            if seen.has(Seen::TRACESTATE) {
                headers.remove(TRACESTATE);
            }
            let trace_id = u128::from(ids.next()) << 64 | u128::from(ids.next());
            TraceContext { trace_id, span_id: ids.next(), flags: 1 }
        }
    };
    headers.insert(TRACEPARENT, header(context));
    context
}

/// The client's context; none of several, as of a malformed one.
fn parent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(one), None) => TraceContext::parse(one.as_bytes()),
        _ => None,
    }
}

/// `00-<trace id>-<span id>-<flags>`, as `TraceContext::header` makes it, without the formatter.
fn header(context: TraceContext) -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let mut write = |at: usize, digits: usize, mut number: u128| {
        for place in (at..at + digits).rev() {
            text[place] = b"0123456789abcdef"[(number & 15) as usize];
            number >>= 4;
        }
    };
    write(3, 32, context.trace_id);
    write(36, 16, context.span_id.into());
    write(53, 2, context.flags.into());
    HeaderValue::from_bytes(&text).expect("digits and dashes are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_clients_trace_is_continued_with_a_span_of_our_own() {
        let mut headers = headers(&[("traceparent", GIVEN), ("tracestate", "a=b")]);
        let seen = Seen::of(&headers);
        let context = trace(&mut headers, seen, &mut Ids::seeded());
        let given = TraceContext::parse(GIVEN.as_bytes()).expect("valid");
        assert_eq!((context.trace_id, context.flags), (given.trace_id, 0));
        assert_ne!(context.span_id, given.span_id);
        assert_eq!(headers["traceparent"], context.header());
        assert_eq!(headers["tracestate"], "a=b");
    }

    #[test]
    fn none_or_a_malformed_or_a_double_one_begins_a_new_trace() {
        for given in [
            &[("tracestate", "a=b")][..],
            &[("traceparent", "junk"), ("tracestate", "a=b")],
            &[("traceparent", GIVEN), ("traceparent", GIVEN), ("tracestate", "a=b")],
        ] {
            let mut headers = headers(given);
            let seen = Seen::of(&headers);
            let context = trace(&mut headers, seen, &mut Ids::seeded());
            assert_eq!(context.flags, 1);
            assert_eq!(headers.get_all("traceparent").iter().count(), 1);
            assert_eq!(headers["traceparent"], context.header());
            assert!(!headers.contains_key("tracestate"));
        }
    }
}
