//! Follows one direction of a WebSocket (RFC 6455): frames in, whole data messages out.
//!
//! Unmasks what it keeps, joins fragments, steps over control frames, inflates nothing. A frame
//! that breaks the standard ends the following: where the next one begins can no longer be told.

use crate::decode::capture::{Budget, Capture, Ration};
use crate::model::{Captured, Codings, Direction, Stamp};

/// The longest frame header: two bytes, an eight-byte length, a four-byte mask.
const LONGEST_HEADER: usize = 14;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("a reserved bit is set that no extension was agreed upon for")]
    ReservedBit,
    #[error("opcode {0:#x} is not defined")]
    Opcode(u8),
    #[error("a control frame is fragmented or longer than 125 bytes")]
    Control,
    #[error("a client's frame is not masked, or a server's is")]
    Mask,
    #[error("a continuation without a beginning, or a beginning within a message")]
    Fragmentation,
    #[error("a length of more than 63 bits")]
    Length,
}

/// A whole data message.
#[derive(Debug)]
pub struct Message {
    /// Its first byte was read.
    pub started: Stamp,
    /// Its last byte was read.
    pub read: Stamp,
    /// Where it ends: bytes of this direction up to and with its last one, counted from the first
    /// frame.
    pub end: u64,
    pub payload: Captured,
    /// To be dropped when the payload is handed over.
    pub ration: Option<Ration>,
}

/// One direction's frames.
#[derive(Debug)]
pub struct Frames {
    masked: bool,
    deflate: bool,
    limit: usize,
    budget: Budget,
    /// Bytes followed so far.
    at: u64,
    state: State,
    /// The data message under way.
    message: Option<Partial>,
}

#[derive(Debug)]
enum State {
    /// At a frame's header, of which `count` bytes came in earlier pieces.
    Header {
        bytes: [u8; LONGEST_HEADER],
        count: usize,
        started: Stamp,
    },
    Payload {
        left: u64,
        mask: [u8; 4],
        kind: Kind,
    },
    /// A close frame has passed: nothing of meaning follows it.
    Closed,
}

/// What a frame is, as far as it matters when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data { last: bool },
    Control,
    Close,
}

#[derive(Debug)]
struct Partial {
    started: Stamp,
    payload: Capture,
}

/// A frame's header.
struct Header {
    last: bool,
    reserved: u8,
    opcode: u8,
    length: u64,
    mask: Option<[u8; 4]>,
    /// The header's own size in bytes.
    size: usize,
}

impl Frames {
    /// The frames that go in `direction`; `deflate` when permessage-deflate was agreed upon. The
    /// first `limit` bytes of each message are kept, within the `budget` of all.
    pub fn new(direction: Direction, deflate: bool, limit: usize, budget: Budget) -> Self {
        let masked = direction == Direction::Request;
        Self { masked, deflate, limit, budget, at: 0, state: State::NEXT, message: None }
    }

    /// Whether neither a frame nor a message is under way.
    pub fn is_between_messages(&self) -> bool {
        match self.state {
            State::Header { count, .. } => count == 0 && self.message.is_none(),
            State::Payload { .. } => false,
            State::Closed => true,
        }
    }

