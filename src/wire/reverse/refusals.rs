//! What could be understood in two ways (request smuggling), and what a reverse proxy does not do.
//!
//! Judges only; [`admission`](super::admission) refuses.

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, Uri, Version, header};

use super::framing::Flaw;

/// Why a request is refused.
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
}

/// Looks at what hyper hands over unjudged; makes an absolute target relative.
pub(super) fn examine<B>(request: &mut Request<B>) -> Result<(), Refused> {
    let refused = |status, reason, message| Err(Refused { status, reason, message });
    if request.method() == Method::CONNECT {
        return refused(
            405,
            "connect",
            "CONNECT asks for a tunnel; this proxy only passes requests on to the API that it was \
             configured with.",
        );
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return refused(
            400,
            "host_twice",
            "The request has more than one Host header, so it is not clear whom it is for. Send \
             one.",
        );
    }
    if host.is_none() && request.version() != Version::HTTP_10 {
        return refused(
            400,
            "host_missing",
            "The request has no Host header, which HTTP/1.1 demands. Send one.",
        );
    }
    if let Some(authority) = request.uri().authority() {
        if !is_for(authority, request.uri().scheme(), host) {
            return refused(
                421,
                "foreign_authority",
                "The request's target is a whole URL for another host than the Host header \
                 names. This proxy only passes requests on to the API that it was configured \
                 with.",
            );
        }
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    }
    Ok(())
}

/// Whether an absolute target means the same server as `Host`.
fn is_for(authority: &Authority, scheme: Option<&Scheme>, host: Option<&HeaderValue>) -> bool {
    scheme == Some(&Scheme::HTTP)
        && host
            .is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()))
}

impl From<Flaw> for Refused {
    fn from(flaw: Flaw) -> Self {
        let (reason, message) = match flaw {
            Flaw::BareLineFeed => (
                "bare_line_feed",
                "A line of the request's head ends in LF alone; HTTP/1.1 lines end in CR LF.",
            ),
            Flaw::LengthAndEncoding => (
                "length_and_encoding",
                "The request has both Content-Length and Transfer-Encoding, so its end can be \
                 read in two ways. Send one of them.",
            ),
            Flaw::TwoLengths => (
                "content_length",
                "The request's Content-Length is not one plain number in one header.",
            ),
            Flaw::Encoding => {
                ("transfer_encoding", "The request's Transfer-Encoding is not exactly `chunked`.")
            }
            Flaw::Fragment => (
                "fragment",
                "The request's target holds `#`, which belongs to the browser and is never sent. \
                 Write %23.",
            ),
            Flaw::Lost => (
                "framing",
                "An earlier request on this connection could not be followed to its end. Open a \
                 new connection.",
            ),
        };
        Self { status: 400, reason, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> u16 {
        let mut request = build(Request::builder()).body(()).expect("builds");
        examine(&mut request).map_or_else(|refused| refused.status, |()| 200)
    }

    #[test]
    fn whom_a_request_is_for_must_be_clear() {
        assert_eq!(judge(|b| b.uri("/a").header("host", "a")), 200);
        assert_eq!(judge(|b| b.uri("/a")), 400);
        assert_eq!(judge(|b| b.uri("/a").version(Version::HTTP_10)), 200);
        assert_eq!(judge(|b| b.uri("/a").header("host", "a").header("host", "a")), 400);
        assert_eq!(judge(|b| b.uri("http://a:1/x").header("host", "A:1")), 200);
        assert_eq!(judge(|b| b.uri("http://a/x").header("host", "b")), 421);
        assert_eq!(judge(|b| b.uri("http://u@a/x").header("host", "a")), 421);
        assert_eq!(judge(|b| b.uri("https://a/x").header("host", "a")), 421);
        assert_eq!(judge(|b| b.method("CONNECT").uri("a:1").header("host", "a:1")), 405);
    }

    #[test]
    fn an_absolute_target_is_passed_on_as_a_path() {
        for (from, to) in [("http://a/x?y=1", "/x?y=1"), ("http://a", "/")] {
            let mut request = Request::get(from).header("host", "a").body(()).expect("builds");
            assert!(examine(&mut request).is_ok());
            assert_eq!(request.uri().to_string(), to);
        }
    }
}
