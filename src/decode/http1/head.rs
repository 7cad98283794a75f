//! The heads of HTTP/1.1 requests and responses: what of them decides how the bytes after them are
//! read, who may pass, and what is told of an exchange. Borrows; copies nothing.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};
use memchr::memchr;

use crate::decode::coding::codings;
use crate::model::{Codings, TraceContext};

/// Headers that are parsed without touching the heap. Browsers send about 20.
const USUAL_HEADERS: usize = 64;
/// More headers than this and the head is not followed (Node's own limit is 2,000).
const MOST_HEADERS: usize = 2_048;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After this many bytes, more than 0.
    Length(u64),
    Chunked,
    /// When the connection does; responses only.
    UntilClose,
    /// Two readers may disagree: both `Content-Length` and `Transfer-Encoding`, several that
    /// differ, a number that is none, an unknown last coding.
    Ambiguous,
}

/// What a request asks the connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    None,
    WebSocket,
    /// Any other protocol, `CONNECT` included.
    Other,
}

/// A request's head, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// The authority that the target names beside `Host`: the node goes by it where there is one.
    pub authority: Option<&'a [u8]>,
    /// The minor version of HTTP/1.
    pub minor: u8,
    pub host: Option<&'a [u8]>,
    /// How many `Host` headers there are; 1 is right.
    pub hosts: usize,
    pub origin: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub trace: Option<TraceContext>,
    pub framing: Framing,
    /// How the body is compressed: its content codings, then transfer codings beside `chunked`.
    pub codings: Codings,
    pub upgrade: Upgrade,
    /// Whether a browser asks if it may send the request it means to (CORS).
    pub preflight: bool,
}

/// A response's head, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    /// As the headers say; `HEAD`, 1xx, 204 and 304 have no body whatever they say.
    pub framing: Framing,
    pub codings: Codings,
    /// `Upgrade: websocket`.
    pub websocket: bool,
    /// permessage-deflate was agreed upon.
    pub deflate: bool,
}

/// A head and its length in bytes, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    Whole(T, usize),
    Partial,
    /// Not HTTP/1.0 or HTTP/1.1.
    Invalid,
}

/// Reads a request's head from the beginning of `bytes`, empty lines before it included.
pub fn request(bytes: &[u8]) -> Parsed<RequestHead<'_>> {
    let mut headers = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(length)) => whole_request(&request, length),
        Ok(Status::Partial) => Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => {
            let mut headers = vec![MaybeUninit::uninit(); MOST_HEADERS];
            let mut request = httparse::Request::new(&mut []);
            match request.parse_with_uninit_headers(bytes, &mut headers) {
                Ok(Status::Complete(length)) => whole_request(&request, length),
                Ok(Status::Partial) => Parsed::Partial,
                Err(_) => Parsed::Invalid,
            }
        }
        Err(_) => Parsed::Invalid,
    }
}

/// Reads a response's head from the beginning of `bytes`.
pub fn response(bytes: &[u8]) -> Parsed<ResponseHead> {
    let config = ParserConfig::default();
    let mut headers = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    match config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers) {
        Ok(Status::Complete(length)) => whole_response(&response, length),
        Ok(Status::Partial) => Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => {
            let mut headers = vec![MaybeUninit::uninit(); MOST_HEADERS];
            let mut response = httparse::Response::new(&mut []);
            match config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers) {
                Ok(Status::Complete(length)) => whole_response(&response, length),
                Ok(Status::Partial) => Parsed::Partial,
                Err(_) => Parsed::Invalid,
            }
        }
        Err(_) => Parsed::Invalid,
    }
}

