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

use std::collections::{HashMap, VecDeque};

use alloy::json_abi::{Error as AbiError, JsonAbi};
use alloy::primitives::{Address, B256};

use super::artifact::Artifact;
use super::bytecode::{Bytecode, Fit};
use super::revert::{PANIC, REVERT, panic_code, revert_text};
use crate::model::{ContractCall, ContractName, EventName, FunctionName, LabelSet, Reason};

/// What a plain account, an address without code, is called in the place of a contract.
pub const ACCOUNT: &str = "_account";

/// Addresses that are remembered; the oldest are forgotten first, and looked up again when met.
const MOST_ADDRESSES: usize = 100_000;
/// Artifacts that are kept; later ones are for their errors and functions of no use and ignored.
const MOST_CONTRACTS: usize = 10_000;
/// The longest revert text that is passed on, in characters.
const LONGEST_MESSAGE: usize = 300;

type Selector = [u8; 4];

/// What is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resident {
    /// The contract of this index.
    Contract(usize),
    /// Code that fits no artifact.
    Stranger,
    /// No code.
    Account,
}

/// One artifact, prepared.
struct Known {
    contract: String,
    source: String,
    /// The name as a label, once it was needed: contracts that are never met use up no label.
    label: Option<ContractName>,
    creation: Bytecode,
    deployed: Bytecode,
    functions: HashMap<Selector, String>,
    errors: HashMap<Selector, AbiError>,
    has_fallback: bool,
}

/// All contracts that artifacts tell of, and the addresses where they were found.
#[derive(Default)]
pub struct Contracts {
    known: Vec<Known>,
    residents: HashMap<Address, Resident>,
    /// The addresses in `residents`, oldest first.
    order: VecDeque<Address>,
    names: LabelSet<crate::model::kind::ContractKind>,
    functions: LabelSet<crate::model::kind::FunctionKind>,
    reasons: LabelSet<crate::model::kind::ReasonKind>,
}

impl Contracts {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a contract in, in the place of an earlier one of the same name and source.
    pub fn add(&mut self, artifact: Artifact) {
        let same = |k: &Known| k.contract == artifact.contract && k.source == artifact.source;
        let place = self.known.iter().position(same);
        let mut known = Known::from(artifact);
        match place {
            Some(place) => {
                // Its code may be another one now; where the old code is, the name still holds.
                known.label = self.known[place].label;
                self.known[place] = known;
            }
            None if self.known.len() < MOST_CONTRACTS => self.known.push(known),
            None => return,
        }
        // Addresses looked at in vain are worth another look.
        self.residents.retain(|_, resident| *resident != Resident::Stranger);
        let residents = &self.residents;
        self.order.retain(|address| residents.contains_key(address));
    }

    /// A contract was created at `address` by a transaction with this input. When no artifact fits,
    /// the address stays unknown, so that its code is asked for.
    pub fn created(&mut self, address: Address, creation_input: &[u8]) -> ContractName {
        let Some(index) = self.by_creation(creation_input) else {
            // Whatever was there before the chain was reset is there no more.
            self.residents.remove(&address);
            return ContractName::unknown();
        };
        self.remember(address, Resident::Contract(index));
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
        let _ = implementation;
        if code.is_empty() {
            self.remember(address, Resident::Account);
            return ContractName::known(ACCOUNT);
        }
        match self.best(|known| known.deployed.matches(code).map(|fit| (fit, 0))) {
            Some(index) => {
                self.remember(address, Resident::Contract(index));
                self.name(index)
            }
            None => {
                self.remember(address, Resident::Stranger);
                ContractName::unknown()
            }
        }
    }

    /// Whether the address was named, or looked at in vain.
    pub fn knows(&self, address: Address) -> bool {
        self.residents.contains_key(&address)
    }

    /// Whose code has to be asked for before calls to `address` can be named: its own, or that of the
    /// contract behind it. None when nothing more is to be learnt.
    pub fn missing(&self, address: Address) -> Option<Address> {
        (!self.knows(address)).then_some(address)
    }

    /// The contract at an address.
    pub fn contract(&mut self, address: Address) -> ContractName {
        match self.residents.get(&address).copied() {
            Some(Resident::Contract(index)) => self.name(index),
            Some(Resident::Account) => ContractName::known(ACCOUNT),
            Some(Resident::Stranger) | None => ContractName::unknown(),
        }
    }

    /// The name of an event that was emitted at an address, by its first topic.
    pub fn event(&mut self, address: Address, topic: Option<B256>) -> EventName {
        let _ = (address, topic);
        EventName::unknown()
    }

