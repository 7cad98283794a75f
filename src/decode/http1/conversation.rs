//! Both directions of one HTTP/1.1 connection: which response answers which request, and when each
//! part of an exchange was read and written.
//!
//! Positions are counted in bytes from the beginning of each direction, so that a part is known to
//! be written when the writer has come past its end, however reads and writes were cut.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::body::Body;
use super::head::{self, Framing, Parsed, RequestHead, ResponseHead, Upgrade};
use crate::model::{Captured, ConnectionId, End, Exchange, HttpMethod, Opaque, Stamp, Timing};

/// The longest head that is followed, in bytes.
pub const LONGEST_HEAD: usize = 64 * 1024;
/// How much of a `User-Agent` is kept, in bytes.
const LONGEST_USER_AGENT: usize = 256;

/// What is kept of a connection at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes kept of each body.
    pub capture: usize,
    /// Requests awaiting their response.
    pub pipeline: usize,
}

/// What became of a client's bytes. Bytes before the position may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// All of them may pass.
    Followed,
    /// From here on there is a part of a head: to be offered again with what comes after it.
    HeadAt(usize),
    /// The head at this position was not admitted.
    RefusedAt(usize),
    /// What is at this position is no request head, or is longer than [`LONGEST_HEAD`].
    UnreadableAt { at: usize, too_long: bool },
    /// The head at this position was admitted; what comes after it cannot be followed.
    Lost(Opaque),
}

/// What became of an upstream's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responses {
    Followed,
    /// From this position on there are WebSocket frames; `early` are the client's bytes that came
    /// after its request.
    WebSocket {
        from: usize,
        deflate: bool,
        early: Vec<u8>,
    },
    Lost(Opaque),
}

/// One connection's requests and responses.
pub struct Conversation {
    connection: ConnectionId,
    peer: SocketAddr,
    limits: Limits,
    user_agent: Option<Arc<str>>,
    /// Requests in the order they came, until their response is written.
    exchanges: VecDeque<Pending>,
    /// The first of them whose request is not written whole.
    unwritten: usize,
    /// The first of them whose response is not read whole.
    unanswered: usize,
    asking: Asking,
    /// Bytes of requests that passed.
    requests_at: u64,
    answering: Answering,
    /// Bytes of responses that were read.
    responses_at: u64,
}

/// An exchange under way.
struct Pending {
    exchange: Box<Exchange>,
    is_head: bool,
    upgrade: Upgrade,
    /// Where the request ends, once that is known.
    request_end: Option<u64>,
    /// Where the response begins and ends, once that is known.
    response_begin: Option<u64>,
    response_end: Option<u64>,
    forwarded: bool,
    written: bool,
}

/// Where in the requests we are.
enum Asking {
    /// Before a head, or in one that was begun at `started` and holds no end in `scanned` bytes.
    Head {
        started: Option<Stamp>,
        scanned: usize,
    },
    Body(Body),
    /// After a request that may turn the connection into something else: until the response
    /// decides, what comes is kept.
    Undecided(Vec<u8>),
    Lost,
}

/// Where in the responses we are.
enum Answering {
    /// Before a head, or in one of which `part` was read.
    Head {
        part: Vec<u8>,
        scanned: usize,
        started: Option<(Stamp, u64)>,
    },
    Body(Body),
    Lost,
}

impl Asking {
    const NEXT: Self = Self::Head { started: None, scanned: 0 };
}

impl Answering {
    const NEXT: Self = Self::Head { part: Vec::new(), scanned: 0, started: None };
}

impl Conversation {
    pub fn new(connection: ConnectionId, peer: SocketAddr, limits: Limits) -> Self {
        Self {
            connection,
            peer,
            limits,
            user_agent: None,
            exchanges: VecDeque::new(),
            unwritten: 0,
            unanswered: 0,
            asking: Asking::NEXT,
            requests_at: 0,
            answering: Answering::NEXT,
            responses_at: 0,
        }
    }

