//! Owns the encoding of the rare kinds as rows, and the rows of [`Transaction`] and
//! [`Block`]; those of the others are in files of their own.
//!
//! A dapp sends thousands of calls for one of these, and most of their bytes are hashes that no
//! column layout makes smaller; so each is written field after field, and a block of them has two
//! columns: when, and the rows. zstd finds what repeats.

use std::ops::Range as Rows;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};

use super::block::Block as Sealed;
use super::breakdown::{get_breakdown, get_route, put_breakdown, put_route};
use super::bytes::{Damage, Read, Reader, put_text, put_varint};
use super::call::{small, trace_bytes, trace_of};
use super::column::{Decoder, Encoder};
use super::columns::{
    Columns, Record, Selected, encode_block, micros, read_at, read_strings, strings, within,
};
use super::finding::{get_finding, put_finding};
use super::host::{get_host, put_host};
use super::labels::Labels;
use super::operation::{get_operation, put_operation};
use super::query::{
    BlockFilter, BreakdownFilter, FindingFilter, OperationFilter, StateFilter, TransactionFilter,
};
use super::state::{get_state, put_state};
use crate::model::{
    Block, Breakdown, ContractCall, EmittedEvents, Finding, HostReading, InnerCall, LearnedRoute,
    Operation, Sample, SampleKind, StateChange, Transaction, TransactionKind, TransactionStatus,
    UnixMicros,
};

/// Encoded rows of one kind.
pub(super) struct RowBuffer {
    kind: SampleKind,
    at: Vec<u64>,
    rows: Vec<Vec<u8>>,
}

impl RowBuffer {
    pub fn new(kind: SampleKind) -> Self {
        Self { kind, at: Vec::new(), rows: Vec::new() }
    }
}

impl Columns for RowBuffer {
    fn push(&mut self, sample: &Sample) {
        if sample.kind() != self.kind {
            return;
        }
        let mut row = Vec::new();
        match sample {
            Sample::Transaction(transaction) => put_transaction(&mut row, transaction),
            Sample::Block(block) => put_block(&mut row, block),
            Sample::Host(reading) => put_host(&mut row, reading),
            Sample::State(change) => put_state(&mut row, change),
            Sample::Finding(finding) => put_finding(&mut row, finding),
            Sample::Operation(operation) => put_operation(&mut row, operation),
            Sample::Breakdown(breakdown) => put_breakdown(&mut row, breakdown),
            Sample::Route(route) => put_route(&mut row, route),
            Sample::Call(_) | Sample::Request(_) => return,
        }
        self.at.push(sample.at().0);
        self.rows.push(row);
    }

    fn at(&self) -> &[u64] {
        &self.at
    }

    fn encode(&self, rows: Rows<usize>, encoder: &mut Encoder) -> Vec<u8> {
        encode_block(self.kind, &self.at[rows.clone()], encoder, |encoder, columns| {
            columns.push(strings(encoder, self.rows[rows].iter().map(Vec::as_slice)));
        })
    }

    fn within(&self, rows: Rows<usize>, most: usize) -> usize {
        within(self.rows[rows].iter().map(Vec::len), most)
    }

