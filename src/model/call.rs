//! A JSON-RPC call: one request object and what became of it, whatever carried it.

use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::connection::ConnectionId;
use super::join::Join;
use super::label::{ContractName, FunctionName, Method, Reason};
use super::time::UnixMicros;
use super::trace::TraceContext;
use super::uninspected::Uninspected;

/// What carried a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Http,
    /// An item of an HTTP batch: its time is the batch's.
    HttpBatch,
    WebSocket,
    /// An item of a batch sent as one WebSocket message.
    WebSocketBatch,
}

impl Transport {
    pub const ALL: [Self; 4] = [Self::Http, Self::HttpBatch, Self::WebSocket, Self::WebSocketBatch];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpBatch => "http_batch",
            Self::WebSocket => "websocket",
            Self::WebSocketBatch => "websocket_batch",
        }
    }
}

/// What became of a call, told from the response's body: nodes answer HTTP 200 to errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Success,
    /// The node answered with this JSON-RPC error code.
    Error(i64),
    /// An HTTP answer with this status and no JSON-RPC object in it.
    Http(u16),
    /// No answer within the configured time.
    Timeout,
    /// The node could not be reached.
    Connect,
    /// The client left before the answer was passed on.
    ClientGone,
    /// The node went away before it had answered.
    UpstreamGone,
    /// A batch or socket was answered, but not this id.
    Unanswered,
    /// The answer came, and could not be read; [`CallDetail::uninspected`] says why.
    Uninspected,
    /// A notification (a request without id): no answer is due.
    Notification,
    /// The relay was asked to end, and cut the call off when the time to finish was over.
    Stopped,
}

impl Outcome {
    /// Whether the caller did not get what it asked for, as far as can be told. What our own end cut
    /// failed for no fault of anybody's.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Success | Self::Uninspected | Self::Notification | Self::Stopped)
    }
}

/// A call's place in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchPlace {
    /// From 0.
    pub index: u32,
    /// Calls in the batch.
    pub size: u32,
}

/// The contract function that a call reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContractCall {
    pub contract: ContractName,
    pub function: FunctionName,
}

/// A call inside a multicall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerCall {
    pub target: ContractCall,
    /// Of one whose function has no name: the input's first four bytes.
    pub selector: Option<[u8; 4]>,
    /// Whether it succeeded; none when the answer does not tell.
    pub success: Option<bool>,
    /// Why it failed.
    pub reason: Option<Reason>,
}

/// What is known of some calls only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallDetail {
    /// Of one whose function has no name: the input's first four bytes.
    pub selector: Option<[u8; 4]>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// The same for people: the error with its arguments, or the text. At most 300 characters.
    pub message: Option<Box<str>>,
    /// What an estimate told, in gas units.
    pub gas: Option<u64>,
    /// Of a call to an account that delegates to a contract (EIP-7702), that contract's address.
    pub delegation: Option<Address>,
    /// What a multicall or simulation called, in order; at most [`CallDetail::MOST_INNER`].
    pub inner: Box<[InnerCall]>,
    /// Why the request, or else the answer, could not be read.
    pub uninspected: Option<Uninspected>,
}

impl CallDetail {
    /// Inner calls that are kept of a multicall.
    pub const MOST_INNER: usize = 256;
}

/// One JSON-RPC call.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcCall {
    /// When its first byte arrived.
    pub at: UnixMicros,
    pub method: Method,
    pub transport: Transport,
    pub outcome: Outcome,
    pub connection: ConnectionId,
    pub batch: Option<BatchPlace>,
    /// Size of the request object in bytes; of the whole body when it stood alone.
    pub request_bytes: u64,
    /// Size of the response object in bytes.
    pub response_bytes: u64,
    /// First request byte in to last response byte out.
    pub total: Duration,
    /// Last request byte out to last response byte in.
    pub upstream: Duration,
    /// The relay's own share.
    pub overhead: Duration,
    /// What it touches: for `eth_call`, `eth_estimateGas` and sends the function; for a read of state
    /// (`eth_getBalance` and the like) the contract at the address, and the method as the function.
    pub target: Option<ContractCall>,
    /// For sends, the transaction's hash.
    pub transaction: Option<B256>,
    pub detail: Option<Box<CallDetail>>,
    /// The request's that it belongs to, whether it carried one or was joined to it.
    pub trace: Option<TraceContext>,
    /// How it was found to belong to a request to the API; none of one that does not, as far as can
    /// be told.
    pub joined_by: Option<Join>,
}
