//! How many of something are under way now, counted by tokens that those hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count of tokens. Cheap to clone; the clones share it.
#[derive(Clone, Debug, Default)]
pub struct Underway(Arc<AtomicU64>);

/// One that is under way until this is dropped.
#[derive(Debug)]
pub struct Token(Underway);

impl Underway {
    /// One more is under way.
    pub fn enter(&self) -> Token {
        self.0.fetch_add(1, Relaxed);
        Token(self.clone())
    }

    /// How many are.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        (self.0).0.fetch_sub(1, Relaxed);
    }
}
