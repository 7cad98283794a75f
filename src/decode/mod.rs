//! Bytes and JSON from outside become the model's words: pure functions and state machines that never
//! panic, whatever they are given.
//!
//! Comes after `wire` and `chain`, which bring the bytes, and before `record`, which correlates what
//! was decoded. Does no I/O.

pub mod artifact;
pub mod build_info;
pub mod bytecode;
pub mod cache;
pub mod capture;
pub mod chain_control;
pub mod coding;
pub mod contracts;
pub mod follower;
pub mod hostile;
pub mod http1;
pub mod jsonrpc;
pub mod layout;
pub mod members;
pub mod multicall;
pub mod otlp;
pub mod reads;
pub mod receipt;
pub mod revert;
pub mod route_lists;
pub mod routes;
pub mod server_timing;
pub mod simulation;
pub mod sql;
pub mod statediff;
pub mod submission;
pub mod websocket;
