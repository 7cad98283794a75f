//! Bytes in, bytes out: the proxies that stand between a dapp's parts, and who may use them.
//!
//! Emits observations; does not decode, store or count them.

pub mod guard;
mod meter;
pub mod relay;
pub mod reverse;
