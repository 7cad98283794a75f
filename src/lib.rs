//! dappscope stands on the wire between a dapp's parts, reads a copy of what passes, and tells how
//! the contracts, the API, the database and the machine perform.
//!
//! Data flows one way: `wire` and `chain` emit observations, `record` turns them into samples, and
//! `store`, `metrics` and `view` receive them. Imports run downwards only (`tests/architecture.rs`
//! holds the allowed directions).

pub mod app;
pub mod chain;
pub mod cli;
pub mod config;
pub mod decode;
pub mod demo;
pub mod host;
pub mod metrics;
pub mod model;
pub mod record;
pub mod store;
pub mod view;
pub mod wire;
