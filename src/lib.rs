//! dappscope stands on the wire between a dapp's parts, reads a copy of what passes, and tells how
//! the contracts, the API, the database and the machine perform.
//!
//! Data flows one way: `wire` and `chain` emit observations, `record` turns them into samples, and
//! `store`, `metrics` and `view` receive them. Imports run downwards only (`tests/architecture.rs`
//! holds the allowed directions).

pub mod decode;
pub mod model;
pub mod wire;
