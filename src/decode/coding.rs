//! Undoes the compression of a captured body: gzip, deflate, Brotli, Zstandard, up to two of them one
//! over the other.
//!
//! Runs in the recorder's thread, never on the forwarding path. What comes out is bounded in bytes, and
//! so is the work; decoders get no window larger than 16 MiB. The clients decide how strict to be: as
//! theirs do, it passes over what follows a gzip stream, and takes `deflate` without its zlib header.

use std::borrow::Cow;
use std::io::{self, Read};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use crate::model::{Captured, Coding, Codings, CopyStop, UninspectedReason};

/// Bytes that are decompressed at a time.
const PIECE: usize = 64 * 1024;
/// The largest window of Zstandard, as a power of two: HTTP allows 8 MiB (RFC 9659).
const ZSTD_WINDOW: u32 = 23;
/// gzip streams in one body, each of which costs a fresh decoder.
const MOST_MEMBERS: usize = 256;

/// A body as it was meant.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The body, or as much of its beginning as could be read.
    pub bytes: Cow<'a, [u8]>,
    /// Why this is not all of it.
    pub missing: Option<UninspectedReason>,
}

/// The codings that a `Content-Encoding` or `Transfer-Encoding` names, in order of their application.
/// `chunked` counts as none.
pub fn codings(header: &[u8]) -> Codings {
    header.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).fold(
        Codings::None,
        |before, name| {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match name {
                b"" => before,
                _ if is("identity") || is("chunked") => before,
                _ if is("gzip") || is("x-gzip") => before.then(Some(Coding::Gzip)),
                _ if is("deflate") => before.then(Some(Coding::Deflate)),
                _ if is("br") => before.then(Some(Coding::Brotli)),
                _ if is("zstd") => before.then(Some(Coding::Zstd)),
                _ => before.then(None),
            }
        },
    )
}

/// What `captured` holds, decompressed to at most `limit` bytes.
pub fn plain(captured: &Captured, limit: usize) -> Plain<'_> {
    let is_part = (captured.bytes.len() as u64) < captured.total;
    let cut = match captured.stopped {
        Some(CopyStop::BudgetSpent) => Some(UninspectedReason::NoRoom),
        Some(CopyStop::Opaque) => Some(UninspectedReason::Opaque),
        None => is_part.then_some(UninspectedReason::TooLarge),
    };
    let steps = match captured.codings {
        Codings::None => {
            return Plain { bytes: Cow::Borrowed(&captured.bytes), missing: cut };
        }
        Codings::One(only) => [Some(only), None],
        Codings::Two(first, last) => [Some(last), Some(first)],
        Codings::Unknown => {
            let missing = cut.or(Some(UninspectedReason::Compressed));
            return Plain { bytes: Cow::Borrowed(&[]), missing };
        }
    };
    // No bytes are no body, whatever the headers say of it: the answer to a HEAD, a 204.
    if captured.bytes.is_empty() {
        return Plain { bytes: Cow::Borrowed(&[]), missing: cut };
    }
    let (mut bytes, mut missing) = (Cow::Borrowed(&captured.bytes[..]), cut);
    for step in steps.into_iter().flatten() {
        let mut out = Vec::new();
        missing = match undo(step, &bytes, limit, &mut out) {
            End::Whole => missing,
            End::Limit => Some(UninspectedReason::TooLarge),
            // The end of what was kept of a body, or of a stream that ends too early.
            End::Cut => missing.or(Some(UninspectedReason::Unreadable)),
            End::Wrong => Some(UninspectedReason::Unreadable),
        };
        // Decoders go one byte beyond the limit to see that there is more.
        out.truncate(limit);
        bytes = Cow::Owned(out);
    }
    Plain { bytes, missing }
}

/// How decompressing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the stream's own end.
    Whole,
    /// There was more than may come out.
    Limit,
    /// The bytes ended before the stream did.
    Cut,
    /// The bytes are no such stream.
    Wrong,
}

