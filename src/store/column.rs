//! Owns the encoding of one column: numbers, texts and raw bytes, each readable without its
//! neighbours.
//!
//! ```text
//! plane    0 byte                    every byte is this one
//!          1 bytes                   as they are
//!          2 length frame            a zstd frame of them
//! numbers  0 value                   every row has this value
//!          1 base width plane…       value = base + Σ plane[k] << 8k
//!          2 n value… plane          at most 256 distinct values, ascending; the plane is indexes
//! texts    n (length bytes)… numbers a dictionary and, for each row, the index into it
//! ```
//! Integers are varints. A number's bytes lie in planes of their own because the low byte of a
//! latency is noise and the high byte nearly constant: interleaved, neither would compress.

use std::collections::BTreeSet;

use zstd::bulk::{Compressor, Decompressor};

use super::bytes::{Damage, Read, Reader, put_text, put_varint};

/// The most rows a block may hold; a decoder allocates by it.
pub(super) const MOST_ROWS: usize = 1 << 20;

/// How hard to squeeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// For the tail, which is rewritten within seconds.
    Fast,
    /// For sealed blocks.
    Small,
}

/// Writes columns. Holds the compressor, whose set-up costs more than a small plane.
pub(super) struct Encoder {
    zstd: Compressor<'static>,
    packed: Vec<u8>,
    plane: Vec<u8>,
    pub effort: Effort,
}

impl Encoder {
    pub fn new() -> std::io::Result<Self> {
        let zstd = Compressor::new(1)?;
        Ok(Self { zstd, packed: Vec::new(), plane: Vec::new(), effort: Effort::Small })
    }

    pub fn plane(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        if let Some((first, rest)) = bytes.split_first()
            && rest.iter().all(|byte| byte == first)
        {
            out.extend_from_slice(&[0, *first]);
            return;
        }
        if self.effort == Effort::Small && bytes.len() > 32 {
            self.packed.clear();
            self.packed.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
            if let Ok(length) = self.zstd.compress_to_buffer(bytes, &mut self.packed)
                && length + 3 < bytes.len()
            {
                out.push(2);
                put_varint(out, length as u64);
                out.extend_from_slice(&self.packed[..length]);
                return;
            }
        }
        out.push(1);
        out.extend_from_slice(bytes);
    }

    pub fn numbers(&mut self, out: &mut Vec<u8>, values: &[u64]) {
        let least = values.iter().copied().min().unwrap_or(0);
        let most = values.iter().copied().max().unwrap_or(0);
        if least == most {
            out.push(0);
            put_varint(out, least);
            return;
        }
        let bits = u64::BITS - (most - least).leading_zeros();
        let width = bits.div_ceil(8);
        if width > 1
            && self.effort == Effort::Small
            && let Some(distinct) = few_distinct(values)
        {
            out.push(2);
            put_varint(out, distinct.len() as u64);
            distinct.iter().for_each(|value| put_varint(out, *value));
            let mut plane = std::mem::take(&mut self.plane);
            plane.clear();
            #[expect(clippy::cast_possible_truncation, reason = "at most 256 distinct values")]
            plane.extend(values.iter().map(|v| distinct.partition_point(|d| d < v) as u8));
            self.plane(out, &plane);
            self.plane = plane;
            return;
        }
        out.push(1);
        put_varint(out, least);
        out.push(u8::try_from(width).expect("at most eight bytes in a u64; qed"));
        let mut plane = std::mem::take(&mut self.plane);
        for k in 0..width {
            plane.clear();
            plane.extend(values.iter().map(|value| ((value - least) >> (8 * k) & 0xff) as u8));
            self.plane(out, &plane);
        }
        self.plane = plane;
    }

    /// A dictionary and each row's index into it.
    pub fn texts(&mut self, out: &mut Vec<u8>, dictionary: &[&str], indexes: &[u64]) {
        put_varint(out, dictionary.len() as u64);
        dictionary.iter().for_each(|text| put_text(out, text));
        self.numbers(out, indexes);
    }
}

/// The distinct values, ascending, when there are few enough that a dictionary of them pays.
fn few_distinct(values: &[u64]) -> Option<Vec<u64>> {
    let mut distinct = BTreeSet::new();
    let mut last = None;
    for value in values {
        if last != Some(value) {
            distinct.insert(*value);
            if distinct.len() > 256 {
                return None;
            }
            last = Some(value);
        }
    }
    (distinct.len() * 8 <= values.len()).then(|| distinct.into_iter().collect())
}

/// Reads columns of blocks of a known number of rows.
pub(super) struct Decoder {
    zstd: Decompressor<'static>,
    plane: Vec<u8>,
}

