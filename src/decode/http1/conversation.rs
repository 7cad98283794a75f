//! Both directions of one HTTP/1.1 connection: which response answers which request, and when each
//! part of an exchange was read and written.
//!
//! Positions are counted in bytes from the beginning of each direction, so that a part is known to
//! be written when the writer has come past its end, however reads and writes were cut.
//!
//! The two directions can be lost apart from each other. Where responses cannot be told any more,
//! requests still are, unobserved: who may pass is judged at each head for as long as the connection
//! is HTTP. It stops being HTTP only when the upstream says so, in answer to an upgrade that was
//! asked for; until it has answered, what comes after the asking is [`Requests::UndecidedAt`].

use std::net::SocketAddr;
use std::sync::Arc;

use super::body::Body;
use super::followed::{LONGEST_HEAD, Requests, Responses, Unreadable};
use super::head::{self, Framing, Parsed, RequestHead, ResponseHead, Upgrade, holds_end};
use super::pending::{Outstanding, Pending};
use crate::decode::capture::{Budget, Ration};
use crate::model::{
    Captured, ConnectionId, End, Exchange, HttpMethod, Opaque, Stamp, Timing, Underway,
};

/// How much of a `User-Agent` is kept, in bytes.
const LONGEST_USER_AGENT: usize = 256;

/// What is kept of a connection at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes kept of each body.
    pub capture: usize,
    /// Bytes kept of all bodies under way, of all connections that share it.
    pub budget: Budget,
    /// Requests awaiting their response.
    pub pipeline: usize,
    /// Counts the requests that may be calls, `POST`s, until their response was passed on.
    pub active: Underway,
}

/// One connection's requests and responses.
pub struct Conversation {
    connection: ConnectionId,
    peer: SocketAddr,
    limits: Limits,
    user_agent: Option<Arc<str>>,
    /// Requests in the order they came, until their response is written.
    exchanges: Outstanding,
    asking: Asking,
    /// Bytes of requests that passed.
    requests_at: u64,
    answering: Answering,
    /// Bytes of responses that were read.
    responses_at: u64,
    /// Why exchanges are told no more.
    unobserved: Option<Opaque>,
    /// Exchanges whose responses could not be followed, not handed over yet.
    lost: Vec<Exchange>,
}

/// Where in the requests we are.
enum Asking {
    /// Before a head, or in one that was begun at `started` and holds no end in `scanned` bytes.
    Head {
        started: Option<Stamp>,
        scanned: usize,
    },
    Body(Body, Upgrade),
    /// After a request that may turn the connection into something else.
    Undecided,
    /// Nothing more can be told of the requests.
    Stopped(Unreadable),
    /// It is no HTTP any more, or nobody judges it.
    Passing,
}

/// Where in the responses we are.
enum Answering {
    /// Before a head, or in one of which `part` was read.
    Head {
        part: Vec<u8>,
        scanned: usize,
        begun: Option<Begun>,
    },
    Body(Body),
    Lost,
}

/// A response whose head is not whole.
#[derive(Clone, Copy)]
struct Begun {
    /// Where it begins, and when its first byte was read and written.
    at: u64,
    read: Stamp,
    forwarded: Option<Stamp>,
}

impl Asking {
    const NEXT: Self = Self::Head { started: None, scanned: 0 };
}

impl Answering {
    const NEXT: Self = Self::Head { part: Vec::new(), scanned: 0, begun: None };
}

impl Conversation {
    pub fn new(connection: ConnectionId, peer: SocketAddr, limits: Limits) -> Self {
        Self {
            connection,
            peer,
            limits,
            user_agent: None,
            exchanges: Outstanding::default(),
            asking: Asking::NEXT,
            requests_at: 0,
            answering: Answering::NEXT,
            responses_at: 0,
            unobserved: None,
            lost: Vec::new(),
        }
    }

    /// Whether nothing is under way: no request, no response. A part of a head is no request yet.
    pub fn is_idle(&self) -> bool {
        self.exchanges.is_empty()
            && self.unobserved.is_none()
            && matches!(self.asking, Asking::Head { .. })
    }

    /// Whether more is to come of a request whose head was followed.
    pub fn is_asking(&self) -> bool {
        matches!(self.asking, Asking::Body(..))
    }

    /// Whether it depends on a response still to come what the client's next bytes are.
    pub fn is_undecided(&self) -> bool {
        matches!(self.asking, Asking::Undecided)
    }

    /// Why exchanges are told no more, if they are not.
    pub fn unobserved(&self) -> Option<Opaque> {
        self.unobserved
    }

