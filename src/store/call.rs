//! Owns the columns of an [`RpcCall`], the hot kind: a steady stream of them costs five to eight
//! bytes each. The columns are numbered in the module's documentation.

use std::ops::Range as Rows;
use std::time::Duration;

use alloy::primitives::B256;

use super::block::Block;
use super::bytes::{Damage, Read, Reader, put_text, put_varint, unzigzag, zigzag};
use super::column::{Decoder, Encoder};
use super::columns::{
    ByteStrings, Columns, Dictionary, Record, Selected, encode_block, numbers, read_at,
    read_sparse, read_strings, sparse, strings, within,
};
use super::fields::{
    get_address, get_inner, get_option, micros, put_inner, put_option, small, trace_bytes, trace_of,
};
use super::labels::Labels;
use super::query::CallFilter;
use crate::model::{
    BatchPlace, CallDetail, ConnectionId, ContractCall, Join, Outcome, RpcCall, Sample, SampleKind,
    TraceContext, Transport, Uninspected, UninspectedReason, UnixMicros,
};

/// Column numbers that queries name.
pub(super) const TOTAL: usize = 1;
pub(super) const METHOD: usize = 4;
const DETAIL: usize = 15;
const JOIN: usize = 16;

/// Calls, column by column.
#[derive(Default)]
pub(super) struct Calls {
    at: Vec<u64>,
    total: Vec<u64>,
    overhead: Vec<u64>,
    /// What total holds beyond upstream and overhead: the client's own pace. Mostly small, where
    /// upstream itself would repeat what total has told already.
    residual: Vec<u64>,
    method: Vec<&'static str>,
    transport: Vec<u64>,
    outcome: Vec<Outcome>,
    connection: Vec<u64>,
    request_bytes: Vec<u64>,
    response_bytes: Vec<u64>,
    batch_size: Vec<u64>,
    batch_index: Vec<u64>,
    target: Vec<Option<ContractCall>>,
    transaction: Vec<Option<B256>>,
    trace: Vec<Option<TraceContext>>,
    /// Encoded; empty for the many that have none.
    detail: ByteStrings,
    /// 0 for none.
    join: Vec<u64>,
}

impl Columns for Calls {
    fn push(&mut self, sample: &Sample) {
        let Sample::Call(call) = sample else { return };
        let (total, upstream) = (micros(call.total), micros(call.upstream));
        let overhead = micros(call.overhead);
        self.at.push(call.at.0);
        self.total.push(total);
        self.overhead.push(overhead);
        let residual = total.wrapping_sub(upstream).wrapping_sub(overhead);
        self.residual.push(zigzag(residual.cast_signed()));
        self.method.push(call.method.as_str());
        self.transport.push(call.transport as u64);
        self.outcome.push(call.outcome);
        self.connection.push(call.connection.0);
        self.request_bytes.push(call.request_bytes);
        self.response_bytes.push(call.response_bytes);
        // Size 0 is "no batch": a batch that holds this call has at least one. Shifted by one so
        // that even a malformed size of 0 survives.
        self.batch_size.push(call.batch.map_or(0, |batch| u64::from(batch.size) + 1));
        self.batch_index.push(call.batch.map_or(0, |batch| u64::from(batch.index)));
        self.target.push(call.target);
        self.transaction.push(call.transaction);
        self.trace.push(call.trace);
        self.detail.push_with(|out| {
            if let Some(detail) = call.detail.as_deref() {
                put_detail(out, detail);
            }
        });
        self.join.push(call.joined_by.map_or(0, |join| join as u64 + 1));
    }

    fn at(&self) -> &[u64] {
        &self.at
    }

