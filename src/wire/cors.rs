//! Lets a page at another origin read what dappscope itself answers: the reverse proxy where the API
//! does not, in place of which the browser would show a complaint about missing headers of
//! cross-origin requests (CORS); and the receiver of spans, to which browsers send theirs.
//!
//! Only for origins that the [guard](super::guard) admits: the caller asks it first. What the API says
//! of its origins is the API's.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

/// What a page asks for that is not the API's own.
pub struct CrossOrigin {
    origin: HeaderValue,
    /// Of a preflight: the method and the headers of the request that it asks leave for.
    preflight: Option<(HeaderValue, Option<HeaderValue>)>,
}

impl CrossOrigin {
    /// Of a request whose origin was admitted; none where it has none.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let preflight = method
            .filter(|_| request.method() == Method::OPTIONS)
            .map(|method| (method.clone(), headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned()));
        Some(Self { origin: headers.get(ORIGIN)?.clone(), preflight })
    }

    /// Whether it asks leave for another request.
    pub const fn is_preflight(&self) -> bool {
        self.preflight.is_some()
    }

    /// Lets the page read an answer with these headers. The status for it: a preflight's has to be a
    /// success, or the page would not learn why the request itself fails. The browser forgets the
    /// leave at once.
    pub fn allow(self, status: StatusCode, headers: &mut HeaderMap) -> StatusCode {
        const TRUE: HeaderValue = HeaderValue::from_static("true");
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some((method, names)) = self.preflight else { return status };
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
        if let Some(names) = names {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("0"));
        StatusCode::OK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(request: http::request::Builder) -> Option<(u16, Vec<String>)> {
        let request = request.header("host", "a").body(()).expect("builds");
        let mut headers = HeaderMap::new();
        let status = CrossOrigin::of(&request)?.allow(StatusCode::BAD_GATEWAY, &mut headers);
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value:?}"));
        Some((status.as_u16(), lines.collect()))
    }

    #[test]
    fn a_page_of_another_origin_may_read_the_answer() {
        assert_eq!(allowed(Request::get("/a")), None);
        let (status, headers) = allowed(Request::get("/a").header("origin", "http://b")).unwrap();
        assert_eq!(status, 502);
        assert_eq!(
            headers,
            [
                "access-control-allow-origin: \"http://b\"",
                "access-control-allow-credentials: \"true\"",
                "vary: \"Origin\"",
            ]
        );
        let preflight = Request::options("/a")
            .header("origin", "http://b")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let (status, headers) = allowed(preflight).unwrap();
        assert_eq!(status, 200);
        assert!(headers.contains(&"access-control-allow-methods: \"POST\"".to_owned()));
        assert!(headers.contains(&"access-control-allow-headers: \"content-type\"".to_owned()));
        let options = Request::options("/a").header("origin", "http://b");
        assert_eq!(allowed(options).unwrap().0, 502, "no preflight");
    }
}
