//! Which of two known routes the API goes by where both match a path, as its own spans show it.
//! Frameworks differ: some take the one that was registered first, some the narrower one.

use std::collections::HashMap;

/// Pairs that are remembered.
const MOST: usize = 4_096;

/// A pattern's number, which it keeps.
pub(super) type Number = u32;

/// Which of two it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wins {
    This,
    Other,
    /// Now one, now the other: only a request's own span says it.
    Either,
}

#[derive(Debug, Default)]
pub(super) struct Precedence {
    /// By the lower number and the higher one; whether the lower one wins.
    pairs: HashMap<(Number, Number), Wins>,
}

impl Precedence {
    /// A request that both match was served by `winner`.
    pub(super) fn saw(&mut self, winner: Number, loser: Number) {
        let (key, wins) = if winner < loser {
            ((winner, loser), Wins::This)
        } else {
            ((loser, winner), Wins::Other)
        };
        if let Some(known) = self.pairs.get_mut(&key) {
            if *known != wins {
                *known = Wins::Either;
            }
        } else if self.pairs.len() < MOST {
            self.pairs.insert(key, wins);
        }
    }

    /// Which of two it is, where that is known.
    pub(super) fn between(&self, this: Number, other: Number) -> Option<Wins> {
        let wins = *self.pairs.get(&(this.min(other), this.max(other)))?;
        Some(match wins {
            Wins::This if this > other => Wins::Other,
            Wins::Other if this > other => Wins::This,
            wins => wins,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_holds_until_the_opposite_is_seen() {
        let mut precedence = Precedence::default();
        assert_eq!(precedence.between(1, 2), None);
        precedence.saw(2, 1);
        precedence.saw(2, 1);
        assert_eq!(precedence.between(1, 2), Some(Wins::Other));
        assert_eq!(precedence.between(2, 1), Some(Wins::This));
        precedence.saw(1, 2);
        assert_eq!(precedence.between(1, 2), Some(Wins::Either));
        assert_eq!(precedence.between(2, 1), Some(Wins::Either));
    }
}
