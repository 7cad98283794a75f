//! What the chain watcher tells: blocks with their receipts, code, and the node's comings and
//! goings.

use alloy::primitives::{Address, B256, Bytes, U256};

use super::time::Stamp;

/// Something the watcher saw.
#[derive(Clone, Debug)]
pub enum ChainEvent {
    /// A block with everything in it.
    Block(Box<MinedBlock>),
    /// The code at an address, as asked for; empty for an account without code.
    Code(ContractCode),
    /// The node answers (again). `instance` changes when the node was restarted, where it tells.
    NodeUp { chain_id: u64, instance: Option<B256>, client: String, head: Head },
    /// The node cannot be reached.
    NodeDown { error: String },
    /// The chain is another one than before: new instance, height gone back, or genesis changed.
    NodeRestarted,
}

/// What the recorder asks of the watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainQuestion {
    /// For the code at an address; answered with [`ChainEvent::Code`].
    Code(Address),
    /// To look now whether the chain is still the same: a call that may set it back has passed.
    Look,
}

/// Where a chain is: what its newest block's header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub number: u64,
    /// In Unix seconds, by the node.
    pub timestamp: u64,
    pub gas_limit: u64,
    /// In wei.
    pub base_fee: Option<u64>,
}

/// A block's header fields and its transactions with their receipts.
#[derive(Clone, Debug)]
pub struct MinedBlock {
    /// When the announcement of it was read.
    pub seen: Stamp,
    pub number: u64,
    pub hash: B256,
    pub parent: B256,
    /// In Unix seconds, by the node.
    pub timestamp: u64,
    pub gas_used: u64,
    pub gas_limit: u64,
    /// In wei.
    pub base_fee: Option<u64>,
    pub transactions: Vec<MinedTransaction>,
    /// Transactions the block holds whose receipts could not be had.
    pub missing: u32,
    /// Whether the block was announced while being watched; false for one that was caught up on,
    /// whose `seen` says nothing about when it came.
    pub live: bool,
}

/// A transaction in a block, with its receipt.
#[derive(Clone, Debug)]
pub struct MinedTransaction {
    pub hash: B256,
    pub from: Address,
    pub to: Option<Address>,
    pub input: Bytes,
    pub nonce: u64,
    pub value: U256,
    pub gas_limit: u64,
    pub gas_used: u64,
    pub gas_price: u128,
    /// The receipt's status.
    pub success: bool,
    /// The receipt's `contractAddress`.
    pub created: Option<Address>,
    /// What it returned when it reverted, where the watcher found out: receipts do not tell.
    pub revert: Option<Bytes>,
}

/// An address and its code.
#[derive(Clone, Debug)]
pub struct ContractCode {
    pub address: Address,
    pub code: Bytes,
}
