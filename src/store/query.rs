//! What can be asked of the store, and the shape of its answers.

use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::levels::UNIT_MICROS;
use crate::model::{CacheOutcome, FindingKind, TransactionKind, TransactionStatus, UnixMicros};

/// A span of time; `from` belongs to it, `until` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: UnixMicros,
    pub until: UnixMicros,
}

impl Range {
    /// The whole spans of ten seconds that this range touches: what roll-ups answer for.
    #[must_use]
    pub const fn in_whole_spans(self) -> Self {
        let from = self.from.0 / UNIT_MICROS * UNIT_MICROS;
        let until = self.until.0.div_ceil(UNIT_MICROS).saturating_mul(UNIT_MICROS);
        Self { from: UnixMicros(from), until: UnixMicros(until) }
    }
}

/// A place in a list that is read newest first: everything before it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub at: UnixMicros,
    /// Tells samples of the same microsecond apart.
    pub sequence: u64,
}

/// How much of a list is wanted, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    pub limit: usize,
    pub before: Option<Cursor>,
}

/// A part of a list, newest first, and where the rest begins.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

/// Which calls; every condition that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    pub method: Option<String>,
    pub contract: Option<String>,
    pub function: Option<String>,
    pub failed: Option<bool>,
    pub at_least: Option<Duration>,
    pub transaction: Option<B256>,
    pub trace_id: Option<u128>,
    /// Why it failed, as its detail tells.
    pub reason: Option<String>,
}

/// Which requests; every condition that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    pub method: Option<String>,
    pub route: Option<String>,
    /// Statuses from this one on: 500 finds server errors.
    pub status_at_least: Option<u16>,
    pub cache: Option<CacheOutcome>,
    pub at_least: Option<Duration>,
    pub trace_id: Option<u128>,
}

/// Which transactions; every condition that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct TransactionFilter {
    pub hash: Option<B256>,
    pub contract: Option<String>,
    pub function: Option<String>,
    pub status: Option<TransactionStatus>,
    pub from: Option<Address>,
    pub trace_id: Option<u128>,
    pub kind: Option<TransactionKind>,
    pub reason: Option<String>,
    /// Number of the block that holds it.
    pub block: Option<u64>,
    pub through_relay: Option<bool>,
    /// Gas used, in gas units: from this much on.
    pub min_gas: Option<u64>,
}

/// Which blocks; every condition that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct BlockFilter {
    /// Whether it holds transactions.
    pub with_transactions: Option<bool>,
    /// Gas used as a share of the gas limit, 0 to 1: from this much on.
    pub min_fullness: Option<f64>,
}

/// Which traced transactions; every condition that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct StateFilter {
    pub hash: Option<B256>,
    pub contract: Option<String>,
    pub function: Option<String>,
}

/// Which findings; every condition that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct FindingFilter {
    pub kind: Option<FindingKind>,
}

/// Which operations; every condition that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct OperationFilter {
    pub trace_id: Option<u128>,
}

/// Which breakdowns; every condition that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct BreakdownFilter {
    pub trace_id: Option<u128>,
}

/// What is rolled up over time; each has its own grouping key and unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Total time of a call in microseconds, by method.
    CallDuration,
    /// Total time of a request in microseconds, by `METHOD route`; event streams and switches of
    /// protocol are no requests here.
    RequestDuration,
    /// Gas used by a mined transaction, by `Contract.function`.
    GasUsed,
    /// Confirmation time in microseconds, by `Contract.function`.
    Confirmation,
    /// Measured time between blocks in microseconds, under the one key `chain`.
    BlockInterval,
    /// Gas used by a block, under the one key `chain`.
    BlockGas,
    /// Total time of a call that touches a contract in microseconds, by `access Contract.function`:
    /// `read Marketplace.listings`.
    ContractCall,
    /// Size of a request's body in bytes, by `METHOD route`.
    RequestBytes,
    /// Size of a response's body in bytes, by `METHOD route`.
    ResponseBytes,
    /// Total time in microseconds of a request of which a cache's outcome is known, by
    /// `METHOD route outcome`: `GET /api/nfts hit`.
    CacheResult,
    /// Time in microseconds that a request spent in one of its parts, by `METHOD route part`:
    /// `GET /api/nfts database`. Only of requests of whose inside something is known.
    RequestPart,
    /// RPC calls of such a request, by `METHOD route`.
    RequestCalls,
    /// Queries of a request whose queries are told, by `METHOD route`.
    RequestQueries,
    /// Calls that could not be read, in whole or in part, by `reason method`: `too_large _OTHER`. The
    /// value is how many calls a sample stands for; an error is one whose outcome is not known.
    Uninspected,
}

impl Measure {
    pub const ALL: [Self; 14] = [
        Self::CallDuration,
        Self::RequestDuration,
        Self::GasUsed,
        Self::Confirmation,
        Self::BlockInterval,
        Self::BlockGas,
        Self::ContractCall,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::CacheResult,
        Self::RequestPart,
        Self::RequestCalls,
        Self::RequestQueries,
        Self::Uninspected,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallDuration => "call_duration",
            Self::RequestDuration => "request_duration",
            Self::GasUsed => "gas_used",
            Self::Confirmation => "confirmation",
            Self::BlockInterval => "block_interval",
            Self::BlockGas => "block_gas",
            Self::ContractCall => "contract_call",
            Self::RequestBytes => "request_bytes",
            Self::ResponseBytes => "response_bytes",
            Self::CacheResult => "cache_result",
            Self::RequestPart => "request_part",
            Self::RequestCalls => "request_calls",
            Self::RequestQueries => "request_queries",
            Self::Uninspected => "uninspected",
        }
    }
}

/// A measure over time.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    pub measure: Measure,
    /// One key, or every key merged into one series when none is given.
    pub key: Option<String>,
    pub range: Range,
    /// The most points wanted (the width of the chart in pixels, say); the store picks the finest
    /// step that stays within it. One is for the whole range.
    pub points: usize,
}

/// Values of a measure over a span of time, in the measure's unit. Percentiles are exact to 1 %,
/// everything else to the unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub count: u64,
    /// Failed calls, requests answered 5xx or not at all, reverted transactions.
    pub errors: u64,
    pub sum: f64,
    pub min: u64,
    pub max: u64,
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
}

/// A point of a series. A step in which nothing was measured has no point: a gap is not a zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The step's beginning.
    pub at: UnixMicros,
    pub summary: Summary,
}

/// A series and the step that was picked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub step: Duration,
    pub points: Vec<Point>,
}
