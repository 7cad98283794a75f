//! Bytes and JSON into the model: pure functions and parsers, no I/O.

pub mod routes;