fn whole_request<'b>(
    request: &httparse::Request<'_, 'b>,
    length: usize,
) -> Parsed<RequestHead<'b>> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Parsed::Invalid;
    };
    let mut head = RequestHead {
        method,
        authority: authority(target),
        minor,
        host: None,
        hosts: 0,
        origin: None,
        user_agent: None,
        trace: None,
        framing: Framing::Empty,
        codings: Codings::None,
        upgrade: Upgrade::None,
        preflight: false,
    };
    let mut body = BodyHeaders::default();
    let (mut wants_upgrade, mut upgrade) = (false, Upgrade::None);
    for header in request.headers.iter() {
        // Lengths first: most headers are told apart from these by their length alone.
        match header.name.len() {
            4 if is(header, "host") => {
                head.hosts += 1;
                head.host = Some(header.value);
            }
            6 if is(header, "origin") => {
                // No browser sends two; which of them the node would believe nobody knows.
                head.origin = Some(if head.origin.is_none() { header.value } else { b"several" });
            }
            7 if is(header, "upgrade") => {
                upgrade =
                    if is_websocket(header.value) { Upgrade::WebSocket } else { Upgrade::Other };
            }
            10 if is(header, "user-agent") => head.user_agent = Some(header.value),
            10 if is(header, "connection") => wants_upgrade |= lists(header.value, b"upgrade"),
            11 if is(header, "traceparent") => head.trace = TraceContext::parse(header.value),
            29 if is(header, "access-control-request-method") => {
                head.preflight = method == "OPTIONS";
            }
            _ => body.note(header),
        }
    }
    if wants_upgrade {
        head.upgrade = upgrade;
    }
    if method == "CONNECT" {
        head.upgrade = Upgrade::Other;
    }
    head.codings = body.codings();
    head.framing = match body.transfer {
        Transfer::None => body.by_length(),
        Transfer::Chunked if !body.has_length && minor == 1 => Framing::Chunked,
        // A request whose end cannot be told: every server has its own idea of it.
        Transfer::Chunked | Transfer::Other | Transfer::Repeated => Framing::Ambiguous,
    };
    Parsed::Whole(head, length)
}

fn whole_response(response: &httparse::Response<'_, '_>, length: usize) -> Parsed<ResponseHead> {
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Parsed::Invalid;
    };
    let mut body = BodyHeaders::default();
    let (mut websocket, mut deflate) = (false, false);
    for header in response.headers.iter() {
        match header.name.len() {
            7 if is(header, "upgrade") => websocket = is_websocket(header.value),
            24 if is(header, "sec-websocket-extensions") => {
                deflate |= header
                    .value
                    .split(|&byte| byte == b',' || byte == b';')
                    .any(|part| part.trim_ascii() == b"permessage-deflate");
            }
            _ => body.note(header),
        }
    }
    let framing = match body.transfer {
        Transfer::None if body.has_length => body.by_length(),
        Transfer::None => Framing::UntilClose,
        Transfer::Chunked if !body.has_length && minor == 1 => Framing::Chunked,
        Transfer::Other if !body.has_length && minor == 1 => Framing::UntilClose,
        Transfer::Chunked | Transfer::Other | Transfer::Repeated => Framing::Ambiguous,
    };
    Parsed::Whole(
        ResponseHead { status, framing, codings: body.codings(), websocket, deflate },
        length,
    )
}

/// What the headers say of the body.
#[derive(Default)]
struct BodyHeaders {
    has_length: bool,
    length: Option<u64>,
    transfer: Transfer,
    content_codings: Codings,
    transfer_codings: Codings,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Transfer {
    #[default]
    None,
    /// `chunked` is the last coding.
    Chunked,
    Other,
    /// More than one header, or `chunked` more than once.
    Repeated,
}

impl BodyHeaders {
    fn note(&mut self, header: &Header<'_>) {
        match header.name.len() {
            14 if is(header, "content-length") => {
                let length = decimal(header.value);
                self.length = match (self.has_length, self.length, length) {
                    (false, _, length) => length,
                    (true, Some(before), Some(now)) if before == now => Some(now),
                    _ => None,
                };
                self.has_length = true;
            }
            16 if is(header, "content-encoding") => {
                self.content_codings = self.content_codings.then_all(codings(header.value));
            }
            17 if is(header, "transfer-encoding") => self.note_transfer(header.value),
            _ => {}
        }
    }

    fn note_transfer(&mut self, value: &[u8]) {
        if self.transfer != Transfer::None {
            self.transfer = Transfer::Repeated;
            return;
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.transfer = Transfer::Chunked;
            return;
        }
        let mut chunked = 0;
        let mut last = false;
        for coding in value.split(|&byte| byte == b',') {
            let coding = coding.trim_ascii();
            last = coding.eq_ignore_ascii_case(b"chunked");
            chunked += usize::from(last);
        }
        self.transfer_codings = codings(value);
        self.transfer = match (chunked, last) {
            (1, true) => Transfer::Chunked,
            (0, _) => Transfer::Other,
            _ => Transfer::Repeated,
        };
    }

