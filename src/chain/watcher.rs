//! What the watcher is told to do, and what it remembers: of the node, and of the connection that it
//! follows.

use std::sync::Arc;
use std::time::Duration;

use super::follow::Told;
use super::greet::Identity;
use super::json::Header;
use super::meter::Meter;
use super::node::Node;
use super::receipts::Receipts;
use super::traces::Traces;
use crate::model::{Observer, Stamp};

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

/// What lasts from one connection to the next.
pub(super) struct Watcher {
    pub(super) settings: WatchSettings,
    pub(super) observer: Observer,
    pub(super) meter: Arc<Meter>,
    pub(super) traces: Traces,
    pub(super) told: Told,
    pub(super) identity: Option<Identity>,
    /// Whether the node was told to be up; none before the first word on it.
    pub(super) up: Option<bool>,
}

/// A head, and when it was read.
pub(super) struct Seen {
    pub(super) header: Header,
    pub(super) at: Stamp,
}

/// A connection that is being followed.
pub(super) struct Following {
    pub(super) node: Node,
    pub(super) receipts: Receipts,
    /// Heads are asked for, so those between two answers came just now as well.
    pub(super) polling: bool,
    /// When it was known where the head is: announcements up to then may be of blocks told already.
    pub(super) met: Stamp,
}
