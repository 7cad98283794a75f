//! Reads that repeat one answered since the last block: what a cache or a multicall would save.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::model::{Method, Stamp};

/// How many different reads are remembered between two blocks. Once full, further ones are not
/// taken for repetitions: the count is then too low, never too high.
const REMEMBERED: usize = 65_536;

/// A method with its params, as a hash: the params themselves are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question(u64);

impl Question {
    #[cfg(test)]
    pub(super) const fn of(number: u64) -> Self {
        Self(number)
    }
}

#[derive(Default)]
pub(super) struct Repeats {
    /// When each was asked first.
    answered: HashMap<Question, Stamp>,
    hasher: RandomState,
}

impl Repeats {
    /// What is asked by a call. Params are compared as text: white space makes a difference.
    pub(super) fn question(&self, method: Method, params: &[u8]) -> Question {
        Question(self.hasher.hash_one((method, params)))
    }

    /// The question, which was asked at `started`, was answered; if it had been already, tells when
    /// it was asked first.
    pub(super) fn answered(&mut self, question: Question, started: Stamp) -> Option<Stamp> {
        let first = self.answered.get(&question).copied();
        if first.is_none() && self.answered.len() < REMEMBERED {
            self.answered.insert(question, started);
        }
        first
    }

    /// The state changed: everything is worth asking again.
    pub(super) fn forget(&mut self) {
        self.answered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_repeats_until_the_state_changes() {
        let mut repeats = Repeats::default();
        let method = Method::known("eth_getBalance");
        let question = repeats.question(method, b"[\"0x1\"]");
        assert_ne!(question, repeats.question(method, b"[\"0x2\"]"));
        assert_ne!(question, repeats.question(Method::known("eth_getCode"), b"[\"0x1\"]"));
        let (first, second) = (Stamp::from_nanos(1), Stamp::from_nanos(2));
        assert_eq!(repeats.answered(question, first), None);
        assert_eq!(repeats.answered(question, second), Some(first));
        repeats.forget();
        assert_eq!(repeats.answered(question, second), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut repeats = Repeats::default();
        for i in 0..REMEMBERED as u64 + 10 {
            assert_eq!(repeats.answered(Question(i), Stamp::default()), None);
        }
        assert_eq!(repeats.answered.len(), REMEMBERED);
        assert!(repeats.answered(Question(5), Stamp::default()).is_some());
    }
}
