//! What became of the transactions of a range, read one by one: how many of each status, why they
//! were reverted, what they cost and how long they took, all exact.

use std::collections::HashMap;

use super::json::micros;
use super::newest::each;
use super::rollbacks;
use crate::model::{Transaction, TransactionStatus, Unexplained};
use crate::store::{Range, Store, StoreError, Summary, TransactionFilter};

/// Transactions by what became of them.
#[derive(Default)]
pub struct Fates {
    by_status: [u64; TransactionStatus::ALL.len()],
    reasons: HashMap<&'static str, u64>,
    unexplained: [u64; Unexplained::ALL.len()],
    gas: HashMap<(&'static str, &'static str), Values>,
    confirmation: Values,
    /// Of them, those that a rollback took off the chain again.
    pub rolled_back: u64,
    /// Whether every transaction of the range was read.
    pub complete: bool,
}

/// Values of a measure, and how many of them are of reverted transactions.
#[derive(Default)]
pub struct Values {
    values: Vec<u64>,
    errors: u64,
}

impl Fates {
    /// Blocks.
    pub fn read(store: &Store, range: Range) -> Result<Self, StoreError> {
        let mut fates = Self::default();
        let filter = TransactionFilter::default();
        let page = |paging| store.transactions(range, &filter, paging);
        fates.complete = each(page, |transaction| fates.count(transaction))?;
        fates.rolled_back += rollbacks::count(store, range)?;
        Ok(fates)
    }

    fn count(&mut self, transaction: &Transaction) {
        self.by_status[transaction.status as usize] += 1;
        self.rolled_back += u64::from(transaction.rolled_back_by.is_some());
        if let Some(reason) = transaction.reason {
            *self.reasons.entry(reason.as_str()).or_default() += 1;
        }
        if let Some(why) = transaction.unexplained {
            self.unexplained[why as usize] += 1;
        }
        let reverted = transaction.status == TransactionStatus::Reverted;
        if let Some(gas) = transaction.gas_used {
            let key = (transaction.contract.as_str(), transaction.function.as_str());
            self.gas.entry(key).or_default().add(gas, reverted);
        }
        if let Some(confirmation) = transaction.confirmation {
            self.confirmation.add(micros(confirmation), reverted);
        }
    }

    pub const fn of(&self, status: TransactionStatus) -> u64 {
        self.by_status[status as usize]
    }

    /// The reasons of reverts, the most frequent first.
    pub fn reasons(&self, most: usize) -> Vec<(&'static str, u64)> {
        let mut reasons: Vec<_> = self.reasons.iter().map(|(reason, n)| (*reason, *n)).collect();
        reasons.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        reasons.truncate(most);
        reasons
    }

    /// Reverted transactions whose reason is not known, by why.
    pub fn unexplained(&self) -> impl Iterator<Item = (Unexplained, u64)> {
        Unexplained::ALL.into_iter().zip(self.unexplained).filter(|(_, count)| *count > 0)
    }

    /// Gas used, in gas units, by `Contract.function`. None when not all were read.
    pub fn gas(&self) -> Option<Vec<(String, Summary)>> {
        self.complete.then(|| {
            let keyed = self.gas.iter().map(|((contract, function), values)| {
                Some((format!("{contract}.{function}"), values.summary()?))
            });
            keyed.flatten().collect()
        })
    }

    /// Confirmation times in microseconds. None when not all were read, or there is none.
    pub fn confirmation(&self) -> Option<Summary> {
        self.complete.then(|| self.confirmation.summary()).flatten()
    }
}

impl Values {
    pub fn add(&mut self, value: u64, error: bool) {
        self.values.push(value);
        self.errors += u64::from(error);
    }

    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.values.clone();
        sorted.sort_unstable();
        // The smallest value with at least so many percent of all at or below it.
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        Some(Summary {
            count: sorted.len() as u64,
            errors: self.errors,
            sum: sum(&sorted),
            min: *sorted.first()?,
            max: *sorted.last()?,
            p50: at(50),
            p95: at(95),
            p99: at(99),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "gas and microseconds stay far below 2^53")]
fn sum(values: &[u64]) -> f64 {
    values.iter().map(|value| *value as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        let mut values = Values::default();
        (1..=200).rev().for_each(|value| values.add(value * 7, value == 3));
        let summary = values.summary().unwrap();
        assert_eq!((summary.min, summary.max, summary.errors), (7, 1_400, 1));
        assert_eq!((summary.p50, summary.p95, summary.p99), (700, 1_330, 1_386));
        assert_eq!(Values::default().summary(), None);
        let one = Values { values: vec![5], errors: 0 }.summary().unwrap();
        assert_eq!((one.p50, one.p99, one.count), (5, 5, 1));
    }
}
