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

impl Block {
    /// Gas used as a share of the gas limit, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "gas stays far below 2^53")]
    pub fn fullness(&self) -> f64 {
        if self.gas_limit == 0 { 0.0 } else { self.gas_used as f64 / self.gas_limit as f64 }
    }
}
