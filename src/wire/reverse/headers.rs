//! The layer that takes away what belongs to one connection only (RFC 9110 7.6.1) and adds who the
//! client is: `Forwarded` (RFC 7239) and `X-Forwarded-For`, `-Proto`, `-Host`.
//!
//! The proxy stands on a developer's machine, often behind another one (a frontend's development
//! server, a TLS end), and the API trusts it. What a client sent of addresses (`Forwarded`,
//! `X-Forwarded-For`) is appended to, and the API is told to trust as many hops as there are. How the
//! browser spoke and to which host (`X-Forwarded-Proto`, `-Host`) is for the first hop to say and
//! stays as it is: uvicorn, gunicorn, Werkzeug and Express take the value as a whole, or the last or
//! the first of a list. A client that speaks of itself by `X-Forwarded-…` only gets no `Forwarded`,
//! which would contradict it.

use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, Entry, FORWARDED, HOST, HeaderMap, HeaderName, SET_COOKIE,
    TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderValue, StatusCode, Version, response};
use tower::Service;

use super::client::Client;
use super::message::Arrival;
use super::seen::Seen;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const HTTP: HeaderValue = HeaderValue::from_static("http");

/// Rewrites a request's headers for the upstream.
pub(super) struct Headers<S> {
    inner: S,
}

impl<S> Headers<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Service<Arrival>> Service<Arrival> for Headers<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut arrival: Arrival) -> Self::Future {
        let version = arrival.request.version();
        let headers = arrival.request.headers_mut();
        arrival.wants_upgrade = clean_request(headers, arrival.seen, version);
        forward(headers, arrival.seen, &arrival.client);
        // An HTTP/1.0 client's request is ours from here on, and we speak 1.1.
        *arrival.request.version_mut() = Version::HTTP_11;
        self.inner.call(arrival)
    }
}

/// Removes what was meant for this hop. Whether the client asks to switch protocols.
fn clean_request(headers: &mut HeaderMap, seen: Seen, version: Version) -> bool {
    let options = remove_listed(headers, seen);
    let trailers =
        seen.has(Seen::TE) && headers.remove(TE).is_some_and(|te| lists(&te, "trailers"));
    let upgrade = options.upgrade && seen.has(Seen::UPGRADE) && version == Version::HTTP_11;
    if seen.has(Seen::UPGRADE) && !upgrade {
        headers.remove(UPGRADE);
    }
    if seen.has(Seen::KEEP_ALIVE) {
        headers.remove(KEEP_ALIVE);
    }
    // `Transfer-Encoding: chunked`, the only one that comes here, stays: it tells hyper to send a
    // body of unknown length with any method.
    let value = match (upgrade, trailers) {
        (true, true) => "Upgrade, TE",
        (true, false) => "Upgrade",
        (false, true) => "TE",
        (false, false) => return false,
    };
    headers.insert(CONNECTION, HeaderValue::from_static(value));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    upgrade
}

/// Removes from a response what was meant for this hop. The idle timeout that the upstream
/// announced, if it did.
pub(super) fn clean_response(head: &mut response::Parts, seen: Seen) -> Option<Duration> {
    let headers = &mut head.headers;
    let mut timeout = None;
    if seen.has(Seen::KEEP_ALIVE) {
        timeout = headers.remove(KEEP_ALIVE).as_ref().and_then(announced_timeout);
    }
    remove_listed(headers, seen);
    if seen.has(Seen::TRANSFER_ENCODING) {
        headers.remove(TRANSFER_ENCODING);
        // Whoever obeyed this length would see another response than we do.
        headers.remove(CONTENT_LENGTH);
    } else if headers.len() > headers.keys_len() {
        one_length(headers);
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    } else if seen.has(Seen::UPGRADE) && head.status != StatusCode::UPGRADE_REQUIRED {
        headers.remove(UPGRADE);
    }
    head.version = Version::HTTP_11;
    timeout
}

/// Several equal lengths become one; hyper has refused different ones.
fn one_length(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next(), lengths.next()) {
        let first = first.clone();
        headers.insert(CONTENT_LENGTH, first);
    }
}

/// What a `Connection` header asked for.
#[derive(Default)]
struct Options {
    upgrade: bool,
}

/// Removes `Connection`, what it lists, and its relatives except `Keep-Alive` of a response.
fn remove_listed(headers: &mut HeaderMap, seen: Seen) -> Options {
    let mut options = Options::default();
    if seen.has(Seen::PROXY_CONNECTION) {
        headers.remove(PROXY_CONNECTION);
    }
    if !seen.has(Seen::CONNECTION) {
        return options;
    }
    if let Entry::Occupied(entry) = headers.entry(CONNECTION) {
        let (_, values) = entry.remove_entry_mult();
        let mut listed = Vec::new();
        for value in values {
            for option in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"upgrade") {
                    options.upgrade = true;
                } else if !is_known_option(option)
                    && let Ok(name) = HeaderName::from_bytes(option)
                {
                    listed.push(name);
                }
            }
        }
        // A message's own parts are no options of a connection; taking them away on request would
        // change its meaning behind the API's back.
        listed.retain(|name| {
            ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, COOKIE, SET_COOKIE].contains(name)
        });
        for name in listed {
            headers.remove(name);
        }
    }
    options
}

fn is_known_option(option: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"te", b""].iter().any(|o| option.eq_ignore_ascii_case(o))
}

