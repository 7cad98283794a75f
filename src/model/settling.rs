//! When nothing more is expected of a request to the API: one rule for who records its parts and who
//! tells of them.

use std::time::Duration;

/// Calls and transactions are told within milliseconds of the answer they led to.
pub const SETTLE: Duration = Duration::from_millis(300);
/// Spans come when their exporter finds it time: every five seconds by default.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// For how long after an export others are expected.
pub const TELLING: Duration = Duration::from_secs(60);

/// Whether spans of a request are to come that has none yet. Who passed its trace on with calls has an
/// SDK, which tells of them later; and of who told `since_told` ago more is expected.
pub fn expects_spans(passed_on: bool, since_told: Option<Duration>) -> bool {
    passed_on || since_told.is_some_and(|since| since < TELLING)
}

/// How long after its end a request is waited for that has no spans yet.
pub fn settles_after(passed_on: bool, since_told: Option<Duration>) -> Duration {
    if expects_spans(passed_on, since_told) { PATIENCE } else { SETTLE }
}
