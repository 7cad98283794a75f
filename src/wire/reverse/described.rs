//! What a response's headers tell of it: what a cache did, how it flows, where its time went.

use std::borrow::Cow;

use http::header::{AGE, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode, response};

use super::seen::Seen;
use crate::decode::cache::{self, Headers};
use crate::model::{ApiExchange, Flow};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// `X-Cache` and its kin, in the order in which they are believed.
const CACHE_WORDS: [(Seen, HeaderName); 6] = [
    (Seen::X_CACHE, HeaderName::from_static("x-cache")),
    (Seen::X_CACHE_STATUS, HeaderName::from_static("x-cache-status")),
    (Seen::X_PROXY_CACHE, HeaderName::from_static("x-proxy-cache")),
    (Seen::CF_CACHE_STATUS, HeaderName::from_static("cf-cache-status")),
    (Seen::X_VERCEL_CACHE, HeaderName::from_static("x-vercel-cache")),
    (Seen::X_NEXTJS_CACHE, HeaderName::from_static("x-nextjs-cache")),
];
const HIT_CACHE: HeaderName = HeaderName::from_static("hit_cache");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The most that is kept of a header's values, in bytes.
const LONGEST: usize = 4_096;

/// Takes down what the upstream's headers, as it sent them, tell of the exchange.
pub(super) fn describe(exchange: &mut ApiExchange, head: &response::Parts, seen: Seen) {
    let headers = &head.headers;
    let text = |bit, name| if seen.has(bit) { joined(headers, &name) } else { Cow::Borrowed("") };
    let words = CACHE_WORDS.map(|(bit, name)| text(bit, name));
    let server_timing = text(Seen::SERVER_TIMING, SERVER_TIMING);
    exchange.cache = cache::outcome(
        head.status.as_u16(),
        &Headers {
            cache_status: &text(Seen::CACHE_STATUS, CACHE_STATUS),
            words: words.each_ref().map(|words| &**words),
            hit_cache: &text(Seen::HIT_CACHE, HIT_CACHE),
            server_timing: &server_timing,
            age: &text(Seen::AGE, AGE),
        },
    );
    exchange.flow = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        Flow::Socket
    } else if headers.get(CONTENT_TYPE).is_some_and(is_event_stream) {
        Flow::Events
    } else {
        // A long poll, or a response.
        exchange.flow
    };
    exchange.server_timing = (!server_timing.is_empty()).then(|| server_timing.into());
}

/// All values of a header as one list, as far as they are text and not too long.
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let mut list = Cow::Borrowed("");
    let texts = headers.get_all(name).iter();
    for text in texts.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok()) {
        if list.len() + text.len() > LONGEST {
            break;
        }
        if list.is_empty() {
            list = Cow::Borrowed(text);
        } else {
            let list = list.to_mut();
            list.push(',');
            list.push_str(text);
        }
    }
    list
}

fn is_event_stream(value: &HeaderValue) -> bool {
    let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}
