//! The reverse proxy in front of the API (:5001 → Flask :5000).
//!
//! Takes requests apart and puts them together again (hyper), so it can add what the API and the
//! browser need to be observed: a trace, who the client is, the time spent here. Bodies stream both
//! ways and are counted, never kept. One layer for each concern, in this order:
//!
//! | layer | concern |
//! |---|---|
//! | [`admission`] | what could be read in two ways, CONNECT; `Host` and `Origin`, by the guard |
//! | [`trace`] | `traceparent` |
//! | [`headers`] | hop-by-hop headers, `Forwarded` |
//! | [`recording`] | the record of the exchange, `Server-Timing` |
//! | [`upstream`] | the API's connection |
//!
//! Emits one [`Observation::Request`](crate::model::Observation) for each exchange that passed the
//! first layer; a refused request is a `ConnectionEvent::Refused` only.
//!
//! hyper answers by itself, before any layer: malformed heads (400), heads over 100 fields (431;
//! Flask's own server and gunicorn take no more either) and targets over 64 KiB (414). A head that
//! is not finished in time is answered with 408, chunks that are none with 400. Interim responses
//! other than 100 are not passed on, 103 Early Hints among them: hyper's server has no way to write
//! one. The final response comes through whole.

mod admission;
mod client;
mod connection;
mod described;
mod download;
mod drain;
mod finished;
mod framing;
mod headers;
mod ids;
mod message;
mod pool;
mod record;
mod recording;
mod refusals;
mod seen;
mod server;
mod settings;
mod shared;
mod trace;
mod tunnel;
mod upload;
mod upstream;
mod waking;

pub(super) use framing::follow_twice;
pub use server::{Drained, ReverseError, bind, serve};
pub use settings::ReverseSettings;
