//! Owns the columns of an [`HttpRequest`]. Its trace ids are random and always there, so a request
//! costs 25 bytes more than a call whatever the encoding.

use std::ops::Range as Rows;
use std::time::Duration;

use super::app_timing::{get_app, put_app};
use super::block::Block;
use super::bytes::{Damage, Read, unzigzag, zigzag};
use super::column::{Decoder, Encoder};
use super::columns::{
    ByteStrings, Columns, Dictionary, Record, Selected, encode_block, numbers, read_at,
    read_sparse, read_strings, sparse, strings, within,
};
use super::fields::{micros, trace_bytes, trace_of};
use super::labels::Labels;
use super::query::RequestFilter;
use crate::model::{
    CacheOutcome, ConnectionId, End, Flow, HttpRequest, Sample, SampleKind, TraceContext,
    UnixMicros,
};

/// Column numbers that queries name.
pub(super) const TOTAL: usize = 1;
pub(super) const METHOD: usize = 5;
pub(super) const ROUTE: usize = 6;
/// Blocks of version 0.1 end before these.
const CACHE: usize = 14;
const FLOW: usize = 15;
const APP: usize = 16;

const ENDS: [End; 6] = [
    End::Complete,
    End::ClientGone,
    End::UpstreamGone,
    End::Unreachable,
    End::TimedOut,
    End::Stopped,
];

/// Requests, column by column.
#[derive(Default)]
pub(super) struct Requests {
    at: Vec<u64>,
    total: Vec<u64>,
    overhead: Vec<u64>,
    residual: Vec<u64>,
    first_byte: Vec<u64>,
    method: Vec<&'static str>,
    route: Vec<&'static str>,
    path: ByteStrings,
    status: Vec<u64>,
    end: Vec<u64>,
    connection: Vec<u64>,
    request_bytes: Vec<u64>,
    response_bytes: Vec<u64>,
    trace: Vec<TraceContext>,
    cache: Vec<u64>,
    flow: Vec<u64>,
    /// Encoded; empty for the many that have none.
    app: ByteStrings,
}

impl Columns for Requests {
    fn push(&mut self, sample: &Sample) {
        let Sample::Request(request) = sample else { return };
        let (total, upstream) = (micros(request.total), micros(request.upstream));
        let overhead = micros(request.overhead);
        self.at.push(request.at.0);
        self.total.push(total);
        self.overhead.push(overhead);
        let residual = total.wrapping_sub(upstream).wrapping_sub(overhead);
        self.residual.push(zigzag(residual.cast_signed()));
        // The first byte comes just before the last one; the distance is the smaller number.
        let ahead = upstream.wrapping_sub(micros(request.first_byte));
        self.first_byte.push(zigzag(ahead.cast_signed()));
        self.method.push(request.method.as_str());
        self.route.push(request.route.as_str());
        self.path.push(request.path.as_bytes());
        self.status.push(u64::from(request.status));
        let end = ENDS.iter().position(|end| *end == request.end);
        self.end.push(end.expect("ENDS lists every End; qed") as u64);
        self.connection.push(request.connection.0);
        self.request_bytes.push(request.request_bytes);
        self.response_bytes.push(request.response_bytes);
        self.trace.push(request.trace);
        self.cache.push(request.cache as u64);
        self.flow.push(request.flow as u64);
        self.app.push_with(|out| {
            if let Some(app) = request.app.as_deref() {
                put_app(out, app);
            }
        });
    }

    fn at(&self) -> &[u64] {
        &self.at
    }

    fn encode(&self, rows: Rows<usize>, encoder: &mut Encoder) -> Vec<u8> {
        let at = &self.at[rows.clone()];
        encode_block(SampleKind::Request, at, encoder, |encoder, columns| {
            columns.push(numbers(encoder, &self.total[rows.clone()]));
            columns.push(numbers(encoder, &self.overhead[rows.clone()]));
            columns.push(numbers(encoder, &self.residual[rows.clone()]));
            columns.push(numbers(encoder, &self.first_byte[rows.clone()]));
            for texts in [&self.method, &self.route] {
                let mut dictionary = Dictionary::default();
                texts[rows.clone()].iter().for_each(|text| dictionary.push(text));
                columns.push(dictionary.encode(encoder));
            }
            columns.push(strings(encoder, self.path.rows(rows.clone())));
            columns.push(numbers(encoder, &self.status[rows.clone()]));
            columns.push(numbers(encoder, &self.end[rows.clone()]));
            columns.push(numbers(encoder, &self.connection[rows.clone()]));
            columns.push(numbers(encoder, &self.request_bytes[rows.clone()]));
            columns.push(numbers(encoder, &self.response_bytes[rows.clone()]));
            let traces = self.trace[rows.clone()].iter();
            columns.push(sparse(encoder, traces.map(|trace| Some(trace_bytes(*trace)))));
            columns.push(numbers(encoder, &self.cache[rows.clone()]));
            columns.push(numbers(encoder, &self.flow[rows.clone()]));
            columns.push(strings(encoder, self.app.rows(rows)));
        })
    }

    fn within(&self, rows: Rows<usize>, most: usize) -> usize {
        let timings = self.app.rows(rows.clone());
        within(self.path.rows(rows).zip(timings).map(|(path, app)| path.len() + app.len()), most)
    }

