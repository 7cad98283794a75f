//! Follows the framing of a client's requests, byte by byte, to tell what hyper does not: when a
//! request began and ended, and flaws that hyper repairs silently.
//!
//! Stands between the socket and hyper and only reads along. hyper 1.12 drops a `Content-Length`
//! beside `Transfer-Encoding`, cuts `#…` from a target and accepts lines that end in a bare line
//! feed; each is legal for a recipient to repair and each is how requests are smuggled past one
//! proxy to the next, so this proxy refuses them. Where the framing cannot be followed, every later
//! request of the connection is refused: two readers that disagree are the attack itself.

use std::collections::VecDeque;

use crate::model::Stamp;

/// The longest line that is kept while it is incomplete, in bytes; hyper gives up before.
const LONGEST_LINE: usize = 1 << 20;

/// What is wrong with a request's head, invisible in what hyper makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A line of the head ends in LF without CR.
    BareLineFeed,
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndEncoding,
    /// More than one `Content-Length` line.
    TwoLengths,
    /// More than one `Transfer-Encoding` line, or another coding than exactly `chunked`.
    Encoding,
    /// The target holds `#`.
    Fragment,
    /// The bytes before this request could not be followed.
    Lost,
}

/// What the bytes of one request tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    /// The read that brought the first byte.
    pub(super) started: Stamp,
    /// The read that brought the last byte, once it has come.
    pub(super) read: Option<Stamp>,
    pub(super) flaw: Option<Flaw>,
}

#[derive(Debug, Default)]
enum Place {
    /// Before a request line; empty lines are skipped as hyper skips them.
    #[default]
    Before,
    /// In the head, after the request line.
    Head,
    /// This many bytes of a body with a length are to come.
    Length(u64),
    ChunkSize,
    /// This many bytes of a chunk and its line end are to come.
    Chunk(u64),
    Trailers,
    Lost,
}

/// The framing state of one client connection.
#[derive(Debug, Default)]
pub(super) struct Follower {
    place: Place,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    line_started: Stamp,
    head: Head,
    requests: VecDeque<Followed>,
    /// Whether the front of `requests` is the one being served.
    serving: bool,
}

/// What the head being read has told so far.
#[derive(Debug, Default)]
struct Head {
    started: Stamp,
    flaw: Option<Flaw>,
    length: Option<u64>,
    encoding: Option<bool>,
}

