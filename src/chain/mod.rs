//! Watches the node on connections of its own: heads, receipts, code, traces and restarts.
//!
//! Emits observations for `record`, and reads artifact files for it. Never sends a transaction and
//! never asks through the relay, so its own calls are in no figure but the one that counts them.
//! They do show up in the node's own log: it asks for what a block takes, for what the recorder
//! wants to know, and beyond that only whether there is a new head when none was announced for some
//! seconds.

pub mod artifacts;
mod blobs;
mod blocks;
mod builds;
mod code;
mod follow;
mod full_blocks;
mod greet;
mod json;
mod meet;
mod meter;
mod node;
mod outstanding;
mod pace;
mod prompt;
mod questions;
mod receipts;
mod settings;
mod sight;
mod traces;
mod walk;
mod watch;
mod watcher;

pub use settings::WatchSettings;
pub use watch::watch;