    fn encode(&self, rows: Rows<usize>, encoder: &mut Encoder) -> Vec<u8> {
        let at = &self.at[rows.clone()];
        encode_block(SampleKind::Call, at, encoder, |encoder, columns| {
            columns.push(numbers(encoder, &self.total[rows.clone()]));
            columns.push(numbers(encoder, &self.overhead[rows.clone()]));
            columns.push(numbers(encoder, &self.residual[rows.clone()]));
            let mut methods = Dictionary::default();
            self.method[rows.clone()].iter().for_each(|method| methods.push(method));
            columns.push(methods.encode(encoder));
            columns.push(numbers(encoder, &self.transport[rows.clone()]));
            columns.push(encode_distinct(encoder, &self.outcome[rows.clone()], put_outcome));
            columns.push(numbers(encoder, &self.connection[rows.clone()]));
            columns.push(numbers(encoder, &self.request_bytes[rows.clone()]));
            columns.push(numbers(encoder, &self.response_bytes[rows.clone()]));
            columns.push(numbers(encoder, &self.batch_size[rows.clone()]));
            columns.push(numbers(encoder, &self.batch_index[rows.clone()]));
            columns.push(encode_distinct(encoder, &self.target[rows.clone()], put_target));
            let hashes = self.transaction[rows.clone()].iter();
            columns.push(sparse(encoder, hashes.map(|hash| hash.map(|hash| hash.0))));
            let traces = self.trace[rows.clone()].iter();
            columns.push(sparse(encoder, traces.map(|trace| trace.map(trace_bytes))));
            columns.push(strings(encoder, self.detail.rows(rows.clone())));
            columns.push(numbers(encoder, &self.join[rows]));
        })
    }

    fn within(&self, rows: Rows<usize>, most: usize) -> usize {
        within(self.detail.rows(rows).map(<[u8]>::len), most)
    }

    fn drain_front(&mut self, count: usize) {
        self.at.drain(..count);
        self.total.drain(..count);
        self.overhead.drain(..count);
        self.residual.drain(..count);
        self.method.drain(..count);
        self.transport.drain(..count);
        self.outcome.drain(..count);
        self.connection.drain(..count);
        self.request_bytes.drain(..count);
        self.response_bytes.drain(..count);
        self.batch_size.drain(..count);
        self.batch_index.drain(..count);
        self.target.drain(..count);
        self.transaction.drain(..count);
        self.trace.drain(..count);
        self.detail.drain_front(count);
        self.join.drain(..count);
    }
}

/// A column of few distinct values that are no numbers: the values, then indexes. A row seldom
/// differs from the one before it, so looking through the list from the last hit is quick; it is
/// bounded because outsiders choose error codes.
fn encode_distinct<T: Copy + PartialEq>(
    encoder: &mut Encoder,
    values: &[T],
    put: impl Fn(&mut Vec<u8>, T),
) -> Vec<u8> {
    const MOST: usize = 64;
    let mut distinct: Vec<T> = Vec::new();
    let mut indexes = Vec::with_capacity(values.len());
    let mut last = 0usize;
    for value in values {
        if distinct.get(last) != Some(value) {
            let searched = &distinct[distinct.len().saturating_sub(MOST)..];
            let skipped = distinct.len() - searched.len();
            last = match searched.iter().position(|known| known == value) {
                Some(position) => skipped + position,
                None => {
                    distinct.push(*value);
                    distinct.len() - 1
                }
            };
        }
        indexes.push(last as u64);
    }
    let mut out = Vec::new();
    put_varint(&mut out, distinct.len() as u64);
    distinct.into_iter().for_each(|value| put(&mut out, value));
    encoder.numbers(&mut out, &indexes);
    out
}

fn read_distinct<'a, T>(
    decoder: &mut Decoder,
    column: &'a [u8],
    count: usize,
    get: impl Fn(&mut Reader<'a>) -> Read<T>,
) -> Read<(Vec<T>, Vec<usize>)> {
    let mut reader = Reader(column);
    let length = reader.length()?;
    if length > count {
        return Err(Damage("no more distinct values than rows"));
    }
    let distinct = (0..length).map(|_| get(&mut reader)).collect::<Read<Vec<T>>>()?;
    let indexes = decoder.numbers_of(&mut reader, count)?;
    reader.end()?;
    let indexes = indexes
        .into_iter()
        .map(|index| usize::try_from(index).ok().filter(|index| *index < length))
        .collect::<Option<Vec<_>>>()
        .ok_or(Damage("an index of a distinct value"))?;
    Ok((distinct, indexes))
}

fn put_outcome(out: &mut Vec<u8>, outcome: Outcome) {
    let (tag, detail) = match outcome {
        Outcome::Success => (0, 0),
        Outcome::Error(code) => (1, zigzag(code)),
        Outcome::Http(status) => (2, u64::from(status)),
        Outcome::Timeout => (3, 0),
        Outcome::Connect => (4, 0),
        Outcome::ClientGone => (5, 0),
        Outcome::UpstreamGone => (6, 0),
        Outcome::Unanswered => (7, 0),
        Outcome::Uninspected => (8, 0),
        Outcome::Notification => (9, 0),
        Outcome::Stopped => (10, 0),
    };
    out.push(tag);
    put_varint(out, detail);
}

