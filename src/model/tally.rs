//! The accounting of samples: *seen = stored + dropped*, exactly, after a flush.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::sample::SampleKind;

/// Why something was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The recorder fell behind the proxies. Counts observations that were never decoded: a batch
    /// counts once, an export of spans as often as it has spans.
    QueueFull,
    /// The store fell behind the recorder.
    StoreBehind,
    /// The store could not write.
    StoreFailed,
}

impl DropReason {
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::StoreBehind, Self::StoreFailed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::StoreBehind => "store_behind",
            Self::StoreFailed => "store_failed",
        }
    }
}

/// Counts, shared by those who see, store and drop. Each count only grows.
#[derive(Debug, Default)]
pub struct Tally {
    seen: [AtomicU64; SampleKind::ALL.len()],
    stored: [AtomicU64; SampleKind::ALL.len()],
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Tally {
    /// A sample came to be.
    pub fn count_seen(&self, kind: SampleKind, count: u64) {
        self.seen[kind as usize].fetch_add(count, Relaxed);
    }

    /// Samples are on disk.
    pub fn count_stored(&self, kind: SampleKind, count: u64) {
        self.stored[kind as usize].fetch_add(count, Relaxed);
    }

    /// Samples, or for [`DropReason::QueueFull`] observations, were given up.
    pub fn count_dropped(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Relaxed);
    }

    pub fn seen(&self, kind: SampleKind) -> u64 {
        self.seen[kind as usize].load(Relaxed)
    }

    pub fn stored(&self, kind: SampleKind) -> u64 {
        self.stored[kind as usize].load(Relaxed)
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Relaxed)
    }
}