    /// Takes the exchanges whose responses could not be followed: what was asked is known.
    pub fn take_lost(&mut self) -> Vec<Exchange> {
        std::mem::take(&mut self.lost)
    }

    /// What comes from the client passes unjudged from here on: [`Requests::Followed`] whatever it
    /// is.
    pub fn pass_unread(&mut self) {
        self.asking = Asking::Passing;
    }

    /// Whether every request that was followed has its response, written.
    pub fn is_answered(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Who connected.
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub fn user_agent(&self) -> Option<&Arc<str>> {
        self.user_agent.as_ref()
    }

    /// Bytes of requests that were followed, and bytes of responses that were read.
    pub fn positions(&self) -> (u64, u64) {
        (self.requests_at, self.responses_at)
    }

    /// Follows a client's bytes, read at `read`, and asks `admit` about each request's head.
    pub fn request(
        &mut self,
        bytes: &[u8],
        read: Stamp,
        mut admit: impl FnMut(&RequestHead<'_>) -> bool,
    ) -> Requests {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let used = match &mut self.asking {
                Asking::Passing => rest.len(),
                Asking::Stopped(why) => return Requests::UnreadableAt(at, *why),
                Asking::Undecided => return Requests::UndecidedAt(at),
                Asking::Body(body, _) => match body.follow(rest, &self.limits.budget) {
                    Ok(used) => used,
                    Err(_) => {
                        // What was asked before may still be answered.
                        self.exchanges.forget_unfinished_request();
                        return self.stop(at, Unreadable::Framing);
                    }
                },
                Asking::Head { started: None, .. } if matches!(rest[0], b'\r' | b'\n') => {
                    rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
                }
                Asking::Head { started, scanned } => {
                    let parsed = match started {
                        Some(_) if !holds_end(rest, scanned) => Parsed::Partial,
                        _ => head::request(rest),
                    };
                    match parsed {
                        Parsed::Partial if rest.len() < LONGEST_HEAD => {
                            started.get_or_insert(read);
                            return Requests::HeadAt(at);
                        }
                        Parsed::Whole(head, length) if length <= LONGEST_HEAD => {
                            let started = started.unwrap_or(read);
                            if !admit(&head) {
                                return Requests::RefusedAt(at);
                            }
                            if head.framing == Framing::Ambiguous {
                                return self.stop(at, Unreadable::Framing);
                            }
                            self.begin(&head, started);
                            length
                        }
                        Parsed::Invalid => return self.stop(at, Unreadable::NotHttp),
                        Parsed::Partial | Parsed::Whole(..) => {
                            return self.stop(at, Unreadable::HeadTooLong);
                        }
                    }
                }
            };
            at += used;
            self.requests_at += used as u64;
            self.end_request_body(read);
        }
        Requests::Followed
    }

    /// Follows an upstream's bytes, read at `read`.
    pub fn response(&mut self, bytes: &[u8], read: Stamp) -> Responses {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let used = match &mut self.answering {
                Answering::Lost => rest.len(),
                Answering::Body(body) => match body.follow(rest, &self.limits.budget) {
                    Ok(used) => used,
                    Err(_) => return self.lose_responses(Opaque::ResponseNotHttp, read),
                },
                Answering::Head { .. } if self.exchanges.is_all_answered() => {
                    return self.lose_responses(Opaque::ResponseNotHttp, read);
                }
                Answering::Head { part, .. }
                    if part.is_empty() && matches!(rest[0], b'\r' | b'\n') =>
                {
                    rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
                }
                Answering::Head { part, scanned, begun } => {
                    let first = Begun { at: self.responses_at, read, forwarded: None };
                    let begun = *begun.get_or_insert(first);
                    let before = part.len();
                    let parsed = if before == 0 {
                        head::response(rest)
                    } else {
                        part.extend_from_slice(rest);
                        if holds_end(part, scanned) {
                            head::response(part)
                        } else {
                            Parsed::Partial
                        }
                    };
                    match parsed {
                        Parsed::Whole(head, length) if length > before => {
                            let used = length - before;
                            match self.begin_response(&head, begun, used, read) {
                                Responses::Followed => {}
                                Responses::WebSocket { deflate, .. } => {
                                    let from = at + used;
                                    self.answering = Answering::Lost;
                                    return Responses::WebSocket { from, deflate };
                                }
                                lost @ Responses::Lost(_) => return lost,
                            }
                            used
                        }
                        Parsed::Partial if before + rest.len() <= LONGEST_HEAD => {
                            if before == 0 {
                                part.extend_from_slice(rest);
                            }
                            rest.len()
                        }
                        _ => return self.lose_responses(Opaque::ResponseNotHttp, read),
                    }
                }
            };
            at += used;
            self.responses_at += used as u64;
            if matches!(&self.answering, Answering::Body(body) if body.is_done()) {
                self.end_response(read);
            }
        }
        Responses::Followed
    }

