//! Who may come in: the guard's word on `Host` and `Origin`, and the token of a monitor that others
//! on the network can reach.

use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;

use super::Admit;

/// The cookie that stands for the token once a browser has shown it.
const COOKIE_NAME: &str = "dappscope_token";
/// Shorter tokens can be guessed.
const SHORTEST: usize = 16;

/// What keeps strangers out.
pub struct Access {
    admit: Admit,
    token: Option<Token>,
}

/// A token that may stand in a URL, a header and a cookie as it is.
pub struct Token(String);

/// A refusal: the status and the words.
#[derive(Debug, PartialEq)]
pub struct Refused(pub u16, pub String);

/// How one came in.
#[derive(Debug, PartialEq)]
pub enum Entrance {
    Open,
    /// With the token in the URL: the browser is to keep it as a cookie, so that it leaves the
    /// address line and the history. Holds the cookie.
    ByUrl(String),
}

impl Token {
    /// None for one that is too short or holds other than letters, digits, `-`, `_` and `.`.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (text.len() >= SHORTEST && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// In a time that does not tell how much of it is right.
    fn is(&self, shown: &[u8]) -> bool {
        let expected = self.0.as_bytes();
        let difference = expected
            .iter()
            .zip(shown.iter().chain(std::iter::repeat(&0)))
            .fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
        (difference == 0) & (expected.len() == shown.len())
    }
}

impl Access {
    pub const fn new(admit: Admit, token: Option<Token>) -> Self {
        Self { admit, token }
    }

    pub fn check(&self, request: &Parts) -> Result<Entrance, Refused> {
        let mut hosts = request.headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Refused(400, "more than one Host header".to_owned()));
        }
        let host = host.map(http::HeaderValue::as_bytes);
        let mut origins = request.headers.get_all(ORIGIN).iter().map(http::HeaderValue::as_bytes);
        // No browser sends two: neither is believed.
        let origin = match (origins.next(), origins.next()) {
            (first, None) => first,
            _ => Some(b"several".as_slice()),
        };
        // The page's own requests: their host is judged, and their origin is that host.
        let foreign = origin.filter(|origin| !is_same(origin, host));
        (self.admit)(host, foreign).map_err(|(status, words)| Refused(status, words))?;
        let Some(token) = &self.token else { return Ok(Entrance::Open) };
        if shown_in_headers(request).any(|shown| token.is(shown)) {
            return Ok(Entrance::Open);
        }
        let in_url = request.uri.query().into_iter().flat_map(|query| query.split('&'));
        let mut in_url = in_url.filter_map(|pair| pair.strip_prefix("token="));
        if in_url.any(|shown| token.is(shown.as_bytes())) {
            let cookie = format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict", token.0);
            return Ok(Entrance::ByUrl(cookie));
        }
        Err(Refused(
            401,
            "this monitor asks for its token: open /?token=… once, or send Authorization: \
             Bearer …"
                .to_owned(),
        ))
    }
}

fn shown_in_headers(request: &Parts) -> impl Iterator<Item = &[u8]> {
    let bearer = request.headers.get_all(AUTHORIZATION).iter();
    let bearer = bearer.filter_map(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let cookies = request.headers.get_all(COOKIE).iter().flat_map(|value| {
        value.as_bytes().split(|byte| *byte == b';').filter_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(COOKIE_NAME.as_bytes())?;
            value.strip_prefix(b"=")
        })
    });
    bearer.chain(cookies)
}

/// Whether a page at `origin` was served by `host`, this very listener.
fn is_same(origin: &[u8], host: Option<&[u8]>) -> bool {
    origin.strip_prefix(b"http://").is_some_and(|authority| Some(authority) == host)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn access() -> Access {
        let admit: Admit = Arc::new(|_, origin| match origin {
            Some(_) => Err((403, "origin".to_owned())),
            None => Ok(()),
        });
        Access::new(admit, Token::new(TOKEN))
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_token_is_taken_from_header_cookie_and_url_and_from_nowhere_else() {
        let access = access();
        let bearer = format!("Bearer {TOKEN}");
        let cookie = format!("a=b; {COOKIE_NAME}={TOKEN}");
        for (name, value) in [("authorization", &bearer), ("cookie", &cookie)] {
            assert_eq!(access.check(&request("/", &[(name, value)])), Ok(Entrance::Open));
        }
        let by_url = access.check(&request(&format!("/?a=b&token={TOKEN}"), &[]));
        assert!(matches!(by_url, Ok(Entrance::ByUrl(_))), "{by_url:?}");
        for bad in ["", "Bearer ", "Bearer 0123456789abcdeX", "Bearer 0123456789abcdef0"] {
            let refused = access.check(&request("/?token=0123", &[("authorization", bad)]));
            assert_eq!(refused.unwrap_err().0, 401, "{bad}");
        }
    }

    #[test]
    fn the_monitors_own_page_is_no_foreign_origin() {
        let access = access();
        let bearer = format!("Bearer {TOKEN}");
        let check = |origin| {
            let host = ("host", "192.168.1.5:3001");
            access.check(&request("/", &[host, ("origin", origin), ("authorization", &bearer)]))
        };
        assert_eq!(check("http://192.168.1.5:3001"), Ok(Entrance::Open));
        assert_eq!(check("http://evil.example").unwrap_err().0, 403);
        assert_eq!(check("http://192.168.1.5:3001.evil.example").unwrap_err().0, 403);
    }

    #[test]
    fn two_hosts_are_refused_and_weak_tokens_are_not_taken() {
        let two = request("/", &[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(access().check(&two).unwrap_err().0, 400);
        assert!(Token::new("short").is_none());
        assert!(Token::new("0123456789abcdef;Path=/").is_none());
    }
}
