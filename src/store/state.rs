//! Owns the row of a [`StateChange`].

use alloy::primitives::B256;

use super::bytes::{Damage, Read, Reader, put_text, put_varint};
use super::fields::{get_address, get_duration, get_option, micros, put_option, small};
use super::labels::Labels;
use crate::model::{SlotChange, StateChange, Tracer, UnixMicros};

pub(super) fn put_state(out: &mut Vec<u8>, change: &StateChange) {
    out.extend_from_slice(&change.hash.0);
    put_varint(out, change.block);
    put_text(out, change.contract.as_str());
    put_text(out, change.function.as_str());
    out.push(change.tracer as u8);
    put_varint(out, micros(change.took));
    change.counts.iter().for_each(|count| put_varint(out, u64::from(*count)));
    put_varint(out, u64::from(change.accounts));
    put_varint(out, change.slots.len() as u64);
    for slot in &change.slots {
        out.extend_from_slice(&slot.address.0.0);
        put_text(out, slot.contract.as_str());
        out.extend_from_slice(&slot.slot.0);
        put_option(out, slot.name.as_deref(), put_text);
        out.extend_from_slice(&slot.before.0);
        out.extend_from_slice(&slot.after.0);
    }
}

pub(super) fn get_state(
    reader: &mut Reader<'_>,
    at: UnixMicros,
    labels: &Labels,
) -> Read<StateChange> {
    Ok(StateChange {
        at,
        hash: B256::from(reader.array::<32>()?),
        block: reader.varint()?,
        contract: labels.contract(reader.text()?),
        function: labels.function(reader.text()?),
        tracer: *Tracer::ALL.get(usize::from(reader.byte()?)).ok_or(Damage("a tracer"))?,
        took: get_duration(reader)?,
        counts: [small(reader.varint()?)?, small(reader.varint()?)?, small(reader.varint()?)?],
        accounts: small(reader.varint()?)?,
        slots: (0..reader.length()?)
            .map(|_| {
                Ok(SlotChange {
                    address: get_address(reader)?,
                    contract: labels.contract(reader.text()?),
                    slot: B256::from(reader.array::<32>()?),
                    name: get_option(reader, Reader::text)?.map(Into::into),
                    before: B256::from(reader.array::<32>()?),
                    after: B256::from(reader.array::<32>()?),
                })
            })
            .collect::<Read<_>>()?,
    })
}