    /// Whether nothing is under way: no request, no response, no part of a head.
    pub fn is_idle(&self) -> bool {
        self.exchanges.is_empty() && matches!(self.asking, Asking::Head { started: None, .. })
    }

    /// Whether every request that was followed has its response, written.
    pub fn is_answered(&self) -> bool {
        self.exchanges.is_empty()
    }

    pub fn user_agent(&self) -> Option<&Arc<str>> {
        self.user_agent.as_ref()
    }

    /// Bytes of requests that may have passed, and bytes of responses that were read.
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
                Asking::Lost => rest.len(),
                Asking::Undecided(early) => {
                    if early.len() + rest.len() > LONGEST_HEAD {
                        self.asking = Asking::Lost;
                        return Requests::Lost(Opaque::UnknownUpgrade);
                    }
                    early.extend_from_slice(rest);
                    rest.len()
                }
                Asking::Body(body) => match body.follow(rest) {
                    Ok(used) => used,
                    Err(_) => {
                        self.lose_requests();
                        return Requests::Lost(Opaque::RequestNotHttp);
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
                            if !admit(&head) {
                                self.asking = Asking::Lost;
                                return Requests::RefusedAt(at);
                            }
                            let started = started.unwrap_or(read);
                            if let Err(why) = self.begin(&head, started) {
                                self.asking = Asking::Lost;
                                return Requests::Lost(why);
                            }
                            length
                        }
                        Parsed::Invalid => {
                            self.asking = Asking::Lost;
                            return Requests::UnreadableAt { at, too_long: false };
                        }
                        Parsed::Partial | Parsed::Whole(..) => {
                            self.asking = Asking::Lost;
                            return Requests::UnreadableAt { at, too_long: true };
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
                Answering::Body(body) => match body.follow(rest) {
                    Ok(used) => used,
                    Err(_) => return self.lose_responses(Opaque::ResponseNotHttp),
                },
                Answering::Head { .. } if self.unanswered == self.exchanges.len() => {
                    return self.lose_responses(Opaque::ResponseNotHttp);
                }
                Answering::Head { part, .. }
                    if part.is_empty() && matches!(rest[0], b'\r' | b'\n') =>
                {
                    rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
                }
                Answering::Head { part, scanned, started } => {
                    let started = *started.get_or_insert((read, self.responses_at));
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
                            match self.begin_response(&head, started, used, read) {
                                Responses::Followed => {}
                                Responses::WebSocket { deflate, early, .. } => {
                                    let from = at + used;
                                    self.answering = Answering::Lost;
                                    return Responses::WebSocket { from, deflate, early };
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
                        _ => return self.lose_responses(Opaque::ResponseNotHttp),
                    }
                }
            };
            at += used;
            self.responses_at += used as u64;
            if let Answering::Body(body) = &mut self.answering
                && body.is_done()
            {
                let captured = body.take();
                self.end_response(captured, read);
            }
        }
        Responses::Followed
    }

    /// The client's bytes up to position `upto` were written to the upstream at `at`.
    pub fn requests_written(&mut self, upto: u64, at: Stamp, done: &mut impl FnMut(Box<Exchange>)) {
        while let Some(pending) = self.exchanges.get_mut(self.unwritten)
            && pending.request_end.is_some_and(|end| end <= upto)
        {
            pending.exchange.timing.request_written = at;
            self.unwritten += 1;
        }
        self.hand_over(done);
    }

    /// The upstream's bytes up to position `upto` were written to the client at `at`.
    pub fn responses_written(
        &mut self,
        upto: u64,
        at: Stamp,
        done: &mut impl FnMut(Box<Exchange>),
    ) {
        for pending in &mut self.exchanges {
            if pending.written {
                continue;
            }
            if !pending.forwarded && pending.response_begin.is_some_and(|begin| begin < upto) {
                pending.forwarded = true;
                pending.exchange.timing.response_forwarded = at;
            }
            if pending.response_end.is_none_or(|end| end > upto) {
                break;
            }
            pending.written = true;
            pending.exchange.timing.response_written = at;
        }
        self.hand_over(done);
    }