    /// The client's bytes up to position `upto` were written to the upstream, from `at` on.
    pub fn requests_written(&mut self, upto: u64, at: Stamp, done: &mut impl FnMut(Box<Exchange>)) {
        self.exchanges.requests_written(upto, at, done);
    }

    /// The upstream's bytes up to position `upto` were written to the client at `at`.
    pub fn responses_written(
        &mut self,
        upto: u64,
        at: Stamp,
        done: &mut impl FnMut(Box<Exchange>),
    ) {
        if let Answering::Head { begun: Some(begun), .. } = &mut self.answering
            && begun.at < upto
        {
            begun.forwarded.get_or_insert(at);
        }
        self.exchanges.responses_written(upto, at, done);
    }

    /// The upstream will send no more: that is the end of a body without any other.
    pub fn upstream_closed(&mut self, at: Stamp) {
        if matches!(&self.answering, Answering::Body(body) if body.ends_with_connection()) {
            self.end_response(at);
            self.answering = Answering::Lost;
        }
        if self.is_undecided() {
            // Nothing will be agreed upon any more.
            self.asking = Asking::NEXT;
        }
    }

    /// The connection is over: every exchange still under way ended with `end`, at `at`.
    pub fn finish(&mut self, end: End, at: Stamp, done: &mut impl FnMut(Box<Exchange>)) {
        let asking = std::mem::replace(&mut self.asking, Asking::Passing);
        if let (Asking::Body(body, _), None, Some(last)) =
            (asking, self.unobserved, self.exchanges.last())
        {
            last.set_request(body.finish());
        }
        let answering = std::mem::replace(&mut self.answering, Answering::Lost);
        if let (Answering::Body(body), Some(pending)) = (answering, self.exchanges.awaiting()) {
            pending.set_response(body.finish());
        }
        self.exchanges.finish(end, at, done);
    }

    /// The proxy itself answered, at `at`, the one request there is, because the upstream could not
    /// be reached: with `status` and a body of `size` bytes, which is not kept.
    pub fn answered_by_proxy(
        &mut self,
        status: u16,
        size: u64,
        at: Stamp,
        done: &mut impl FnMut(Box<Exchange>),
    ) {
        if let Some(first) = self.exchanges.first() {
            first.exchange.status = status;
            first.exchange.response.total = size;
            first.exchange.timing.response_written = at;
        }
        self.finish(End::Unreachable, at, done);
    }

    fn begin(&mut self, head: &RequestHead<'_>, started: Stamp) {
        if self.exchanges.len() >= self.limits.pipeline {
            self.unobserved.get_or_insert(Opaque::PipelineTooDeep);
        }
        if self.unobserved.is_some() {
            self.asking = Asking::Body(Body::new(head.framing, head.codings, 0), head.upgrade);
            return;
        }
        self.note_user_agent(head.user_agent);
        let exchange = Box::new(Exchange {
            connection: self.connection,
            peer: self.peer,
            http_method: method_label(head.method),
            status: 0,
            timing: Timing { request_started: started, ..Timing::default() },
            end: End::Complete,
            request: Captured::default(),
            response: Captured::default(),
            trace: head.trace,
            user_agent: self.user_agent.clone(),
        });
        let is_head = head.method == "HEAD";
        let active = (head.method == "POST").then(|| self.limits.active.enter());
        self.exchanges.push(Pending::new(exchange, is_head, head.upgrade, active));
        let body = Body::new(head.framing, head.codings, self.limits.capture);
        self.asking = Asking::Body(body, head.upgrade);
    }

    fn stop(&mut self, at: usize, why: Unreadable) -> Requests {
        self.asking = Asking::Stopped(why);
        Requests::UnreadableAt(at, why)
    }

