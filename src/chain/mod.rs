//! Watches the node on a connection of its own: heads, receipts, code and restarts.
//!
//! Emits observations for `record`, and reads artifact files for it. Never sends a transaction and
//! never asks through the relay, so its own calls are in no figure. They do show up in the node's
//! own log: it asks for what a block takes, and beyond that only whether there is a new head when
//! none was announced for some seconds.

pub mod artifacts;
mod builds;
mod code;
mod follow;
mod greet;
mod json;
mod node;
mod prompt;
mod receipts;
mod watch;

pub use watch::{WatchSettings, watch};
