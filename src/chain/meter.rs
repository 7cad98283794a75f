//! What the watcher asks of the node, counted: what the monitor itself costs it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::outstanding::Outstanding;
use crate::model::{ChainEvent, NodeCost, Observation, Observer, Unanswered};

/// How often the costs are reported at most: a node that mines five hundred blocks a second is asked
/// as often.
const REPORT_EVERY: Duration = Duration::from_millis(250);

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

impl Purpose {
    const fn as_str(self) -> &'static str {
        ChainEvent::PURPOSES[self as usize]
    }
}

/// Counts what the connections to the node ask.
#[derive(Default)]
pub struct Meter {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Default)]
struct State {
    /// Since the last report, by purpose and method. There are as many as the watcher's code has.
    costs: Vec<NodeCost>,
    outstanding: Outstanding,
}

/// A question on its way. Dropped without an answer, it counts as given up on.
pub struct Waiting<'a> {
    meter: &'a Meter,
    id: u64,
    purpose: Purpose,
    /// The methods that are called, each with how often.
    methods: Vec<(&'static str, u32)>,
    asked: Instant,
    is_answered: bool,
}

impl Meter {
    /// Calls of these methods go out together.
    pub fn begin(
        &self,
        purpose: Purpose,
        methods: impl Iterator<Item = &'static str>,
    ) -> Waiting<'_> {
        let mut counts: Vec<(&'static str, u32)> = Vec::new();
        for method in methods {
            match counts.iter_mut().find(|(known, _)| *known == method) {
                Some((_, count)) => *count += 1,
                None => counts.push((method, 1)),
            }
        }
        let (first, calls) = (counts.first(), counts.iter().map(|(_, count)| count).sum());
        let method = first.map_or("", |(method, _)| *method);
        let asked = Instant::now();
        let id = self.lock().outstanding.begin(purpose.as_str(), method, calls, asked);
        Waiting { meter: self, id, purpose, methods: counts, asked, is_answered: false }
    }

    /// Counts calls that were not made, because they would have kept the node busy for too long.
    pub fn skip(&self, purpose: Purpose, method: &'static str, calls: usize) {
        if calls > 0 {
            let skipped = u32::try_from(calls).unwrap_or(u32::MAX);
            self.add(NodeCost { skipped, ..cost(purpose, method) });
            self.asked.notify_one();
        }
    }

    /// The node is gone: what it had not answered.
    pub fn unanswered(&self) -> Option<Unanswered> {
        self.lock().outstanding.take_longest(Instant::now())
    }

    /// Reports what was asked, again and again.
    pub async fn run(&self, observer: &Observer) -> std::convert::Infallible {
        loop {
            self.asked.notified().await;
            tokio::time::sleep(REPORT_EVERY).await;
            self.report(observer);
        }
    }

    /// Reports what was asked since the last time.
    pub fn report(&self, observer: &Observer) {
        for cost in std::mem::take(&mut self.lock().costs) {
            observer.tell(Observation::Chain(ChainEvent::Asked(cost)));
        }
    }

    fn add(&self, more: NodeCost) {
        let costs = &mut self.lock().costs;
        let same = |it: &&mut NodeCost| (it.purpose, it.method) == (more.purpose, more.method);
        match costs.iter_mut().find(same) {
            Some(cost) => {
                cost.calls = cost.calls.saturating_add(more.calls);
                cost.skipped = cost.skipped.saturating_add(more.skipped);
                cost.took = cost.took.saturating_add(more.took);
                cost.longest = cost.longest.max(more.longest);
            }
            None => costs.push(more),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// The node answered, if only by refusing; how long it took.
    pub fn answered(mut self) -> Duration {
        self.is_answered = true;
        self.asked.elapsed()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut took = self.asked.elapsed();
        let longest = took;
        for (method, calls) in &self.methods {
            let of_method = NodeCost { calls: *calls, ..cost(self.purpose, method) };
            self.meter.add(NodeCost { took, longest, ..of_method });
            // Counted once, with the first method.
            took = Duration::ZERO;
        }
        let outstanding = &mut self.meter.lock().outstanding;
        match self.is_answered {
            true => outstanding.answered(self.id),
            false => outstanding.give_up(self.id),
        }
        self.meter.asked.notify_one();
    }
}

const fn cost(purpose: Purpose, method: &'static str) -> NodeCost {
    let purpose = purpose.as_str();
    NodeCost {
        purpose,
        method,
        calls: 0,
        skipped: 0,
        took: Duration::ZERO,
        longest: Duration::ZERO,
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
        assert_eq!(all.map(|(purpose, _)| purpose.as_str()), all.map(|(_, word)| word));
        assert_eq!(all.len(), ChainEvent::PURPOSES.len());
    }

    #[test]
    fn a_batch_counts_each_call_and_its_time_once() {
        let meter = Meter::default();
        let asks = ["eth_getCode", "eth_getStorageAt", "eth_getStorageAt"];
        meter.begin(Purpose::Code, asks.into_iter()).answered();
        meter.skip(Purpose::Reverts, "eth_call", 2);
        let costs = std::mem::take(&mut meter.lock().costs);
        let counted: Vec<_> = costs.iter().map(|it| (it.method, it.calls, it.skipped)).collect();
        assert_eq!(
            counted,
            [("eth_getCode", 1, 0), ("eth_getStorageAt", 2, 0), ("eth_call", 0, 2)]
        );
        assert_eq!(costs[0].took, costs[0].longest);
        assert_eq!(costs[1].took, Duration::ZERO);
    }
}
