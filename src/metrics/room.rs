//! How much of the page of metrics the series of requests, and of the dapp's own metrics, may take.
//!
//! Methods, routes and statuses are bounded each, but not their combinations: a hundred routes met
//! with every method and a handful of statuses are a page of megabytes. When the room is used up,
//! what would open one more series counts as [`OTHER`](crate::model::OTHER).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// All series of requests together, in bytes as they are written. With all else that a dapp on a
/// development node has, the page stays under 2 MB.
const BYTES: usize = 1_500_000;

/// A line without the values of its labels, at most: its name, their names, a number.
const LINE: usize = 140;

/// What is left, for all that record requests.
#[derive(Clone)]
pub struct Room(Arc<AtomicUsize>);

impl Room {
    pub fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(BYTES)))
    }

    /// Takes room for so many lines, whose labels' values have so many bytes. Whether there was so
    /// much left.
    pub fn take(&self, lines: usize, labels: usize) -> bool {
        let bytes = lines * (LINE + labels);
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// The lines of a histogram: its buckets, the one for all, sum and count.
pub const fn histogram(buckets: &[f64]) -> usize {
    buckets.len() + 3
}
