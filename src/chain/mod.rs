//! Watches the node on a connection of its own: heads, receipts, code and restarts.
//!
//! Emits observations for `record`, and reads artifact files for it. Never sends a transaction and
//! never asks through the relay, so its own calls are in no figure. Its calls do show up in the
//! node's log, so it asks for what a block takes and for nothing on a timer, where the node has
//! subscriptions.

pub mod artifacts;
mod follow;
mod json;
mod node;
mod receipts;
mod watch;

pub use watch::{WatchSettings, watch};
