//! Placeholder until the store is merged.

pub mod query;
pub use query::*;
