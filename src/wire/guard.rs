//! Decides whether a request may pass, by its `Host` and `Origin`: keeps foreign web pages away.
//!
//! A browser can be made to send requests to a local port by any page it visits, directly (a
//! `text/plain` POST needs no preflight) or under a name whose address was changed after the page
//! was loaded (DNS rebinding). The browser tells the truth about both in headers a page cannot set:
//! `Origin` names the page, `Host` the name that was asked for. Both proxies and the dashboard ask
//! here before anything reaches an upstream. Does no I/O and does not count: the caller tells.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How much of a refused header is shown in the message, in bytes.
const SHOWN: usize = 120;

const EXTENSIONS: [&[u8]; 3] =
    [b"chrome-extension://", b"moz-extension://", b"safari-web-extension://"];

/// The rules for `Host` and `Origin`.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow_any_origin: bool,
    hosts: Vec<AllowedHost>,
    origins: Vec<String>,
}

/// A configured host: a name, or everything below a name.
#[derive(Clone, Debug)]
struct AllowedHost {
    name: String,
    below: bool,
    port: Option<u16>,
}

/// Why a request was refused. Answer `status` with [`message`](Self::message).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 or 403.
    pub status: u16,
    /// One of `host_missing`, `host_not_allowed`, `origin_not_allowed`: fit for a label.
    pub reason: &'static str,
    /// The refused value as it came, cut to what is shown.
    found: Vec<u8>,
}

impl Guard {
    /// `allowed_hosts` are names that `Host` may hold beside IP addresses and `localhost`: `name`
    /// (any port), `name:port`, or `*.name` for everything below it. `allowed_origins` are origins
    /// beside loopback and extensions, as the browser sends them: `https://app.example.org`.
    /// `allow_any_origin` opens both checks.
    #[expect(clippy::needless_pass_by_value, reason = "settings are handed over for good")]
    pub fn new(
        allow_any_origin: bool,
        allowed_hosts: Vec<String>,
        allowed_origins: Vec<String>,
    ) -> Self {
        Self {
            allow_any_origin,
            hosts: allowed_hosts.iter().map(|host| AllowedHost::parse(host)).collect(),
            origins: allowed_origins.iter().map(|origin| normal_origin(origin)).collect(),
        }
    }

    /// Whether a request with these header values may pass. `None` is a header that is absent.
    ///
    /// A missing `Host` is refused with 400, as RFC 9112 asks of HTTP/1.1. For an HTTP/1.0 request
    /// without one the caller may ask with `Some(b"localhost")`: no browser sends such requests.
    pub fn admit(&self, host: Option<&[u8]>, origin: Option<&[u8]>) -> Result<(), Refusal> {
        if self.allow_any_origin {
            return Ok(());
        }
        let Some(host) = host else {
            return Err(Refusal { status: 400, reason: "host_missing", found: Vec::new() });
        };
        if !self.host_is_allowed(host) {
            return Err(Refusal::forbidden("host_not_allowed", host));
        }
        match origin {
            Some(origin) if !self.origin_is_allowed(origin) => {
                Err(Refusal::forbidden("origin_not_allowed", origin))
            }
            _ => Ok(()),
        }
    }

    /// Whether pages of this origin may use what is guarded.
    pub fn admits_origin(&self, origin: &[u8]) -> bool {
        self.allow_any_origin || self.origin_is_allowed(origin)
    }

    /// Whether every host and origin passes; told in the start-up line.
    pub fn is_open(&self) -> bool {
        self.allow_any_origin
    }

    fn host_is_allowed(&self, host: &[u8]) -> bool {
        let Some(authority) = Authority::parse(host) else { return false };
        match authority.host {
            Host::V4(_) | Host::V6(_) => true,
            Host::Name(name) => {
                is_localhost(name)
                    || self.hosts.iter().any(|allowed| allowed.covers(name, authority.port))
            }
        }
    }

