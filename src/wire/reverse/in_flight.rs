//! How many requests are under way, for whoever watches the proxy from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Requests that were read and whose response has not ended. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<AtomicU64>);

impl InFlight {
    /// How many there are now.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn begin(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
