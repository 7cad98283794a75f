//! Owns what the kinds of sample have in common on their way to disk and back: a buffer of rows
//! that can be encoded as a block, and a way to select rows of a block.

use std::collections::HashMap;
use std::ops::Range as Rows;

use super::block::{Block, Span, frame};
use super::bytes::{Damage, Read, put_varint, unzigzag, zigzag};
use super::column::{Decoder, Encoder};
use super::labels::Labels;
use crate::model::{Sample, SampleKind, UnixMicros};

/// Rows of one kind that are waiting to be sealed.
pub(super) trait Columns: Send {
    /// Appends a sample; one of another kind is ignored.
    fn push(&mut self, sample: &Sample);
    fn at(&self) -> &[u64];
    /// How many of the rows, from the first on, have strings of at most `most` bytes together; at
    /// least one.
    fn within(&self, rows: Rows<usize>, most: usize) -> usize;
    /// Encodes some of the rows as a block.
    fn encode(&self, rows: Rows<usize>, encoder: &mut Encoder) -> Vec<u8>;
    /// Forgets the first rows.
    fn drain_front(&mut self, count: usize);
}

/// A row that passed a filter.
pub(super) struct Selected<T> {
    pub row: usize,
    pub at: UnixMicros,
    pub sample: T,
}

/// A kind of sample as a query reads it.
pub(super) trait Record: Sized {
    const KIND: SampleKind;
    type Filter;

    /// The rows that `keep` (by time and row) and the filter accept.
    fn select(
        block: &Block<'_>,
        decoder: &mut Decoder,
        labels: &Labels,
        filter: &Self::Filter,
        keep: &dyn Fn(u64, usize) -> bool,
    ) -> Read<Vec<Selected<Self>>>;
}

/// Frames columns that were encoded by `write`, one call for each.
pub(super) fn encode_block(
    kind: SampleKind,
    at: &[u64],
    encoder: &mut Encoder,
    write: impl FnOnce(&mut Encoder, &mut Vec<Vec<u8>>),
) -> Vec<u8> {
    let least_at = at.iter().copied().min().unwrap_or(0);
    let most_at = at.iter().copied().max().unwrap_or(0);
    let mut columns = Vec::with_capacity(24);
    let mut previous = least_at;
    let deltas: Vec<u64> = at
        .iter()
        .map(|at| {
            let delta = at.wrapping_sub(previous).cast_signed();
            previous = *at;
            zigzag(delta)
        })
        .collect();
    let mut column = Vec::new();
    encoder.numbers(&mut column, &deltas);
    columns.push(column);
    write(encoder, &mut columns);
    frame(kind, Span { count: at.len(), least_at, most_at }, &columns)
}

/// The first column of every kind: when each sample was.
pub(super) fn read_at(block: &Block<'_>, decoder: &mut Decoder) -> Read<Vec<u64>> {
    let mut at = decoder.numbers(block.column(0)?, block.span.count)?;
    let mut previous = block.span.least_at;
    for value in &mut at {
        previous = previous.wrapping_add(unzigzag(*value).cast_unsigned());
        *value = previous;
    }
    Ok(at)
}

/// Collects the distinct texts of a column and each row's index among them.
#[derive(Default)]
pub(super) struct Dictionary<'a> {
    texts: Vec<&'a str>,
    index: HashMap<&'a str, u64>,
    indexes: Vec<u64>,
    last: Option<(&'a str, u64)>,
}

impl<'a> Dictionary<'a> {
    pub fn push(&mut self, text: &'a str) {
        if let Some((last, index)) = self.last
            && std::ptr::eq(last, text)
        {
            self.indexes.push(index);
            return;
        }
        let next = self.texts.len() as u64;
        let index = *self.index.entry(text).or_insert(next);
        if index == next {
            self.texts.push(text);
        }
        self.last = Some((text, index));
        self.indexes.push(index);
    }

    pub fn encode(&self, encoder: &mut Encoder) -> Vec<u8> {
        let mut out = Vec::new();
        encoder.texts(&mut out, &self.texts, &self.indexes);
        out
    }
}

/// One column of numbers.
pub(super) fn numbers(encoder: &mut Encoder, values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.numbers(&mut out, values);
    out
}

/// A column of values of a fixed size, most of them absent: which rows have one, then those.
pub(super) fn sparse<const N: usize>(
    encoder: &mut Encoder,
    values: impl Iterator<Item = Option<[u8; N]>>,
) -> Vec<u8> {
    let mut present = Vec::new();
    let mut bytes = Vec::new();
    for value in values {
        present.push(u64::from(value.is_some()));
        bytes.extend(value.into_iter().flatten());
    }
    let mut out = Vec::new();
    encoder.numbers(&mut out, &present);
    if !bytes.is_empty() {
        encoder.plane(&mut out, &bytes);
    }
    out
}

