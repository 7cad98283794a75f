//! Owns the bytes of a [`Transaction`]'s row.

use alloy::primitives::{Address, B256, U256};

use super::bytes::{Damage, Read, Reader, put_text, put_varint};
use super::fields::{
    get_address, get_duration, get_inner, get_option, micros, put_inner, put_option, small,
    trace_bytes, trace_of,
};
use super::labels::Labels;
use super::rollback;
use crate::model::{
    BlobGas, EmittedEvents, Transaction, TransactionKind, TransactionStatus, Unexplained,
    UnixMicros,
};

pub(super) fn put_transaction(out: &mut Vec<u8>, transaction: &Transaction) {
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
    put_later(out, transaction);
}

/// What the first rows of this version did not have: written only where there is any of it.
fn put_later(out: &mut Vec<u8>, transaction: &Transaction) {
    let Transaction { unexplained, events_omitted, blob, rolled_back_by, delegation, .. } =
        *transaction;
    if (unexplained, events_omitted, blob, rolled_back_by, delegation)
        == (None, 0, None, None, None)
    {
        return;
    }
    put_option(out, unexplained, |out, why| out.push(why as u8));
    put_varint(out, u64::from(events_omitted));
    put_option(out, blob, |out, blob| {
        put_varint(out, blob.used);
        put_option(out, blob.price, put_varint_u128);
    });
    put_option(out, rolled_back_by, |out, cause| out.push(rollback::code(cause)));
    put_option(out, delegation, put_address);
}

fn put_address(out: &mut Vec<u8>, address: Address) {
    out.extend_from_slice(&address.0.0);
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

pub(super) fn get_transaction(
    reader: &mut Reader<'_>,
    at: UnixMicros,
    labels: &Labels,
) -> Read<Transaction> {
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
        rolled_back_by: None,
        unexplained: None,
        events_omitted: 0,
        blob: None,
        delegation: None,
    };
    if !reader.0.is_empty() {
        transaction.message = get_option(reader, Reader::text)?.map(Into::into);
        transaction.envelope = get_option(reader, Reader::byte)?;
        transaction.code_bytes = get_option(reader, Reader::varint)?.map(small).transpose()?;
        transaction.block_gas_limit = get_option(reader, Reader::varint)?;
        transaction.events = get_events(reader, labels)?;
        transaction.inner = get_inner(reader, labels)?;
    }
    if !reader.0.is_empty() {
        transaction.unexplained = get_option(reader, |reader| {
            let code = usize::from(reader.byte()?);
            Unexplained::ALL.get(code).copied().ok_or(Damage("why a reason is not known"))
        })?;
        transaction.events_omitted = small(reader.varint()?)?;
        transaction.blob = get_option(reader, |reader| {
            let used = reader.varint()?;
            let price = get_option(reader, get_big_endian::<16>)?.map(u128::from_be_bytes);
            Ok(BlobGas { used, price })
        })?;
        let cause = get_option(reader, Reader::byte)?.map(rollback::cause);
        transaction.rolled_back_by = cause.transpose()?;
        transaction.delegation = get_option(reader, get_address)?;
    }
    Ok(transaction)
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