    /// Follows `bytes`, which were read at `read`, and gives each message that they complete.
    pub fn follow(
        &mut self,
        bytes: &[u8],
        read: Stamp,
        mut whole: impl FnMut(Message),
    ) -> Result<(), Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match &mut self.state {
                State::Header { bytes: held, count, started } => {
                    if *count == 0 {
                        *started = read;
                    }
                    let before = *count;
                    let copied = rest.len().min(LONGEST_HEADER - before);
                    held[before..before + copied].copy_from_slice(&rest[..copied]);
                    if let Some(header) = Header::read(&held[..before + copied])? {
                        let started = *started;
                        self.begin(&header, started)?;
                        header.size - before
                    } else {
                        *count += copied;
                        copied
                    }
                }
                State::Payload { left, mask, kind } => {
                    let count = usize::try_from(*left).map_or(rest.len(), |n| n.min(rest.len()));
                    if let (Kind::Data { .. }, Some(message)) = (*kind, &mut self.message) {
                        message.keep(&rest[..count], *mask, *left, &self.budget);
                    }
                    // The mask goes on where it stopped.
                    mask.rotate_left(count % 4);
                    *left -= count as u64;
                    count
                }
                State::Closed => rest.len(),
            };
            rest = &rest[used..];
            self.at += used as u64;
            if let State::Payload { left: 0, kind, .. } = self.state {
                self.state = if kind == Kind::Close { State::Closed } else { State::NEXT };
                if kind == (Kind::Data { last: true })
                    && let Some(Partial { started, payload }) = self.message.take()
                {
                    let (payload, ration) = payload.finish();
                    whole(Message { started, read, end: self.at, payload, ration });
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, header: &Header, started: Stamp) -> Result<(), Violation> {
        if header.mask.is_some() != self.masked {
            return Err(Violation::Mask);
        }
        let deflated = header.reserved == 0b100;
        let may_deflate = self.deflate && matches!(header.opcode, TEXT | BINARY);
        if header.reserved != 0 && !(deflated && may_deflate) {
            return Err(Violation::ReservedBit);
        }
        let kind = match header.opcode {
            CONTINUATION if self.message.is_none() => return Err(Violation::Fragmentation),
            TEXT | BINARY if self.message.is_some() => return Err(Violation::Fragmentation),
            CONTINUATION | TEXT | BINARY => Kind::Data { last: header.last },
            CLOSE | PING | PONG if !header.last || header.length > 125 => {
                return Err(Violation::Control);
            }
            CLOSE => Kind::Close,
            PING | PONG => Kind::Control,
            unknown => return Err(Violation::Opcode(unknown)),
        };
        if matches!(header.opcode, TEXT | BINARY) {
            // Decompressing it takes the messages before it, which are not kept.
            let codings = if deflated { Codings::Unknown } else { Codings::None };
            let payload = Capture::new(self.limit, codings);
            self.message = Some(Partial { started, payload });
        }
        let mask = header.mask.unwrap_or_default();
        self.state = State::Payload { left: header.length, mask, kind };
        Ok(())
    }
}

impl State {
    /// Before a frame.
    const NEXT: Self =
        Self::Header { bytes: [0; LONGEST_HEADER], count: 0, started: Stamp::from_nanos(0) };
}

impl Partial {
    /// Copies what still fits, unmasked. `promised` is how much of the frame is still to come.
    fn keep(&mut self, bytes: &[u8], mask: [u8; 4], promised: u64, budget: &Budget) {
        let before = self.payload.len();
        self.payload.keep(bytes, promised, budget);
        if mask != [0; 4] {
            unmask(self.payload.kept_from(before), mask);
        }
    }
}

impl Header {
    /// Reads a header from the beginning of `bytes`; none while there is not enough of it.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let (length, rest) = match (second & 0x7f, rest) {
            (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
            }
            (126 | 127, _) => return Ok(None),
            (short, rest) => (u64::from(short), rest),
        };
        if length >> 63 != 0 {
            return Err(Violation::Length);
        }
        let (mask, rest) = match (second & 0x80 != 0, rest) {
            (false, rest) => (None, rest),
            (true, [a, b, c, d, rest @ ..]) => (Some([*a, *b, *c, *d]), rest),
            (true, _) => return Ok(None),
        };
        Ok(Some(Self {
            last: first & 0x80 != 0,
            reserved: first >> 4 & 0b111,
            opcode: first & 0x0f,
            length,
            mask,
            size: bytes.len() - rest.len(),
        }))
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    // Sixteen at a time; four fit into sixteen, so the rest begins with the mask's first byte.
    let [a, b, c, d] = mask;
    let wide = u128::from_ne_bytes([a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d]);
    let (blocks, rest) = bytes.as_chunks_mut::<16>();
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a client (`mask`) or a server sends it.
    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let flag = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(flag | u8::try_from(short).unwrap()),
            middle @ 126..=0xffff => {
                bytes.push(flag | 126);
                bytes.extend(u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(flag | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.iter().flatten());
        let key = mask.unwrap_or_default();
        bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
        bytes
    }

    fn follow(frames: &mut Frames, pieces: &[&[u8]]) -> Result<Vec<Message>, Violation> {
        let mut messages = Vec::new();
        for (time, piece) in (1..).zip(pieces) {
            frames.follow(piece, Stamp::from_nanos(time), |message| messages.push(message))?;
        }
        Ok(messages)
    }

    const KEY: Option<[u8; 4]> = Some([1, 2, 3, 250]);

    #[test]
    fn a_fragmented_message_is_joined_around_control_frames_at_every_cut() {
        let mut bytes = frame(0x01, KEY, b"Hel");
        bytes.extend(frame(0x89, KEY, b"ping"));
        bytes.extend(frame(0x80, Some([9, 8, 7, 6]), b"lo, you"));
        bytes.extend(frame(0x82, KEY, &[5; 300]));
        let end = bytes.len() as u64;
        bytes.extend(frame(0x88, KEY, b"\x03\xe8"));
        bytes.extend(b"whatever comes after a close");
        for cut in 0..=bytes.len() {
            let mut frames = Frames::new(Direction::Request, false, 1_000, Budget::new(1 << 20));
            let messages = follow(&mut frames, &[&bytes[..cut], &bytes[cut..]]).unwrap();
            assert_eq!(messages.len(), 2, "cut at {cut}");
            assert_eq!(messages[0].payload.bytes, b"Hello, you");
            assert_eq!(messages[1].payload.bytes, [5; 300]);
            assert_eq!(messages[1].end, end);
            assert!(frames.is_between_messages());
        }
    }

    #[test]
    fn a_message_starts_with_its_first_piece_and_is_read_with_its_last() {
        let bytes = frame(0x81, KEY, b"abcdef");
        let mut frames = Frames::new(Direction::Request, false, 1_000, Budget::new(1 << 20));
        let messages = follow(&mut frames, &[&bytes[..1], &bytes[1..8], &bytes[8..]]).unwrap();
        assert_eq!(
            (messages[0].started, messages[0].read),
            (Stamp::from_nanos(1), Stamp::from_nanos(3))
        );
    }

    #[test]
    fn a_long_message_is_kept_up_to_the_limit_and_its_size_is_true() {
        let bytes = frame(0x82, None, &vec![1; 70_000]);
        let mut frames = Frames::new(Direction::Response, false, 10, Budget::new(1 << 20));
        let messages = follow(&mut frames, &[&bytes]).unwrap();
        assert_eq!((messages[0].payload.bytes.len(), messages[0].payload.total), (10, 70_000));
    }

    #[test]
    fn a_deflated_message_is_marked_and_needs_the_extension() {
        let bytes = frame(0xc1, None, b"\xaa\x01");
        let mut agreed = Frames::new(Direction::Response, true, 10, Budget::new(1 << 20));
        let messages = follow(&mut agreed, &[&bytes]).unwrap();
        assert_eq!(messages[0].payload.codings, Codings::Unknown);
        let mut plain = Frames::new(Direction::Response, false, 10, Budget::new(1 << 20));
        assert_eq!(follow(&mut plain, &[&bytes]).unwrap_err(), Violation::ReservedBit);
    }

    #[test]
    fn frames_that_break_the_standard_are_told() {
        let client = |bytes: Vec<u8>| {
            follow(&mut Frames::new(Direction::Request, true, 10, Budget::new(1 << 20)), &[&bytes])
                .unwrap_err()
        };
        assert_eq!(client(frame(0x81, None, b"x")), Violation::Mask);
        assert_eq!(client(frame(0x80, KEY, b"x")), Violation::Fragmentation);
        assert_eq!(client(frame(0x83, KEY, b"x")), Violation::Opcode(3));
        assert_eq!(client(frame(0x8b, KEY, b"x")), Violation::Opcode(11));
        assert_eq!(client(frame(0x09, KEY, b"x")), Violation::Control);
        assert_eq!(client(frame(0x89, KEY, &[0; 126])), Violation::Control);
        assert_eq!(client(frame(0xa1, KEY, b"x")), Violation::ReservedBit);
        assert_eq!(client(frame(0xc9, KEY, b"x")), Violation::ReservedBit);
        let two = [frame(0x01, KEY, b"x"), frame(0x01, KEY, b"x")].concat();
        assert_eq!(client(two), Violation::Fragmentation);
        assert_eq!(client(vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Violation::Length);
    }
}