impl Decoder {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: Decompressor::new()?, plane: Vec::new() })
    }

    /// Reads a plane of `count` bytes into `self.plane`.
    fn fill_plane(&mut self, reader: &mut Reader<'_>, count: usize) -> Read<()> {
        self.plane.clear();
        match reader.byte()? {
            0 => self.plane.resize(count, reader.byte()?),
            1 => self.plane.extend_from_slice(reader.take(count)?),
            2 => {
                let length = reader.length()?;
                let frame = reader.take(length)?;
                self.plane.resize(count, 0);
                let written = self
                    .zstd
                    .decompress_to_buffer(frame, &mut self.plane[..])
                    .map_err(|_| Damage("a zstd frame"))?;
                if written != count {
                    return Err(Damage("a frame as long as its rows"));
                }
            }
            _ => return Err(Damage("a plane's tag")),
        }
        Ok(())
    }

    pub fn bytes(&mut self, reader: &mut Reader<'_>, count: usize) -> Read<&[u8]> {
        self.fill_plane(reader, count)?;
        Ok(&self.plane)
    }

    pub fn numbers(&mut self, column: &[u8], count: usize) -> Read<Vec<u64>> {
        let mut reader = Reader(column);
        let values = self.numbers_of(&mut reader, count)?;
        reader.end()?;
        Ok(values)
    }

    pub fn numbers_of(&mut self, reader: &mut Reader<'_>, count: usize) -> Read<Vec<u64>> {
        if count > MOST_ROWS {
            return Err(Damage("at most a million rows"));
        }
        match reader.byte()? {
            0 => Ok(vec![reader.varint()?; count]),
            1 => {
                let base = reader.varint()?;
                let width = reader.byte()?;
                if !(1..=8).contains(&width) {
                    return Err(Damage("a width of one to eight bytes"));
                }
                let mut values = vec![base; count];
                for k in 0..width {
                    self.fill_plane(reader, count)?;
                    for (value, byte) in values.iter_mut().zip(&self.plane) {
                        *value = value.wrapping_add(u64::from(*byte) << (8 * k));
                    }
                }
                Ok(values)
            }
            2 => {
                let entries = reader.length()?;
                if entries > 256 {
                    return Err(Damage("at most 256 distinct values"));
                }
                let distinct = (0..entries).map(|_| reader.varint()).collect::<Read<Vec<u64>>>()?;
                self.fill_plane(reader, count)?;
                let index = |i: &u8| distinct.get(usize::from(*i)).copied();
                self.plane.iter().map(|i| index(i).ok_or(Damage("an index"))).collect()
            }
            _ => Err(Damage("a column's tag")),
        }
    }

    /// A dictionary and, for each row, a valid index into it.
    pub fn texts<'a>(&mut self, column: &'a [u8], count: usize) -> Read<(Vec<&'a str>, Vec<u64>)> {
        let mut reader = Reader(column);
        let dictionary = dictionary(&mut reader)?;
        let indexes = self.numbers_of(&mut reader, count)?;
        reader.end()?;
        if indexes.iter().any(|index| *index >= dictionary.len() as u64) {
            return Err(Damage("an index into the dictionary"));
        }
        Ok((dictionary, indexes))
    }
}

fn dictionary<'a>(reader: &mut Reader<'a>) -> Read<Vec<&'a str>> {
    let entries = reader.length()?;
    if entries > MOST_ROWS {
        return Err(Damage("a dictionary no longer than the rows"));
    }
    let mut texts = Vec::new();
    for _ in 0..entries {
        texts.push(reader.text()?);
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Vec<u64>> {
        prop_oneof![
            proptest::collection::vec(any::<u64>(), 1..300),
            proptest::collection::vec(0..20_000u64, 1..2_000),
            proptest::collection::vec(prop_oneof![Just(7u64), Just(90_000), Just(1 << 40)], 1..900),
            (any::<u64>(), 1..500usize).prop_map(|(value, count)| vec![value; count]),
        ]
    }

    proptest! {
        #[test]
        fn numbers_survive_either_effort(values in values(), fast: bool) {
            let mut encoder = Encoder::new().unwrap();
            encoder.effort = if fast { Effort::Fast } else { Effort::Small };
            let mut out = Vec::new();
            encoder.numbers(&mut out, &values);
            let read = Decoder::new().unwrap().numbers(&out, values.len());
            prop_assert_eq!(read, Ok(values));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0..5_000usize) {
            let mut decoder = Decoder::new().unwrap();
            let _ = decoder.numbers(&bytes, count);
            let _ = decoder.texts(&bytes, count);
        }
    }

    #[test]
    fn a_column_that_never_changes_costs_two_bytes() {
        let mut out = Vec::new();
        Encoder::new().unwrap().numbers(&mut out, &[0; 9_000]);
        assert_eq!(out.len(), 2);
    }
}