    /// The upstream will send no more: that is the end of a body without any other.
    pub fn upstream_closed(&mut self, at: Stamp) {
        if let Answering::Body(body) = &mut self.answering
            && body.ends_with_connection()
        {
            let captured = body.take();
            self.end_response(captured, at);
            self.answering = Answering::Lost;
        }
    }

    /// The connection is over: every exchange still under way ended with `end`.
    pub fn finish(&mut self, end: End, done: &mut impl FnMut(Box<Exchange>)) {
        if let (Asking::Body(body), Some(last)) = (&mut self.asking, self.exchanges.back_mut()) {
            last.exchange.request = body.take();
        }
        if let Answering::Body(body) = &mut self.answering
            && let Some(pending) = self.exchanges.get_mut(self.unanswered)
        {
            pending.exchange.response = body.take();
        }
        for mut pending in std::mem::take(&mut self.exchanges) {
            pending.exchange.end = if pending.written { End::Complete } else { end };
            done(pending.told());
        }
        (self.unwritten, self.unanswered) = (0, 0);
        (self.asking, self.answering) = (Asking::Lost, Answering::Lost);
    }

    /// The proxy itself answered, at `at`, the one request there is, because the upstream could not
    /// be reached.
    pub fn answered_by_proxy(
        &mut self,
        status: u16,
        at: Stamp,
        done: &mut impl FnMut(Box<Exchange>),
    ) {
        if let Some(first) = self.exchanges.front_mut() {
            first.exchange.status = status;
            first.exchange.timing.response_written = at;
        }
        self.finish(End::Unreachable, done);
    }

