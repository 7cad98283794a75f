//! Owns the rows of a [`Breakdown`] and of a [`LearnedRoute`].

use super::bytes::{Damage, Read, Reader, put_text, put_varint};
use super::fields::{get_duration, get_option, micros, put_option, small};
use super::labels::Labels;
use crate::model::{Breakdown, Join, LearnedRoute, ToldBy, UnixMicros};

pub(super) fn put_breakdown(out: &mut Vec<u8>, breakdown: &Breakdown) {
    out.extend_from_slice(&breakdown.trace_id.to_le_bytes());
    put_text(out, breakdown.method.as_str());
    put_text(out, breakdown.route.as_str());
    put_varint(out, u64::from(breakdown.status));
    out.push(breakdown.told_by as u8);
    put_option(out, breakdown.joined_by, |out, join| out.push(join as u8));
    put_option(out, breakdown.queries.map(u64::from), put_varint);
    put_varint(out, u64::from(breakdown.rpc_calls));
    let Breakdown { total, database, evm, rpc, proxy, .. } = breakdown;
    for part in [total, database, evm, rpc, proxy] {
        put_varint(out, micros(*part));
    }
    // Nearly none has any.
    if breakdown.left_out > 0 {
        put_varint(out, u64::from(breakdown.left_out));
    }
}

pub(super) fn get_breakdown(
    reader: &mut Reader<'_>,
    at: UnixMicros,
    labels: &Labels,
) -> Read<Breakdown> {
    let of = |index: u8| Join::ALL.get(usize::from(index)).copied().ok_or(Damage("a join"));
    Ok(Breakdown {
        at,
        trace_id: u128::from_le_bytes(reader.array::<16>()?),
        method: labels.http_method(reader.text()?),
        route: labels.route(reader.text()?),
        status: u16::try_from(reader.varint()?).map_err(|_| Damage("a status"))?,
        told_by: *ToldBy::ALL.get(usize::from(reader.byte()?)).ok_or(Damage("who told"))?,
        joined_by: get_option(reader, Reader::byte)?.map(of).transpose()?,
        queries: get_option(reader, Reader::varint)?.map(small).transpose()?,
        rpc_calls: small(reader.varint()?)?,
        total: get_duration(reader)?,
        database: get_duration(reader)?,
        evm: get_duration(reader)?,
        rpc: get_duration(reader)?,
        proxy: get_duration(reader)?,
        left_out: if reader.0.is_empty() { 0 } else { small(reader.varint()?)? },
    })
}

pub(super) fn put_route(out: &mut Vec<u8>, route: &LearnedRoute) {
    put_text(out, &route.pattern);
}

pub(super) fn get_route(reader: &mut Reader<'_>, at: UnixMicros) -> Read<LearnedRoute> {
    Ok(LearnedRoute { at, pattern: reader.text()?.into() })
}
