//! Owns the bytes of a [`Rollback`]'s row: the cause, the number of blocks, the number of
//! transactions beyond the bound, then 32 bytes for each hash up to the row's end.

use alloy::primitives::B256;

use super::bytes::{Damage, Read, Reader, put_varint};
use super::fields::{get_option, put_option, small};
use crate::model::{Rollback, RollbackCause, UnixMicros};

pub(super) fn put_rollback(out: &mut Vec<u8>, rollback: &Rollback) {
    out.push(code(rollback.cause));
    put_option(out, rollback.blocks, put_varint);
    put_varint(out, u64::from(rollback.omitted));
    for hash in &rollback.transactions {
        out.extend_from_slice(&hash.0);
    }
}

pub(super) fn get_rollback(reader: &mut Reader<'_>, at: UnixMicros) -> Read<Rollback> {
    let cause = cause(reader.byte()?)?;
    let blocks = get_option(reader, Reader::varint)?;
    let omitted = small(reader.varint()?)?;
    let mut transactions = Vec::with_capacity(reader.0.len() / 32);
    while !reader.0.is_empty() {
        transactions.push(B256::from(reader.array::<32>()?));
    }
    Ok(Rollback { at, cause, blocks, transactions: transactions.into(), omitted })
}

/// The byte that stands for a cause on disk.
pub(super) const fn code(cause: RollbackCause) -> u8 {
    match cause {
        RollbackCause::EvmRevert => 0,
        RollbackCause::Reset => 1,
        RollbackCause::Reorganisation => 2,
    }
}

pub(super) fn cause(code: u8) -> Read<RollbackCause> {
    let all = RollbackCause::ALL.into_iter();
    all.into_iter().find(|cause| self::code(*cause) == code).ok_or(Damage("a rollback's cause"))
}
