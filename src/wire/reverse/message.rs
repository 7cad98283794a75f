//! What the layers hand to each other, and the proxy's own answers.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, response};
use hyper::body::Incoming;

use super::client::Client;
use super::download::{Download, Streaming};
use super::framing::Followed;
use super::record::Record;
use super::seen::Seen;
use crate::model::{ConnectionEvent, End, Proxy, TraceContext};

/// A request as it came, before anybody decided whether it may pass.
pub(super) struct Arrival {
    pub(super) request: Request<Incoming>,
    pub(super) client: Rc<Client>,
    pub(super) followed: Followed,
    /// Which headers the client sent.
    pub(super) seen: Seen,
    /// The context for the upstream, once a layer has set it.
    pub(super) trace: Option<TraceContext>,
    /// The client asks to switch protocols.
    pub(super) wants_upgrade: bool,
}

/// A request that passes, with the record of it.
pub(super) struct Passing {
    pub(super) request: Request<Incoming>,
    pub(super) record: Record,
    pub(super) wants_upgrade: bool,
}

/// What is answered to a request that passed.
pub(super) struct Answer {
    pub(super) head: response::Parts,
    pub(super) source: Source,
}

/// Where an answer's body comes from.
pub(super) enum Source {
    /// The proxy itself: the exchange ended so.
    Own(Bytes, Record, End),
    Upstream(Streaming),
    /// The upstream switched protocols; there is no body.
    Switched(Record),
}

impl Answer {
    /// The proxy's own answer to a request that the upstream did not answer.
    pub(super) fn own(
        mut record: Record,
        end: End,
        status: StatusCode,
        reason: &str,
        message: &str,
    ) -> Self {
        record.refused(status.as_u16());
        let (head, body) = own_message(status, reason, message).into_parts();
        record.received(body.len());
        Self { head, source: Source::Own(body, record, end) }
    }
}

/// A refusal, told and answered. `close` ends the connection after it.
pub(super) fn refuse(
    client: &Client,
    status: u16,
    reason: &'static str,
    message: &str,
    close: bool,
) -> Response<Download> {
    tell_refused(client, status, reason);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = own_message(status, reason, message);
    if close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(Download::Own)
}

/// Tells that a request was refused before it became an exchange.
pub(super) fn tell_refused(client: &Client, status: u16, reason: &'static str) {
    let event = ConnectionEvent::Refused { proxy: Proxy::Api, status, reason };
    client.shared.tell(client.id, event);
}

/// `{"error":{"status":502,"reason":"upstream_unreachable","message":"…"}}`
pub(super) fn own_message(status: StatusCode, reason: &str, message: &str) -> Response<Bytes> {
    let body = serde_json::json!({
        "error": { "status": status.as_u16(), "reason": reason, "message": message }
    });
    let mut response = Response::new(Bytes::from(format!("{body}\n")));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
