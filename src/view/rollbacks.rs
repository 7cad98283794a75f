//! Which transactions a rollback took off the chain after they had been recorded: the store keeps
//! both, and they meet here.

use std::collections::HashMap;

use alloy::primitives::B256;

use super::newest::each;
use crate::model::{Rollback, RollbackCause, Transaction, UnixMicros};
use crate::store::{Range, Store, StoreError};

/// Marks those of `transactions` that a rollback took off the chain. Blocks.
pub fn mark(store: &Store, transactions: &mut [Transaction]) -> Result<(), StoreError> {
    let Some(from) = transactions.iter().map(|it| it.at).min() else { return Ok(()) };
    let mut by_hash: HashMap<B256, Vec<(UnixMicros, RollbackCause)>> =
        transactions.iter().map(|it| (it.hash, Vec::new())).collect();
    let range = Range { from, until: UnixMicros(u64::MAX) };
    let note = |rollback: &Rollback| {
        for hash in &rollback.transactions {
            if let Some(found) = by_hash.get_mut(hash) {
                found.push((rollback.at, rollback.cause));
            }
        }
    };
    each(|paging| store.rollbacks(range, paging), note)?;
    for transaction in transactions.iter_mut().filter(|it| it.rolled_back_by.is_none()) {
        // The first one after it was sent: later ones are of the same bytes sent again.
        let later = by_hash[&transaction.hash].iter().filter(|(at, _)| *at >= transaction.at);
        transaction.rolled_back_by = later.min_by_key(|(at, _)| *at).map(|(_, cause)| *cause);
    }
    Ok(())
}

/// Transactions that rollbacks of this range took off the chain after they had been recorded. Blocks.
pub fn count(store: &Store, range: Range) -> Result<u64, StoreError> {
    let mut count = 0;
    let page = |paging| store.rollbacks(range, paging);
    each(page, |it: &Rollback| count += it.transactions.len() as u64 + u64::from(it.omitted))?;
    Ok(count)
}
