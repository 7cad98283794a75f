//! What the reverse proxy is told: where the API is, and how long to wait for it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::in_flight::InFlight;

/// How the reverse proxy behaves.
#[derive(Clone, Debug)]
pub struct ReverseSettings {
    /// The API.
    pub upstream: Upstream,
    /// How long to wait for a connection to the API; 502 afterwards.
    pub connect_timeout: Duration,
    /// How long the API may take from the request's last byte written to the first byte of its
    /// response; 504 afterwards. `None` waits for ever.
    pub first_byte_timeout: Option<Duration>,
    /// Idle connections to the API that are kept.
    pub idle_connections: usize,
    /// How long an idle connection to the API is kept, if the API itself does not say less
    /// (`Keep-Alive: timeout=5`).
    pub idle_timeout: Duration,
    /// Whether `Server-Timing: proxy;dur=…` is appended to responses.
    pub server_timing: bool,
    /// Whether header names keep the case in which they were sent, and new ones are written
    /// `Like-This`. Otherwise all are written in lower case, as HTTP/2 does; names have no case in
    /// HTTP, and keeping it costs about a tenth of the proxy's time.
    pub preserve_header_case: bool,
    /// How long requests in flight may take once a shutdown was asked for.
    pub drain: Duration,
    /// Where the requests under way are counted.
    pub in_flight: InFlight,
}

impl ReverseSettings {
    /// The defaults, in front of `upstream`.
    pub fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Some(Duration::from_secs(60)),
            idle_connections: 128,
            idle_timeout: Duration::from_secs(30),
            server_timing: true,
            preserve_header_case: false,
            drain: Duration::from_secs(10),
            in_flight: InFlight::default(),
        }
    }
}

/// The API's address: `127.0.0.1:5000`, `localhost:5000`, `[::1]:5000` or the same as an
/// `http://` URL without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    host: String,
    port: u16,
}

/// Why a text is not an upstream's address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamError {
    #[error(
        "the upstream `{0}` is not plain http; dappscope speaks HTTP/1.1 without TLS to an API on \
         this machine or network: write http://host:port"
    )]
    Scheme(String),
    #[error(
        "the upstream `{0}` has a path; paths are passed on as they are, so write http://host:port \
         only"
    )]
    Path(String),
    #[error("the upstream `{0}` is not host:port or http://host:port, such as 127.0.0.1:5000")]
    Form(String),
}

impl Upstream {
    pub fn parse(text: &str) -> Result<Self, UpstreamError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(UpstreamError::Scheme(text.to_owned()));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(UpstreamError::Path(text.to_owned()));
        }
        let form = || UpstreamError::Form(text.to_owned());
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| form())?),
            _ if text.contains("://") => (rest, 80),
            _ => return Err(form()),
        };
        let name = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let sound = match name {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            }
        };
        if !sound {
            return Err(form());
        }
        Ok(Self { host: name.unwrap_or(host).to_owned(), port })
    }

    /// `host:port`, as in a `Host` header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The addresses behind the name, asked of the system's resolver when it is a name.
    pub(super) async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        Ok(tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect())
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        for (text, authority) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://localhost:5000/", "localhost:5000"),
            ("HTTP://api.lan", "api.lan:80"),
            ("[::1]:5000", "[::1]:5000"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(Upstream::parse(text).map(|u| u.authority()).as_deref(), Ok(authority));
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        let parse = |text: &str| Upstream::parse(text).expect_err("refused");
        assert!(matches!(parse("https://localhost:5000"), UpstreamError::Scheme(_)));
        assert!(matches!(parse("http://localhost:5000/api"), UpstreamError::Path(_)));
        for text in ["", "localhost", "localhost:x", ":5000", "a b:80", "[::1", "u@h:80", "h:99999"]
        {
            assert!(matches!(parse(text), UpstreamError::Form(_)), "{text}");
        }
    }
}
