//! Owns the row of a [`Finding`].

use alloy::primitives::B256;

use super::bytes::{Damage, Read, Reader, put_text, put_varint};
use super::fields::{get_address, get_duration, get_option, micros, put_option, small};
use super::labels::Labels;
use crate::model::{
    Client, ConnectionId, ContractCall, Finding, FindingKind, RequestRef, UnixMicros, UnknownPeer,
};

pub(super) fn put_finding(out: &mut Vec<u8>, finding: &Finding) {
    out.push(finding.kind as u8);
    put_varint(out, u64::from(finding.count));
    put_varint(out, micros(finding.span));
    put_option(out, finding.method, |out, method| put_text(out, method.as_str()));
    put_option(out, finding.target, |out, target| {
        put_text(out, target.contract.as_str());
        put_text(out, target.function.as_str());
    });
    put_option(out, finding.transaction, |out, hash| out.extend_from_slice(&hash.0));
    put_option(out, finding.account, |out, account| out.extend_from_slice(&account.0.0));
    put_varint(out, finding.connection.0);
    put_option(out, finding.client.agent.as_deref(), put_text);
    put_option(out, finding.client.process.as_deref(), put_text);
    // From here on what version 0.1 did not write.
    put_option(out, finding.request, |out, request| {
        out.extend_from_slice(&request.trace_id.to_le_bytes());
        put_text(out, request.method.as_str());
        put_text(out, request.route.as_str());
    });
    put_option(out, finding.query.as_deref(), put_text);
    // From here on what version 0.2 did not write.
    put_option(out, finding.block, put_varint);
    put_option(out, finding.client.process_unknown, |out, reason| out.push(reason_code(reason)));
}

/// The number of a reason on disk.
const fn reason_code(reason: UnknownPeer) -> u8 {
    match reason {
        UnknownPeer::ConnectionClosed => 0,
        UnknownPeer::NoTime => 1,
        UnknownPeer::NotPermitted => 2,
        UnknownPeer::OtherMachine => 3,
        UnknownPeer::Unsupported => 4,
    }
}

fn reason_of(code: u8) -> Read<UnknownPeer> {
    let mut reasons = UnknownPeer::ALL.into_iter();
    reasons.find(|reason| reason_code(*reason) == code).ok_or(Damage("why a process is not known"))
}

pub(super) fn get_finding(
    reader: &mut Reader<'_>,
    at: UnixMicros,
    labels: &Labels,
) -> Read<Finding> {
    let mut finding = Finding {
        at,
        kind: *FindingKind::ALL
            .get(usize::from(reader.byte()?))
            .ok_or(Damage("a kind of finding"))?,
        count: small(reader.varint()?)?,
        span: get_duration(reader)?,
        method: get_option(reader, Reader::text)?.map(|text| labels.method(text)),
        target: get_option(reader, |reader| {
            Ok(ContractCall {
                contract: labels.contract(reader.text()?),
                function: labels.function(reader.text()?),
            })
        })?,
        transaction: get_option(reader, Reader::array::<32>)?.map(B256::from),
        account: get_option(reader, get_address)?,
        connection: ConnectionId(reader.varint()?),
        client: Client {
            agent: get_option(reader, Reader::text)?.map(Into::into),
            process: get_option(reader, Reader::text)?.map(Into::into),
            process_unknown: None,
        },
        request: None,
        query: None,
        block: None,
    };
    if !reader.0.is_empty() {
        finding.request = get_option(reader, |reader| {
            Ok(RequestRef {
                trace_id: u128::from_le_bytes(reader.array::<16>()?),
                method: labels.http_method(reader.text()?),
                route: labels.route(reader.text()?),
            })
        })?;
        finding.query = get_option(reader, Reader::text)?.map(Into::into);
    }
    if !reader.0.is_empty() {
        finding.block = get_option(reader, Reader::varint)?;
        finding.client.process_unknown = get_option(reader, |reader| reason_of(reader.byte()?))?;
    }
    Ok(finding)
}
