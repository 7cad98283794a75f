//! Owns the encoding of the rare kinds as rows; what is in a row of each is in a file of its own.
//!
//! A dapp sends thousands of calls for one of these, and most of their bytes are hashes that no
//! column layout makes smaller; so each is written field after field, and a block of them has two
//! columns: when, and the rows. zstd finds what repeats.

use std::ops::Range as Rows;

use super::block::Block as Sealed;
use super::breakdown::{get_breakdown, get_route, put_breakdown, put_route};
use super::bytes::{Read, Reader};
use super::column::{Decoder, Encoder};
use super::columns::{
    ByteStrings, Columns, Record, Selected, encode_block, read_at, read_strings, strings, within,
};
use super::finding::{get_finding, put_finding};
use super::host::{get_host, put_host};
use super::labels::Labels;
use super::mined::{get_block, put_block};
use super::operation::{get_operation, put_operation};
use super::query::{
    BlockFilter, BreakdownFilter, FindingFilter, OperationFilter, StateFilter, TransactionFilter,
};
use super::rollback::{get_rollback, put_rollback};
use super::state::{get_state, put_state};
use super::transaction::{get_transaction, put_transaction};
use crate::model::{
    Block, Breakdown, Finding, HostReading, LearnedRoute, Operation, Rollback, Sample, SampleKind,
    StateChange, Transaction, UnixMicros,
};

/// Encoded rows of one kind.
pub(super) struct RowBuffer {
    kind: SampleKind,
    at: Vec<u64>,
    rows: ByteStrings,
}

impl RowBuffer {
    pub fn new(kind: SampleKind) -> Self {
        Self { kind, at: Vec::new(), rows: ByteStrings::default() }
    }
}

impl Columns for RowBuffer {
    fn push(&mut self, sample: &Sample) {
        if sample.kind() != self.kind {
            return;
        }
        self.at.push(sample.at().0);
        self.rows.push_with(|row| match sample {
            Sample::Transaction(transaction) => put_transaction(row, transaction),
            Sample::Block(block) => put_block(row, block),
            Sample::Host(reading) => put_host(row, reading),
            Sample::State(change) => put_state(row, change),
            Sample::Finding(finding) => put_finding(row, finding),
            Sample::Operation(operation) => put_operation(row, operation),
            Sample::Breakdown(breakdown) => put_breakdown(row, breakdown),
            Sample::Route(route) => put_route(row, route),
            Sample::Rollback(rollback) => put_rollback(row, rollback),
            Sample::Call(_) | Sample::Request(_) => unreachable!("no row has these kinds"),
        });
    }

    fn at(&self) -> &[u64] {
        &self.at
    }

    fn encode(&self, rows: Rows<usize>, encoder: &mut Encoder) -> Vec<u8> {
        encode_block(self.kind, &self.at[rows.clone()], encoder, |encoder, columns| {
            columns.push(strings(encoder, self.rows.rows(rows)));
        })
    }

    fn within(&self, rows: Rows<usize>, most: usize) -> usize {
        within(self.rows.rows(rows).map(<[u8]>::len), most)
    }

    fn drain_front(&mut self, count: usize) {
        self.at.drain(..count);
        self.rows.drain_front(count);
    }
}

fn select_rows<T>(
    block: &Sealed<'_>,
    decoder: &mut Decoder,
    keep: &dyn Fn(u64, usize) -> bool,
    get: impl Fn(&mut Reader<'_>, UnixMicros) -> Read<T>,
    fits: impl Fn(&T) -> bool,
) -> Read<Vec<Selected<T>>> {
    let at = read_at(block, decoder)?;
    let (bounds, bytes) = read_strings(decoder, block.column(1)?, block.span.count)?;
    let mut selected = Vec::new();
    for (row, (at, bounds)) in at.into_iter().zip(bounds).enumerate() {
        if !keep(at, row) {
            continue;
        }
        let mut reader = Reader(&bytes[bounds]);
        let at = UnixMicros(at);
        let sample = get(&mut reader, at)?;
        reader.end()?;
        if fits(&sample) {
            selected.push(Selected { row, at, sample });
        }
    }
    Ok(selected)
}

impl Record for Transaction {
    const KIND: SampleKind = SampleKind::Transaction;
    type Filter = TransactionFilter;

    fn select(
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        labels: &Labels,
        filter: &TransactionFilter,
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        let text = |wanted: &Option<String>, text: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == text)
        };
        let get = |reader: &mut Reader<'_>, at| get_transaction(reader, at, labels);
        select_rows(block, decoder, keep, get, |transaction: &Self| {
            filter.hash.is_none_or(|hash| hash == transaction.hash)
                && text(&filter.contract, transaction.contract.as_str())
                && text(&filter.function, transaction.function.as_str())
                && filter.status.is_none_or(|status| status == transaction.status)
                && filter.from.is_none_or(|from| transaction.from == Some(from))
                && filter
                    .trace_id
                    .is_none_or(|id| transaction.trace.is_some_and(|t| t.trace_id == id))
                && filter.kind.is_none_or(|kind| kind == transaction.kind)
                && text(&filter.reason, transaction.reason.map_or("", |reason| reason.as_str()))
                && filter.block.is_none_or(|block| transaction.block == Some(block))
                && filter.through_relay.is_none_or(|wanted| wanted == transaction.through_relay())
                && filter.min_gas.is_none_or(|gas| transaction.gas_used.is_some_and(|g| g >= gas))
        })
    }
}

