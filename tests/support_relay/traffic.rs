//! Legal conversations whose exchanges and messages are known.

use std::fmt::Write as _;

use dappscope::decode::capture::Budget;
use dappscope::decode::http1::Limits;
use dappscope::model::{Direction, End, Exchange, Stamp, Underway};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Small, so that bodies go past it.
pub const CAPTURE: usize = 100;

pub fn limits() -> Limits {
    Limits {
        capture: CAPTURE,
        budget: Budget::new(1 << 30),
        pipeline: 16,
        active: Underway::default(),
    }
}

#[derive(Clone, Debug)]
pub enum Framed {
    None,
    Length(Vec<u8>),
    /// Chunks, an extension on each, trailers.
    Chunked(Vec<Vec<u8>>, bool, bool),
    UntilClose(Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct Case {
    pub method: &'static str,
    pub bare: bool,
    pub request: Framed,
    pub interim: usize,
    pub status: u16,
    pub response: Framed,
}

impl Framed {
    pub fn headers(&self) -> String {
        match self {
            Self::None | Self::UntilClose(_) => String::new(),
            Self::Length(body) => format!("cOntent-lEngth: {}\r\n", body.len()),
            Self::Chunked(..) => "Transfer-Encoding: Chunked\r\n".to_owned(),
        }
    }

    pub fn wire(&self) -> Vec<u8> {
        let Self::Chunked(chunks, extension, trailers) = self else { return self.body() };
        let mut wire = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            let extension = if *extension { ";name=\"value\"" } else { "" };
            wire.extend(format!("{:X}{extension}\r\n", chunk.len()).bytes());
            wire.extend_from_slice(chunk);
            wire.extend(b"\r\n");
        }
        wire.extend(b"000\r\n");
        if *trailers {
            wire.extend(b"X-Checksum: 5\r\nContent-Length: 7\r\n");
        }
        wire.extend(b"\r\n");
        wire
    }

    pub fn body(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Length(body) | Self::UntilClose(body) => body.clone(),
            Self::Chunked(chunks, ..) => chunks.concat(),
        }
    }
}

impl Case {
    pub fn request(&self) -> Vec<u8> {
        let mut head = format!("{} /path?q HTTP/1.1\r\nHost: localhost:8545\r\n", self.method);
        let _ = write!(head, "{}X-Empty:\r\n\r\n", self.request.headers());
        if self.bare {
            head = head.replace("\r\n", "\n");
        }
        [head.into_bytes(), self.request.wire()].concat()
    }

    pub fn bodyless(&self) -> bool {
        self.method == "HEAD" || matches!(self.status, 204 | 304)
    }

    pub fn response(&self) -> Vec<u8> {
        let mut text = "HTTP/1.1 100 Continue\r\n\r\n".repeat(self.interim);
        // A body-less response may still say how long its body would be.
        let _ = write!(text, "HTTP/1.1 {} Reason\r\nDate: now\r\n", self.status);
        let framing = match &self.response {
            Framed::None => "Content-Length: 0\r\n".to_owned(),
            other => other.headers(),
        };
        let _ = write!(text, "{framing}\r\n");
        let body = if self.bodyless() { Vec::new() } else { self.response.wire() };
        [text.into_bytes(), body].concat()
    }

    pub fn check(&self, exchange: &Exchange) {
        assert_eq!(exchange.http_method.as_str(), self.method);
        assert_eq!((exchange.status, exchange.end), (self.status, End::Complete));
        let expected = if self.bodyless() { Vec::new() } else { self.response.body() };
        for (captured, body) in
            [(&exchange.request, self.request.body()), (&exchange.response, expected)]
        {
            assert_eq!(captured.total, body.len() as u64);
            assert_eq!(captured.bytes, body[..body.len().min(CAPTURE)]);
        }
        let t = exchange.timing;
        assert!([t.request_started, t.request_read, t.request_written].is_sorted(), "{t:?}");
        assert!([t.response_started, t.response_read, t.response_written].is_sorted(), "{t:?}");
        assert!(t.response_forwarded > t.response_started, "{t:?}");
        assert!(t.request_started > Stamp::default());
    }
}

pub fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 1..20), vec(any::<u8>(), 90..300), Just(b"\r\n\r\n".to_vec())]
}

pub fn framed() -> impl Strategy<Value = Framed> {
    prop_oneof![
        Just(Framed::None),
        body().prop_map(Framed::Length),
        (vec(body(), 0..4), any::<bool>(), any::<bool>())
            .prop_map(|(chunks, extension, trailers)| Framed::Chunked(chunks, extension, trailers)),
    ]
}

pub fn case() -> impl Strategy<Value = Case> {
    (
        select(vec!["POST", "GET", "HEAD", "OPTIONS", "DELETE"]),
        prop::bool::weighted(0.1),
        framed(),
        0_usize..3,
        select(vec![200_u16, 201, 204, 304, 400, 500]),
        framed(),
    )
        .prop_map(|(method, bare, request, interim, status, response)| Case {
            method,
            bare,
            request,
            interim,
            status,
            response,
        })
}

/// Cuts `bytes` into pieces whose sizes go round through `sizes`.
pub fn pieces<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    sizes.iter().cycle().map_while(move |size| {
        let (piece, after) = rest.split_at(rest.len().min(*size));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

pub fn all_requests(cases: &[Case]) -> Vec<u8> {
    cases.iter().flat_map(Case::request).collect()
}

pub fn all_responses(cases: &[Case]) -> Vec<u8> {
    cases.iter().flat_map(Case::response).collect()
}

/// A WebSocket message with the sizes it is fragmented into, and the control frames between.
#[derive(Clone, Debug)]
pub struct Sent {
    pub payload: Vec<u8>,
    pub fragments: Vec<usize>,
    pub control: bool,
    pub mask: [u8; 4],
}

impl Sent {
    pub fn wire(&self, direction: Direction, opcode: u8) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut parts: Vec<&[u8]> = pieces(&self.payload, &self.fragments).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let last = parts.len() - 1;
        for (number, part) in parts.into_iter().enumerate() {
            let first = if number == 0 { opcode } else { 0 };
            let fin = if number == last { 0x80 } else { 0 };
            self.frame(direction, first | fin, part, &mut wire);
            if self.control && number != last {
                self.frame(direction, 0x89, b"ping", &mut wire);
                self.frame(direction, 0x8a, b"", &mut wire);
            }
        }
        wire
    }

    pub fn frame(&self, direction: Direction, first: u8, payload: &[u8], wire: &mut Vec<u8>) {
        let (flag, mask) = match direction {
            Direction::Request => (0x80, self.mask),
            Direction::Response => (0, [0; 4]),
        };
        wire.push(first);
        match u8::try_from(payload.len()) {
            Ok(length @ 0..=125) => wire.push(flag | length),
            _ => {
                wire.push(flag | 126);
                wire.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        if direction == Direction::Request {
            wire.extend(mask);
        }
        wire.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    }
}

pub fn sent() -> impl Strategy<Value = Sent> {
    (vec(any::<u8>(), 0..300), vec(1_usize..200, 1..4), any::<bool>(), any::<[u8; 4]>())
        .prop_map(|(payload, fragments, control, mask)| Sent { payload, fragments, control, mask })
}

pub const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ws/1\r\n\
Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub const UPGRADED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
