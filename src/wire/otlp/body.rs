//! An export's body: read whole, inflated, and no larger than it may be, before and after; and all
//! that are being read no larger than they may be together.

use std::io::Read as _;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderValue, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::answer::Refused;

/// The largest export, in bytes, also once it is inflated.
pub(super) const LARGEST: usize = 8 << 20;
/// Bytes of all bodies under way. Who sends slowly holds what has come of its body, and no turn that
/// others wait for.
pub(super) const LARGEST_TOGETHER: usize = 4 * LARGEST;
/// What of a body counts as its beginning: nearly all exports are no longer.
const BEGINNING: usize = 256 << 10;
/// How much of the room is kept for beginnings, so that long bodies leave some for short ones.
const BEGINNINGS: usize = LARGEST;

/// Room for what has come of bodies.
pub(super) struct Room {
    beginnings: Semaphore,
    rest: Semaphore,
}

/// The room that a body takes, free again when this is dropped.
#[derive(Default)]
pub(super) struct Taken<'a> {
    beginning: Option<SemaphorePermit<'a>>,
    rest: Option<SemaphorePermit<'a>>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            beginnings: Semaphore::new(BEGINNINGS),
            rest: Semaphore::new(LARGEST_TOGETHER - BEGINNINGS),
        }
    }

    /// Reads a body, of which something has to come within each `stalled`.
    pub(super) async fn read<B>(
        &self,
        body: B,
        stalled: Duration,
    ) -> Result<(Bytes, Taken<'_>), Refused>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if body.size_hint().lower() > LARGEST as u64 {
            return Err(too_large());
        }
        let mut body = pin!(body);
        let mut read = Vec::new();
        let mut taken = Taken::default();
        loop {
            let next = timeout(stalled, body.frame()).await;
            let Some(frame) = next.map_err(|_| too_slow("something of it", stalled))? else {
                return Ok((read.into(), taken));
            };
            let frame = frame.map_err(|error| malformed(&error.into().to_string()))?;
            // Of trailers nothing is wanted.
            let Ok(piece) = frame.into_data() else { continue };
            if piece.len() > LARGEST - read.len() {
                return Err(too_large());
            }
            let beginning = piece.len().min(BEGINNING.saturating_sub(read.len()));
            take(&self.beginnings, beginning, &mut taken.beginning, stalled).await?;
            take(&self.rest, piece.len() - beginning, &mut taken.rest, stalled).await?;
            read.extend_from_slice(&piece);
        }
    }
}

/// Takes so many bytes more, for which there has to be room `within` this time.
async fn take<'a>(
    room: &'a Semaphore,
    bytes: usize,
    taken: &mut Option<SemaphorePermit<'a>>,
    within: Duration,
) -> Result<(), Refused> {
    if bytes == 0 {
        return Ok(());
    }
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let Ok(Ok(more)) = timeout(within, room.acquire_many(bytes)).await else {
        return Err(no_room());
    };
    match taken {
        Some(taken) => taken.merge(more),
        None => *taken = Some(more),
    }
    Ok(())
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
            reason: "encoding",
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
        reason: "malformed",
        message: format!("expected an export of spans, found: {found}"),
    }
}

/// `what` of an export did not come `within` this time.
pub(super) fn too_slow(what: &str, within: Duration) -> Refused {
    Refused {
        status: StatusCode::REQUEST_TIMEOUT,
        reason: "too_slow",
        message: format!("expected {what} within {within:?}"),
    }
}

fn no_room() -> Refused {
    Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: "no_room",
        message: format!(
            "expected room for the export, found {LARGEST_TOGETHER} bytes of others that have not \
             come whole; send it again"
        ),
    }
}

fn too_large() -> Refused {
    Refused {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        reason: "too_large",
        message: format!(
            "expected at most {LARGEST} bytes, found more; set OTEL_BSP_MAX_EXPORT_BATCH_SIZE lower"
        ),
    }
}
