//! A map of transactions that each have a time at which they are given up on.

use std::collections::{BTreeSet, HashMap};

use alloy::primitives::B256;

use crate::model::Stamp;

/// Values by transaction hash, each with a deadline.
pub struct Timed<V> {
    values: HashMap<B256, (Stamp, V)>,
    deadlines: BTreeSet<(Stamp, B256)>,
}

impl<V> Timed<V> {
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn contains(&self, hash: &B256) -> bool {
        self.values.contains_key(hash)
    }

    pub fn get_mut(&mut self, hash: &B256) -> Option<&mut V> {
        self.values.get_mut(hash).map(|(_, value)| value)
    }

    pub fn get(&self, hash: &B256) -> Option<&V> {
        self.values.get(hash).map(|(_, value)| value)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values().map(|(_, value)| value)
    }

    /// Puts a value in, in the place of one of the same hash.
    pub fn insert(&mut self, hash: B256, deadline: Stamp, value: V) {
        if let Some((old, _)) = self.values.insert(hash, (deadline, value)) {
            self.deadlines.remove(&(old, hash));
        }
        self.deadlines.insert((deadline, hash));
    }

    pub fn remove(&mut self, hash: &B256) -> Option<V> {
        let (deadline, value) = self.values.remove(hash)?;
        self.deadlines.remove(&(deadline, *hash));
        Some(value)
    }

    /// Takes one out whose deadline has passed, the earliest first.
    pub fn pop_due(&mut self, now: Stamp) -> Option<(B256, V)> {
        let &(deadline, hash) = self.deadlines.first()?;
        if deadline > now { None } else { self.pop_earliest_of(hash) }
    }

    /// Takes out the one with the earliest deadline, when there are more than `most`.
    pub fn pop_above(&mut self, most: usize) -> Option<(B256, V)> {
        let &(_, hash) = self.deadlines.first()?;
        if self.len() <= most { None } else { self.pop_earliest_of(hash) }
    }

    pub fn clear(&mut self) {
        self.values.clear();
        self.deadlines.clear();
    }

    /// Makes everything due.
    pub fn hurry(&mut self) {
        self.deadlines = self.values.keys().map(|hash| (Stamp::default(), *hash)).collect();
        for (deadline, _) in self.values.values_mut() {
            *deadline = Stamp::default();
        }
    }

    fn pop_earliest_of(&mut self, hash: B256) -> Option<(B256, V)> {
        self.remove(&hash).map(|value| (hash, value))
    }
}

impl<V> Default for Timed<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), deadlines: BTreeSet::new() }
    }
}
