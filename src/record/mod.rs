//! The one task that turns observations into samples and hands each to every sink.
//!
//! Between the proxies and the chain watcher, who observe, and the store, the metrics and the page,
//! who receive. Decoding is `decode`'s; what belongs together is found out here:
//!
//! ```text
//! Queue ─► recorder ─► recording ─┬─► http ────┐           ┌─► repeats ─► findings
//!                                 ├─► sockets ─┴─► calls ──┤           ┌─► transactions ─► tracing
//!                                 └────────────────────────┴─► ledger ─┼─► unnamed
//!                                                                      ├─► unread_sends
//!                                                                      └─► contracts, nonces
//!                      every sample and event ─► outbox ─► sinks
//! ```
//!
//! and of the API:
//!
//! ```text
//! recording ─┬─► request: naming (its route), custom (its own numbers) ─► trees ─► findings
//!            └─► spans: naming learns routes, custom, spans (operations) ─► trees
//! ```

mod app_functions;
mod calls;
mod code_requests;
mod creations;
mod custom;
mod fate;
mod findings;
mod hashless;
mod heads;
mod http;
mod join;
mod ledger;
mod methods;
mod n_plus_one;
mod naming;
mod nonces;
mod on_chain;
mod outbox;
mod passage;
mod peer_processes;
mod recent;
mod recorder;
mod recording;
mod repeats;
mod reverts;
mod rollbacks;
mod seen_spans;
mod sockets;
mod spans;
mod timed;
mod tracing;
pub mod transactions;
mod trees;
mod unnamed;
mod unread_sends;
mod waiting;

pub use peer_processes::PeerLookup;
pub use recorder::{Recorder, Settings, StartError};
pub use tracing::Traces;

#[cfg(test)]
mod tests;
