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
