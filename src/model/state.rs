//! What a transaction changed in the chain's state.

use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::label::{ContractName, FunctionName};
use super::time::UnixMicros;

/// How the node was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tracer {
    /// `prestateTracer` in diff mode.
    PrestateDiff,
    /// Struct logs: the storage instructions one by one. Accounts are those whose storage changed.
    StructLogs,
}

impl Tracer {
    pub const ALL: [Self; 2] = [Self::PrestateDiff, Self::StructLogs];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PrestateDiff => "prestate_diff",
            Self::StructLogs => "struct_logs",
        }
    }
}

/// What became of a storage slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotFate {
    /// From zero to something.
    Created,
    /// From something to something else.
    Updated,
    /// From something to zero.
    Cleared,
}

impl SlotFate {
    pub const ALL: [Self; 3] = [Self::Created, Self::Updated, Self::Cleared];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Cleared => "cleared",
        }
    }
}

/// A storage slot that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotChange {
    pub address: Address,
    pub contract: ContractName,
    pub slot: B256,
    /// The variable, from the artifact's storage layout: `_owners[7]`. At most 128 bytes.
    pub name: Option<Box<str>>,
    pub before: B256,
    pub after: B256,
}

impl SlotChange {
    pub fn fate(&self) -> SlotFate {
        match (self.before.is_zero(), self.after.is_zero()) {
            (true, _) => SlotFate::Created,
            (false, true) => SlotFate::Cleared,
            (false, false) => SlotFate::Updated,
        }
    }
}

/// What a traced transaction changed.
#[derive(Clone, Debug, PartialEq)]
pub struct StateChange {
    /// When the trace was read.
    pub at: UnixMicros,
    pub hash: B256,
    pub block: u64,
    pub contract: ContractName,
    pub function: FunctionName,
    pub tracer: Tracer,
    /// How long the node took to trace it.
    pub took: Duration,
    /// Slots by what became of them, in the order of [`SlotFate::ALL`]; all, also those not kept.
    pub counts: [u32; 3],
    /// Accounts touched.
    pub accounts: u32,
    /// The slots themselves; at most [`StateChange::MOST_SLOTS`].
    pub slots: Box<[SlotChange]>,
}

impl StateChange {
    /// Slots that are kept of one transaction.
    pub const MOST_SLOTS: usize = 256;

    pub const fn count(&self, fate: SlotFate) -> u32 {
        self.counts[fate as usize]
    }
}
