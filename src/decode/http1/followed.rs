//! What became of bytes that were followed, for whoever moves them.

use crate::model::Opaque;

/// The longest head that is followed, in bytes.
pub const LONGEST_HEAD: usize = 64 * 1024;

/// What became of a client's bytes. Bytes before the position may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// All of them may pass.
    Followed,
    /// From here on there is a part of a head: to be offered again with what comes after it.
    HeadAt(usize),
    /// The head at this position was not admitted.
    RefusedAt(usize),
    /// From here on it depends on the response to an upgrade what the bytes are: to be offered
    /// again when that was read.
    UndecidedAt(usize),
    /// From this position on nobody can tell what is asked for.
    UnreadableAt(usize, Unreadable),
}

/// Why requests cannot be told any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// This is no head of an HTTP/1.1 request.
    NotHttp,
    /// A head is longer than [`LONGEST_HEAD`].
    HeadTooLong,
    /// Where the request ends, two readers would not agree upon.
    Framing,
    /// The response to an upgrade could not be read: what the connection has become is not known.
    Upgrade,
}

/// What became of an upstream's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responses {
    Followed,
    /// From this position on there are WebSocket frames.
    WebSocket {
        from: usize,
        deflate: bool,
    },
    Lost(Opaque),
}