    fn origin_is_allowed(&self, origin: &[u8]) -> bool {
        if EXTENSIONS.iter().any(|scheme| {
            cut_prefix_ignoring_case(origin, scheme).is_some_and(|id| {
                !id.is_empty() && id.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            })
        }) {
            return true;
        }
        let loopback = cut_prefix_ignoring_case(origin, b"http://")
            .or_else(|| cut_prefix_ignoring_case(origin, b"https://"))
            .and_then(Authority::parse)
            .is_some_and(|authority| match authority.host {
                Host::V4(address) => address.is_loopback(),
                Host::V6(address) => address.is_loopback(),
                Host::Name(name) => is_localhost(name),
            });
        loopback
            || self.origins.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()))
    }
}

impl AllowedHost {
    fn parse(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.parse().ok()),
            _ => (text.as_str(), None),
        };
        let (name, below) = match name.strip_prefix("*.") {
            Some(parent) => (parent, true),
            None => (name, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        Self { name: name.to_owned(), below, port }
    }

    fn covers(&self, name: &[u8], port: Option<u16>) -> bool {
        if self.port.is_some() && self.port != port {
            return false;
        }
        if self.below {
            is_below(name, self.name.as_bytes())
        } else {
            name.eq_ignore_ascii_case(self.name.as_bytes())
        }
    }
}

impl Refusal {
    fn forbidden(reason: &'static str, found: &[u8]) -> Self {
        Self { status: 403, reason, found: found[..found.len().min(SHOWN)].to_vec() }
    }

    /// What was found, what is allowed, and which setting allows it. Printable ASCII whatever was
    /// sent.
    pub fn message(&self) -> String {
        let mut text = String::with_capacity(400);
        let found = self.found.escape_ascii();
        let _ = match self.reason {
            "host_missing" => write!(
                text,
                "The request has no Host header, which HTTP/1.1 demands. Send one with an IP \
                 address, localhost or a name listed in `allowed_hosts`."
            ),
            "host_not_allowed" => write!(
                text,
                "The Host header is \"{found}\", which is neither an IP address nor localhost. \
                 This keeps web pages from reaching this port under a name of their own (DNS \
                 rebinding). If the name is yours, add it to `allowed_hosts`; \
                 `allow_any_origin = true` switches the check off."
            ),
            _ => write!(
                text,
                "The Origin header is \"{found}\", which is neither on this machine (http or \
                 https, localhost, 127.0.0.0/8 or [::1], any port) nor a browser extension. This \
                 keeps foreign web pages from using this port. If the page is yours, add its \
                 origin to `allowed_origins`; `allow_any_origin = true` switches the check off."
            ),
        };
        text
    }
}

enum Host<'a> {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// Without its trailing dot.
    Name(&'a [u8]),
}

/// `host [":" port]`, and nothing else: no user, path or blank.
struct Authority<'a> {
    host: Host<'a>,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        if let Some(rest) = text.strip_prefix(b"[") {
            let end = memchr::memchr(b']', rest)?;
            let address = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
            return Some(Self { host: Host::V6(address), port: parse_port(&rest[end + 1..])? });
        }
        let colon = memchr::memchr(b':', text).unwrap_or(text.len());
        let (name, port) = (&text[..colon], parse_port(&text[colon..])?);
        let name = name.strip_suffix(b".").unwrap_or(name);
        let sound = name
            .split(|b| *b == b'.')
            .all(|label| !label.is_empty() && label.iter().all(|b| is_name_byte(*b)));
        if !sound {
            return None;
        }
        // `Ipv4Addr` takes four plain decimal numbers only: no hexadecimal, octal or short forms.
        // A browser turns those into four numbers before it sends them.
        if name.first().is_some_and(u8::is_ascii_digit)
            && let Some(address) = std::str::from_utf8(name).ok().and_then(|n| n.parse().ok())
        {
            return Some(Self { host: Host::V4(address), port });
        }
        Some(Self { host: Host::Name(name), port })
    }
}

