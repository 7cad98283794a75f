//! Bytes and JSON into the words of the model: pure functions, no I/O, bounded work on any input.

pub mod jsonrpc;
