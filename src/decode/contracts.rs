//! Which contract is at an address, which function a call means, and why it reverted: names for
//! labels, from artifacts.
//!
//! Owned by the recorder, in whose thread every name is looked up. Reading artifact files comes
//! before ([`super::artifact`]); asking the node for code is done by `chain`.
//!
//! What has no name: a function or contract that no artifact knows is `_unknown`. An address without
//! code is the contract [`ACCOUNT`], and a call to it with input, which does nothing at all on the
//! chain, can so be told from a call to an unknown contract. A call without input is `receive`,
//! whomever it goes to.

use std::collections::HashMap;

use alloy::json_abi::Error as AbiError;
use alloy::primitives::{Address, B256};

use super::artifact::Artifact;
use super::bytecode::Fit;
use super::layout;
use super::revert::{PANIC, REVERT, panic_code, revert_text};
use crate::model::{ContractCall, ContractName, EventName, FunctionName, LabelSet, Reason};
use interfaces::Interface;
use known::Known;
use residents::{Code, Resident, Residents};

mod interfaces;
mod known;
mod proxies;
mod reasons;
mod residents;

/// What a plain account, an address without code, is called in the place of a contract.
pub const ACCOUNT: &str = "_account";

/// Artifacts that are kept; later ones are for their errors and functions of no use and ignored.
const MOST_CONTRACTS: usize = 10_000;
/// Events that are kept: they outlast the artifacts that are written anew.
const MOST_EVENTS: usize = 100_000;
type Selector = [u8; 4];

/// All contracts that artifacts tell of, and the addresses where they were found.
pub struct Contracts {
    known: Vec<Known>,
    residents: Residents,
    /// By first topic the names of all events. The topic is the hash of the name and the types, so
    /// whoever knows it knows the name.
    events: HashMap<B256, String>,
    event_names: LabelSet<crate::model::kind::EventKind>,
    names: LabelSet<crate::model::kind::ContractKind>,
    functions: LabelSet<crate::model::kind::FunctionKind>,
    reasons: LabelSet<crate::model::kind::ReasonKind>,
}

impl Default for Contracts {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            residents: Residents::default(),
            events: interfaces::events().map(|(topic, name)| (topic, name.to_owned())).collect(),
            event_names: LabelSet::new(),
            names: LabelSet::new(),
            functions: LabelSet::new(),
            reasons: LabelSet::new(),
        }
    }
}

impl Contracts {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a contract in, in the place of an earlier one of the same name and source.
    pub fn add(&mut self, artifact: Artifact) {
        let same = |k: &Known| k.contract == artifact.contract && k.source == artifact.source;
        let place = self.known.iter().position(same);
        if place.is_none() && self.known.len() >= MOST_CONTRACTS {
            return;
        }
        for event in artifact.abi.events().filter(|event| !event.anonymous) {
            if self.events.len() >= MOST_EVENTS {
                break;
            }
            self.events.entry(event.selector()).or_insert_with(|| event.name.clone());
        }
        let mut known = Known::from(artifact);
        match place {
            Some(place) => {
                // Its code may be another one now; where the old code is, the name still holds.
                known.label = self.known[place].label;
                self.known[place] = known;
            }
            None => self.known.push(known),
        }
        // Addresses looked at in vain are worth another look.
        self.residents.forget_unnamed();
    }

    /// A contract was created at `address` by a transaction with this input. When no artifact fits,
    /// the address stays unknown, so that its code is asked for.
    pub fn created(&mut self, address: Address, creation_input: &[u8]) -> ContractName {
        let Some(index) = self.by_creation(creation_input) else {
            // Whatever was there before the chain was reset is there no more.
            self.residents.forget(address);
            return ContractName::unknown();
        };
        // What passes on calls it has no function for may be a proxy: the node knows of whom.
        let is_settled = !self.known[index].has_fallback;
        let code = Code::Contract(index);
        self.residents.put(address, Resident { code, behind: None, is_settled });
        self.name(index)
    }