    fn drain_front(&mut self, count: usize) {
        self.at.drain(..count);
        self.rows.drain(..count);
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

pub(super) fn put_option<T>(
    out: &mut Vec<u8>,
    value: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn get_option<'a, T>(
    reader: &mut Reader<'a>,
    get: impl FnOnce(&mut Reader<'a>) -> Read<T>,
) -> Read<Option<T>> {
    match reader.byte()? {
        0 => Ok(None),
        1 => get(reader).map(Some),
        _ => Err(Damage("a present or an absent value")),
    }
}

fn put_varint_u128(out: &mut Vec<u8>, value: u128) {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    put_varint(out, (bytes.len() - zeros) as u64);
    out.extend_from_slice(&bytes[zeros..]);
}

fn get_big_endian<const N: usize>(reader: &mut Reader<'_>) -> Read<[u8; N]> {
    let length = reader.length()?;
    let start = N.checked_sub(length).ok_or(Damage("a number that fits"))?;
    let mut bytes = [0; N];
    bytes[start..].copy_from_slice(reader.take(length)?);
    Ok(bytes)
}

pub(super) fn get_address(reader: &mut Reader<'_>) -> Read<Address> {
    reader.array::<20>().map(Address::from)
}

pub(super) fn get_duration(reader: &mut Reader<'_>) -> Read<Duration> {
    reader.varint().map(Duration::from_micros)
}

fn put_transaction(out: &mut Vec<u8>, transaction: &Transaction) {
    let put_address = |out: &mut Vec<u8>, address: Address| out.extend_from_slice(&address.0.0);
    out.extend_from_slice(&transaction.hash.0);
    out.push(transaction.kind as u8);
    out.push(transaction.status as u8);
    put_option(out, transaction.from, put_address);
    put_option(out, transaction.to, put_address);
    put_option(out, transaction.created, put_address);
    put_text(out, transaction.contract.as_str());
    put_text(out, transaction.function.as_str());
    put_option(out, transaction.selector, |out, selector| out.extend_from_slice(&selector));
    put_option(out, transaction.nonce, put_varint);
    let value = transaction.value.to_be_bytes_trimmed_vec();
    put_varint(out, value.len() as u64);
    out.extend_from_slice(&value);
    put_option(out, transaction.gas_limit, put_varint);
    put_option(out, transaction.gas_used, put_varint);
    put_option(out, transaction.gas_price, put_varint_u128);
    put_option(out, transaction.block, put_varint);
    put_option(out, transaction.reason, |out, reason| put_text(out, reason.as_str()));
    put_option(out, transaction.confirmation.map(micros), put_varint);
    put_option(out, transaction.submission.map(micros), put_varint);
    put_option(out, transaction.trace, |out, trace| out.extend_from_slice(&trace_bytes(trace)));
    // From here on what version 0.1 did not write.
    put_option(out, transaction.message.as_deref(), put_text);
    put_option(out, transaction.envelope, |out, envelope| out.push(envelope));
    put_option(out, transaction.code_bytes.map(u64::from), put_varint);
    put_option(out, transaction.block_gas_limit, put_varint);
    put_varint(out, transaction.events.len() as u64);
    for events in &transaction.events {
        put_text(out, events.contract.as_str());
        put_text(out, events.event.as_str());
        put_varint(out, u64::from(events.count));
    }
    put_inner(out, &transaction.inner);
}

pub(super) fn put_inner(out: &mut Vec<u8>, inner: &[InnerCall]) {
    put_varint(out, inner.len() as u64);
    for call in inner {
        put_text(out, call.target.contract.as_str());
        put_text(out, call.target.function.as_str());
        put_option(out, call.selector, |out, selector| out.extend_from_slice(&selector));
        put_option(out, call.success, |out, success| out.push(u8::from(success)));
        put_option(out, call.reason, |out, reason| put_text(out, reason.as_str()));
    }
}

pub(super) fn get_inner(reader: &mut Reader<'_>, labels: &Labels) -> Read<Box<[InnerCall]>> {
    (0..reader.length()?)
        .map(|_| {
            Ok(InnerCall {
                target: ContractCall {
                    contract: labels.contract(reader.text()?),
                    function: labels.function(reader.text()?),
                },
                selector: get_option(reader, Reader::array::<4>)?,
                success: get_option(reader, |reader| Ok(reader.byte()? != 0))?,
                reason: get_option(reader, Reader::text)?.map(|text| labels.reason(text)),
            })
        })
        .collect()
}

fn get_events(reader: &mut Reader<'_>, labels: &Labels) -> Read<Box<[EmittedEvents]>> {
    (0..reader.length()?)
        .map(|_| {
            Ok(EmittedEvents {
                contract: labels.contract(reader.text()?),
                event: labels.event(reader.text()?),
                count: small(reader.varint()?)?,
            })
        })
        .collect()
}

fn get_transaction(reader: &mut Reader<'_>, at: UnixMicros, labels: &Labels) -> Read<Transaction> {
    let mut transaction = Transaction {
        at,
        hash: B256::from(reader.array::<32>()?),
        kind: *TransactionKind::ALL
            .get(usize::from(reader.byte()?))
            .ok_or(Damage("a kind of transaction"))?,
        status: *TransactionStatus::ALL
            .get(usize::from(reader.byte()?))
            .ok_or(Damage("a transaction's status"))?,
        from: get_option(reader, get_address)?,
        to: get_option(reader, get_address)?,
        created: get_option(reader, get_address)?,
        contract: labels.contract(reader.text()?),
        function: labels.function(reader.text()?),
        selector: get_option(reader, Reader::array::<4>)?,
        nonce: get_option(reader, Reader::varint)?,
        value: U256::from_be_bytes(get_big_endian::<32>(reader)?),
        gas_limit: get_option(reader, Reader::varint)?,
        gas_used: get_option(reader, Reader::varint)?,
        gas_price: get_option(reader, get_big_endian::<16>)?.map(u128::from_be_bytes),
        block: get_option(reader, Reader::varint)?,
        reason: get_option(reader, Reader::text)?.map(|text| labels.reason(text)),
        confirmation: get_option(reader, get_duration)?,
        submission: get_option(reader, get_duration)?,
        trace: get_option(reader, Reader::array::<25>)?.as_ref().map(trace_of),
        message: None,
        envelope: None,
        events: Box::default(),
        inner: Box::default(),
        code_bytes: None,
        block_gas_limit: None,
    };
    if !reader.0.is_empty() {
        transaction.message = get_option(reader, Reader::text)?.map(Into::into);
        transaction.envelope = get_option(reader, Reader::byte)?;
        transaction.code_bytes = get_option(reader, Reader::varint)?.map(small).transpose()?;
        transaction.block_gas_limit = get_option(reader, Reader::varint)?;
        transaction.events = get_events(reader, labels)?;
        transaction.inner = get_inner(reader, labels)?;
    }
    Ok(transaction)
}

fn put_block(out: &mut Vec<u8>, block: &Block) {
    put_varint(out, block.number);
    out.extend_from_slice(&block.hash.0);
    out.extend_from_slice(&block.parent.0);
    put_varint(out, block.timestamp);
    put_varint(out, block.gas_used);
    put_varint(out, block.gas_limit);
    put_option(out, block.base_fee, put_varint);
    put_varint(out, u64::from(block.transactions));
    put_option(out, block.interval.map(micros), put_varint);
}

fn get_block(reader: &mut Reader<'_>, at: UnixMicros) -> Read<Block> {
    Ok(Block {
        at,
        number: reader.varint()?,
        hash: B256::from(reader.array::<32>()?),
        parent: B256::from(reader.array::<32>()?),
        timestamp: reader.varint()?,
        gas_used: reader.varint()?,
        gas_limit: reader.varint()?,
        base_fee: get_option(reader, Reader::varint)?,
        transactions: small(reader.varint()?)?,
        interval: get_option(reader, get_duration)?,
    })
}
