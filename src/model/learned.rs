//! A route that the API itself has told of, kept so that its name survives a restart.

use super::time::UnixMicros;

/// A route as the API's framework writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedRoute {
    /// When it was told first; told again once a day while it is in use.
    pub at: UnixMicros,
    /// `/api/nfts/<int:token_id>`, at most [`Span::LONGEST_NAME`](super::Span::LONGEST_NAME) bytes.
    pub pattern: Box<str>,
}