    /// The code at an address, as the node tells it.
    ///
    /// `implementation` is the contract behind a proxy, where its storage names one.
    pub fn learn_code(
        &mut self,
        address: Address,
        code: &[u8],
        implementation: Option<Address>,
    ) -> ContractName {
        let cloned = proxies::cloned(code);
        let fit = |known: &Known| known.deployed.matches(code).map(|fit| (fit, 0));
        let own = if code.is_empty() {
            Code::Account
        } else if let Some(index) = self.best(fit) {
            Code::Contract(index)
        } else {
            // The functions of a proxy's own code are not those that are called through it.
            Interface::of(address, code).map_or(Code::Stranger, Code::Interface)
        };
        let behind = cloned.or(implementation).filter(|behind| !behind.is_zero());
        self.residents.put(address, Resident { code: own, behind, is_settled: true });
        self.contract(address)
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

    /// The contract at an address: of a proxy, the one behind it.
    pub fn contract(&mut self, address: Address) -> ContractName {
        match self.residents.face(address) {
            Some(Code::Contract(index)) => self.name(index),
            Some(Code::Interface(interface)) => ContractName::known(interface.name),
            Some(Code::Account) => ContractName::known(ACCOUNT),
            Some(Code::Stranger) | None => ContractName::unknown(),
        }
    }

    /// The name of an event that was emitted at an address, by its first topic. That a proxy was
    /// upgraded is told by an event: what is behind it is then [`Self::missing`].
    pub fn event(&mut self, address: Address, topic: Option<B256>) -> EventName {
        let Some(topic) = topic else {
            return EventName::unknown();
        };
        self.residents.emitted(address, topic);
        match self.events.get(&topic) {
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
            self.residents.face(address).filter(|_| self.knows(address))
        else {
            return None;
        };
        self.known[index].layout.as_ref()?.name(slot, keys).map(Into::into)
    }

    /// What a transaction or call with this target and input means. For a call the first four bytes
    /// of the input are enough.
    pub fn target(&mut self, to: Option<Address>, input: &[u8]) -> ContractCall {
        let Some(to) = to else {
            let contract = match self.by_creation(input) {
                Some(index) => self.name(index),
                None => ContractName::unknown(),
            };
            return ContractCall { contract, function: FunctionName::known("constructor") };
        };
        let contract = self.contract(to);
        let function = match input.first_chunk() {
            _ if input.is_empty() => FunctionName::known("receive"),
            selector => self.function(to, selector),
        };
        ContractCall { contract, function }
    }

    /// Why a call to `to` reverted, from what it returned: a custom error's name, `Error` for
    /// `require` and `revert` with a text, `Panic(0x11)`, `no_data` when it returned nothing.
    pub fn reason(&mut self, to: Option<Address>, revert_data: &[u8]) -> Reason {
        if revert_data.is_empty() {
            return Reason::known("no_data");
        }
        match revert_data.first_chunk() {
            Some(&REVERT) => Reason::known("Error"),
            Some(&PANIC) => match panic_code(revert_data) {
                Some(code) => self.reasons.admit(&format!("Panic(0x{code:02x})")),
                None => Reason::known("Panic"),
            },
            Some(selector) => match self.error(to, selector).map(|error| error.name.clone()) {
                Some(name) => self.reasons.admit(&name),
                None => Reason::unknown(),
            },
            None => Reason::unknown(),
        }
    }

    /// The whole message of a revert, for people: the text of `Error(string)`, a panic in words, or a
    /// custom error with its arguments. Free text, cut at 300 characters: not for labels.
    pub fn revert_message(&self, to: Option<Address>, revert_data: &[u8]) -> Option<String> {
        let text = match revert_data.first_chunk()? {
            &REVERT => revert_text(revert_data)?,
            &PANIC => reasons::panic_message(panic_code(revert_data)?),
            selector => reasons::error_message(self.error(to, selector)?, revert_data),
        };
        Some(reasons::cut(&text))
    }

    /// How often a name was refused for want of room, by kind of label.
    pub fn overflow(&self) -> [(&'static str, u64); 4] {
        use crate::model::{LabelKind, kind};
        [
            (kind::ContractKind::NAME, self.names.overflow()),
            (kind::FunctionKind::NAME, self.functions.overflow()),
            (kind::ReasonKind::NAME, self.reasons.overflow()),
            (kind::EventKind::NAME, self.event_names.overflow()),
        ]
    }

    /// Contracts that are known from artifacts.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The chain is another one: what was at which address holds no more.
    pub fn forget_addresses(&mut self) {
        self.residents.clear();
    }

    /// The chain lost blocks: what is at which address has to be learnt anew, and until then is taken
    /// to be what it was.
    pub fn doubt_addresses(&mut self) {
        self.residents.doubt();
    }

    fn by_creation(&self, input: &[u8]) -> Option<usize> {
        self.best(|known| known.creation.begins(input).map(|fit| (fit, known.creation.len())))
    }

    /// The contract that fits best; of equal ones the first.
    fn best(&self, fit: impl Fn(&Known) -> Option<(Fit, usize)>) -> Option<usize> {
        let fits = self.known.iter().enumerate().filter_map(|(i, known)| Some((fit(known)?, i)));
        fits.max_by_key(|&((fit, length), index)| (length, fit, std::cmp::Reverse(index)))
            .map(|(_, index)| index)
    }

    /// The label of a contract: its name, or `source:name` where another contract has taken the name.
    fn name(&mut self, index: usize) -> ContractName {
        if let Some(label) = self.known[index].label {
            return label;
        }
        let known = &self.known[index];
        let taken = self
            .known
            .iter()
            .any(|other| other.label.is_some_and(|label| label.as_str() == known.contract));
        let label = if taken {
            self.names.admit(&format!("{}:{}", known.source, known.contract))
        } else {
            self.names.admit(&known.contract)
        };
        self.known[index].label = Some(label);
        label
    }

    /// The function that a selector means at an address: the one of the contract behind a proxy
    /// where both have it.
    fn function(&mut self, to: Address, selector: Option<&Selector>) -> FunctionName {
        let named = |selector| {
            let known = &self.known;
            let name = move |code| match code {
                Code::Contract(index) => known[index].functions.get(selector).map(|s| &**s),
                Code::Interface(interface) => interface.function(selector),
                Code::Stranger | Code::Account => None,
            };
            self.residents.chain(to).filter_map(name).last()
        };
        if let Some(name) = selector.and_then(named) {
            return self.functions.admit(name);
        }
        match self.residents.face(to) {
            Some(Code::Contract(index)) if self.known[index].has_fallback => {}
            _ => return FunctionName::unknown(),
        }
        // A proxy in front of nobody knows what, or one of several implementations: its fallback
        // passes on the functions of others. A selector is worth a name where all who know it agree.
        let mut names = self.known.iter().filter_map(|known| known.functions.get(selector?));
        match names.next() {
            Some(name) if names.all(|other| other == name) => self.functions.admit(name),
            _ => FunctionName::known("fallback"),
        }
    }

    /// The custom error: the called contract's own or that of the one behind it, else the first one
    /// of any (errors of contracts further down come up unchanged).
    fn error(&self, to: Option<Address>, selector: &Selector) -> Option<&AbiError> {
        let own = to.and_then(|to| {
            self.residents.chain(to).find_map(|code| match code {
                Code::Contract(index) => self.known[index].errors.get(selector),
                _ => None,
            })
        });
        own.or_else(|| self.known.iter().find_map(|known| known.errors.get(selector)))
    }
}

#[cfg(test)]
mod tests;
