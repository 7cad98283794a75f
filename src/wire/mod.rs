//! Bytes in, bytes out: the proxies that stand between a dapp's parts, the receiver of what those parts
//! tell of themselves, and who may use them.
//!
//! Emits observations; does not decode, store or count them.

mod cors;
pub mod guard;
pub mod hostile;
mod meter;
pub mod otlp;
pub mod relay;
pub mod reverse;
