//! Which blocks are to be told next: what follows on what, gaps, reorganisations, other chains.
//!
//! Knows what was told, and outlives the connections. Who the node is, [`super::greet`] tells.

use std::collections::VecDeque;

use alloy::primitives::B256;

use super::json::Header;

/// Blocks whose hashes are remembered.
const REMEMBERED: usize = 256;
/// Blocks that are asked for together.
pub const GROUP: usize = 32;
/// A head that is this much lower than the one before is no reorganisation.
pub const DEEPEST_REORGANISATION: u64 = 32;

/// The blocks told so far, the newest last.
#[derive(Default)]
pub struct Told {
    blocks: VecDeque<(u64, B256)>,
}

/// How a head relates to what was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Told already.
    Known,
    /// It follows, or is the first.
    Next,
    /// The blocks from this number on are missing before it.
    Gap { from: u64 },
    /// Not higher than what was told: the chain was reorganised, set back, or is another one.
    Back { by: u64 },
}

impl Told {
    pub fn last(&self) -> Option<(u64, B256)> {
        self.blocks.back().copied()
    }

    pub fn contains(&self, hash: B256) -> bool {
        self.blocks.iter().any(|(_, told)| *told == hash)
    }

    /// Where a head belongs.
    pub fn place(&self, header: &Header) -> Place {
        let Some((last, _)) = self.last() else { return Place::Next };
        let number = header.number();
        if self.contains(header.hash) {
            Place::Known
        } else if number <= last {
            Place::Back { by: last - number }
        } else if number == last + 1 {
            Place::Next
        } else {
            Place::Gap { from: last + 1 }
        }
    }

    /// Whether the block before this one was told, or is too old to tell.
    pub fn connects(&self, header: &Header) -> bool {
        let oldest = self.blocks.front().map_or(u64::MAX, |(number, _)| *number);
        header.number() <= oldest || self.contains(header.parent_hash)
    }

    /// Whether the head is older than all that is remembered.
    pub fn predates(&self, header: &Header) -> bool {
        self.blocks.front().is_some_and(|(oldest, _)| header.number() < *oldest)
    }

    /// Remembers a block; those that it replaces are forgotten.
    pub fn add(&mut self, number: u64, hash: B256) {
        self.cut_before(number);
        self.blocks.push_back((number, hash));
        if self.blocks.len() > REMEMBERED {
            self.blocks.pop_front();
        }
    }

    /// Forgets a block that was told, and what was told after it; gives their hashes.
    pub fn cut_before(&mut self, number: u64) -> Box<[B256]> {
        let mut cut = Vec::new();
        while let Some((_, hash)) = self.blocks.pop_back_if(|(last, _)| *last >= number) {
            cut.push(hash);
        }
        cut.into()
    }

    pub fn clear(&mut self) {
        self.blocks.clear();
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::U256;
    use serde_json::json;

    use super::*;

    fn hash(number: u64) -> B256 {
        U256::from(number).into()
    }

    fn header(number: u64, own: B256, parent: B256) -> Header {
        let number = format!("{number:#x}");
        serde_json::from_value(json!({"number": number, "hash": own, "parentHash": parent}))
            .unwrap()
    }

    fn told(numbers: std::ops::RangeInclusive<u64>) -> Told {
        let mut told = Told::default();
        numbers.for_each(|number| told.add(number, hash(number)));
        told
    }

    #[test]
    fn a_head_is_known_next_after_a_gap_or_back() {
        let told = told(5..=9);
        let place = |number, own| told.place(&header(number, own, hash(0)));
        assert_eq!(place(7, hash(7)), Place::Known);
        assert_eq!(place(10, hash(10)), Place::Next);
        assert_eq!(place(13, hash(13)), Place::Gap { from: 10 });
        assert_eq!(place(7, hash(77)), Place::Back { by: 2 });
        assert_eq!(place(0, hash(77)), Place::Back { by: 9 });
        assert_eq!(Told::default().place(&header(7, hash(7), hash(6))), Place::Next);
    }

    #[test]
    fn a_replaced_block_is_forgotten() {
        let mut told = told(5..=9);
        assert!(!told.connects(&header(8, hash(88), hash(77))));
        assert!(told.connects(&header(8, hash(88), hash(7))));
        assert!(told.connects(&header(5, hash(55), hash(44))), "older than what is remembered");
        told.add(8, hash(88));
        assert!(!told.contains(hash(8)) && !told.contains(hash(9)));
        assert_eq!(told.last(), Some((8, hash(88))));
    }

    #[test]
    fn memory_is_bounded() {
        assert_eq!(told(1..=1_000).blocks.len(), REMEMBERED);
    }
}