impl Follower {
    /// The next bytes from the client, read at `now`.
    pub(super) fn read(&mut self, mut bytes: &[u8], now: Stamp) {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Length(left) | Place::Chunk(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= step as u64;
                    bytes = &bytes[step..];
                    if *left == 0 {
                        if matches!(self.place, Place::Chunk(_)) {
                            self.place = Place::ChunkSize;
                        } else {
                            self.end_request(now);
                        }
                    }
                }
                Place::Lost => return,
                Place::Before | Place::Head | Place::ChunkSize | Place::Trailers => {
                    if self.line.is_empty() {
                        self.line_started = now;
                    }
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        self.line.extend_from_slice(bytes);
                        if self.line.len() > LONGEST_LINE {
                            self.place = Place::Lost;
                        }
                        return;
                    };
                    let (line, rest) = bytes.split_at(end);
                    bytes = &rest[1..];
                    if self.line.is_empty() {
                        self.line(line, now);
                    } else {
                        let mut whole = std::mem::take(&mut self.line);
                        whole.extend_from_slice(line);
                        self.line(&whole, now);
                    }
                }
            }
        }
    }

    /// hyper handed over the next request: what its bytes told.
    pub(super) fn serve(&mut self) -> Followed {
        if std::mem::replace(&mut self.serving, true) {
            self.requests.pop_front();
        }
        self.requests.front().copied().unwrap_or(Followed {
            started: Stamp::now(),
            read: None,
            flaw: Some(Flaw::Lost),
        })
    }

    /// When the last byte of the request being served came, if it has.
    pub(super) fn read_at(&self) -> Option<Stamp> {
        self.requests.front().and_then(|request| request.read)
    }

    /// Whether bytes of a request are still to come.
    pub(super) fn is_inside(&self) -> bool {
        !matches!(self.place, Place::Before) || !self.line.is_empty()
    }

    /// When the first byte of a head came whose last one is still to come.
    pub(super) fn head_began(&self) -> Option<Stamp> {
        match self.place {
            Place::Before if !self.line.is_empty() => Some(self.line_started),
            Place::Head => Some(self.head.started),
            _ => None,
        }
    }

    /// A line without its LF.
    fn line(&mut self, line: &[u8], now: Stamp) {
        let (line, bare) = match line.strip_suffix(b"\r") {
            Some(line) => (line, false),
            None => (line, true),
        };
        match self.place {
            Place::Before if line.is_empty() => {}
            Place::Before => {
                self.head = Head { started: self.line_started, ..Head::default() };
                if memchr::memchr(b'#', line).is_some() {
                    self.head.flaw = Some(Flaw::Fragment);
                }
                self.flaw_if(bare, Flaw::BareLineFeed);
                self.place = Place::Head;
            }
            Place::Head => {
                self.flaw_if(bare, Flaw::BareLineFeed);
                if line.is_empty() {
                    self.end_head(now);
                } else {
                    self.field(line);
                }
            }
            Place::ChunkSize => {
                let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
                let size = std::str::from_utf8(&line[..digits])
                    .ok()
                    .and_then(|hex| u64::from_str_radix(hex, 16).ok());
                self.place = match size {
                    Some(0) => Place::Trailers,
                    Some(size) if size < u64::MAX - 2 => Place::Chunk(size + 2),
                    _ => Place::Lost,
                };
            }
            Place::Trailers if line.is_empty() => self.end_request(now),
            Place::Trailers | Place::Length(_) | Place::Chunk(_) | Place::Lost => {}
        }
    }

    fn field(&mut self, line: &[u8]) {
        // Two names matter; the first byte rules out nearly all others.
        match line[0] | 0x20 {
            b'c' => {
                let Some(value) = value_of(line, b"content-length") else { return };
                self.flaw_if(self.head.length.is_some(), Flaw::TwoLengths);
                let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                let length = length.filter(|_| digits);
                match length {
                    Some(length) => self.head.length = Some(length),
                    // hyper refuses it too.
                    None => self.head.flaw = Some(Flaw::TwoLengths),
                }
            }
            b't' => {
                let Some(value) = value_of(line, b"transfer-encoding") else { return };
                let chunked = value.eq_ignore_ascii_case(b"chunked");
                self.flaw_if(self.head.encoding.is_some() || !chunked, Flaw::Encoding);
                self.head.encoding = Some(chunked);
            }
            _ => {}
        }
    }

    fn end_head(&mut self, now: Stamp) {
        let both = self.head.length.is_some() && self.head.encoding.is_some();
        self.flaw_if(both, Flaw::LengthAndEncoding);
        let head = std::mem::take(&mut self.head);
        self.requests.push_back(Followed { started: head.started, read: None, flaw: head.flaw });
        match (head.encoding, head.length) {
            (Some(_), _) => self.place = Place::ChunkSize,
            (None, Some(length)) if length > 0 => self.place = Place::Length(length),
            (None, _) => self.end_request(now),
        }
    }

    fn end_request(&mut self, now: Stamp) {
        if let Some(request) = self.requests.back_mut() {
            request.read = Some(now);
        }
        self.place = Place::Before;
    }

    fn flaw_if(&mut self, condition: bool, flaw: Flaw) {
        if condition && self.head.flaw.is_none() {
            self.head.flaw = Some(flaw);
        }
    }
}

/// The value of a header line, if the line's name is `name`.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = line.split_at_checked(name.len())?;
    let value = tail.strip_prefix(b":")?;
    head.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// Follows a client's bytes at once and in pieces of `cut`, which has to tell the same.
