//! Owns the frame around a block's columns: version, kind, checksum, time span and the directory
//! that lets a query read one column only. The layout is drawn in the module's documentation.

use super::bytes::{Damage, Read, Reader, checksum, put_varint};
use super::column::MOST_ROWS;
use crate::model::SampleKind;

/// Raised whenever a block written by the new code could be misread by the old.
pub(super) const FORMAT: u8 = 1;
/// Bytes before the checksummed part: version, kind, checksum.
const HEAD: usize = 6;
/// The most columns of any kind; a bound for the decoder.
const MOST_COLUMNS: usize = 32;

/// What a block says of itself before any column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub count: usize,
    /// Earliest and latest `at` in it, Unix microseconds.
    pub least_at: u64,
    pub most_at: u64,
}

/// A block with its directory read and its checksum verified.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub kind: SampleKind,
    pub span: Span,
    columns: Vec<&'a [u8]>,
}

impl<'a> Block<'a> {
    pub fn parse(bytes: &'a [u8], kind: SampleKind) -> Read<Self> {
        let mut reader = Reader(bytes);
        if reader.byte()? != FORMAT {
            return Err(Damage("a block of format 1"));
        }
        if usize::from(reader.byte()?) != kind as usize {
            return Err(Damage("a block of the asked kind"));
        }
        let sum = u32::from_le_bytes(reader.array()?);
        if sum != checksum(reader.0) {
            return Err(Damage("a matching checksum"));
        }
        let count = reader.length()?;
        if count > MOST_ROWS {
            return Err(Damage("at most a million rows"));
        }
        let least_at = reader.varint()?;
        let most_at = least_at.saturating_add(reader.varint()?);
        let columns = reader.length()?;
        if columns > MOST_COLUMNS {
            return Err(Damage("at most 32 columns"));
        }
        let lengths = (0..columns).map(|_| reader.length()).collect::<Read<Vec<usize>>>()?;
        let columns =
            lengths.into_iter().map(|length| reader.take(length)).collect::<Read<Vec<_>>>()?;
        reader.end()?;
        Ok(Self { kind, span: Span { count, least_at, most_at }, columns })
    }

    pub fn column(&self, index: usize) -> Read<&'a [u8]> {
        self.columns.get(index).copied().ok_or(Damage("a column"))
    }
}

