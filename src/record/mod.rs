//! Turns observations into samples.

mod fate;
mod timed;
pub mod transactions;