pub(in crate::wire) fn follow_twice(bytes: &[u8], cut: usize) {
    let (mut whole, mut split) = (Follower::default(), Follower::default());
    whole.read(bytes, Stamp::default());
    bytes.chunks(cut).for_each(|piece| split.read(piece, Stamp::default()));
    assert_eq!(whole.requests.len(), split.requests.len());
    assert_eq!((whole.is_inside(), whole.head_began()), (split.is_inside(), split.head_began()));
    for _ in 0..whole.requests.len() {
        assert_eq!(whole.serve().flaw, split.serve().flaw);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn follow(bytes: &[u8]) -> Follower {
        let mut follower = Follower::default();
        follower.read(bytes, Stamp::from_nanos(1));
        follower
    }

    fn flaw_of(bytes: &[u8]) -> Option<Flaw> {
        follow(bytes).serve().flaw
    }

    #[test]
    fn sound_requests_have_no_flaw() {
        for request in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length-X: 1\r\nTransfer-Encoding-X: y\r\n\r\n",
        ] {
            let mut follower = follow(request);
            let followed = follower.serve();
            assert_eq!(followed.flaw, None);
            assert!(followed.read.is_some() && !follower.is_inside());
        }
    }

    #[test]
    fn what_hyper_repairs_is_a_flaw() {
        let head = |rest: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}\r\n").into_bytes();
        let both = Some(Flaw::LengthAndEncoding);
        for (request, flaw) in [
            (head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), both),
            (head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), both),
            (head("Content-Length: 5\r\nContent-Length: 5\r\n"), Some(Flaw::TwoLengths)),
            (head("Content-Length: 5, 5\r\n"), Some(Flaw::TwoLengths)),
            (head("Content-Length: +5\r\n"), Some(Flaw::TwoLengths)),
            (head("Transfer-Encoding: gzip, chunked\r\n"), Some(Flaw::Encoding)),
            (head("Transfer-Encoding: ,chunked\r\n"), Some(Flaw::Encoding)),
            (head("Transfer-Encoding: chunked, chunked\r\n"), Some(Flaw::Encoding)),
            (head("Transfer-Encoding: identity\r\n"), Some(Flaw::Encoding)),
            (head("X: y\nZ: w\r\n"), Some(Flaw::BareLineFeed)),
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n".to_vec(), Some(Flaw::BareLineFeed)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n".to_vec(), Some(Flaw::BareLineFeed)),
            (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Some(Flaw::Fragment)),
        ] {
            assert_eq!(flaw_of(&request), flaw, "{}", request.escape_ascii());
        }
    }

    #[test]
    fn a_head_has_begun_from_its_first_byte_to_its_last() {
        let began = Some(Stamp::from_nanos(1));
        for (bytes, expected) in [
            (&b""[..], None),
            (b"G", began),
            (b"GET / HTTP/1.1\r\n", began),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r", began),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
            (b"GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", None),
        ] {
            assert_eq!(follow(bytes).head_began(), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_cannot_be_followed_is_lost_for_good() {
        let mut follower = follow(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\
              GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        );
        assert_eq!(follower.serve().flaw, None);
        assert_eq!(follower.serve().flaw, Some(Flaw::Lost));
    }

    proptest! {
        #[test]
        fn the_way_the_bytes_are_split_changes_nothing(cuts in prop::collection::vec(1_usize..40, 1..60)) {
            let bytes = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello\r\n\r\nhi\
                GET /b HTTP/1.1\r\nHost: a\r\n\r\n\
                PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1F\r\n\
                0123456789012345678901234567890\r\n0\r\nTrailer: x\r\n\r\n\
                PUT /d HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
            let mut follower = Follower::default();
            let (mut rest, mut at) = (&bytes[..], 0_u64);
            for cut in cuts.iter().cycle() {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                at += 1;
                follower.read(head, Stamp::from_nanos(at));
                rest = tail;
                if rest.is_empty() { break }
            }
            let all: Vec<_> = (0..4).map(|_| follower.serve()).collect();
            prop_assert!(all.iter().all(|f| f.read.is_some_and(|read| read >= f.started)));
            prop_assert_eq!(
                all.iter().map(|f| f.flaw).collect::<Vec<_>>(),
                [None, None, None, Some(Flaw::LengthAndEncoding)]
            );
            prop_assert!(!follower.is_inside());
        }

        #[test]
        fn hostile_requests_are_told_the_same_however_they_are_split(
            parts in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1\r\n", "POST /#x HTTP/1.1\r\n", "Host: a\r\n", "\r\n", "\n", "\r", ":",
                "Content-Length: 3\r\n", "Content-Length: 18446744073709551615\r\n",
                "Content-Length: 18446744073709551616\r\n", "Content-Length: -1\r\n",
                "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n", "3\r\nabc\r\n",
                "ffffffffffffffff\r\n", "fffffffffffffffd\r\n", "0\r\n", "g\r\n", ";\r\n", "abc",
            ]), 0..24),
            cut in 1_usize..9,
        ) {
            follow_twice(&parts.concat().into_bytes(), cut);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = follow(&bytes).serve();
        }
    }
}