    /// The variable that a storage slot of the contract at an address belongs to.
    pub fn slot_name(&self, address: Address, slot: B256) -> Option<Box<str>> {
        let _ = (address, slot);
        None
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
        let resident = self.residents.get(&to).copied();
        let contract = match resident {
            Some(Resident::Contract(index)) => self.name(index),
            Some(Resident::Account) => ContractName::known(ACCOUNT),
            Some(Resident::Stranger) | None => ContractName::unknown(),
        };
        let function = match (resident, input.first_chunk()) {
            _ if input.is_empty() => FunctionName::known("receive"),
            (Some(Resident::Contract(index)), Some(selector)) => self.function(index, selector),
            (Some(Resident::Contract(index)), None) if self.known[index].has_fallback => {
                FunctionName::known("fallback")
            }
            _ => FunctionName::unknown(),
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

    /// The whole message of a revert, for people: the text of `Error(string)`, or a custom error
    /// with its arguments. Free text, cut at 300 characters: not for labels.
    pub fn revert_message(&self, to: Option<Address>, revert_data: &[u8]) -> Option<String> {
        let text = match revert_data.first_chunk()? {
            &REVERT => revert_text(revert_data)?,
            &PANIC => format!("Panic(0x{:02x})", panic_code(revert_data)?),
            selector => message(self.error(to, selector)?, revert_data),
        };
        Some(text.chars().take(LONGEST_MESSAGE).collect())
    }

    /// How often a name was refused for want of room, by kind of label.
    pub fn overflow(&self) -> [(&'static str, u64); 3] {
        use crate::model::{LabelKind, kind};
        [
            (kind::ContractKind::NAME, self.names.overflow()),
            (kind::FunctionKind::NAME, self.functions.overflow()),
            (kind::ReasonKind::NAME, self.reasons.overflow()),
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
        self.order.clear();
    }

    fn remember(&mut self, address: Address, resident: Resident) {
        if self.residents.insert(address, resident).is_none() {
            self.order.push_back(address);
        }
        while self.order.len() > MOST_ADDRESSES {
            if let Some(oldest) = self.order.pop_front() {
                self.residents.remove(&oldest);
            }
        }
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

    fn function(&mut self, index: usize, selector: &Selector) -> FunctionName {
        let own = &self.known[index];
        if let Some(name) = own.functions.get(selector) {
            return self.functions.admit(name);
        }
        if !own.has_fallback {
            return FunctionName::unknown();
        }
        // A proxy: its fallback passes on the functions of the contract behind it. The selector is
        // worth a name where all who know it agree.
        let mut names = self.known.iter().filter_map(|known| known.functions.get(selector));
        match names.next() {
            Some(name) if names.all(|other| other == name) => self.functions.admit(name),
            _ => FunctionName::known("fallback"),
        }
    }

    /// The custom error: the called contract's own, else the first one of any (errors of contracts
    /// further down come up unchanged).
    fn error(&self, to: Option<Address>, selector: &Selector) -> Option<&AbiError> {
        let own = to.and_then(|to| match self.residents.get(&to) {
            Some(Resident::Contract(index)) => self.known[*index].errors.get(selector),
            _ => None,
        });
        own.or_else(|| self.known.iter().find_map(|known| known.errors.get(selector)))
    }
}

impl From<Artifact> for Known {
    fn from(artifact: Artifact) -> Self {
        let Artifact { contract, source, abi, creation, deployed } = artifact;
        Self {
            functions: function_names(&abi),
            errors: abi.errors().map(|e| (e.selector().0, e.clone())).collect(),
            has_fallback: abi.fallback.is_some(),
            label: None,
            contract,
            source,
            creation,
            deployed,
        }
    }
}

/// By selector the name, or for one of several functions of the name the signature.
fn function_names(abi: &JsonAbi) -> HashMap<Selector, String> {
    let named = |functions: &Vec<alloy::json_abi::Function>| {
        let alone = functions.len() == 1;
        functions
            .iter()
            .map(|f| (f.selector().0, if alone { f.name.clone() } else { f.signature() }))
            .collect::<Vec<_>>()
    };
    abi.functions.values().flat_map(named).collect()
}

/// A custom error with its arguments, as far as they can be read.
fn message(error: &AbiError, revert_data: &[u8]) -> String {
    use alloy::dyn_abi::JsonAbiExt;
    if error.inputs.iter().any(has_fixed_array) {
        return error.name.clone();
    }
    match error.abi_decode_input(&revert_data[4..]) {
        Ok(arguments) => {
            let arguments: Vec<String> = arguments.iter().map(argument).collect();
            format!("{}({})", error.name, arguments.join(", "))
        }
        Err(_) => error.name.clone(),
    }
}

/// Whether a parameter holds an array of fixed size: room for all of it is made before the first
/// item is read, and an ABI may say `uint8[99999999999]`.
fn has_fixed_array(param: &alloy::json_abi::Param) -> bool {
    let digit_after = |(at, _)| param.ty[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    param.ty.match_indices('[').any(digit_after) || param.components.iter().any(has_fixed_array)
}

fn argument(value: &alloy::dyn_abi::DynSolValue) -> String {
    use alloy::dyn_abi::DynSolValue as Value;
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value, _) => value.to_string(),
        Value::Uint(value, _) => value.to_string(),
        Value::Address(value) => value.to_string(),
        Value::FixedBytes(value, size) => {
            alloy::primitives::hex::encode_prefixed(&value[..(*size).min(32)])
        }
        Value::Bytes(value) => alloy::primitives::hex::encode_prefixed(value),
        Value::String(value) => format!("{value:?}"),
        Value::Array(values) | Value::FixedArray(values) => {
            format!("[{}]", values.iter().map(argument).collect::<Vec<_>>().join(", "))
        }
        Value::Tuple(values) => {
            format!("({})", values.iter().map(argument).collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests;
