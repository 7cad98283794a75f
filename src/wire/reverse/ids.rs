//! Makes the ids of traces and spans.

use std::hash::{BuildHasher, RandomState};

/// Makes ids: random enough not to meet another process's, not secret.
///
/// SplitMix64 from a seed that the standard library takes from the system.
pub(super) struct Ids(u64);

impl Ids {
    pub(super) fn seeded() -> Self {
        Self(RandomState::new().hash_one(std::process::id()))
    }

    /// Never zero.
    pub(super) fn next(&mut self) -> u64 {
        loop {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut id = self.0;
            id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            id ^= id >> 31;
            if id != 0 {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_repeat() {
        let mut ids = Ids::seeded();
        let set: std::collections::HashSet<_> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(set.len(), 10_000);
    }
}
