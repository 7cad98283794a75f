//! Which contract is at an address, which function a call means, and why it reverted: names for
//! labels, from artifacts.
//!
//! Owned by the recorder, in whose thread every name is looked up. Reading artifact files comes
//! before ([`super::artifact`]); asking the node for code is done by `chain`.
//!
//! What is at an address holds for an interval of time ([`residents`]): lookups take the interval in
//! which a call ran, or none for what is there now. What may be out of date gets no name.
//!
//! What has no name: a function or contract that no artifact knows is `_unknown`. An address without
//! code is the contract [`ACCOUNT`], and a call to it with input, which does nothing at all on the
//! chain, differs so from a call to an unknown contract. A call without input is `receive`, whatever
//! is at the address.

use std::collections::HashMap;

use alloy::primitives::{Address, B256};

use super::artifact::Artifact;
use super::layout;
use crate::model::{ContractCall, ContractName, EventName, FunctionName, Interval, LabelSet};
pub use proxies::{BEACON_SLOT, IMPLEMENTATION_SLOT};
use registry::Registry;
use residents::{Code, Residents};

mod changes;
mod interfaces;
mod known;
mod proxies;
mod reasons;
mod registry;
mod residents;

/// What a plain account, an address without code, is called in the place of a contract.
pub const ACCOUNT: &str = "_account";

/// Artifacts that are kept where no other number is configured.
pub const MOST_ARTIFACTS: usize = 10_000;
/// Events that are kept: they outlast the artifacts that are written anew.
const MOST_EVENTS: usize = 100_000;
type Selector = [u8; 4];

/// All contracts of the artifacts, and the addresses where they were found.
pub struct Contracts {
    registry: Registry,
    residents: Residents,
    /// By first topic the names of all events. The topic is the hash of the name and the types, so it
    /// stands for one name.
    events: HashMap<B256, String>,
    event_names: LabelSet<crate::model::kind::EventKind>,
    functions: LabelSet<crate::model::kind::FunctionKind>,
    reasons: LabelSet<crate::model::kind::ReasonKind>,
}

impl Default for Contracts {
    fn default() -> Self {
        Self::holding(MOST_ARTIFACTS)
    }
}

