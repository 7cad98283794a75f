//! A rollback: the chain lost its newest blocks, and with them the transactions that they held.

use alloy::primitives::B256;

use super::time::UnixMicros;

/// Why a chain lost blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RollbackCause {
    /// `evm_revert` or `anvil_revert` put a snapshot in the chain's place.
    EvmRevert,
    /// `hardhat_reset`, `anvil_reset` or `anvil_loadState` began the chain anew.
    Reset,
    /// Other blocks took their place, and no call through the relay had asked for it.
    Reorganisation,
}

impl RollbackCause {
    pub const ALL: [Self; 3] = [Self::EvmRevert, Self::Reset, Self::Reorganisation];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EvmRevert => "evm_revert",
            Self::Reset => "reset",
            Self::Reorganisation => "reorganisation",
        }
    }
}

/// What one rollback took off the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    /// When the call that caused it was answered, or when the watcher noticed it.
    pub at: UnixMicros,
    pub cause: RollbackCause,
    /// Blocks that were lost, where the watcher had seen them.
    pub blocks: Option<u64>,
    /// Hashes of the transactions that were recorded as mined before and are on the chain no more;
    /// at most [`Rollback::MAX_TRANSACTIONS`].
    pub transactions: Box<[B256]>,
    /// Further ones, beyond that bound.
    pub omitted: u32,
}

impl Rollback {
    /// Hashes that one rollback lists. A block holds a thousand transactions at most.
    pub const MAX_TRANSACTIONS: usize = 4_096;
}
