//! What a dapp does that it could leave out, or should know of.

use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::call::ContractCall;
use super::connection::ConnectionId;
use super::label::{HttpMethod, Method, Route};
use super::owner::UnknownPeer;
use super::time::UnixMicros;

/// The kinds of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// The same call with the same parameters, again and again, while no block came in between.
    RepeatedCalls,
    /// A burst of reads that one multicall or batch would serve.
    MulticallBurst,
    /// A transaction's receipt asked for again and again.
    ReceiptPolling,
    /// A wallet's nonce is ahead of the chain's, which was restarted or set back: its account has to
    /// be reset in the wallet.
    NonceAhead,
    /// Similar queries again and again within one request to the API: one for each item of a list.
    RepeatedQueries,
    /// The same of RPC calls.
    RepeatedCallsInRequest,
    /// A request was answered as a success, and its transaction reverted.
    RevertedAfterSuccess,
    /// A client asks for a block that the chain does not have, and that one before it had: its
    /// account has to be reset in the wallet.
    BlockAhead,
}

impl FindingKind {
    pub const ALL: [Self; 8] = [
        Self::RepeatedCalls,
        Self::MulticallBurst,
        Self::ReceiptPolling,
        Self::NonceAhead,
        Self::RepeatedQueries,
        Self::RepeatedCallsInRequest,
        Self::RevertedAfterSuccess,
        Self::BlockAhead,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RepeatedCalls => "repeated_calls",
            Self::MulticallBurst => "multicall_burst",
            Self::ReceiptPolling => "receipt_polling",
            Self::NonceAhead => "nonce_ahead",
            Self::RepeatedQueries => "n_plus_one_queries",
            Self::RepeatedCallsInRequest => "n_plus_one_calls",
            Self::RevertedAfterSuccess => "reverted_after_success",
            Self::BlockAhead => "block_ahead",
        }
    }
}

/// Who caused it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Its `User-Agent`, at most 200 bytes.
    pub agent: Option<Box<str>>,
    /// The process at the other end, where it is known: `node (4711)`.
    pub process: Option<Box<str>>,
    /// Why it is not known. `None` of a finding in a request, and of those stored by version 0.1.
    pub process_unknown: Option<UnknownPeer>,
}

/// The request to the API in which it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRef {
    pub trace_id: u128,
    pub method: HttpMethod,
    pub route: Route,
}

/// A finding, told once it is over: a block came, or the burst ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// When its last call began.
    pub at: UnixMicros,
    pub kind: FindingKind,
    /// Calls it consists of, all of them; those that could be saved are fewer.
    pub count: u32,
    /// From its first call to its last one.
    pub span: Duration,
    pub method: Option<Method>,
    /// What the calls touch.
    pub target: Option<ContractCall>,
    /// Whose receipt was polled, or which transaction was refused.
    pub transaction: Option<B256>,
    /// Whose nonce it is.
    pub account: Option<Address>,
    /// The connection that most of the calls came by.
    pub connection: ConnectionId,
    pub client: Client,
    pub request: Option<RequestRef>,
    /// Of queries: the statement with its literals replaced by `?`.
    pub query: Option<Box<str>>,
    /// The highest block that was asked for; none where all were named by their hashes.
    pub block: Option<u64>,
}

impl FindingKind {
    /// How many of `count` calls could have been saved, as [`Finding::wasted`] tells.
    pub const fn wasted(self, count: u32) -> Option<u32> {
        match self {
            Self::RepeatedCalls
            | Self::MulticallBurst
            | Self::ReceiptPolling
            | Self::RepeatedQueries
            | Self::RepeatedCallsInRequest => Some(count.saturating_sub(1)),
            Self::NonceAhead | Self::RevertedAfterSuccess | Self::BlockAhead => None,
        }
    }
}

impl Finding {
    /// How many of its calls could have been saved: all but the one that a cache, a batch or a
    /// subscription still needs. None where the calls are not what is wrong.
    pub const fn wasted(&self) -> Option<u32> {
        self.kind.wasted(self.count)
    }
}
