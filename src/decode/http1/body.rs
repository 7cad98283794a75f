//! Follows one body to its end and keeps its beginning: `Content-Length`, chunked with extensions
//! and trailers, and bodies that end with the connection.

use memchr::memchr;

use super::head::Framing;
use crate::decode::capture::{Budget, Capture, Ration};
use crate::model::{Captured, Codings};

/// The body's framing is broken: where it ends cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenFraming;

/// A body under way.
#[derive(Debug)]
pub struct Body {
    left: Left,
    capture: Capture,
}

/// What is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Done,
    Bytes(u64),
    UntilClose,
    /// In a chunk's size: the digits so far and their value.
    Size {
        digits: u8,
        value: u64,
    },
    /// After the size, up to the line's end.
    Extension(u64),
    SizeLineFeed(u64),
    Chunk(u64),
    ChunkReturn,
    ChunkLineFeed,
    /// At the beginning of a trailer line, or of the empty line that ends the body.
    Trailers,
    Trailer,
    TrailerLineFeed,
    LastLineFeed,
}

impl Body {
    /// A body framed as `framing` says, of which the first `limit` bytes are kept.
    pub fn new(framing: Framing, codings: Codings, limit: usize) -> Self {
        let left = match framing {
            Framing::Empty | Framing::Ambiguous | Framing::Length(0) => Left::Done,
            Framing::Length(length) => Left::Bytes(length),
            Framing::Chunked => Left::Size { digits: 0, value: 0 },
            Framing::UntilClose => Left::UntilClose,
        };
        Self { left, capture: Capture::new(limit, codings) }
    }

    pub fn is_done(&self) -> bool {
        self.left == Left::Done
    }

    /// Whether the end of the connection is the end of this body.
    pub fn ends_with_connection(&self) -> bool {
        self.left == Left::UntilClose
    }

    /// What was kept.
    pub fn finish(self) -> (Captured, Option<Ration>) {
        self.capture.finish()
    }

    /// Follows `bytes` and answers how many of them belong to the body; all of them unless it is
    /// done.
    pub fn follow(&mut self, bytes: &[u8], budget: &Budget) -> Result<usize, BrokenFraming> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.left {
                Left::Done => break,
                Left::Bytes(left) => {
                    let count = at_most(left, rest.len());
                    self.capture.keep(&rest[..count], left, budget);
                    at += count;
                    let left = left - count as u64;
                    self.left = if left == 0 { Left::Done } else { Left::Bytes(left) };
                }
                Left::UntilClose => {
                    self.capture.keep(rest, rest.len() as u64, budget);
                    at = bytes.len();
                }
                Left::Chunk(left) => {
                    let count = at_most(left, rest.len());
                    self.capture.keep(&rest[..count], left, budget);
                    at += count;
                    let left = left - count as u64;
                    self.left = if left == 0 { Left::ChunkReturn } else { Left::Chunk(left) };
                }
                Left::Extension(size) => match memchr(b'\r', rest) {
                    Some(end) if memchr(b'\n', &rest[..end]).is_none() => {
                        at += end + 1;
                        self.left = Left::SizeLineFeed(size);
                    }
                    None if memchr(b'\n', rest).is_none() => at = bytes.len(),
                    _ => return Err(BrokenFraming),
                },
                Left::Trailer => match memchr(b'\r', rest) {
                    Some(end) if memchr(b'\n', &rest[..end]).is_none() => {
                        at += end + 1;
                        self.left = Left::TrailerLineFeed;
                    }
                    None if memchr(b'\n', rest).is_none() => at = bytes.len(),
                    _ => return Err(BrokenFraming),
                },
                _ => {
                    self.left = self.left.after(rest[0])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }
}

impl Left {
    /// What follows a byte of the chunked framing. Strict where servers differ: a bare line feed or
    /// a stray return is broken, because another reader might see the end elsewhere.
    fn after(self, byte: u8) -> Result<Self, BrokenFraming> {
        let next = match (self, byte) {
            (Self::Size { digits, value }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if digits < 16 =>
            {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                Self::Size { digits: digits + 1, value: value << 4 | u64::from(digit) }
            }
            (Self::Size { digits: 1.., value }, b'\r') => Self::SizeLineFeed(value),
            (Self::Size { digits: 1.., value }, b';' | b' ' | b'\t') => Self::Extension(value),
            (Self::SizeLineFeed(0), b'\n') => Self::Trailers,
            (Self::SizeLineFeed(size), b'\n') => Self::Chunk(size),
            (Self::ChunkReturn, b'\r') => Self::ChunkLineFeed,
            (Self::ChunkLineFeed, b'\n') => Self::Size { digits: 0, value: 0 },
            (Self::Trailers, b'\r') => Self::LastLineFeed,
            (Self::Trailers, other) if other != b'\n' => Self::Trailer,
            (Self::TrailerLineFeed, b'\n') => Self::Trailers,
            (Self::LastLineFeed, b'\n') => Self::Done,
            _ => return Err(BrokenFraming),
        };
        Ok(next)
    }
}

/// The smaller of the two.
fn at_most(count: u64, most: usize) -> usize {
    usize::try_from(count).map_or(most, |count| count.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] =
        b"5;name=\"v\"\r\nhello\r\n1 \r\n!\r\n0\r\nExpires: never\r\nX: y\r\n\r\nNEXT";

    #[test]
    fn chunks_with_extensions_and_trailers_are_followed_at_every_cut() {
        let end = CHUNKED.len() - 4;
        for cut in 0..CHUNKED.len() {
            let budget = Budget::new(0);
            let mut body = Body::new(Framing::Chunked, Codings::None, 100);
            let mut used = body.follow(&CHUNKED[..cut], &budget).unwrap();
            used += body.follow(&CHUNKED[used..], &budget).unwrap();
            assert!(body.is_done());
            assert_eq!(used, end);
            let (captured, _) = body.finish();
            assert_eq!((&captured.bytes[..], captured.total), (&b"hello!"[..], 6));
        }
    }

    #[test]
    fn framing_that_two_readers_may_take_differently_is_broken() {
        for bad in [
            "\r\n",
            "g\r\n",
            "5\n",
            "5;a\nhello\r\n",
            "-5\r\n",
            "0x5\r\n",
            "12345678901234567\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n",
            "0\r\n\n",
            "0\r\nX: y\n\r\n",
            "5\rX",
        ] {
            let mut body = Body::new(Framing::Chunked, Codings::None, 100);
            assert_eq!(body.follow(bad.as_bytes(), &Budget::new(0)), Err(BrokenFraming), "{bad:?}");
        }
    }

    #[test]
    fn only_the_beginning_is_kept_and_the_size_is_true() {
        let mut body = Body::new(Framing::Length(1_000_000), Codings::None, 1_000);
        for _ in 0..1_000 {
            assert_eq!(body.follow(&[7; 1_000], &Budget::new(0)).unwrap(), 1_000);
        }
        assert!(body.is_done());
        let (captured, _) = body.finish();
        assert_eq!((captured.bytes.len(), captured.total), (1_000, 1_000_000));
        assert_eq!(captured.whole(), None);
    }
}
