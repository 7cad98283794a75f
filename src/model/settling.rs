//! When nothing more is expected of a request to the API: one rule for who records its parts and who
//! tells of them.

use std::time::Duration;

/// Calls and transactions are told within milliseconds of the answer they led to.
pub const SETTLE: Duration = Duration::from_millis(300);
/// Spans come when their exporter finds it time: every five seconds by default.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// For how long after an export others are expected.
pub const TELLING: Duration = Duration::from_secs(60);

/// What is known of the inside of a request that has no spans yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Nothing,
    /// Calls, or what its `Server-Timing` tells.
    Something,
    /// It passed its trace on with calls.
    PassedOn,
}

/// Whether spans of a request are to come that has none yet; `since_told` is how long ago any came.
pub fn expects_spans(known: Known, since_told: Option<Duration>) -> bool {
    match known {
        // Whoever passes a trace on has an SDK, which tells of it later.
        Known::PassedOn => true,
        Known::Something => since_told.is_some_and(|since| since < TELLING),
        // An API's first export comes after its first requests, and nothing is told late by waiting.
        Known::Nothing => true,
    }
}

/// How long after its end a request is waited for that has no spans yet.
pub fn settles_after(known: Known, since_told: Option<Duration>) -> Duration {
    if expects_spans(known, since_told) { PATIENCE } else { SETTLE }
}
