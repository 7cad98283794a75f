//! A map of transactions that each have a time at which they are given up on.

use std::collections::{BTreeMap, HashMap};

use alloy::primitives::B256;

use crate::model::Stamp;

/// Values by transaction hash, each with a deadline.
pub struct Timed<V> {
    values: HashMap<B256, (Due, V)>,
    deadlines: BTreeMap<Due, B256>,
    arrived: u64,
}

/// A deadline, and of equal ones who came first.
type Due = (Stamp, u64);

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

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&B256, &mut V)> {
        self.values.iter_mut().map(|(hash, (_, value))| (hash, value))
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values().map(|(_, value)| value)
    }

    /// Puts a value in, in the place of one of the same hash.
    pub fn insert(&mut self, hash: B256, deadline: Stamp, value: V) {
        self.arrived += 1;
        let due = (deadline, self.arrived);
        if let Some((old, _)) = self.values.insert(hash, (due, value)) {
            self.deadlines.remove(&old);
        }
        self.deadlines.insert(due, hash);
    }

    pub fn remove(&mut self, hash: &B256) -> Option<V> {
        let (due, value) = self.values.remove(hash)?;
        self.deadlines.remove(&due);
        Some(value)
    }

    /// Takes one out whose deadline has passed, the earliest first.
    pub fn pop_due(&mut self, now: Stamp) -> Option<(B256, V)> {
        let (&(deadline, _), &hash) = self.deadlines.first_key_value()?;
        if deadline > now { None } else { self.remove(&hash).map(|value| (hash, value)) }
    }

    /// Takes out the one with the earliest deadline, when there are more than `most`.
    pub fn pop_above(&mut self, most: usize) -> Option<(B256, V)> {
        let (_, &hash) = self.deadlines.first_key_value()?;
        if self.len() <= most { None } else { self.remove(&hash).map(|value| (hash, value)) }
    }

    /// Makes everything due at `latest`, if it is not earlier.
    pub fn hurry(&mut self, latest: Stamp) {
        self.deadlines.clear();
        for (hash, ((deadline, arrived), _)) in &mut self.values {
            *deadline = latest.min(*deadline);
            self.deadlines.insert((*deadline, *arrived), *hash);
        }
    }
}

impl<V> Default for Timed<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), deadlines: BTreeMap::new(), arrived: 0 }
    }
}
