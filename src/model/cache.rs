//! What a cache in front of the API or inside it did with a request.

/// The outcome, as the response's headers tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheOutcome {
    /// Answered from the cache.
    Hit,
    /// Not in the cache: made anew.
    Miss,
    /// In the cache but too old, whether it was made anew or sent all the same.
    Stale,
    /// The cache was passed by, for the request's or the response's sake.
    Bypass,
    /// What was kept is still good: the client's own copy (304), or the cache's after it had asked.
    Revalidated,
    /// No header tells.
    #[default]
    Unknown,
}

impl CacheOutcome {
    pub const ALL: [Self; 6] =
        [Self::Hit, Self::Miss, Self::Stale, Self::Bypass, Self::Revalidated, Self::Unknown];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Bypass => "bypass",
            Self::Revalidated => "revalidated",
            Self::Unknown => "unknown",
        }
    }
}
