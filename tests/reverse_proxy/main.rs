//! The reverse proxy on real sockets, between raw clients and upstreams written by hand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod messages;
mod observed;
mod smuggling;
mod streaming;
mod support;
#[path = "../support_patience/mod.rs"]
mod support_patience;
mod upgrades;
