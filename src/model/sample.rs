//! A sample: what is kept of an observation, and who receives it.

use std::sync::Arc;

use super::block::Block;
use super::breakdown::Breakdown;
use super::call::RpcCall;
use super::event::Event;
use super::finding::Finding;
use super::host::HostReading;
use super::learned::LearnedRoute;
use super::operation::Operation;
use super::request::HttpRequest;
use super::rollback::Rollback;
use super::state::StateChange;
use super::time::UnixMicros;
use super::transaction::Transaction;

/// What is stored, counted and shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    Call(RpcCall),
    Request(HttpRequest),
    Transaction(Box<Transaction>),
    Block(Box<Block>),
    Host(Box<HostReading>),
    State(Box<StateChange>),
    Finding(Box<Finding>),
    Operation(Box<Operation>),
    Breakdown(Box<Breakdown>),
    Route(Box<LearnedRoute>),
    Rollback(Box<Rollback>),
}

/// The kinds of sample; each has its own table and its own accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleKind {
    Call,
    Request,
    Transaction,
    Block,
    Host,
    /// What a traced transaction changed.
    State,
    Finding,
    /// What a program told of a part of its own work.
    Operation,
    /// Where a request's time went.
    Breakdown,
    /// A route that the API told of.
    Route,
    /// The chain lost blocks.
    Rollback,
}

impl SampleKind {
    pub const ALL: [Self; 11] = [
        Self::Call,
        Self::Request,
        Self::Transaction,
        Self::Block,
        Self::Host,
        Self::State,
        Self::Finding,
        Self::Operation,
        Self::Breakdown,
        Self::Route,
        Self::Rollback,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Request => "request",
            Self::Transaction => "transaction",
            Self::Block => "block",
            Self::Host => "host",
            Self::State => "state",
            Self::Finding => "finding",
            Self::Operation => "operation",
            Self::Breakdown => "breakdown",
            Self::Route => "route",
            Self::Rollback => "rollback",
        }
    }
}

impl Sample {
    pub const fn kind(&self) -> SampleKind {
        match self {
            Self::Call(_) => SampleKind::Call,
            Self::Request(_) => SampleKind::Request,
            Self::Transaction(_) => SampleKind::Transaction,
            Self::Block(_) => SampleKind::Block,
            Self::Host(_) => SampleKind::Host,
            Self::State(_) => SampleKind::State,
            Self::Finding(_) => SampleKind::Finding,
            Self::Operation(_) => SampleKind::Operation,
            Self::Breakdown(_) => SampleKind::Breakdown,
            Self::Route(_) => SampleKind::Route,
            Self::Rollback(_) => SampleKind::Rollback,
        }
    }

    pub const fn at(&self) -> UnixMicros {
        match self {
            Self::Call(call) => call.at,
            Self::Request(request) => request.at,
            Self::Transaction(transaction) => transaction.at,
            Self::Block(block) => block.at,
            Self::Host(reading) => reading.at,
            Self::State(change) => change.at,
            Self::Finding(finding) => finding.at,
            Self::Operation(operation) => operation.at,
            Self::Breakdown(breakdown) => breakdown.at,
            Self::Route(route) => route.at,
            Self::Rollback(rollback) => rollback.at,
        }
    }
}

/// Samples that several sinks may keep.
pub type Batch = Arc<Vec<Sample>>;

/// Receives every sample, in the recorder's thread: must be quick and never block.
pub trait Sink: Send {
    /// A batch of samples, in the order in which they came to be. A sink that keeps some copies
    /// them.
    fn accept(&mut self, samples: &[Sample]);

    /// The same, of a batch that a sink may keep whole without copying it.
    fn accept_shared(&mut self, batch: &Batch) {
        self.accept(batch);
    }

    /// Something that is counted but leaves no sample; in order among the events, while the samples
    /// of the same moment may come before or after it.
    fn event(&mut self, _event: &Event) {}

    /// Events that were told are to show now, though no batch may follow them.
    fn flush(&mut self) {}
}
