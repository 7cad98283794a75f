//! The observation of one exchange, from the request's first byte to the response's last.
//!
//! A [`Record`] travels with the exchange. It is told exactly once: when the response was written,
//! or, if it is dropped before, as one whose client went away or that the proxy's end cut.

use std::rc::Rc;

use http::{Method, Uri, response};

use super::client::Client;
use super::connection::Marks;
use super::described::describe;
use super::finished::Finished;
use super::framing::Followed;
use super::seen::Seen;
use super::upload::Meter;
use crate::model::{
    ApiExchange, CacheOutcome, CallsMade, End, Flight, Flow, HttpMethod, Stamp, Timing,
    TraceContext,
};

/// The longest path that is kept, in bytes.
const LONGEST_PATH: usize = 4_096;

/// An exchange under way.
pub(super) struct Record {
    pub(super) client: Rc<Client>,
    /// Taken when it is told.
    exchange: Option<(Box<ApiExchange>, Flight)>,
    /// Counts the request's body, where there is one.
    pub(super) meter: Option<Rc<Meter>>,
}

impl Record {
    pub(super) fn open(
        client: Rc<Client>,
        method: &Method,
        uri: &Uri,
        followed: Followed,
        trace: TraceContext,
    ) -> Self {
        let (path, settings) = (uri.path(), &client.shared.settings);
        let (flow, flight) = if is_long_poll(method, uri) || settings.long_polls.matches(path) {
            (Flow::LongPoll, settings.flights.begin_long_poll(trace, followed.started))
        } else {
            (Flow::Response, settings.flights.begin(trace, followed.started))
        };
        let exchange = ApiExchange {
            connection: client.id,
            peer: client.peer,
            http_method: method_label(method),
            path: path[..path.floor_char_boundary(LONGEST_PATH)].into(),
            status: 0,
            timing: Timing { request_started: followed.started, ..Timing::default() },
            end: End::ClientGone,
            request_bytes: 0,
            response_bytes: 0,
            trace,
            cache: CacheOutcome::Unknown,
            flow,
            server_timing: None,
        };
        client.begin();
        Self { client, exchange: Some((Box::new(exchange), flight)), meter: None }
    }

    /// The upstream answered with this status, by these marks.
    pub(super) fn answered(&mut self, status: u16, marks: &Marks) {
        let read = self.client.request_read();
        let exchange = self.exchange_mut();
        exchange.status = status;
        exchange.timing.request_read = read.unwrap_or_default();
        exchange.timing.request_written = marks.last_write();
        exchange.timing.response_started = marks.first_read();
    }

    /// Takes down what the upstream's headers tell.
    pub(super) fn describe(&mut self, head: &response::Parts, seen: Seen) {
        describe(self.exchange_mut(), head, seen);
    }

    /// The request was sent, and no response came.
    pub(super) fn sent(&mut self, marks: &Marks) {
        self.exchange_mut().timing.request_written = marks.last_write();
    }

    /// The proxy answers with this status itself.
    pub(super) fn refused(&mut self, status: u16) {
        self.exchange_mut().status = status;
    }

    /// Time that the proxy has held the exchange so far.
    pub(super) fn overhead(&self) -> std::time::Duration {
        let timing = &self.exchange().timing;
        timing
            .request_written
            .since(timing.request_read.max(timing.request_started))
            .saturating_add(Stamp::now().since(timing.response_started))
    }

    /// Calls to the node that the API has made for it so far, as far as they name its trace.
    pub(super) fn calls_made(&self) -> CallsMade {
        self.exchange.as_ref().map_or_else(CallsMade::default, |(_, flight)| flight.calls_made())
    }

    /// Bytes of the response's body were handed over.
    pub(super) fn received(&mut self, bytes: usize) {
        self.exchange_mut().response_bytes += bytes as u64;
    }

    /// The response is handed over to be written; `read` is when its last byte was read.
    pub(super) fn finish(mut self, end: End, read: Option<Stamp>) {
        if let Some((mut exchange, flight)) = self.exchange.take() {
            exchange.end = end;
            exchange.timing.response_read = read.unwrap_or_default();
            self.complete(&mut exchange);
            self.client.finish(Finished::new(exchange, flight));
        }
    }

    /// Tells the exchange at once: nothing more of it will be written.
    pub(super) fn break_off(mut self, end: End) {
        self.tell(end);
    }

    fn tell(&mut self, end: End) {
        if let Some((mut exchange, flight)) = self.exchange.take() {
            exchange.end = end;
            self.complete(&mut exchange);
            self.client.break_off();
            let written = self.client.written();
            Finished::new(exchange, flight).tell(written, &self.client.shared.observer);
        }
    }

    /// Fills in what is known without the response's end.
    fn complete(&self, exchange: &mut ApiExchange) {
        exchange.request_bytes = self.meter.as_ref().map_or(0, |meter| meter.bytes());
        if let Some(read) = self.client.request_read() {
            exchange.timing.request_read = read;
        }
    }

    fn exchange(&self) -> &ApiExchange {
        &self.exchange.as_ref().expect("taken only by what consumes or drops the record").0
    }

    fn exchange_mut(&mut self) -> &mut ApiExchange {
        &mut self.exchange.as_mut().expect("taken only by what consumes or drops the record").0
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.tell(self.client.end_of_unfinished());
    }
}

/// Socket.IO's: the answer comes when there is something to say.
fn is_long_poll(method: &Method, uri: &Uri) -> bool {
    let asks = |part: &str| uri.query().is_some_and(|query| query.split('&').any(|it| it == part));
    *method == Method::GET && asks("transport=polling")
}

fn method_label(method: &Method) -> HttpMethod {
    match *method {
        Method::GET => HttpMethod::known("GET"),
        Method::POST => HttpMethod::known("POST"),
        Method::PUT => HttpMethod::known("PUT"),
        Method::PATCH => HttpMethod::known("PATCH"),
        Method::DELETE => HttpMethod::known("DELETE"),
        Method::HEAD => HttpMethod::known("HEAD"),
        Method::OPTIONS => HttpMethod::known("OPTIONS"),
        Method::TRACE => HttpMethod::known("TRACE"),
        _ => HttpMethod::other(),
    }
}
