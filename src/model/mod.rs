//! The words everybody speaks: what was observed on the wire and the chain, the samples made of it,
//! and the bounded labels that name them.
//!
//! Owns types and the bounded queue between observers and the recorder. Knows no socket, file,
//! HTTP library, database or metrics library; every other module may import it and it imports none.

mod access;
mod block;
mod breakdown;
mod cache;
mod call;
mod chain;
mod coding;
mod connection;
mod custom;
mod end;
mod event;
mod exchange;
mod finding;
mod flights;
mod host;
mod join;
mod label;
mod label_key;
mod learned;
mod operation;
mod owner;
mod query;
mod queue;
mod remedy;
mod request;
mod revert;
mod rollback;
mod sample;
mod settling;
mod socket;
mod span;
mod state;
mod tally;
mod time;
mod trace;
mod transaction;
mod underway;
mod uninspected;

pub use access::Access;
pub use block::Block;
pub use breakdown::{Breakdown, Part, ToldBy};
pub use cache::CacheOutcome;
pub use call::{BatchPlace, CallDetail, ContractCall, InnerCall, Outcome, RpcCall, Transport};
pub use chain::{
    ChainEvent, ChainQuestion, ContractCode, EmittedLog, Head, MinedBlock, MinedTransaction,
    NodeCost, Sight, Traced, TracedSlot, Unanswered,
};
pub use coding::{Coding, Codings};
pub use connection::{Closer, ConnectionEvent, ConnectionId, Opaque, Proxy};
pub use custom::{CustomId, CustomKind, CustomMetric, CustomMetrics};
pub use end::End;
pub use event::Event;
pub use exchange::{ApiExchange, Captured, CopyStop, Exchange, INSPECTED_BYTES, Timing};
pub use finding::{Client, Finding, FindingKind, RequestRef};
pub use flights::{Aloft, CallsMade, Flight, Flights};
pub use host::{HostReading, ProcessReading, RoleReading, Volume};
pub use join::Join;
pub use label::{
    AppFunction, ContractName, DbCollection, DbOperation, DbSystem, EventName, FunctionName,
    HttpMethod, Label, LabelKind, LabelSet, Method, OTHER, Reason, Role, Route, UNKNOWN, kind,
};
pub use label_key::{LabelKey, LabelMap};
pub use learned::LearnedRoute;
pub use operation::{Operation, Work};
pub use owner::{Among, Ends, Owner, UnknownPeer};
pub use query::Query;
pub use queue::{Observation, Observer, Queue};
pub use remedy::remedy;
pub use request::{AppTiming, DatabaseTiming, Flow, HttpRequest};
pub use revert::{ReplayedRevert, RevertCause, Unexplained};
pub use rollback::{Rollback, RollbackCause};
pub use sample::{Batch, Sample, SampleKind, Sink};
pub use settling::{Known, PATIENCE, SETTLE, TELLING, expects_spans, settles_after};
pub use socket::{Direction, SocketMessage};
pub use span::{DatabaseSpan, Span, SpanKind, Spans};
pub use state::{SlotChange, SlotFate, StateChange, Tracer};
pub use tally::{DropReason, Tally};
pub use time::{Clock, Interval, Stamp, UnixMicros};
pub use trace::TraceContext;
pub use transaction::{BlobGas, EmittedEvents, Transaction, TransactionKind, TransactionStatus};
pub use underway::{Token, Underway};
pub use uninspected::{Uninspected, UninspectedReason};
