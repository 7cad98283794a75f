//! Which transactions the node is asked to trace, and what the traces tell by name.
//!
//! A trace makes the node run the transaction again: by default there is one for each function in a
//! while, and never two at once. The asking is done by `chain`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use alloy::primitives::{Address, B256};

use crate::decode::contracts::Contracts;
use crate::model::{
    ChainQuestion, Clock, ContractCall, SlotChange, SlotFate, Stamp, StateChange, Traced,
    Transaction, TransactionKind,
};

/// How long a trace is waited for before another one is asked for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a sampled trace waits: the node is busy with it meanwhile, and whoever sent the
/// transaction still asks for the receipt and what came of it.
const LATER: Duration = Duration::from_millis(1_500);
/// Traces that are waited for, at most.
const MOST_ASKED: usize = 64;
/// Senders that are remembered.
const MOST_SENDERS: usize = 8;
/// Functions whose last trace is remembered.
const MOST_FUNCTIONS: usize = 4_096;

/// Of which transactions the state changes are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traces {
    Off,
    /// Of one of each function in so much time.
    Sampled(Duration),
    /// Of every one, as far as the node keeps up.
    All,
}

/// What was asked for.
struct Asked {
    at: Stamp,
    target: ContractCall,
    /// What may be the keys of the mappings that it changed.
    keys: Box<[B256]>,
}

pub(super) struct Tracing {
    traces: Traces,
    asked: HashMap<B256, Asked>,
    /// What is to be asked for, and when.
    later: VecDeque<(Stamp, ChainQuestion)>,
    /// When a function was traced last.
    last: HashMap<ContractCall, Stamp>,
    /// Who sent transactions, the newest first.
    senders: VecDeque<Address>,
}

/// Whether a word looks like an account.
fn is_account(word: B256) -> bool {
    word[..12] == [0; 12] && word[12..16] != [0; 4]
}

impl Tracing {
    pub(super) fn new(traces: Traces) -> Self {
        Self {
            traces,
            asked: HashMap::new(),
            later: VecDeque::new(),
            last: HashMap::new(),
            senders: VecDeque::new(),
        }
    }

    /// A transaction was told: what to ask the node because of it now; more may be due later.
    pub(super) fn consider(
        &mut self,
        transaction: &Transaction,
        keys: Box<[B256]>,
        now: Stamp,
    ) -> Option<ChainQuestion> {
        let (block, gas) = (transaction.block?, transaction.gas_used?);
        if let Some(from) = transaction.from.filter(|from| !self.senders.contains(from)) {
            self.senders.truncate(MOST_SENDERS - 1);
            self.senders.push_front(from);
        }
        if transaction.kind == TransactionKind::Transfer {
            return None;
        }
        let target =
            ContractCall { contract: transaction.contract, function: transaction.function };
        self.asked.retain(|_, asked| now.since(asked.at) < PATIENCE);
        match self.traces {
            Traces::Off => return None,
            Traces::All => {}
            Traces::Sampled(every) => {
                let lately = |at: &Stamp| now.since(*at) < every;
                if !self.asked.is_empty() || self.last.get(&target).is_some_and(lately) {
                    return None;
                }
            }
        }
        if self.asked.len() >= MOST_ASKED {
            return None;
        }
        if self.last.len() >= MOST_FUNCTIONS {
            self.last.clear();
        }
        self.last.insert(target, now);
        self.asked.insert(transaction.hash, Asked { at: now, target, keys });
        let question = ChainQuestion::Trace { hash: transaction.hash, block, gas };
        if self.traces == Traces::All {
            return Some(question);
        }
        self.later.push_back((now.after(LATER), question));
        None
    }

    /// Takes out what is to be asked by now. To be called a few times a second.
    pub(super) fn due(&mut self, now: Stamp) -> Option<ChainQuestion> {
        self.later.pop_front_if(|(due, _)| *due <= now).map(|(_, question)| question)
    }

    /// A trace came.
    pub(super) fn told(
        &mut self,
        traced: &Traced,
        clock: &Clock,
        contracts: &mut Contracts,
    ) -> Option<StateChange> {
        let Asked { target, keys, .. } = self.asked.remove(&traced.hash)?;
        // Mappings are often by accounts that other slots hold, or that were met before.
        let held = traced.slots.iter().flat_map(|slot| [slot.before, slot.after]);
        let held = held.filter(|value| is_account(*value));
        let mut keys: Vec<B256> = keys.iter().copied().chain(held).collect();
        keys.extend(self.senders.iter().map(|sender| sender.into_word()));
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(*key));
        let mut slots: Vec<SlotChange> = traced
            .slots
            .iter()
            .map(|slot| SlotChange {
                address: slot.address,
                contract: contracts.contract(slot.address),
                slot: slot.slot,
                name: contracts.slot_name_among(slot.address, slot.slot, &keys),
                before: slot.before,
                after: slot.after,
            })
            .collect();
        let counts = SlotFate::ALL.map(|fate| {
            let of_fate = slots.iter().filter(|slot| slot.fate() == fate).count();
            u32::try_from(of_fate).unwrap_or(u32::MAX)
        });
        slots.truncate(StateChange::MOST_SLOTS);
        Some(StateChange {
            at: clock.wall(traced.at),
            hash: traced.hash,
            block: traced.block,
            contract: target.contract,
            function: target.function,
            tracer: traced.tracer,
            took: traced.took,
            counts,
            accounts: traced.accounts,
            slots: slots.into(),
        })
    }

    /// A trace will not come.
    pub(super) fn give_up(&mut self, hash: B256) {
        // The next transaction of the function may be one that the node traces.
        if let Some(asked) = self.asked.remove(&hash)
            && matches!(self.traces, Traces::Sampled(_))
        {
            self.last.remove(&asked.target);
        }
    }

    /// The chain is another one: what was asked for will not come.
    pub(super) fn forget(&mut self) {
        self.later.clear();
        self.asked.clear();
        self.last.clear();
    }
}
