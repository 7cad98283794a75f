//! Answers in the request's own encoding: `ExportTraceServiceResponse`, or `google.rpc.Status`.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use prost::encoding::{int32, int64, string};
use serde_json::json;

/// How an export is written, and so its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

/// Why an export is refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// One of [`Event::EXPORT_REFUSALS`](crate::model::Event::EXPORT_REFUSALS).
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Encoding {
    /// That of a `Content-Type`, whose parameters do not matter.
    pub(super) fn of(content_type: Option<&HeaderValue>) -> Option<Self> {
        let text = content_type?.to_str().ok()?;
        let kind = text.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Self::Protobuf)
        } else if kind.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The answer to an export that was taken, but for so many of its spans.
    pub(super) fn taken(self, left_out: u64) -> Response<Full<Bytes>> {
        let why = "left out: spans without a trace id and a span id, and those beyond 16384 in one \
                   export";
        let body = match self {
            _ if left_out == 0 && self == Self::Protobuf => Vec::new(),
            _ if left_out == 0 => b"{}".to_vec(),
            Self::Protobuf => {
                let mut partial = Vec::new();
                int64::encode(1, &i64::try_from(left_out).unwrap_or(i64::MAX), &mut partial);
                string::encode(2, &why.to_owned(), &mut partial);
                let mut body = Vec::new();
                prost::encoding::bytes::encode(1, &partial, &mut body);
                body
            }
            Self::Json => json!({
                "partialSuccess": { "rejectedSpans": left_out.to_string(), "errorMessage": why }
            })
            .to_string()
            .into_bytes(),
        };
        self.answer(StatusCode::OK, body)
    }

    /// The answer to what was not taken.
    pub(super) fn refused(self, refused: &Refused) -> Response<Full<Bytes>> {
        // INVALID_ARGUMENT; clients go by the HTTP status.
        const CODE: i32 = 3;
        let body = match self {
            Self::Protobuf => {
                let mut body = Vec::new();
                int32::encode(1, &CODE, &mut body);
                string::encode(2, &refused.message, &mut body);
                body
            }
            Self::Json => {
                json!({ "code": CODE, "message": refused.message }).to_string().into_bytes()
            }
        };
        self.answer(refused.status, body)
    }

    fn answer(self, status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let content_type = HeaderValue::from_static(self.content_type());
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }
}
