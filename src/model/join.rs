//! How an RPC call was found to belong to a request to the API.

/// Why a call is held to be a request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Join {
    /// It carried the request's trace id.
    Trace,
    /// The API's process made it while that request was the only one under way.
    Alone,
    /// The API's process made it while several requests were under way: it belongs to one of them,
    /// and nobody can say to which.
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