/// Reads `":" *DIGIT` or nothing. The outer `None` is a malformed port.
fn parse_port(text: &[u8]) -> Option<Option<u16>> {
    match text {
        [] | [b':'] => Some(None),
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Some(Some(std::str::from_utf8(digits).ok()?.parse().ok()?))
        }
        _ => None,
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_localhost(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"localhost") || is_below(name, b"localhost")
}

/// Whether `name` is `<something>.<parent>`.
fn is_below(name: &[u8], parent: &[u8]) -> bool {
    name.len()
        .checked_sub(parent.len())
        .and_then(|at| Some((name.get(..at)?, name.get(at..)?)))
        .is_some_and(|(head, tail)| {
            head.len() > 1 && head.ends_with(b".") && tail.eq_ignore_ascii_case(parent)
        })
}

fn cut_prefix_ignoring_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

/// An origin as a browser writes it: no path, no default port.
fn normal_origin(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('/').unwrap_or(&text);
    let default_port = if text.starts_with("https://") { ":443" } else { ":80" };
    text.strip_suffix(default_port).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Option<&[u8]> = Some(b"127.0.0.1:8546");

    fn host_passes(guard: &Guard, host: &[u8]) -> bool {
        guard.admit(Some(host), None).is_ok()
    }

    fn origin_passes(guard: &Guard, origin: &[u8]) -> bool {
        guard.admit(HOST, Some(origin)).is_ok()
    }

    #[test]
    fn addresses_and_localhost_pass() {
        let guard = Guard::default();
        for host in [
            "127.0.0.1",
            "127.0.0.1:8546",
            "127.1.2.3",
            "127.0.0.1.",
            "192.168.1.7:5001",
            "10.0.0.1",
            "[::1]",
            "[::1]:8546",
            "[fe80::1]:80",
            "localhost",
            "LOCALHOST:8546",
            "LocalHost.",
            "localhost.:80",
            "localhost:",
            "app.localhost",
            "a.b.localhost:3000",
        ] {
            assert!(host_passes(&guard, host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn names_that_only_look_local_are_refused() {
        let guard = Guard::default();
        for host in [
            &b""[..],
            b" ",
            b".",
            b":80",
            b"evil.com",
            b"localhost.evil.com",
            b"127.0.0.1.evil.com",
            b"localhost..",
            b".localhost",
            b"..localhost",
            b"evillocalhost",
            b"localhost@evil.com",
            b"evil.com@localhost",
            b"user:pass@127.0.0.1",
            b"localhost/evil.com",
            b"evil.com/.localhost",
            b"evil.com#.localhost",
            b"evil.com?.localhost",
            b"localhost:80:80",
            b"localhost:65536",
            b"localhost:+80",
            b"localhost:80a",
            b"localhost evil.com",
            b"localhost,evil.com",
            b"localhost\t",
            b"local\x00host",
            b"\xff\xfe",
            b"localhost\xff",
            b"2130706433",
            b"0x7f000001",
            b"0x7f.0.0.1",
            b"0177.0.0.1",
            b"127.1",
            b"127.0.0.01",
            b"127.0.0.1..",
            b"::1",
            b"[::1",
            b"[::1]evil.com",
            b"[::1].evil.com",
            b"[evil.com]",
            b"[]",
            b"[::1%25eth0]",
            "lоcalhost".as_bytes(),
        ] {
            assert!(!host_passes(&guard, host), "{}", host.escape_ascii());
        }
    }

    #[test]
    fn a_missing_host_is_a_bad_request() {
        let refusal = Guard::default().admit(None, None).expect_err("refused");
        assert_eq!((refusal.status, refusal.reason), (400, "host_missing"));
    }

    #[test]
    fn configured_hosts_pass_with_their_port_or_any() {
        let hosts = ["api.Example.org", "box.lan:5001", "*.dev.test"].map(String::from).to_vec();
        let guard = Guard::new(false, hosts, Vec::new());
        for host in ["api.example.org", "API.example.org.:81", "box.lan:5001", "a.b.dev.test"] {
            assert!(host_passes(&guard, host.as_bytes()), "{host}");
        }
        for host in ["example.org", "x.api.example.org", "box.lan", "box.lan:80", "dev.test"] {
            assert!(!host_passes(&guard, host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn local_pages_and_extensions_pass() {
        let guard = Guard::default();
        for origin in [
            "http://localhost",
            "http://localhost:3000",
            "https://LOCALHOST:3000",
            "HTTP://127.0.0.1:5173",
            "http://127.9.9.9",
            "http://[::1]:3000",
            "http://app.localhost:3000",
            "chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn",
            "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc",
            "safari-web-extension://ABCDEF01-62C7-7E4F-90E5-472B45EECFDC",
        ] {
            assert!(origin_passes(&guard, origin.as_bytes()), "{origin}");
        }
    }

    #[test]
    fn foreign_and_forged_origins_are_refused() {
        let guard = Guard::default();
        for origin in [
            &b""[..],
            b"null",
            b"http://evil.com",
            b"https://evil.com:8546",
            b"http://localhost@evil.com",
            b"http://evil.com@localhost",
            b"http://localhost:80@evil.com",
            b"http://localhost.evil.com",
            b"http://127.0.0.1.evil.com",
            b"http://evil.com/localhost",
            b"http://localhost/",
            b"http://localhost#x",
            b"http://localhost?x",
            b"http://localhost\\evil.com",
            b"http:/localhost",
            b"http:localhost",
            b"//localhost",
            b"localhost",
            b"ftp://localhost",
            b"file://",
            b"http://",
            b"http://localhost http://evil.com",
            b"http://localhost,http://evil.com",
            b" http://localhost",
            b"http://192.168.1.7",
            b"http://10.0.0.1:3000",
            b"http://0.0.0.0",
            b"http://2130706433",
            b"http://0x7f000001",
            b"http://[::2]",
            b"http://[::1",
            b"http://localhost:99999",
            b"chrome-extension://",
            b"chrome-extension://a/b",
            b"chrome-extension://evil.com",
            b"xchrome-extension://abc",
            b"http://localhost\xff",
            b"\xff\xff",
        ] {
            let refusal = guard.admit(HOST, Some(origin)).expect_err("refused");
            assert_eq!((refusal.status, refusal.reason), (403, "origin_not_allowed"));
        }
    }

    #[test]
    fn configured_origins_pass_and_only_they() {
        let origins =
            ["https://App.Example.org:443/", "http://box.lan:3000", "null"].map(String::from);
        let guard = Guard::new(false, Vec::new(), origins.to_vec());
        for origin in ["https://app.example.org", "http://box.lan:3000", "null"] {
            assert!(origin_passes(&guard, origin.as_bytes()), "{origin}");
        }
        for origin in ["http://app.example.org", "http://box.lan", "https://app.example.org.evil"] {
            assert!(!origin_passes(&guard, origin.as_bytes()), "{origin}");
        }
    }

    #[test]
    fn an_open_guard_admits_everything() {
        let guard = Guard::new(true, Vec::new(), Vec::new());
        assert!(guard.is_open());
        assert_eq!(guard.admit(None, Some(b"null")), Ok(()));
        assert_eq!(guard.admit(Some(b"evil.com"), Some(b"http://evil.com")), Ok(()));
    }

    #[test]
    fn a_message_is_printable_and_names_the_setting() {
        let guard = Guard::default();
        let hostile = [b"<script>\r\n\x1b[31m\xff".as_slice(), &[b'a'; 5_000]].concat();
        let message = guard.admit(Some(&hostile), None).expect_err("refused").message();
        assert!(message.bytes().all(|b| matches!(b, b' '..=b'~')), "{message}");
        assert!(message.len() < 1_000 && message.contains("`allowed_hosts`"), "{message}");
        let message = guard.admit(HOST, Some(b"null")).expect_err("refused").message();
        assert!(message.contains("\"null\"") && message.contains("`allowed_origins`"), "{message}");
    }
}
