//! A block, as the node announced it.

use std::time::Duration;

use alloy::primitives::B256;

use super::time::UnixMicros;

/// A block of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// When it was seen.
    pub at: UnixMicros,
    pub number: u64,
    pub hash: B256,
    pub parent: B256,
    /// The header's timestamp, in Unix seconds. Runs ahead of the clock on development nodes; for
    /// display only.
    pub timestamp: u64,
    pub gas_used: u64,
    pub gas_limit: u64,
    /// In wei.
    pub base_fee: Option<u64>,
    /// Transactions in it.
    pub transactions: u32,
    /// Measured time since the block before it was seen; none for the first one and across gaps.
    pub interval: Option<Duration>,
}
