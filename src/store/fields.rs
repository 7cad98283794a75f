//! Owns how single values are written that several kinds of sample have: absent or present, durations,
//! addresses, trace contexts, the calls inside a multicall.

use std::time::Duration;

use alloy::primitives::Address;

use super::bytes::{Damage, Read, Reader, put_text, put_varint};
use super::labels::Labels;
use crate::model::{ContractCall, InnerCall, TraceContext};

/// Durations are kept in whole microseconds, rounded to the nearest: half a microsecond is below
/// what a proxy in user space can tell, and nanoseconds would cost two more bytes a sample.
pub(super) fn micros(duration: Duration) -> u64 {
    let nanos = duration.subsec_nanos();
    duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from((nanos + 500) / 1_000))
}

pub(super) fn small(value: u64) -> Read<u32> {
    u32::try_from(value).map_err(|_| Damage("a 32-bit number"))
}

pub(super) fn trace_bytes(trace: TraceContext) -> [u8; 25] {
    let mut bytes = [0; 25];
    bytes[..16].copy_from_slice(&trace.trace_id.to_le_bytes());
    bytes[16..24].copy_from_slice(&trace.span_id.to_le_bytes());
    bytes[24] = trace.flags;
    bytes
}

pub(super) fn trace_of(bytes: &[u8; 25]) -> TraceContext {
    let mut reader = Reader(bytes);
    let trace_id = u128::from_le_bytes(reader.array().expect("16 of 25 bytes; qed"));
    let span_id = u64::from_le_bytes(reader.array().expect("8 of 9 bytes; qed"));
    TraceContext { trace_id, span_id, flags: bytes[24] }
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

pub(super) fn get_address(reader: &mut Reader<'_>) -> Read<Address> {
    reader.array::<20>().map(Address::from)
}

pub(super) fn get_duration(reader: &mut Reader<'_>) -> Read<Duration> {
    reader.varint().map(Duration::from_micros)
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
