//! Turns observations into samples.

pub mod transactions;