    fn codings(&self) -> Codings {
        self.content_codings.then_all(self.transfer_codings)
    }

    fn by_length(&self) -> Framing {
        match (self.has_length, self.length) {
            (false, _) | (true, Some(0)) => Framing::Empty,
            (true, Some(length)) => Framing::Length(length),
            (true, None) => Framing::Ambiguous,
        }
    }
}

fn is(header: &Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

/// The authority in a target: in `scheme://authority/path`, and in `authority` as `CONNECT` has it.
/// What is neither is all authority, for the guard to refuse.
fn authority(target: &str) -> Option<&[u8]> {
    if target.starts_with('/') || target == "*" {
        return None;
    }
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().map(str::as_bytes)
}

/// Whether a comma-separated list holds `token`.
fn lists(value: &[u8], token: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// `Upgrade: websocket`; a list with more in it is left to be opaque.
fn is_websocket(value: &[u8]) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(b"websocket")
}

/// A plain decimal number: no sign, no list, no overflow.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether an empty line ends a head within `bytes`. Looks at each byte once: a head that comes
/// byte by byte must not be parsed anew for each.
pub(super) fn holds_end(bytes: &[u8], scanned: &mut usize) -> bool {
    while let Some(found) = memchr(b'\n', &bytes[*scanned..]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request_framing(headers: &str) -> Framing {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        match request(text.as_bytes()) {
            Parsed::Whole(head, length) => {
                assert_eq!(length, text.len());
                head.framing
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn framing_that_two_readers_may_take_differently_is_ambiguous() {
        for headers in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(request_framing(headers), Framing::Ambiguous, "{headers}");
        }
        assert_eq!(request_framing("content-length: 5\r\n"), Framing::Length(5));
        assert_eq!(
            request_framing("Content-Length: 5\r\nContent-Length: 5\r\n"),
            Framing::Length(5)
        );
        assert_eq!(request_framing("Content-Length: 0\r\n"), Framing::Empty);
        assert_eq!(request_framing("TRANSFER-ENCODING: Chunked\r\n"), Framing::Chunked);
        assert_eq!(request_framing(""), Framing::Empty);
    }

    #[test]
    fn a_head_with_a_thousand_headers_is_still_read() {
        let mut text = String::from("GET / HTTP/1.1\r\n");
        for i in 0..1_000 {
            text.push_str(&format!("X-{i}: y\r\n"));
        }
        text.push_str("\r\n");
        assert!(matches!(request(text.as_bytes()), Parsed::Whole(..)));
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let parse = |headers: &str| {
            let text = format!("GET / HTTP/1.1\r\n{headers}\r\n");
            match request(text.as_bytes()) {
                Parsed::Whole(head, _) => head.upgrade,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(parse("Upgrade: websocket\r\n"), Upgrade::None);
        assert_eq!(
            parse("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"),
            Upgrade::WebSocket
        );
        assert_eq!(parse("Connection: upgrade\r\nUpgrade: h2c\r\n"), Upgrade::Other);
    }

    #[test]
    fn a_target_may_name_an_authority_beside_the_host() {
        for (target, found) in [
            ("/", None),
            ("*", None),
            ("//a.example/http://b.example", None),
            ("http://a.example", Some("a.example")),
            ("HTTP://a.example:80/x?y", Some("a.example:80")),
            ("http://a@b.example?x", Some("a@b.example")),
            ("a.example:443", Some("a.example:443")),
            ("http:a.example", Some("http:a.example")),
        ] {
            assert_eq!(authority(target), found.map(str::as_bytes), "{target}");
        }
    }

    #[test]
    fn bare_line_feeds_in_a_head_are_read() {
        let text = b"POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}";
        match request(text) {
            Parsed::Whole(head, length) => {
                assert_eq!((head.host, head.framing), (Some(&b"a"[..]), Framing::Length(2)));
                assert_eq!(&text[length..], b"{}");
            }
            other => panic!("{other:?}"),
        }
    }
}
