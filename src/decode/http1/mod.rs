//! Follows HTTP/1.1 on a copy of the bytes of both directions, and tells each exchange.
//!
//! Owns the understanding of heads, bodies and which response answers which request. Knows no
//! socket: whoever moves the bytes tells when they were read and written. Before it come the relay's
//! sockets, after it the recorder.

mod body;
mod conversation;
mod followed;
mod head;
mod pending;

pub use body::{Body, BrokenFraming};
pub use conversation::{Conversation, Limits};
pub use followed::{LONGEST_HEAD, Requests, Responses, Unreadable};
pub use head::{Framing, Parsed, RequestHead, ResponseHead, Upgrade, request, response};
