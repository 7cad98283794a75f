//! dappscope as its users run it: the real binary in front of real nodes, real Flask, real clients,
//! judged by what a user can read: the scrape, the API, the files, the exit code.
//!
//! Needs what `tests/run.sh` sets up.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without ends it")]

mod amounts;
mod clients;
mod contracts;
mod counting;
mod dapp;
mod double_sends;
mod faults;
mod fidelity;
mod harm;
mod harness;
mod inspection;
mod joining;
mod machine;
mod marketplace;
mod names;
mod node_log;
mod nodes;
mod page;
mod paths;
mod peers;
#[allow(dead_code)]
mod probes;
mod reasons;
mod repetitions;
mod rollbacks;
mod shutdown;
#[path = "../support_patience/mod.rs"]
mod support_patience;
mod told;
mod trees;
mod upstream;
