//! The artifacts that are known: found by their source and name, by their code, by the functions and
//! errors that they have; and the label that each contract goes by.

use std::collections::{HashMap, HashSet};

use alloy::json_abi::Error as AbiError;

use super::Selector;
use super::known::Known;
use crate::decode::artifact::Artifact;
use crate::model::{ContractName, LabelSet, kind};

/// Artifacts beyond the limit that are counted.
const MOST_LEFT_OUT: usize = 1_000_000;

pub(super) struct Registry {
    known: Vec<Known>,
    /// Indexes by name, for each name by source.
    by_name: HashMap<String, HashMap<String, usize>>,
    most: usize,
    /// Name and source of artifacts for which there was no room.
    left_out: HashSet<(String, String)>,
    names: LabelSet<kind::ContractKind>,
}

impl Registry {
    /// One that keeps so many artifacts.
    pub(super) fn holding(most: usize) -> Self {
        Self {
            known: Vec::new(),
            by_name: HashMap::new(),
            most,
            left_out: HashSet::new(),
            names: LabelSet::new(),
        }
    }

    /// Takes an artifact in, in the place of an earlier one of the same name and source. False when
    /// there is no room for it.
    pub(super) fn add(&mut self, artifact: Artifact) -> bool {
        let sources = self.by_name.entry(artifact.contract.clone()).or_default();
        match sources.get(&artifact.source) {
            // Its code may be another one now; where the old code is, the name still holds.
            Some(&place) => self.known[place] = artifact.into(),
            None if self.known.len() < self.most => {
                sources.insert(artifact.source.clone(), self.known.len());
                self.known.push(artifact.into());
            }
            None => {
                if self.left_out.len() < MOST_LEFT_OUT {
                    self.left_out.insert((artifact.contract, artifact.source));
                }
                return false;
            }
        }
        // From the second contract of a name on, all of them go by their sources.
        for place in sources.values() {
            self.known[*place].label = None;
        }
        true
    }

    pub(super) fn known(&self) -> &[Known] {
        &self.known
    }

    pub(super) fn get(&self, index: usize) -> &Known {
        &self.known[index]
    }

    /// Artifacts for which there was no room.
    pub(super) fn left_out(&self) -> usize {
        self.left_out.len()
    }

    pub(super) fn overflow(&self) -> u64 {
        self.names.overflow()
    }

    /// The label of a contract: its name, or `source:name` where contracts of several sources have the
    /// name. It depends on the artifacts alone, not on which contract was met first.
    pub(super) fn label(&mut self, index: usize) -> ContractName {
        if let Some(label) = self.known[index].label {
            return label;
        }
        let Known { contract, source, .. } = &self.known[index];
        // Interfaces and abstract contracts are at no address, so that no label is theirs.
        let with_code = |place: &&usize| self.known[**place].has_code();
        let sources = self.by_name.get(contract);
        let namesakes = sources.map_or(0, |sources| sources.values().filter(with_code).count());
        let label = if namesakes > 1 && !source.is_empty() {
            self.names.admit(&format!("{source}:{contract}"))
        } else {
            self.names.admit(contract)
        };
        self.known[index].label = Some(label);
        label
    }

    /// The contract that fits best; of equal ones the first by source and name, whichever was taken in
    /// first.
    pub(super) fn best<F: Ord>(&self, fit: impl Fn(&Known) -> Option<F>) -> Option<usize> {
        let fits = self.known.iter().enumerate().filter_map(|(i, known)| Some((fit(known)?, i)));
        let place = |index: usize| (&self.known[index].source, &self.known[index].contract);
        fits.max_by(|(a, i), (b, j)| a.cmp(b).then_with(|| place(*j).cmp(&place(*i))))
            .map(|(_, index)| index)
    }

    /// The label of a function that all contracts which have this selector agree on. They agree by the
    /// signature: `list` of one is the function that is `list(uint256)` where it is overloaded.
    pub(super) fn agreed(&self, selector: &Selector) -> Option<&str> {
        let all = || {
            let with = self.known.iter().filter_map(|it| Some((it, it.functions.get(selector)?)));
            with.map(|(known, function)| (!known.has_code(), function))
        };
        let signature = &all().next()?.1.signature;
        if all().any(|(_, function)| function.signature != *signature) {
            return None;
        }
        // A contract that can have been called is asked before an interface.
        let labels = all().map(|(is_bare, function)| (is_bare, function.label.len(), function));
        labels.min_by_key(|(is_bare, length, _)| (*is_bare, *length)).map(|it| &*it.2.label)
    }

    /// The first custom error of any contract that has this selector.
    pub(super) fn error(&self, selector: &Selector) -> Option<&AbiError> {
        self.known.iter().find_map(|known| known.errors.get(selector))
    }
}