pub(super) fn read_sparse<const N: usize>(
    decoder: &mut Decoder,
    column: &[u8],
    count: usize,
) -> Read<Vec<Option<[u8; N]>>> {
    let mut reader = super::bytes::Reader(column);
    let present = decoder.numbers_of(&mut reader, count)?;
    if present.iter().all(|flag| *flag == 0) {
        reader.end()?;
        return Ok(vec![None; count]);
    }
    let held = present.iter().filter(|flag| **flag != 0).count();
    let bytes = decoder.bytes(&mut reader, held * N)?;
    reader.end()?;
    let mut chunks = bytes.chunks_exact(N);
    let mut next = || chunks.next().and_then(|chunk| <[u8; N]>::try_from(chunk).ok());
    Ok(present.iter().map(|flag| if *flag == 0 { None } else { next() }).collect())
}

/// The byte strings of a column, behind one another: a row costs no allocation.
#[derive(Default)]
pub(super) struct ByteStrings {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl ByteStrings {
    pub fn push(&mut self, text: &[u8]) {
        self.push_with(|bytes| bytes.extend_from_slice(text));
    }

    /// Appends what `put` writes.
    pub fn push_with(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    fn start(&self, row: usize) -> usize {
        row.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    pub fn rows(&self, rows: Rows<usize>) -> impl Iterator<Item = &[u8]> {
        let mut start = self.start(rows.start);
        self.ends[rows]
            .iter()
            .map(move |end| &self.bytes[std::mem::replace(&mut start, *end)..*end])
    }

    pub fn drain_front(&mut self, count: usize) {
        let gone = self.start(count);
        self.bytes.drain(..gone);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|end| *end -= gone);
    }
}

/// A column of byte strings: their lengths, then all of them in one plane.
pub(super) fn strings<'a>(encoder: &mut Encoder, texts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut lengths = Vec::new();
    let mut bytes = Vec::new();
    for text in texts {
        lengths.push(text.len() as u64);
        bytes.extend_from_slice(text);
    }
    let mut out = Vec::new();
    encoder.numbers(&mut out, &lengths);
    put_varint(&mut out, bytes.len() as u64);
    if !bytes.is_empty() {
        encoder.plane(&mut out, &bytes);
    }
    out
}

/// The most bytes a column of strings may unpack to.
const MOST_STRING_BYTES: usize = 64 << 20;
/// The most that are written to one: rows that repeat shrink a thousandfold, and a block of 64 KiB
/// of them could not be read again.
pub(super) const MOST_WRITTEN: usize = MOST_STRING_BYTES / 2;

/// How many of these lengths, from the first on, are at most `most` together; at least one.
pub(super) fn within(lengths: impl Iterator<Item = usize>, most: usize) -> usize {
    let mut total = 0;
    let fitting = lengths.take_while(|length| {
        total += length;
        total <= most
    });
    fitting.count().max(1)
}

/// The strings' bounds and bytes.
pub(super) fn read_strings(
    decoder: &mut Decoder,
    column: &[u8],
    count: usize,
) -> Read<(Vec<Rows<usize>>, Vec<u8>)> {
    let mut reader = super::bytes::Reader(column);
    let lengths = decoder.numbers_of(&mut reader, count)?;
    let total = reader.length()?;
    if total > MOST_STRING_BYTES {
        return Err(Damage("strings of at most 64 MiB"));
    }
    let bytes = if total == 0 { Vec::new() } else { decoder.bytes(&mut reader, total)?.to_vec() };
    reader.end()?;
    let mut start = 0usize;
    let mut bounds = Vec::with_capacity(count);
    for length in lengths {
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let end = end.filter(|end| *end <= total).ok_or(Damage("a string within its column"))?;
        bounds.push(start..end);
        start = end;
    }
    Ok((bounds, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_strings_are_what_was_put_in_after_the_first_are_gone() {
        let mut strings = ByteStrings::default();
        let texts: [&[u8]; 5] = [b"one", b"", b"three", b"", b"fifth"];
        texts.iter().for_each(|text| strings.push(text));
        assert!(strings.rows(0..5).eq(texts));
        assert!(strings.rows(2..4).eq(texts[2..4].iter().copied()));
        strings.drain_front(0);
        strings.drain_front(2);
        strings.push(b"sixth");
        let left: [&[u8]; 4] = [b"three", b"", b"fifth", b"sixth"];
        assert!(strings.rows(0..4).eq(left));
        strings.drain_front(4);
        assert_eq!(strings.rows(0..0).count(), 0);
        strings.push(b"again");
        assert!(strings.rows(0..1).eq([&b"again"[..]]));
    }
}
