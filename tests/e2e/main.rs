//! dappscope as its users run it: the real binary in front of real nodes, real Flask, real clients,
//! judged by what a user can read: the scrape, the API, the files, the exit code.
//!
//! Needs what `tests/run.sh` sets up.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without ends it")]

mod clients;
mod contracts;
mod counting;
mod dapp;
mod faults;
mod fidelity;
mod harm;
mod harness;
mod joining;
mod machine;
mod marketplace;
mod node_log;
mod nodes;
mod page;
mod paths;
#[allow(dead_code)]
mod probes;
mod repetitions;
mod shutdown;
mod told;
mod trees;
mod upstream;