fn undo(coding: Coding, bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> End {
    match coding {
        Coding::Gzip => gunzip(bytes, limit, out),
        Coding::Deflate => {
            let end = inflate(Decompress::new(true), bytes, limit, out);
            if end == End::Wrong {
                out.clear();
                return inflate(Decompress::new(false), bytes, limit, out);
            }
            end
        }
        Coding::Brotli => unbrotli(bytes, limit, out),
        Coding::Zstd => unzstd(bytes, limit, out),
    }
}

/// One stream after the other; what follows them and is none is passed over.
fn gunzip(mut bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> End {
    for _ in 0..MOST_MEMBERS {
        let mut decoder = GzDecoder::new(bytes);
        let end = read(&mut decoder, limit, out);
        if end != End::Whole {
            return end;
        }
        bytes = decoder.into_inner();
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return End::Whole;
        }
    }
    End::Limit
}

fn inflate(mut decoder: Decompress, bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> End {
    loop {
        if !make_room(limit, out) {
            return End::Limit;
        }
        let used = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
        let rest = bytes.get(used..).unwrap_or_default();
        let before = (decoder.total_in(), out.len());
        match decoder.decompress_vec(rest, out, FlushDecompress::None) {
            Ok(Status::StreamEnd) => return whole_within(limit, out),
            Ok(_) if before == (decoder.total_in(), out.len()) => return End::Cut,
            Ok(_) => {}
            Err(_) => return End::Wrong,
        }
    }
}

fn unbrotli(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> End {
    let standard = StandardAlloc::default;
    // Strict: without the windows of up to a gigabyte that HTTP does not have.
    let mut state = BrotliState::new_strict(standard(), standard(), standard());
    let (mut left, mut at, mut total) = (bytes.len(), 0, 0);
    let mut piece = vec![0; PIECE];
    loop {
        let (mut room, mut filled) = (piece.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut at,
            bytes,
            &mut room,
            &mut filled,
            &mut piece,
            &mut total,
            &mut state,
        );
        out.extend_from_slice(&piece[..filled.min((limit + 1).saturating_sub(out.len()))]);
        if out.len() > limit {
            return whole_within(limit, out);
        }
        match result {
            BrotliResult::ResultSuccess => return End::Whole,
            BrotliResult::NeedsMoreInput => return End::Cut,
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => return End::Wrong,
        }
    }
}

fn unzstd(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> End {
    let Ok(mut decoder) = zstd::stream::read::Decoder::with_buffer(bytes) else {
        return End::Wrong;
    };
    if decoder.window_log_max(ZSTD_WINDOW).is_err() {
        return End::Wrong;
    }
    read(&mut decoder, limit, out)
}

fn read(decoder: &mut impl Read, limit: usize, out: &mut Vec<u8>) -> End {
    loop {
        if !make_room(limit, out) {
            return End::Limit;
        }
        let begin = out.len();
        out.resize(begin + PIECE.min(limit + 1 - begin), 0);
        let count = decoder.read(&mut out[begin..]);
        out.truncate(begin + count.as_ref().copied().unwrap_or(0));
        match count {
            Ok(0) => return End::Whole,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return End::Cut,
            Err(_) => return End::Wrong,
        }
    }
}

/// Whether there may be more, one byte beyond the limit to notice that there is more; if so, makes room.
fn make_room(limit: usize, out: &mut Vec<u8>) -> bool {
    if out.len() > limit {
        out.truncate(limit);
        return false;
    }
    if out.len() == out.capacity() {
        // At least double, but never more than may be filled.
        let more = out.len().max(PIECE).min(limit + 1 - out.len());
        out.reserve_exact(more);
    }
    true
}

fn whole_within(limit: usize, out: &mut Vec<u8>) -> End {
    if out.len() <= limit {
        return End::Whole;
    }
    out.truncate(limit);
    End::Limit
}

#[cfg(test)]
mod tests;