    fn begin(&mut self, head: &RequestHead<'_>, started: Stamp) -> Result<(), Opaque> {
        if head.framing == Framing::Ambiguous {
            return Err(Opaque::RequestNotHttp);
        }
        if self.exchanges.len() >= self.limits.pipeline {
            return Err(Opaque::PipelineTooDeep);
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
        self.exchanges.push_back(Pending {
            exchange,
            is_head: head.method == "HEAD",
            upgrade: head.upgrade,
            request_end: None,
            response_begin: None,
            response_end: None,
            forwarded: false,
            written: false,
        });
        let body = Body::new(head.framing, head.encoded, self.limits.capture);
        self.asking = Asking::Body(body);
        Ok(())
    }

    /// Ends the request under way if all of its body has come.
    fn end_request_body(&mut self, read: Stamp) {
        let Asking::Body(body) = &mut self.asking else { return };
        if !body.is_done() {
            return;
        }
        let Some(pending) = self.exchanges.back_mut() else { return };
        pending.exchange.request = body.take();
        pending.exchange.timing.request_read = read;
        pending.request_end = Some(self.requests_at);
        // One that was answered before it ended is not going to be anything but HTTP.
        let undecided = pending.upgrade != Upgrade::None && pending.response_end.is_none();
        self.asking = if undecided { Asking::Undecided(Vec::new()) } else { Asking::NEXT };
    }

    fn begin_response(
        &mut self,
        head: &ResponseHead,
        (started, begin): (Stamp, u64),
        used: usize,
        read: Stamp,
    ) -> Responses {
        let Some(pending) = self.exchanges.get_mut(self.unanswered) else {
            return self.lose_responses(Opaque::ResponseNotHttp);
        };
        if (100..200).contains(&head.status) && head.status != 101 {
            self.answering = Answering::NEXT;
            return Responses::Followed;
        }
        pending.exchange.status = head.status;
        pending.exchange.timing.response_started = started;
        pending.response_begin = Some(begin);
        let tunnel = pending.exchange.http_method == HttpMethod::known("CONNECT")
            && (200..300).contains(&head.status);
        if head.status == 101 || tunnel {
            let websocket = pending.upgrade == Upgrade::WebSocket && head.websocket;
            let asked = pending.upgrade != Upgrade::None;
            let asking = std::mem::replace(&mut self.asking, Asking::Lost);
            self.responses_at += used as u64;
            self.end_response(Captured::default(), read);
            return match asking {
                Asking::Undecided(early) if websocket => {
                    Responses::WebSocket { from: 0, deflate: head.deflate, early }
                }
                _ if asked => self.lose_responses(Opaque::UnknownUpgrade),
                _ => self.lose_responses(Opaque::ResponseNotHttp),
            };
        }
        let bodyless = pending.is_head || matches!(head.status, 204 | 304);
        let framing = if bodyless { Framing::Empty } else { head.framing };
        if framing == Framing::Ambiguous {
            return self.lose_responses(Opaque::ResponseNotHttp);
        }
        let body = Body::new(framing, head.encoded, self.limits.capture);
        self.answering = Answering::Body(body);
        Responses::Followed
    }

    /// The response under way was read whole, at `read`.
    fn end_response(&mut self, captured: Captured, read: Stamp) {
        self.answering = Answering::NEXT;
        let Some(pending) = self.exchanges.get_mut(self.unanswered) else { return };
        pending.exchange.response = captured;
        pending.exchange.timing.response_read = read;
        pending.response_end = Some(self.responses_at);
        self.unanswered += 1;
        if let Asking::Undecided(early) = &self.asking
            && self.unanswered == self.exchanges.len()
        {
            // No upgrade, so HTTP goes on; unless the client already spoke the other protocol.
            self.asking = if early.is_empty() { Asking::NEXT } else { Asking::Lost };
        }
    }

    /// Gives away the exchanges at the front that are over.
    fn hand_over(&mut self, done: &mut impl FnMut(Box<Exchange>)) {
        while let Some(front) = self.exchanges.front()
            && front.written
            && front.request_end.is_some()
            && self.unwritten > 0
        {
            if let Some(pending) = self.exchanges.pop_front() {
                self.unwritten -= 1;
                self.unanswered -= 1;
                done(pending.told());
            }
        }
    }

    /// What comes from the client is no longer followed; what was asked may still be answered.
    fn lose_requests(&mut self) {
        self.asking = Asking::Lost;
        // The request whose body was lost has no end that could be told.
        if self.exchanges.back().is_some_and(|last| last.request_end.is_none()) {
            self.exchanges.pop_back();
            self.unwritten = self.unwritten.min(self.exchanges.len());
            if self.unanswered > self.exchanges.len() {
                self.unanswered = self.exchanges.len();
            }
        }
    }

    /// Neither direction is followed any more; exchanges without a whole response are given up.
    fn lose_responses(&mut self, why: Opaque) -> Responses {
        (self.asking, self.answering) = (Asking::Lost, Answering::Lost);
        self.exchanges.truncate(self.unanswered);
        self.unwritten = self.unwritten.min(self.exchanges.len());
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

impl Pending {
    /// The exchange, with the stamps that were never reached set to the last that was.
    fn told(mut self) -> Box<Exchange> {
        let timing = &mut self.exchange.timing;
        let mut last = timing.request_started;
        for stamp in [
            &mut timing.request_read,
            &mut timing.request_written,
            &mut timing.response_started,
            &mut timing.response_forwarded,
            &mut timing.response_read,
            &mut timing.response_written,
        ] {
            if *stamp == Stamp::default() {
                *stamp = last;
            }
            last = *stamp;
        }
        self.exchange
    }
}

/// Whether an empty line ends a head within `bytes`. Looks at each byte once: a head that comes
/// byte by byte must not be parsed anew for each.
fn holds_end(bytes: &[u8], scanned: &mut usize) -> bool {
    while let Some(found) = memchr::memchr(b'\n', &bytes[*scanned..]) {
        let after = *scanned + found + 1;
        match &bytes[after..] {
            [b'\n', ..] | [b'\r', b'\n', ..] => return true,
            // The line feed is looked at again when more is known of what follows it.
            [] | [b'\r'] => {
                *scanned = after - 1;
                return false;
            }
            _ => *scanned = after,
        }
    }
    *scanned = bytes.len();
    false
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
