//! Bytes and JSON in, model out: pure functions and state machines without any I/O.

pub mod capture;
pub mod follower;
pub mod http1;
pub mod websocket;
