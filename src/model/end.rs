//! How what passes a proxy comes to its end.

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The response was passed on whole.
    Complete,
    /// The client went away first.
    ClientGone,
    /// The upstream closed or reset the connection before its response was whole.
    UpstreamGone,
    /// The upstream could not be reached; the proxy answered 502 itself.
    Unreachable,
    /// The upstream did not answer within the configured time; the proxy answered 504 itself.
    TimedOut,
    /// The proxy was asked to end, and cut it when the time to finish was over.
    Stopped,
}
