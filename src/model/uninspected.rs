//! Calls that could not be read, in whole or in part, and why.

/// Why a request or an answer could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UninspectedReason {
    /// Compressed in a way that cannot be undone: an unknown coding, more than two, or a WebSocket
    /// message compressed by permessage-deflate.
    Compressed,
    /// Longer than `rpc.capture_bytes`, as it came or once it was decompressed; or an item of a batch
    /// beyond those that are looked into.
    TooLarge,
    /// The copies under way had used up the memory that there is for them all.
    NoRoom,
    /// Compressed, but the compressed bytes are broken or incomplete.
    Unreadable,
    /// The connection's bytes stopped being HTTP or a WebSocket that can be followed.
    Opaque,
}

impl UninspectedReason {
    /// In the order of their stored codes.
    pub const ALL: [Self; 5] =
        [Self::Compressed, Self::TooLarge, Self::NoRoom, Self::Unreadable, Self::Opaque];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compressed => "compressed",
            Self::TooLarge => "too_large",
            Self::NoRoom => "no_room",
            Self::Unreadable => "unreadable",
            Self::Opaque => "opaque",
        }
    }

    /// For a sentence: "9 too large".
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Compressed => "compressed",
            Self::TooLarge => "too large",
            Self::NoRoom => "too many large ones at once",
            Self::Unreadable => "broken compression",
            Self::Opaque => "no HTTP",
        }
    }
}

/// What a recorded call says of not having been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uninspected {
    pub reason: UninspectedReason,
    /// How many calls it stands for: the rest of a batch is recorded as one. 1 where that is not known.
    pub calls: u32,
}

impl Uninspected {
    /// One call.
    pub const fn one(reason: UninspectedReason) -> Self {
        Self { reason, calls: 1 }
    }
}
