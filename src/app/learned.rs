//! What the store kept of runs before this one: the routes that were learned.

use crate::model::{LearnedRoute, UnixMicros};
use crate::store::{Paging, Range, Store};

/// How far back routes are looked for that were learned, in microseconds: one in use is told once a
/// day.
const REMEMBERED: u64 = 60 * 24 * 3_600 * 1_000_000;
/// Tellings that are read.
const TELLINGS: usize = 10_000;

/// What was learned while the program ran before, the newest first. Without it routes go by their
/// shapes until they are told again: no reason not to start.
pub(super) fn routes(store: &Store) -> Vec<LearnedRoute> {
    let now = UnixMicros::now().0;
    // A clock that was set back must not hide what was told before.
    let range = Range {
        from: UnixMicros(now.saturating_sub(REMEMBERED)),
        until: UnixMicros(now.saturating_add(REMEMBERED)),
    };
    match store.learned_routes(range, Paging { limit: TELLINGS, before: None }) {
        Ok(page) => page.items,
        Err(error) => {
            tracing::warn!("routes that were learned before cannot be read: {error}");
            Vec::new()
        }
    }
}