/// Frames encoded columns as a block.
pub(super) fn frame(kind: SampleKind, span: Span, columns: &[Vec<u8>]) -> Vec<u8> {
    let body: usize = columns.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(body + 64);
    out.extend_from_slice(&[FORMAT, kind as u8, 0, 0, 0, 0]);
    put_varint(&mut out, span.count as u64);
    put_varint(&mut out, span.least_at);
    put_varint(&mut out, span.most_at - span.least_at);
    put_varint(&mut out, columns.len() as u64);
    columns.iter().for_each(|column| put_varint(&mut out, column.len() as u64));
    columns.iter().for_each(|column| out.extend_from_slice(column));
    let sum = checksum(&out[HEAD..]);
    out[2..HEAD].copy_from_slice(&sum.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use alloy::primitives::{Address, B256};

    use crate::model::{
        AppFunction, AppTiming, CacheOutcome, CallDetail, Client, ConnectionId, ContractCall,
        ContractName, DatabaseTiming, End, Finding, FindingKind, Flow, FunctionName, HttpMethod,
        HttpRequest, InnerCall, Method, Outcome, Reason, Route, RpcCall, Sample, SlotChange,
        StateChange, TraceContext, Tracer, Transport, Uninspected, UninspectedReason, UnixMicros,
        UnknownPeer,
    };
    use crate::store::column::{Decoder, Encoder};
    use crate::store::day::samples_in;
    use crate::store::kinds::columns_of;
    use crate::store::labels::Labels;
    use std::time::Duration;

    const fn target() -> ContractCall {
        ContractCall {
            contract: ContractName::known("Marketplace"),
            function: FunctionName::known("buy"),
        }
    }

    fn detail(row: u64) -> CallDetail {
        let inner = InnerCall {
            target: target(),
            selector: Some([1, 2, 3, 4]),
            success: Some(row.is_multiple_of(2)),
            reason: Some(Reason::known("NotForSale")),
        };
        CallDetail {
            selector: row.is_multiple_of(2).then_some([1; 4]),
            reason: row.is_multiple_of(3).then(|| Reason::known("NotOwner")),
            message: (row % 3 == 1).then(|| "NotOwner(7)".into()),
            gas: Some(row * 1_000),
            inner: vec![inner; usize::from(row.is_multiple_of(5))].into(),
            uninspected: row.is_multiple_of(4).then(|| Uninspected {
                reason: UninspectedReason::ALL[usize::try_from(row).unwrap() % 5],
                calls: u32::try_from(row).unwrap(),
            }),
            delegation: None,
        }
    }

    fn state(at: UnixMicros, row: u64) -> StateChange {
        let ContractCall { contract, function } = target();
        let slot = SlotChange {
            address: Address::repeat_byte(1),
            contract,
            slot: B256::repeat_byte(2),
            name: row.is_multiple_of(2).then(|| "_owners[7]".into()),
            before: B256::ZERO,
            after: B256::repeat_byte(3),
        };
        StateChange {
            at,
            hash: B256::repeat_byte(4),
            block: row,
            contract,
            function,
            tracer: Tracer::StructLogs,
            took: Duration::from_micros(row),
            counts: [1, 2, 3],
            accounts: 4,
            slots: vec![slot; usize::from(row.is_multiple_of(3))].into(),
        }
    }

    fn timing(row: u64) -> AppTiming {
        let took = Duration::from_micros(row);
        AppTiming {
            database: row
                .is_multiple_of(2)
                .then(|| DatabaseTiming { took, queries: row.is_multiple_of(3).then_some(row) }),
            functions: vec![(AppFunction::known("mint"), took); usize::from(row % 3 == 1)].into(),
        }
    }

    fn some_block(kind: SampleKind, rows: u64, detailed: bool) -> Vec<u8> {
        let mut columns = columns_of(kind);
        for row in 0..rows {
            let (at, some) = (UnixMicros(1_000 + row * 7), Duration::from_micros(row * row));
            let trace = TraceContext { trace_id: u128::from(row) + 1, span_id: 9, flags: 1 };
            columns.push(&match kind {
                SampleKind::Call => Sample::Call(RpcCall {
                    at,
                    method: Method::known(["eth_call", "eth_chainId"][usize::from(row % 2 == 1)]),
                    transport: Transport::Http,
                    outcome: Outcome::Error(row.cast_signed()),
                    connection: ConnectionId(row % 3),
                    batch: None,
                    request_bytes: row,
                    response_bytes: row * 1_000,
                    total: some * 2,
                    upstream: some,
                    overhead: Duration::ZERO,
                    target: None,
                    transaction: None,
                    trace: (row % 4 == 0).then_some(trace),
                    detail: detailed.then(|| Box::new(detail(row))),
                    joined_by: None,
                }),
                SampleKind::State => Sample::State(Box::new(state(at, row))),
                SampleKind::Finding => Sample::Finding(Box::new(Finding {
                    at,
                    kind: FindingKind::ReceiptPolling,
                    count: 7,
                    span: some,
                    method: (row % 2 == 0).then(|| Method::known("eth_call")),
                    target: (row % 3 == 0).then_some(target()),
                    transaction: (row % 3 == 1).then_some(B256::repeat_byte(7)),
                    account: (row % 3 == 2).then_some(Address::repeat_byte(8)),
                    connection: ConnectionId(row),
                    client: Client {
                        agent: Some("curl/8".into()),
                        process: None,
                        process_unknown: (row % 3 > 0).then_some(UnknownPeer::NoTime),
                    },
                    request: None,
                    query: Some("SELECT ?".into()),
                    block: Some(500),
                })),
                _ => Sample::Request(HttpRequest {
                    at,
                    method: HttpMethod::known("GET"),
                    route: Route::known("/api"),
                    path: "/api".repeat(usize::from(row % 3 == 1)).into(),
                    status: 200,
                    end: End::Complete,
                    connection: ConnectionId(1),
                    request_bytes: 0,
                    response_bytes: row,
                    total: some,
                    upstream: some,
                    first_byte: some,
                    overhead: some,
                    trace,
                    cache: CacheOutcome::Hit,
                    flow: Flow::Response,
                    app: detailed.then(|| Box::new(timing(row))),
                }),
            });
        }
        let end = columns.at().len();
        columns.encode(0..end, &mut Encoder::new().unwrap())
    }

    proptest! {
        /// A checksum keeps flipped bits out; behind it the decoder is on its own.
        #[test]
        fn a_mangled_block_with_a_right_checksum_never_panics(
            kind in proptest::sample::select(&[
                SampleKind::Call, SampleKind::Request, SampleKind::State, SampleKind::Finding,
            ][..]),
            rows in 1..60u64, cut: usize,
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = some_block(kind, rows, true);
            for (at, value) in changes {
                let at = HEAD + at % (bytes.len() - HEAD);
                bytes[at] = value;
            }
            if cut % 3 == 0 {
                bytes.truncate(HEAD + cut % (bytes.len() - HEAD));
            }
            let sum = checksum(&bytes[HEAD..]);
            bytes[2..HEAD].copy_from_slice(&sum.to_le_bytes());
            for kind in SampleKind::ALL {
                bytes[1] = kind as u8;
                if let Ok(block) = Block::parse(&bytes, kind) {
                    let mut decoder = Decoder::new().unwrap();
                    let _ = samples_in(&block, &mut decoder, &Labels::default(), &|_, _| true);
                }
            }
        }
    }

    #[test]
    fn calls_without_detail_pay_nothing_for_it() {
        let bytes = some_block(SampleKind::Call, 10_000, false);
        let block = Block::parse(&bytes, SampleKind::Call).unwrap();
        let detail = block.column(15).unwrap().len();
        assert!(detail <= 32, "{detail} bytes for 10,000 calls");
    }

    #[test]
    fn a_block_without_its_checksum_is_refused() {
        let mut bytes = some_block(SampleKind::Call, 9, true);
        assert!(Block::parse(&bytes, SampleKind::Call).is_ok());
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(
            Block::parse(&bytes, SampleKind::Call).map(|_| ()),
            Err(Damage("a matching checksum"))
        );
    }
}
