//! An operation: what is kept of a span, by which a program tells of a part of its own work.

use std::time::Duration;

use super::label::AppFunction;
use super::query::Query;
use super::time::UnixMicros;

/// What an operation does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Answers a request.
    Server,
    /// Asks somebody who is no database: the node.
    Client,
    Query(Query),
    /// A function that the program measures.
    Function(AppFunction),
    /// Anything else, the second telling of a query among it.
    Other,
}

/// One operation within a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// When it began, by the clock of the program that tells it.
    pub at: UnixMicros,
    pub duration: Duration,
    /// Never zero.
    pub trace_id: u128,
    /// Never zero.
    pub span_id: u64,
    /// The operation that it is a part of; a server's is the caller's, the proxy's among them.
    pub parent: Option<u64>,
    /// As the program calls it, at most [`Span::LONGEST_NAME`](super::Span::LONGEST_NAME) bytes.
    pub name: Box<str>,
    pub failed: bool,
    pub work: Work,
}
