//! How many calls go to the node in one message, and how long it is left alone before the next one.
//!
//! Development nodes serve one message at a time: while they answer a batch, every client of theirs
//! waits. All batches of a connection pass here, so that no message of the monitor's keeps a node
//! busy for long. What a call costs is not known beforehand, but two things bound it: the gas that
//! has passed (a receipt grows with its logs, and each log was paid for), and the time that the
//! batch before took.

use std::time::Duration;

/// How long a batch should take. Those that take twice as long become smaller.
pub const TARGET: Duration = Duration::from_millis(10);
/// Calls in a batch: the most, those of the first batch, and the fewest. A busy machine makes every
/// batch slow: with fewer than these, a node that mines five hundred blocks a second would be lost
/// sight of.
pub const MOST: usize = 64;
const FIRST: usize = 16;
const FEWEST: usize = 8;
/// Gas units behind the answers of one batch of blocks or receipts: at most 95 transactions. As
/// receipts full of logs these take Hardhat 2 some 30 ms, as mints Anvil some 18 ms.
pub const READ_GAS: u64 = 2_000_000;
/// The least gas that a transaction uses.
pub const TRANSACTION_GAS: u64 = 21_000;

/// Sizes of batches by the method of their first call.
#[derive(Debug, Default)]
pub struct Pace {
    sizes: Vec<(&'static str, usize)>,
}

impl Pace {
    /// How many calls may go together.
    pub fn size(&self, method: &'static str) -> usize {
        self.sizes.iter().find(|(known, _)| *known == method).map_or(FIRST, |(_, size)| *size)
    }

    /// Takes note of how long a batch took: a slow one halves the next, a quick full one doubles it.
    pub fn answered(&mut self, method: &'static str, calls: usize, took: Duration) {
        let size = self.size(method);
        let next = match took {
            slow if slow > 2 * TARGET => (size / 2).max(FEWEST),
            quick if quick <= TARGET && calls >= size => (size * 2).min(MOST),
            _ => return,
        };
        match self.sizes.iter_mut().find(|(known, _)| *known == method) {
            Some((_, size)) => *size = next,
            None => self.sizes.push((method, next)),
        }
    }

    /// How long the node is left to its clients after a batch that took so long.
    pub fn pause(took: Duration) -> Duration {
        (took / 2).min(TARGET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: &str = "eth_getCode";

    #[test]
    fn quick_batches_grow_and_slow_ones_shrink_within_bounds() {
        let mut pace = Pace::default();
        assert_eq!(pace.size(METHOD), FIRST);
        for _ in 0..9 {
            pace.answered(METHOD, pace.size(METHOD), TARGET / 2);
        }
        assert_eq!(pace.size(METHOD), MOST);
        pace.answered(METHOD, 1, 3 * TARGET);
        assert_eq!(pace.size(METHOD), MOST / 2);
        for _ in 0..9 {
            pace.answered(METHOD, 1, Duration::from_secs(1));
        }
        assert_eq!(pace.size(METHOD), FEWEST);
        assert_eq!(pace.size("eth_call"), FIRST, "each method has its own size");
    }

    #[test]
    fn a_small_batch_says_nothing_of_a_larger_one() {
        let mut pace = Pace::default();
        pace.answered(METHOD, FIRST - 1, Duration::ZERO);
        pace.answered(METHOD, FIRST, TARGET + TARGET / 2);
        assert_eq!(pace.size(METHOD), FIRST);
    }

    #[test]
    fn the_pause_follows_the_batch_and_is_bounded() {
        assert_eq!(Pace::pause(Duration::from_millis(4)), Duration::from_millis(2));
        assert_eq!(Pace::pause(Duration::from_secs(9)), TARGET);
    }
}
