//! What the watcher is to watch, how often it may ask, and how much each question may cost the node.

use std::time::Duration;

/// What to watch, and how.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// The node's `host:port`, the real one, not the relay's.
    pub node: String,
    /// How often a node without subscriptions is asked for its head.
    pub poll_every: Duration,
    /// Blocks before the head to begin with, when the watcher first meets the node.
    pub backfill: u64,
    /// The most blocks that are caught up on after a gap; of a larger one only the newest.
    pub largest_gap: u64,
    /// Whether reverted transactions may be run again with `eth_call` to learn why.
    pub explain_reverts: bool,
    /// Gas units of the largest reverted transaction that is run again.
    pub replay_gas: u64,
    /// Gas units of the largest transaction that `prestateTracer` is asked for, which executes it
    /// again.
    pub trace_gas: u64,
    /// Gas units of the largest transaction whose struct logs are asked for, where the node has no
    /// `prestateTracer`; none: never. They keep Hardhat 2 busy for a hundred times as long as the
    /// transaction did, and can end it.
    pub struct_log_gas: Option<u64>,
    /// After how long the subscription to heads is renewed: Hardhat ends one after five minutes,
    /// without a word.
    pub renew_every: Duration,
    /// After how long without a new head the node is asked whether there is one: `hardhat_reset`
    /// ends subscriptions without a word. Short times show up in the node's log.
    pub silence: Duration,
}

impl WatchSettings {
    /// The usual settings for a node at `host:port`.
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            poll_every: Duration::from_millis(200),
            backfill: 0,
            largest_gap: 256,
            explain_reverts: true,
            replay_gas: 300_000,
            trace_gas: 2_000_000,
            struct_log_gas: None,
            renew_every: Duration::from_secs(120),
            silence: Duration::from_secs(5),
        }
    }
}