    fn drain_front(&mut self, count: usize) {
        self.at.drain(..count);
        self.total.drain(..count);
        self.overhead.drain(..count);
        self.residual.drain(..count);
        self.first_byte.drain(..count);
        self.method.drain(..count);
        self.route.drain(..count);
        self.path.drain_front(count);
        self.status.drain(..count);
        self.end.drain(..count);
        self.connection.drain(..count);
        self.request_bytes.drain(..count);
        self.response_bytes.drain(..count);
        self.trace.drain(..count);
        self.cache.drain(..count);
        self.flow.drain(..count);
        self.app.drain_front(count);
    }
}

impl Record for HttpRequest {
    const KIND: SampleKind = SampleKind::Request;
    type Filter = RequestFilter;

    fn select(
        block: &Block<'_>,
        decoder: &mut Decoder,
        labels: &Labels,
        filter: &RequestFilter,
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>> {
        let count = block.span.count;
        let (methods, method) = decoder.texts(block.column(METHOD)?, count)?;
        let (routes, route) = decoder.texts(block.column(ROUTE)?, count)?;
        let absent = |wanted: &Option<String>, texts: &[&str]| {
            wanted.as_deref().is_some_and(|wanted| !texts.contains(&wanted))
        };
        if absent(&filter.method, &methods) || absent(&filter.route, &routes) {
            return Ok(Vec::new());
        }
        let at = read_at(block, decoder)?;
        let total = decoder.numbers(block.column(TOTAL)?, count)?;
        let status = decoder.numbers(block.column(8)?, count)?;
        let trace = read_sparse::<25>(decoder, block.column(13)?, count)?;
        let cache = or_absent(block, CACHE, |column| decoder.numbers(column, count))?;
        let cache = cache.unwrap_or_else(|| vec![CacheOutcome::Unknown as u64; count]);
        let wanted_cache = filter.cache.map(|cache| cache as u64);
        let at_least = filter.at_least.map_or(0, micros);
        let status_at_least = u64::from(filter.status_at_least.unwrap_or(0));
        let index = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let fits = |wanted: &Option<String>, text: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == text)
        };
        let rows: Vec<usize> = (0..count)
            .filter(|row| {
                let row = *row;
                keep(at[row], row)
                    && total[row] >= at_least
                    && status[row] >= status_at_least
                    && wanted_cache.is_none_or(|wanted| wanted == cache[row])
                    && fits(&filter.method, methods[index(method[row])])
                    && fits(&filter.route, routes[index(route[row])])
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
        let ahead = decoder.numbers(block.column(4)?, count)?;
        let (bounds, paths) = read_strings(decoder, block.column(7)?, count)?;
        let end = decoder.numbers(block.column(9)?, count)?;
        let connection = decoder.numbers(block.column(10)?, count)?;
        let request_bytes = decoder.numbers(block.column(11)?, count)?;
        let response_bytes = decoder.numbers(block.column(12)?, count)?;
        let flow = or_absent(block, FLOW, |column| decoder.numbers(column, count))?;
        let flow = flow.unwrap_or_else(|| vec![Flow::Response as u64; count]);
        let app = or_absent(block, APP, |column| read_strings(decoder, column, count))?;
        let (timings, timing_bytes) = app.unwrap_or_else(|| (vec![0..0; count], Vec::new()));
        let methods: Vec<_> = methods.into_iter().map(|text| labels.http_method(text)).collect();
        let routes: Vec<_> = routes.into_iter().map(|text| labels.route(text)).collect();
        rows.into_iter()
            .map(|row| {
                let upstream = total[row]
                    .wrapping_sub(overhead[row])
                    .wrapping_sub(unzigzag(residual[row]).cast_unsigned());
                let first_byte = upstream.wrapping_sub(unzigzag(ahead[row]).cast_unsigned());
                let path = std::str::from_utf8(&paths[bounds[row].clone()]);
                let sample = Self {
                    at: UnixMicros(at[row]),
                    method: methods[index(method[row])],
                    route: routes[index(route[row])],
                    path: path.map_err(|_| Damage("UTF-8"))?.into(),
                    status: u16::try_from(status[row]).map_err(|_| Damage("a status"))?,
                    end: *ENDS.get(index(end[row])).ok_or(Damage("an end"))?,
                    connection: ConnectionId(connection[row]),
                    request_bytes: request_bytes[row],
                    response_bytes: response_bytes[row],
                    total: Duration::from_micros(total[row]),
                    upstream: Duration::from_micros(upstream),
                    first_byte: Duration::from_micros(first_byte),
                    overhead: Duration::from_micros(overhead[row]),
                    trace: trace[row].as_ref().map(trace_of).ok_or(Damage("a trace"))?,
                    cache: *CacheOutcome::ALL
                        .get(index(cache[row]))
                        .ok_or(Damage("an outcome of a cache"))?,
                    flow: *Flow::ALL.get(index(flow[row])).ok_or(Damage("a flow"))?,
                    app: get_app(&timing_bytes[timings[row].clone()], labels)?,
                };
                Ok(Selected { row, at: sample.at, sample })
            })
            .collect()
    }
}

/// A column that earlier versions did not write.
fn or_absent<'a, T>(
    block: &Block<'a>,
    column: usize,
    read: impl FnOnce(&'a [u8]) -> Read<T>,
) -> Read<Option<T>> {
    block.column(column).ok().map(read).transpose()
}
