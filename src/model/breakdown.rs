//! Where a request's time went, once nothing more is expected to be told of it.

use std::time::Duration;

use super::join::Join;
use super::label::{HttpMethod, Route};
use super::time::UnixMicros;

/// Who told of the queries and functions of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ToldBy {
    /// Spans, one for each query.
    Spans,
    /// The response's `Server-Timing`.
    ServerTiming,
    /// Nobody: that it had none cannot be said.
    Nobody,
}

impl ToldBy {
    pub const ALL: [Self; 3] = [Self::Spans, Self::ServerTiming, Self::Nobody];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::ServerTiming => "server_timing",
            Self::Nobody => "nothing",
        }
    }
}

/// A part of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Queries to databases.
    Database,
    /// The node, with calls that run contracts: reads, estimates, sends.
    Evm,
    /// The node, with all other calls.
    Rpc,
    /// Both proxies of the monitor.
    Proxy,
    /// The rest: the API's own code, and what nobody told of.
    App,
}

impl Part {
    pub const ALL: [Self; 5] = [Self::Database, Self::Evm, Self::Rpc, Self::Proxy, Self::App];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Evm => "evm",
            Self::Rpc => "rpc",
            Self::Proxy => "proxy",
            Self::App => "app",
        }
    }
}

/// One request, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakdown {
    /// When the request's first byte arrived.
    pub at: UnixMicros,
    pub trace_id: u128,
    pub method: HttpMethod,
    pub route: Route,
    /// The response's status.
    pub status: u16,
    pub told_by: ToldBy,
    /// How its calls were found; `Ambiguous` when some may be its and none is known to be.
    pub joined_by: Option<Join>,
    /// None where nobody tells.
    pub queries: Option<u32>,
    /// Each item of a batch is one.
    pub rpc_calls: u32,
    /// First request byte in to last response byte out.
    pub total: Duration,
    pub database: Duration,
    pub evm: Duration,
    pub rpc: Duration,
    pub proxy: Duration,
    /// Calls, operations and transactions of its trace for which there was no room: they are in none of
    /// the numbers.
    pub left_out: u32,
}

impl Breakdown {
    /// Whether its calls are known, and with them where its time went: of one among several whose
    /// calls may be anybody's they are not.
    pub fn are_calls_known(&self) -> bool {
        self.joined_by != Some(Join::Ambiguous)
    }

    /// Whether it may count among others: its calls are known, and none of its parts was left out.
    pub fn is_whole(&self) -> bool {
        self.left_out == 0 && self.are_calls_known()
    }

    /// How long a part took. The parts add up to the total: what is told of one never overlaps
    /// another.
    pub const fn part(&self, part: Part) -> Duration {
        match part {
            Part::Database => self.database,
            Part::Evm => self.evm,
            Part::Rpc => self.rpc,
            Part::Proxy => self.proxy,
            Part::App => self
                .total
                .saturating_sub(self.database)
                .saturating_sub(self.evm)
                .saturating_sub(self.rpc)
                .saturating_sub(self.proxy),
        }
    }
}
