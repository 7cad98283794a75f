//! What is told to the sinks beside samples: things that are counted or gauged, never stored.

use std::time::Duration;

use super::chain::{Head, NodeCost, Unanswered};
use super::connection::{Opaque, Proxy};
use super::custom::CustomId;
use super::finding::FindingKind;
use super::label::{Method, Route};
use super::rollback::RollbackCause;
use super::time::UnixMicros;

/// Something that happened and leaves no sample behind.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A batch of this many request objects arrived, over HTTP or as one WebSocket message.
    BatchSize(u32),
    /// A read with the method and params of one answered since the last block.
    Duplicate(Method),
    /// The node sent a subscription's notification on a WebSocket.
    Notification {
        /// One of [`Event::SUBSCRIPTIONS`].
        subscription: &'static str,
        /// From the block being seen to the notification being passed on; `newHeads` only, and
        /// none when the block has not been seen yet.
        lag: Option<Duration>,
    },
    /// Bytes that should have been JSON-RPC and are not; one of [`Event::PARSE_FAILURES`].
    ParseFailure(&'static str),
    /// A client connected; its transport is `http` until it is upgraded.
    ConnectionOpened { proxy: Proxy },
    /// A connection became a WebSocket.
    ConnectionUpgraded { proxy: Proxy },
    ConnectionClosed {
        proxy: Proxy,
        /// Whether it had become a WebSocket.
        upgraded: bool,
    },
    /// Bytes passed on a connection.
    BytesPassed {
        proxy: Proxy,
        /// Bytes from the client to the upstream.
        sent: u64,
        /// Bytes from the upstream to the client.
        received: u64,
    },
    /// A connection is passed on unobserved from here on.
    Opaque(Opaque),
    /// The guard refused a request.
    Refused { proxy: Proxy, status: u16, reason: &'static str },
    /// The upstream could or could not be reached; told when it changes.
    Upstream { proxy: Proxy, reachable: bool },
    /// The node answers (again).
    NodeUp {
        /// When that was noticed.
        at: UnixMicros,
        chain_id: u64,
        /// `web3_clientVersion`.
        client: Box<str>,
        head: Head,
    },
    /// The node does not answer any more.
    NodeDown {
        /// The question of the monitor's own that it had not answered, if there was one.
        unanswered: Option<Unanswered>,
    },
    /// An export of spans was taken: how many of it were, how many were not, and how many had come
    /// before.
    Spans { taken: u64, left_out: u64, repeated: u64 },
    /// A request to the API is in no figure, as the settings say.
    Excluded,
    /// An export of spans was not taken; one of [`Event::EXPORT_REFUSALS`].
    ExportRefused(&'static str),
    /// A transaction was mined that a request to the API had sent.
    RequestMined {
        route: Route,
        /// In gas units.
        gas: u64,
        /// The request had been answered as a success, and the transaction reverted.
        reverted_after_success: bool,
    },
    /// The API told a number of its own, in the unit of its metric: finite, and negative only of what
    /// may fall.
    Custom { metric: CustomId, route: Route, value: f64 },
    /// A request to the API has ended of whose inside nothing is known: no call, no query.
    NothingTold { route: Route },
    /// A request to the API made similar queries again and again.
    RepeatedQueries { route: Route },
    /// Calls could have been saved as in a finding that was told a moment ago: none of its own is made.
    Wasted { finding: FindingKind, calls: u32 },
    /// The chain is another one than before.
    NodeRestarted,
    /// A node that tells when it mines mined a block: how long that took.
    Mined(Duration),
    /// The chain lost its newest blocks.
    WentBack {
        /// None where the watcher has now seen what a call through the relay had brought about.
        cause: Option<RollbackCause>,
        /// Zero where the watcher has not seen yet how many.
        blocks: u64,
    },
    /// The monitor itself has asked the node something.
    Asked(NodeCost),
    /// A name became `_OTHER` for want of room; `label` is the kind's name.
    LabelOverflow { label: &'static str },
    /// A call on a WebSocket awaits its answer. HTTP calls are told only once they have ended; those
    /// under way are counted by [`Underway`](super::Underway).
    CallStarted,
    /// The wait of a [`Event::CallStarted`] is over, whatever came of it.
    CallEnded,
    /// Transactions submitted and not mined yet, told after each batch of observations that
    /// changed it, and at least once a second while there are any.
    Pending {
        transactions: u64,
        /// For how long the oldest of them has been waiting.
        oldest: Option<Duration>,
    },
}

impl Event {
    /// Every value that [`Event::Notification`]'s `subscription` takes.
    pub const SUBSCRIPTIONS: [&'static str; 5] =
        ["newHeads", "logs", "newPendingTransactions", "syncing", super::label::OTHER];

    /// Every value of [`Event::ExportRefused`].
    pub const EXPORT_REFUSALS: [&'static str; 10] = [
        "content_type",
        "encoding",
        "grpc",
        "host_or_origin",
        "malformed",
        "method",
        "no_room",
        "path",
        "too_large",
        "too_slow",
    ];

    /// Every value of [`Event::ParseFailure`].
    /// `batch_item` is an item that is no request, of a batch that holds some; `custom_value` is what
    /// a metric of the dapp's own cannot take;
    /// `panicked` is a fault of the recorder, never of what it read.
    pub const PARSE_FAILURES: [&'static str; 7] = [
        "rpc_request",
        "rpc_response",
        "socket_request",
        "socket_response",
        "batch_item",
        "custom_value",
        "panicked",
    ];
}
