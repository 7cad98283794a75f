//! Reads that repeat one answered since the last block: what a cache or a multicall would save.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::model::Method;

/// How many different reads are remembered between two blocks. Once full, further ones are not
/// taken for repetitions: the count is then too low, never too high.
const REMEMBERED: usize = 65_536;

/// A method with its params, as a hash: the params themselves are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question(u64);

#[derive(Default)]
pub(super) struct Repeats {
    answered: HashSet<Question>,
    hasher: RandomState,
}

impl Repeats {
    /// What is asked by a call. Params are compared as text: white space makes a difference.
    pub(super) fn question(&self, method: Method, params: &[u8]) -> Question {
        Question(self.hasher.hash_one((method, params)))
    }

    /// The question was answered; tells whether it had been already.
    pub(super) fn answered(&mut self, question: Question) -> bool {
        if self.answered.len() >= REMEMBERED {
            return self.answered.contains(&question);
        }
        !self.answered.insert(question)
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
        assert!(!repeats.answered(question));
        assert!(repeats.answered(question));
        repeats.forget();
        assert!(!repeats.answered(question));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut repeats = Repeats::default();
        for i in 0..REMEMBERED as u64 + 10 {
            assert!(!repeats.answered(Question(i)));
        }
        assert_eq!(repeats.answered.len(), REMEMBERED);
        assert!(repeats.answered(Question(5)));
    }
}
