//! What the watcher remembers: of the node, and of the connection that it follows.

use std::sync::Arc;

use super::follow::Told;
use super::greet::Identity;
use super::json::Header;
use super::meter::Meter;
use super::node::Node;
use super::receipts::Receipts;
use super::settings::WatchSettings;
use super::traces::Traces;
use crate::model::{Observer, Stamp};

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