    /// Ends the request under way if all of its body has come.
    fn end_request_body(&mut self, read: Stamp) {
        if !matches!(&self.asking, Asking::Body(body, _) if body.is_done()) {
            return;
        }
        let Asking::Body(body, upgrade) = std::mem::replace(&mut self.asking, Asking::NEXT) else {
            return;
        };
        if self.unobserved.is_some() {
            if upgrade != Upgrade::None {
                self.asking = Asking::Stopped(Unreadable::Upgrade);
            }
        } else if let Some(pending) = self.exchanges.last() {
            pending.set_request(body.finish());
            pending.exchange.timing.request_read = read;
            pending.request_end = Some(self.requests_at);
            // One that was answered before it ended is not going to be anything but HTTP.
            if upgrade != Upgrade::None && !pending.is_answered() {
                self.asking = Asking::Undecided;
            }
        }
    }

    fn begin_response(
        &mut self,
        head: &ResponseHead,
        begun: Begun,
        used: usize,
        read: Stamp,
    ) -> Responses {
        let Some(pending) = self.exchanges.awaiting() else {
            return self.lose_responses(Opaque::ResponseNotHttp, read);
        };
        if (100..200).contains(&head.status) && head.status != 101 {
            self.answering = Answering::NEXT;
            return Responses::Followed;
        }
        pending.exchange.status = head.status;
        pending.exchange.timing.response_started = begun.read;
        pending.exchange.timing.response_forwarded = begun.forwarded.unwrap_or_default();
        pending.response_begin = Some(begun.at);
        let tunnel = pending.exchange.http_method == HttpMethod::known("CONNECT")
            && (200..300).contains(&head.status);
        if head.status == 101 || tunnel {
            let websocket = pending.upgrade == Upgrade::WebSocket && head.websocket;
            let asked = pending.upgrade != Upgrade::None;
            let followed = websocket && self.is_undecided();
            if asked {
                self.asking = Asking::Passing;
            }
            self.responses_at += used as u64;
            self.end_response(read);
            return match (followed, asked) {
                (true, _) => Responses::WebSocket { from: 0, deflate: head.deflate },
                (false, true) => self.lose_responses(Opaque::UnknownUpgrade, read),
                (false, false) => self.lose_responses(Opaque::ResponseNotHttp, read),
            };
        }
        let bodyless = pending.is_head || matches!(head.status, 204 | 304);
        let framing = if bodyless { Framing::Empty } else { head.framing };
        if framing == Framing::Ambiguous {
            return self.lose_responses(Opaque::ResponseNotHttp, read);
        }
        let body = Body::new(framing, head.codings, self.limits.capture);
        self.answering = Answering::Body(body);
        Responses::Followed
    }

    /// The response under way was read whole, at `read`.
    fn end_response(&mut self, read: Stamp) {
        let body: (Captured, Option<Ration>) =
            match std::mem::replace(&mut self.answering, Answering::NEXT) {
                Answering::Body(body) => body.finish(),
                Answering::Head { .. } | Answering::Lost => Default::default(),
            };
        self.exchanges.answered(body, self.responses_at, read);
        if self.is_undecided() && self.exchanges.is_all_answered() {
            // No upgrade, so HTTP goes on.
            self.asking = Asking::NEXT;
        }
    }

    /// No response is followed any more, from `at` on; exchanges without a whole one are lost.
    fn lose_responses(&mut self, why: Opaque, at: Stamp) -> Responses {
        self.answering = Answering::Lost;
        self.unobserved.get_or_insert(why);
        if self.is_undecided() {
            self.asking = Asking::Stopped(Unreadable::Upgrade);
        }
        self.lost.extend(self.exchanges.take_unanswered(at));
        Responses::Lost(why)
    }

    fn note_user_agent(&mut self, header: Option<&[u8]>) {
        let Some(agent) = header else {
            self.user_agent = None;
            return;
        };
        let agent = &agent[..agent.len().min(LONGEST_USER_AGENT)];
        if self.user_agent.as_ref().is_none_or(|known| known.as_bytes() != agent) {
            self.user_agent = Some(Arc::from(String::from_utf8_lossy(agent)));
        }
    }
}

fn method_label(method: &str) -> HttpMethod {
    match method {
        "POST" => HttpMethod::known("POST"),
        "GET" => HttpMethod::known("GET"),
        "OPTIONS" => HttpMethod::known("OPTIONS"),
        "HEAD" => HttpMethod::known("HEAD"),
        "PUT" => HttpMethod::known("PUT"),
        "DELETE" => HttpMethod::known("DELETE"),
        "PATCH" => HttpMethod::known("PATCH"),
        "CONNECT" => HttpMethod::known("CONNECT"),
        "TRACE" => HttpMethod::known("TRACE"),
        _ => HttpMethod::other(),
    }
}
