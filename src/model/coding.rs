//! How a body is compressed, as its headers say. Undoing it is [`decode::coding`]'s.
//!
//! [`decode::coding`]: crate::decode::coding

/// A content coding that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    Gzip,
    /// `deflate`: a zlib stream; some servers send a bare deflate stream under that name.
    Deflate,
    Brotli,
    Zstd,
}

/// The codings of a body, in the order in which they were applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codings {
    #[default]
    None,
    One(Coding),
    Two(Coding, Coding),
    /// One that is not known, or more than two.
    Unknown,
}

impl Codings {
    /// These, and then one more; `None` is one that is not known.
    pub const fn then(self, coding: Option<Coding>) -> Self {
        match (self, coding) {
            (Self::None, Some(coding)) => Self::One(coding),
            (Self::One(first), Some(second)) => Self::Two(first, second),
            _ => Self::Unknown,
        }
    }

    /// These, and then those of `later`.
    pub const fn then_all(self, later: Self) -> Self {
        match later {
            Self::None => self,
            Self::One(coding) => self.then(Some(coding)),
            Self::Two(first, second) => self.then(Some(first)).then(Some(second)),
            Self::Unknown => Self::Unknown,
        }
    }
}