fn get_outcome(reader: &mut Reader<'_>) -> Read<Outcome> {
    let (tag, detail) = (reader.byte()?, reader.varint()?);
    Ok(match tag {
        0 => Outcome::Success,
        1 => Outcome::Error(unzigzag(detail)),
        2 => Outcome::Http(u16::try_from(detail).map_err(|_| Damage("a status"))?),
        3 => Outcome::Timeout,
        4 => Outcome::Connect,
        5 => Outcome::ClientGone,
        6 => Outcome::UpstreamGone,
        7 => Outcome::Unanswered,
        8 => Outcome::Uninspected,
        9 => Outcome::Notification,
        10 => Outcome::Stopped,
        _ => return Err(Damage("an outcome")),
    })
}

fn put_target(out: &mut Vec<u8>, target: Option<ContractCall>) {
    out.push(u8::from(target.is_some()));
    if let Some(target) = target {
        put_text(out, target.contract.as_str());
        put_text(out, target.function.as_str());
    }
}

fn get_target<'a>(reader: &mut Reader<'a>) -> Read<Option<(&'a str, &'a str)>> {
    match reader.byte()? {
        0 => Ok(None),
        1 => Ok(Some((reader.text()?, reader.text()?))),
        _ => Err(Damage("a target")),
    }
}

fn put_detail(out: &mut Vec<u8>, detail: &CallDetail) {
    put_option(out, detail.selector, |out, selector| out.extend_from_slice(&selector));
    put_option(out, detail.reason, |out, reason| put_text(out, reason.as_str()));
    put_option(out, detail.message.as_deref(), put_text);
    put_option(out, detail.gas, put_varint);
    put_inner(out, &detail.inner);
    // Absent in most, and in all that were written before version 0.2.
    if detail.uninspected.is_some() || detail.delegation.is_some() {
        put_option(out, detail.uninspected, |out, Uninspected { reason, calls }| {
            out.push(reason as u8);
            put_varint(out, u64::from(calls));
        });
        put_option(out, detail.delegation, |out, address| out.extend_from_slice(&address.0.0));
    }
}

fn get_detail(bytes: &[u8], labels: &Labels) -> Read<Option<Box<CallDetail>>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader(bytes);
    let mut detail = CallDetail {
        selector: get_option(&mut reader, Reader::array::<4>)?,
        reason: get_option(&mut reader, Reader::text)?.map(|text| labels.reason(text)),
        message: get_option(&mut reader, Reader::text)?.map(Into::into),
        gas: get_option(&mut reader, Reader::varint)?,
        inner: get_inner(&mut reader, labels)?,
        uninspected: None,
        delegation: None,
    };
    if !reader.0.is_empty() {
        detail.uninspected = get_option(&mut reader, get_uninspected)?;
        detail.delegation = get_option(&mut reader, get_address)?;
    }
    reader.end()?;
    Ok(Some(Box::new(detail)))
}

fn get_uninspected(reader: &mut Reader<'_>) -> Read<Uninspected> {
    let reason = UninspectedReason::ALL.get(usize::from(reader.byte()?)).copied();
    let reason = reason.ok_or(Damage("a reason for not reading a call"))?;
    Ok(Uninspected { reason, calls: small(reader.varint()?)? })
}

fn join_of(index: u64) -> Read<Join> {
    let join = usize::try_from(index).ok().and_then(|index| Join::ALL.get(index));
    join.copied().ok_or(Damage("a join"))
}

impl Record for RpcCall {
    const KIND: SampleKind = SampleKind::Call;
    type Filter = CallFilter;

