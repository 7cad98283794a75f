//! A span: what an instrumented program tells of one of its own operations, as far as it is used.
//!
//! Source: OpenTelemetry's trace protocol. Everything here is bounded where it is decoded.

use std::sync::Arc;
use std::time::Duration;

use super::custom::CustomId;

/// What a span is to the others of its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Within one program: a function.
    #[default]
    Internal,
    /// Answers a request.
    Server,
    /// Asks somebody: a database, the node.
    Client,
    Producer,
    Consumer,
}

/// One operation that has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Its trace's id, never zero.
    pub trace_id: u128,
    /// Never zero.
    pub span_id: u64,
    /// The span that it is a part of; none for the first of a trace.
    pub parent: Option<u64>,
    /// At most [`Span::LONGEST_NAME`] bytes.
    pub name: Box<str>,
    pub kind: SpanKind,
    /// By the clock of the program that tells it: nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// As [`start_ns`](Self::start_ns); never before it.
    pub end_ns: u64,
    /// Its status is "error".
    pub failed: bool,
    /// `http.route`, of a server's span that has one.
    pub route: Option<Box<str>>,
    /// Of a call to a database.
    pub database: Option<Box<DatabaseSpan>>,
    /// Created by an instrumentation library, not by the app's own code.
    pub by_library: bool,
    /// What it tells for metrics of the dapp's own, as it was told; at most
    /// [`Span::MOST_NUMBERS`].
    pub numbers: Box<[(CustomId, f64)]>,
}

/// What a call to a database tells of itself, as its instrumentation wrote it. Texts are at most
/// [`Span::LONGEST_NAME`] bytes, the query at most [`Span::LONGEST_QUERY`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseSpan {
    /// Who tells: the instrumentation's name, `opentelemetry.instrumentation.sqlite3`.
    pub scope: Arc<str>,
    /// `db.system.name`, or the older `db.system`: `sqlite`.
    pub system: Box<str>,
    /// `db.operation.name`, or the older `db.operation`. May hold more than that: `SELECT /path/to/db`.
    pub operation: Option<Box<str>>,
    /// `db.collection.name`, or the older `db.sql.table`.
    pub collection: Option<Box<str>>,
    /// `db.query.text`, or the older `db.statement`. May hold literals, so it is never a label.
    pub query: Option<Box<str>>,
}

/// The spans of one export.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spans {
    pub spans: Vec<Span>,
    /// Spans of the same export that are not among them: too many, or without an id.
    pub left_out: u64,
}

impl Span {
    /// In bytes, of a name, a route, an operation.
    pub const LONGEST_NAME: usize = 256;
    /// In bytes.
    pub const LONGEST_QUERY: usize = 8 * 1_024;
    pub const MOST_NUMBERS: usize = 16;

    /// How long it took. The program's SDK measures it and tells two times of day; there is nothing
    /// else to go by.
    pub const fn duration(&self) -> Duration {
        Duration::from_nanos(self.end_ns.saturating_sub(self.start_ns))
    }

    /// Bytes that it takes, its texts included.
    pub(super) fn weight(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
        let database = self.database.as_ref().map_or(0, |database| {
            size_of::<DatabaseSpan>()
                + database.system.len()
                + text(&database.operation)
                + text(&database.collection)
                + text(&database.query)
        });
        size_of::<Self>()
            + self.name.len()
            + text(&self.route)
            + database
            + size_of_val(&*self.numbers)
    }
}
