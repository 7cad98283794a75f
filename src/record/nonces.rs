//! Whether a wallet counts from a chain that is no more.
//!
//! A wallet remembers the nonce that comes next, and the newest block. When the chain was restarted or set back, its
//! transactions are refused, or wait for others that will never come, until the wallet's account is
//! reset.

use std::collections::HashMap;

use alloy::primitives::Address;

use crate::model::MinedBlock;

/// Accounts whose next nonce is remembered.
const MOST: usize = 10_000;

#[derive(Default)]
pub(super) struct Nonces {
    /// Number of the newest block.
    head: u64,
    /// Whether this chain came in the place of another one.
    replaced: bool,
    /// The nonce after the last one that was mined.
    next: HashMap<Address, u64>,
}

impl Nonces {
    pub(super) fn block(&mut self, block: &MinedBlock) {
        self.head = block.number;
        for transaction in &block.transactions {
            if self.next.len() >= MOST {
                self.next.clear();
            }
            self.next.insert(transaction.from, transaction.nonce.saturating_add(1));
        }
    }

    /// The node answers (again); its chain ends at `head`.
    pub(super) const fn head(&mut self, head: u64) {
        self.head = head;
    }

    /// Whether a block that the node does not have, by its number or else by its hash, is of another
    /// chain: there was one, or this one is too short for it. One past the head may be haste.
    pub(super) fn block_is_ahead(&self, number: Option<u64>) -> bool {
        match number {
            Some(number) if self.replaced => number > self.head,
            Some(number) => number > self.head.saturating_add(1),
            None => self.replaced,
        }
    }

    /// The chain is another one now, or lost its newest blocks; the head is `head`.
    pub(super) fn replaced(&mut self, head: u64) {
        *self = Self { head, replaced: true, next: HashMap::new() };
    }

    /// Whether a nonce that was refused as too high comes from another chain: there was one, or this
    /// one is too short for it.
    pub(super) const fn refused_is_ahead(&self, nonce: u64) -> bool {
        self.replaced || nonce > self.head
    }

    /// Whether a transaction that waits does so for nonces that nobody will send.
    pub(super) fn waiting_is_ahead(&self, from: Address, nonce: u64) -> bool {
        let next = self.next.get(&from).copied().unwrap_or_default();
        self.replaced && nonce > self.head && nonce > next
    }
}
