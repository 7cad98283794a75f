//! How an RPC call was found to belong to a request to the API.

/// Why a call is held to be a request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Join {
    /// It carried the request's trace id.
    Trace,
    /// The API's process made it while that request was the only one under way.
    Alone,
    /// It may be a request's, and nobody can say so: several were under way when the API's process
    /// made it, or there was no time to look whose process made it.
    Ambiguous,
}

impl Join {
    pub const ALL: [Self; 3] = [Self::Trace, Self::Alone, Self::Ambiguous];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Alone => "alone",
            Self::Ambiguous => "ambiguous",
        }
    }
}