impl Record for Block {
    const KIND: SampleKind = SampleKind::Block;
    type Filter = BlockFilter;

    fn select(
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        _labels: &Labels,
        filter: &BlockFilter,
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        select_rows(block, decoder, keep, get_block, |block: &Self| {
            filter.with_transactions.is_none_or(|wanted| wanted == (block.transactions > 0))
                && filter.min_fullness.is_none_or(|least| block.fullness() >= least)
        })
    }
}

impl Record for HostReading {
    const KIND: SampleKind = SampleKind::Host;
    type Filter = ();

    fn select(
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        labels: &Labels,
        (): &(),
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        let get = |reader: &mut Reader<'_>, at| get_host(reader, at, labels);
        select_rows(block, decoder, keep, get, |_| true)
    }
}

impl Record for StateChange {
    const KIND: SampleKind = SampleKind::State;
    type Filter = StateFilter;

    fn select(
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        labels: &Labels,
        filter: &StateFilter,
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        let get = |reader: &mut Reader<'_>, at| get_state(reader, at, labels);
        select_rows(block, decoder, keep, get, |change: &Self| {
            filter.hash.is_none_or(|hash| hash == change.hash)
                && filter.contract.as_deref().is_none_or(|text| text == change.contract.as_str())
                && filter.function.as_deref().is_none_or(|text| text == change.function.as_str())
        })
    }
}

impl Record for Finding {
    const KIND: SampleKind = SampleKind::Finding;
    type Filter = FindingFilter;

    fn select(
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        labels: &Labels,
        filter: &FindingFilter,
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        let get = |reader: &mut Reader<'_>, at| get_finding(reader, at, labels);
        select_rows(block, decoder, keep, get, |finding: &Self| {
            filter.kind.is_none_or(|kind| kind == finding.kind)
        })
    }
}

impl Record for Operation {
    const KIND: SampleKind = SampleKind::Operation;
    type Filter = OperationFilter;

    fn select(
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        labels: &Labels,
        filter: &OperationFilter,
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        let get = |reader: &mut Reader<'_>, at| get_operation(reader, at, labels);
        select_rows(block, decoder, keep, get, |operation: &Self| {
            filter.trace_id.is_none_or(|id| id == operation.trace_id)
        })
    }
}

impl Record for Breakdown {
    const KIND: SampleKind = SampleKind::Breakdown;
    type Filter = BreakdownFilter;

    fn select(
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        labels: &Labels,
        filter: &BreakdownFilter,
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        let get = |reader: &mut Reader<'_>, at| get_breakdown(reader, at, labels);
        select_rows(block, decoder, keep, get, |breakdown: &Self| {
            filter.trace_id.is_none_or(|id| id == breakdown.trace_id)
        })
    }
}

impl Record for LearnedRoute {
    const KIND: SampleKind = SampleKind::Route;
    type Filter = ();

    fn select(
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        _labels: &Labels,
        (): &(),
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        select_rows(block, decoder, keep, get_route, |_| true)
    }
}

impl Record for Rollback {
    const KIND: SampleKind = SampleKind::Rollback;
    type Filter = ();

    fn select(
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        _labels: &Labels,
        (): &(),
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        select_rows(block, decoder, keep, get_rollback, |_| true)
    }
}
