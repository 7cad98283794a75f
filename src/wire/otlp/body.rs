//! An export's body: read whole, inflated, and no larger than it may be, before and after.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderValue, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::answer::Refused;

/// The largest export, in bytes, also once it is inflated.
pub(super) const LARGEST: usize = 8 << 20;

/// Reads the body.
pub(super) async fn read<B>(body: B) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > LARGEST as u64 {
        return Err(too_large());
    }
    let read = Limited::new(body, LARGEST).collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() { too_large() } else { malformed(&error.to_string()) }
    })
}

/// The body as it was before `Content-Encoding`.
pub(super) fn decoded(body: Bytes, encoding: Option<&HeaderValue>) -> Result<Bytes, Refused> {
    let encoding = encoding.map_or(&b""[..], HeaderValue::as_bytes).trim_ascii();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(body);
    }
    if !encoding.eq_ignore_ascii_case(b"gzip") {
        return Err(Refused {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            reason: Some("encoding"),
            message: format!(
                "expected {} gzip or none, found \"{}\"; set OTEL_EXPORTER_OTLP_COMPRESSION to \
                 gzip or none",
                header::CONTENT_ENCODING,
                encoding.escape_ascii()
            ),
        });
    }
    let mut inflated = Vec::new();
    let mut decoder = MultiGzDecoder::new(&body[..]).take(LARGEST as u64 + 1);
    decoder
        .read_to_end(&mut inflated)
        .map_err(|error| malformed(&format!("a body that is no gzip ({error})")))?;
    if inflated.len() > LARGEST {
        return Err(too_large());
    }
    Ok(inflated.into())
}

/// What is no export, and what was found in its place.
pub(super) fn malformed(found: &str) -> Refused {
    Refused {
        status: StatusCode::BAD_REQUEST,
        reason: Some("malformed"),
        message: format!("expected an export of spans, found: {found}"),
    }
}

fn too_large() -> Refused {
    Refused {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        reason: Some("too_large"),
        message: format!(
            "expected at most {LARGEST} bytes, found more; set OTEL_BSP_MAX_EXPORT_BATCH_SIZE lower"
        ),
    }
}