    fn select(
        block: &Block<'_>,
        decoder: &mut Decoder,
        labels: &Labels,
        filter: &CallFilter,
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        let count = block.span.count;
        let (methods, method) = decoder.texts(block.column(METHOD)?, count)?;
        if let Some(wanted) = &filter.method
            && !methods.contains(&wanted.as_str())
        {
            return Ok(Vec::new());
        }
        let (outcomes, outcome) = read_distinct(decoder, block.column(6)?, count, get_outcome)?;
        if filter.failed == Some(true) && !outcomes.iter().any(|outcome| outcome.is_failure()) {
            return Ok(Vec::new());
        }
        let (targets, target) = read_distinct(decoder, block.column(12)?, count, get_target)?;
        let at = read_at(block, decoder)?;
        let total = decoder.numbers(block.column(TOTAL)?, count)?;
        let transaction = read_sparse::<32>(decoder, block.column(13)?, count)?;
        let trace = read_sparse::<25>(decoder, block.column(14)?, count)?;

        let method_fits: Vec<bool> = methods
            .iter()
            .map(|m| filter.method.as_ref().is_none_or(|wanted| wanted == m))
            .collect();
        let outcome_fits: Vec<bool> = outcomes
            .iter()
            .map(|o| filter.failed.is_none_or(|failed| failed == o.is_failure()))
            .collect();
        let fits = |wanted: &Option<String>, text: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| text == Some(wanted))
        };
        let target_fits: Vec<bool> = targets
            .iter()
            .map(|t| {
                fits(&filter.contract, t.map(|t| t.0)) && fits(&filter.function, t.map(|t| t.1))
            })
            .collect();
        let at_least = filter.at_least.map_or(0, micros);
        let index = |row: usize| usize::try_from(method[row]).unwrap_or(usize::MAX);
        let rows: Vec<usize> = (0..count)
            .filter(|row| {
                let row = *row;
                keep(at[row], row)
                    && total[row] >= at_least
                    && method_fits[index(row)]
                    && outcome_fits[outcome[row]]
                    && target_fits[target[row]]
                    && filter.transaction.is_none_or(|hash| transaction[row] == Some(hash.0))
                    && filter.trace_id.is_none_or(|id| {
                        trace[row].is_some_and(|bytes| trace_of(&bytes).trace_id == id)
                    })
            })
            .collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }

        let overhead = decoder.numbers(block.column(2)?, count)?;
        let residual = decoder.numbers(block.column(3)?, count)?;
        let transport = decoder.numbers(block.column(5)?, count)?;
        let connection = decoder.numbers(block.column(7)?, count)?;
        let request_bytes = decoder.numbers(block.column(8)?, count)?;
        let response_bytes = decoder.numbers(block.column(9)?, count)?;
        let batch_size = decoder.numbers(block.column(10)?, count)?;
        let batch_index = decoder.numbers(block.column(11)?, count)?;
        // Blocks of version 0.1 end before it.
        let (details, detail_bytes) = match block.column(DETAIL) {
            Ok(column) => read_strings(decoder, column, count)?,
            Err(_) => (vec![0..0; count], Vec::new()),
        };
        let joins = match block.column(JOIN) {
            Ok(column) => decoder.numbers(column, count)?,
            Err(_) => vec![0; count],
        };
        let methods: Vec<_> = methods.into_iter().map(|text| labels.method(text)).collect();
        let targets: Vec<_> = targets
            .into_iter()
            .map(|target| {
                target.map(|(contract, function)| ContractCall {
                    contract: labels.contract(contract),
                    function: labels.function(function),
                })
            })
            .collect();
        let mut selected = Vec::with_capacity(rows.len());
        for row in rows {
            let detail = get_detail(&detail_bytes[details[row].clone()], labels)?;
            let reason = detail.as_ref().and_then(|detail| detail.reason);
            if !fits(&filter.reason, reason.as_ref().map(|reason| reason.as_str())) {
                continue;
            }
            let transport = usize::try_from(transport[row]).unwrap_or(usize::MAX);
            let upstream = total[row]
                .wrapping_sub(overhead[row])
                .wrapping_sub(unzigzag(residual[row]).cast_unsigned());
            let batch = match batch_size[row] {
                0 => None,
                size => {
                    Some(BatchPlace { index: small(batch_index[row])?, size: small(size - 1)? })
                }
            };
            let sample = Self {
                at: UnixMicros(at[row]),
                method: methods[index(row)],
                transport: *Transport::ALL.get(transport).ok_or(Damage("a transport"))?,
                outcome: outcomes[outcome[row]],
                connection: ConnectionId(connection[row]),
                batch,
                request_bytes: request_bytes[row],
                response_bytes: response_bytes[row],
                total: Duration::from_micros(total[row]),
                upstream: Duration::from_micros(upstream),
                overhead: Duration::from_micros(overhead[row]),
                target: targets[target[row]],
                transaction: transaction[row].map(B256::from),
                trace: trace[row].as_ref().map(trace_of),
                joined_by: match joins[row] {
                    0 => None,
                    join => Some(join_of(join - 1)?),
                },
                detail,
            };
            selected.push(Selected { row, at: sample.at, sample });
        }
        Ok(selected)
    }
}
