//! What the watcher asks of the node, counted: what the monitor itself costs it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::{ChainEvent, Observation, Observer};

/// How often it is told at most: a node that mines five hundred blocks a second is asked as often.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// What the node is asked for: the values of [`ChainEvent::PURPOSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Who it is, and whether it still is.
    Greeting,
    /// Heads, blocks and receipts.
    Blocks,
    /// Code, and what is behind a proxy.
    Code,
    /// Why transactions reverted.
    Reverts,
    /// What transactions changed.
    Traces,
    /// Where submitted transactions are.
    Pending,
}

/// Calls, and how long they took together.
#[derive(Clone, Copy, Default)]
struct Cost {
    calls: u32,
    took: Duration,
}

/// Counts what the connections to the node ask.
#[derive(Default)]
pub struct Meter {
    costs: Mutex<[Cost; ChainEvent::PURPOSES.len()]>,
    asked: Notify,
}

impl Meter {
    /// Counts calls that went out together.
    pub fn add(&self, purpose: Purpose, calls: usize, took: Duration) {
        let mut costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = &mut costs[purpose as usize];
        cost.calls = cost.calls.saturating_add(u32::try_from(calls).unwrap_or(u32::MAX));
        cost.took = cost.took.saturating_add(took);
        drop(costs);
        self.asked.notify_one();
    }

    /// Tells what was asked, again and again.
    pub async fn run(&self, observer: &Observer) -> std::convert::Infallible {
        loop {
            self.asked.notified().await;
            tokio::time::sleep(TOLD_EVERY).await;
            self.tell(observer);
        }
    }

    /// Tells what was asked since the last time.
    pub fn tell(&self, observer: &Observer) {
        let costs = std::mem::take(&mut *self.costs.lock().unwrap_or_else(PoisonError::into_inner));
        for (purpose, Cost { calls, took }) in ChainEvent::PURPOSES.into_iter().zip(costs) {
            if calls > 0 {
                observer.tell(Observation::Chain(ChainEvent::Asked { purpose, calls, took }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_has_its_word() {
        let all = [
            (Purpose::Greeting, "greeting"),
            (Purpose::Blocks, "blocks"),
            (Purpose::Code, "code"),
            (Purpose::Reverts, "reverts"),
            (Purpose::Traces, "traces"),
            (Purpose::Pending, "pending"),
        ];
        assert_eq!(
            all.map(|(purpose, _)| ChainEvent::PURPOSES[purpose as usize]),
            all.map(|(_, word)| word)
        );
        assert_eq!(all.len(), ChainEvent::PURPOSES.len());
    }
}
