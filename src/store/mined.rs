//! Owns the bytes of a [`Block`]'s row: of the chain's block, not of the file's.

use alloy::primitives::B256;

use super::bytes::{Read, Reader, put_varint};
use super::fields::{get_duration, get_option, micros, put_option, small};
use crate::model::{Block, UnixMicros};

pub(super) fn put_block(out: &mut Vec<u8>, block: &Block) {
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

pub(super) fn get_block(reader: &mut Reader<'_>, at: UnixMicros) -> Read<Block> {
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