fn lists(value: &HeaderValue, token: &str) -> bool {
    value
        .as_bytes()
        .split(|b| *b == b',')
        .any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// `timeout=5, max=100`.
fn announced_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let seconds = text.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
    })?;
    Some(Duration::from_secs(seconds))
}

/// Adds who the client is.
fn forward(headers: &mut HeaderMap, seen: Seen, client: &Client) {
    let host = match headers.get(HOST) {
        Some(host) => host.clone(),
        None => {
            headers.insert(HOST, client.shared.upstream_host.clone());
            client.shared.upstream_host.clone()
        }
    };
    let forwarded = {
        let mut cached = client.forwarded.borrow_mut();
        match &*cached {
            Some((of, value)) if *of == host => value.clone(),
            _ => {
                let value = forwarded_value(client, &host);
                *cached = Some((host.clone(), value.clone()));
                value
            }
        }
    };
    let of_others = [Seen::FORWARDED_FOR, Seen::FORWARDED_PROTO, Seen::FORWARDED_HOST];
    if seen.has(Seen::FORWARDED) || !of_others.iter().any(|bit| seen.has(*bit)) {
        append(headers, seen.has(Seen::FORWARDED), FORWARDED, forwarded);
    }
    append(headers, seen.has(Seen::FORWARDED_FOR), FOR, client.forwarded_for.clone());
    if !seen.has(Seen::FORWARDED_PROTO) {
        headers.append(PROTO, HTTP);
    }
    if !seen.has(Seen::FORWARDED_HOST) {
        headers.append(FORWARDED_HOST, host);
    }
}

/// `for=127.0.0.1;host="localhost:5001";proto=http`
fn forwarded_value(client: &Client, host: &HeaderValue) -> HeaderValue {
    let address = client.peer.ip().to_canonical();
    let mut text = match address {
        std::net::IpAddr::V4(address) => format!("for={address}"),
        std::net::IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    // What would need escaping within the quotes is no host.
    if let Ok(host) = host.to_str()
        && !host.contains(['"', '\\'])
    {
        text.push_str(";host=\"");
        text.push_str(host);
        text.push('"');
    }
    text.push_str(";proto=http");
    HeaderValue::try_from(text).unwrap_or(HTTP)
}

/// Appends to a list, where there is one; what came in several lines becomes one.
fn append(headers: &mut HeaderMap, is_there: bool, name: HeaderName, value: HeaderValue) {
    if !is_there {
        headers.append(name, value);
        return;
    }
    match headers.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(value);
        }
        Entry::Occupied(mut entry) => {
            let mut list = Vec::new();
            for part in entry.iter().chain([&value]) {
                if !list.is_empty() {
                    list.extend_from_slice(b", ");
                }
                list.extend_from_slice(part.as_bytes());
            }
            entry.insert(HeaderValue::from_bytes(&list).unwrap_or(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_is_removed() {
        let mut headers = headers(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Hop"),
            ("connection", "close, x-other, host, content-length,,"),
            ("x-hop", "1"),
            ("x-other", "2"),
            ("x-kept", "3"),
            ("content-length", "5"),
            ("te", "gzip;q=0.5"),
            ("upgrade", "websocket"),
            ("proxy-connection", "keep-alive"),
        ]);
        let seen = Seen::of(&headers);
        assert!(!clean_request(&mut headers, seen, Version::HTTP_11));
        assert_eq!(names(&headers), ["host", "content-length", "x-kept"]);
    }

    #[test]
    fn an_upgrade_and_the_wish_for_trailers_are_renewed() {
        let mut upgrade =
            headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        let seen = Seen::of(&upgrade);
        assert!(clean_request(&mut upgrade, seen, Version::HTTP_11));
        assert_eq!(
            (&upgrade["connection"], &upgrade["upgrade"]),
            (&"Upgrade".parse().expect("v"), &"websocket".parse().expect("v"))
        );

        let mut trailers = headers(&[("connection", "TE"), ("te", "deflate, trailers")]);
        let seen = Seen::of(&trailers);
        assert!(!clean_request(&mut trailers, seen, Version::HTTP_11));
        assert_eq!(trailers["te"], "trailers");
        assert_eq!(trailers["connection"], "TE");

        let mut old = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        let seen = Seen::of(&old);
        assert!(!clean_request(&mut old, seen, Version::HTTP_10));
        assert!(old.is_empty());
    }

    #[test]
    fn a_response_tells_its_idle_timeout_and_loses_a_length_beside_chunks() {
        let mut head = http::Response::builder()
            .version(Version::HTTP_10)
            .header("connection", "keep-alive")
            .header("keep-alive", "max=10, timeout=5")
            .header("transfer-encoding", "chunked")
            .header("content-length", "3")
            .header("server", "x")
            .body(())
            .expect("builds")
            .into_parts()
            .0;
        let seen = Seen::of(&head.headers);
        assert_eq!(clean_response(&mut head, seen), Some(Duration::from_secs(5)));
        assert_eq!(names(&head.headers), ["server"]);
        assert_eq!(head.version, Version::HTTP_11);
    }

    #[test]
    fn lists_are_appended_to() {
        let mut headers =
            headers(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]);
        append(&mut headers, true, FOR, HeaderValue::from_static("3.3.3.3"));
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 3.3.3.3");
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
    }
}