impl Contracts {
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Self::new`], with room for so many artifacts.
    pub fn holding(artifacts: usize) -> Self {
        Self {
            registry: Registry::holding(artifacts),
            residents: Residents::default(),
            events: interfaces::events().map(|(topic, name)| (topic, name.to_owned())).collect(),
            event_names: LabelSet::new(),
            functions: LabelSet::new(),
            reasons: LabelSet::new(),
        }
    }

    /// Takes a contract in, in the place of an earlier one of the same name and source. Beyond the
    /// limit it is left out, and counted.
    pub fn add(&mut self, artifact: Artifact) {
        let events: Vec<_> = artifact
            .abi
            .events()
            .filter(|event| !event.anonymous)
            .map(|event| (event.selector(), event.name.clone()))
            .collect();
        if !self.registry.add(artifact) {
            return;
        }
        for (topic, name) in events {
            if self.events.len() >= MOST_EVENTS {
                break;
            }
            self.events.entry(topic).or_insert(name);
        }
        // Addresses looked at in vain are worth another look.
        self.residents.forget_unnamed();
    }

    /// Artifacts that were left out for want of room.
    pub fn left_out(&self) -> usize {
        self.registry.left_out()
    }

    /// The contract that an input creates, by its place among the artifacts.
    pub fn by_creation(&self, input: &[u8]) -> Option<usize> {
        self.registry
            .best(|known| known.creation.begins(input).map(|fit| (known.creation.len(), fit)))
    }

    /// Whether nothing more is to be learnt of an address: it was named, or looked at in vain, and so
    /// was the contract behind it.
    pub fn knows(&self, address: Address) -> bool {
        self.missing(address).is_none()
    }

    /// Whose code has to be asked for before calls to `address` can be named: its own, or that of the
    /// contract behind it. None when nothing more is to be learnt.
    pub fn missing(&self, address: Address) -> Option<Address> {
        self.residents.missing(address)
    }

    /// Whose code has to be asked for to name a call that ran in an interval; none where an answer of
    /// the node would come too late. An address without code is asked about again when it is called
    /// with input after the chain has changed.
    pub fn missing_at(
        &self,
        address: Address,
        with_input: bool,
        at: Option<Interval>,
    ) -> Option<Address> {
        let is_over = at.is_some_and(|at| at.start < self.residents.last_rollback().end);
        if is_over {
            return None;
        }
        let doubted = with_input && self.residents.may_have_code(address, at);
        if doubted { Some(address) } else { self.missing(address) }
    }

    /// The contract at an address: of a proxy, the one behind it.
    pub fn contract(&mut self, address: Address) -> ContractName {
        self.contract_at(address, None)
    }

    /// The same in an interval.
    pub fn contract_at(&mut self, address: Address, at: Option<Interval>) -> ContractName {
        match self.residents.face(address, at) {
            Some(Code::Contract(index)) => self.registry.label(index),
            Some(Code::Interface(interface)) => ContractName::known(interface.name),
            Some(Code::Account) => ContractName::known(ACCOUNT),
            Some(Code::Stranger | Code::Delegated) | None => ContractName::unknown(),
        }
    }

    /// Where an account's delegation leads (EIP-7702).
    pub fn delegation(&self, account: Address, at: Option<Interval>) -> Option<Address> {
        self.residents.delegate(account, at)
    }

    /// The name of an event that was emitted at an address, by its first topic. An upgrade of a proxy
    /// emits one: what is behind it is then [`Self::missing`].
    pub fn event(&mut self, address: Address, topic: Option<B256>) -> EventName {
        self.residents.emitted(address, topic);
        match topic.and_then(|topic| self.events.get(&topic)) {
            Some(name) => self.event_names.admit(name),
            None => EventName::unknown(),
        }
    }

    /// The variable that a storage slot of the contract at an address belongs to.
    pub fn slot_name(&self, address: Address, slot: B256) -> Option<Box<str>> {
        self.slot_name_among(address, slot, &[])
    }

    /// The same; `keys` are words that a mapping's key may be, such as the transaction's sender, the
    /// words of its input and the topics of its events. At most 32 of them are tried.
    pub fn slot_name_among(&self, address: Address, slot: B256, keys: &[B256]) -> Option<Box<str>> {
        if let Some(name) = layout::standard_slot(slot) {
            return Some(name.into());
        }
        // A proxy's storage is laid out by the contract behind it, once that is known.
        let Some(Code::Contract(index)) =
            self.residents.face(address, None).filter(|_| self.knows(address))
        else {
            return None;
        };
        self.registry.get(index).layout.as_ref()?.name(slot, keys).map(Into::into)
    }

    /// What a transaction or call with this target and input means. For a call the first four bytes
    /// of the input are enough.
    pub fn target(&mut self, to: Option<Address>, input: &[u8]) -> ContractCall {
        self.target_at(to, input, None)
    }

    /// The same in an interval.
    pub fn target_at(
        &mut self,
        to: Option<Address>,
        input: &[u8],
        at: Option<Interval>,
    ) -> ContractCall {
        let Some(to) = to else {
            let contract = match self.by_creation(input) {
                Some(index) => self.registry.label(index),
                None => ContractName::unknown(),
            };
            return ContractCall { contract, function: FunctionName::known("constructor") };
        };
        let may_be_wrong =
            !input.is_empty() && at.is_some() && self.residents.may_have_code(to, at);
        let contract = match may_be_wrong {
            true => ContractName::unknown(),
            false => self.contract_at(to, at),
        };
        let function = match input.first_chunk() {
            _ if input.is_empty() => FunctionName::known("receive"),
            selector => self.function(to, selector, at),
        };
        ContractCall { contract, function }
    }

    /// How often a name was refused for want of room, by kind of label.
    pub fn overflow(&self) -> [(&'static str, u64); 4] {
        use crate::model::{LabelKind, kind};
        [
            (kind::ContractKind::NAME, self.registry.overflow()),
            (kind::FunctionKind::NAME, self.functions.overflow()),
            (kind::ReasonKind::NAME, self.reasons.overflow()),
            (kind::EventKind::NAME, self.event_names.overflow()),
        ]
    }

    /// Contracts that are known from artifacts.
    pub fn len(&self) -> usize {
        self.registry.known().len()
    }

    pub fn is_empty(&self) -> bool {
        self.registry.known().is_empty()
    }

    /// The function that a selector means at an address: the one of the contract behind a proxy
    /// where both have it.
    fn function(
        &mut self,
        to: Address,
        selector: Option<&Selector>,
        at: Option<Interval>,
    ) -> FunctionName {
        let named = |selector| {
            let registry = &self.registry;
            let name = move |code| match code {
                Code::Contract(index) => {
                    registry.get(index).functions.get(selector).map(|names| &*names.label)
                }
                Code::Interface(interface) => interface.function(selector),
                Code::Stranger | Code::Account | Code::Delegated => None,
            };
            self.residents.chain(to, at).filter_map(name).last()
        };
        if let Some(name) = selector.and_then(named) {
            return self.functions.admit(name);
        }
        match self.residents.face(to, at) {
            Some(Code::Contract(index)) if self.registry.get(index).has_fallback => {}
            _ => return FunctionName::unknown(),
        }
        // A proxy in front of an unknown contract, or one of several implementations: its fallback
        // passes on the functions of others. A selector is worth a name where all artifacts agree.
        match selector.and_then(|selector| self.registry.agreed(selector)) {
            Some(name) => self.functions.admit(name),
            None => FunctionName::known("fallback"),
        }
    }
}

#[cfg(test)]
mod tests;
