//! Owns the mergeable log-linear sketch behind every roll-up: 64 sub-buckets an octave, so a
//! percentile is within 0.8 % of the exact one, whatever was merged.
//!
//! ```text
//! encoded   n (gap count)…    n occupied buckets, each as the distance from the one before
//! ```

use super::bytes::{Damage, Read, Reader, put_varint};

const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
/// Buckets that a 64-bit value can fall in.
const BUCKETS: usize = ((64 - SUB_BITS as usize) + 1) << SUB_BITS;

/// Counts of values by bucket. Dense between the lowest and the highest occupied bucket: latencies
/// of one method span a few octaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sketch {
    first: usize,
    counts: Vec<u64>,
}

#[expect(clippy::cast_possible_truncation, reason = "a bucket is below 3,776")]
const fn bucket_of(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let octave = 63 - value.leading_zeros();
    let sub = (value >> (octave - SUB_BITS)) & (SUB - 1);
    (((octave - SUB_BITS + 1) as usize) << SUB_BITS) + sub as usize
}

/// The middle of a bucket.
const fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * SUB {
        return bucket;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let lowest = (SUB + (bucket & (SUB - 1))) << shift;
    lowest + (1 << shift) / 2
}

impl Sketch {
    pub fn add(&mut self, value: u64, count: u64) {
        self.add_bucket(bucket_of(value), count);
    }

    fn add_bucket(&mut self, bucket: usize, count: u64) {
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            let gap = self.first - bucket;
            self.counts.splice(0..0, std::iter::repeat_n(0, gap));
            self.first = bucket;
        }
        let index = bucket - self.first;
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += count;
    }

    pub fn merge(&mut self, other: &Self) {
        for (index, count) in other.counts.iter().enumerate() {
            if *count > 0 {
                self.add_bucket(other.first + index, *count);
            }
        }
    }

    /// The value at a rank, counted from 1; the middle of its bucket.
    pub fn at_rank(&self, rank: u64) -> u64 {
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return middle_of(self.first + index);
            }
        }
        middle_of(self.first + self.counts.len().saturating_sub(1))
    }

    /// Values below the bucket that holds `value`.
    pub fn count_under(&self, value: u64) -> u64 {
        let index = bucket_of(value).saturating_sub(self.first).min(self.counts.len());
        self.counts[..index].iter().sum()
    }

    pub fn same_bucket(left: u64, right: u64) -> bool {
        bucket_of(left) == bucket_of(right)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let occupied = || self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        put_varint(out, occupied().count() as u64);
        let mut previous = 0;
        for (index, count) in occupied() {
            let bucket = self.first + index;
            put_varint(out, (bucket - previous) as u64);
            put_varint(out, *count);
            previous = bucket;
        }
    }

    /// Reads an encoded sketch and adds it to this one, without building it first.
    pub fn merge_encoded(&mut self, reader: &mut Reader<'_>) -> Read<()> {
        let mut bucket = 0usize;
        for _ in 0..reader.length()? {
            bucket = bucket.saturating_add(reader.length()?);
            if bucket >= BUCKETS {
                return Err(Damage("a sketch's bucket"));
            }
            let count = reader.varint()?;
            if count > 1 << 48 {
                return Err(Damage("a plausible count"));
            }
            self.add_bucket(bucket, count);
        }
        Ok(())
    }
}

/// The rank of a quantile among `count` values, from 1: the smallest that leaves at least that
/// share at or below it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=count")]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn rank_of(count: u64, quantile: f64) -> u64 {
    ((quantile * count as f64).ceil() as u64).clamp(1, count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_within_one_percent_of_its_values(value: u64, shift in 0..64u32) {
            let value = value >> shift;
            let middle = middle_of(bucket_of(value));
            prop_assert!(middle.abs_diff(value) <= value / 100, "{} for {}", middle, value);
        }

        #[test]
        fn merging_encoded_halves_gives_the_whole(values in proptest::collection::vec(0..10_000_000u64, 1..200), split: usize) {
            let mut whole = Sketch::default();
            values.iter().for_each(|value| whole.add(*value, 1));
            let mut merged = Sketch::default();
            let (left, right) = values.split_at(split % values.len());
            for half in [left, right] {
                let mut sketch = Sketch::default();
                half.iter().for_each(|value| sketch.add(*value, 1));
                let mut out = Vec::new();
                sketch.encode(&mut out);
                let mut reader = Reader(&out);
                prop_assert_eq!(merged.merge_encoded(&mut reader), Ok(()));
                prop_assert_eq!(reader.end(), Ok(()));
            }
            let mut sorted = values.clone();
            sorted.sort_unstable();
            for quantile in [0.0, 0.5, 0.95, 0.99, 1.0] {
                let rank = rank_of(sorted.len() as u64, quantile);
                let exact = sorted[usize::try_from(rank).unwrap() - 1];
                prop_assert_eq!(whole.at_rank(rank), merged.at_rank(rank));
                prop_assert!(merged.at_rank(rank).abs_diff(exact) <= exact / 100);
            }
        }
    }

    #[test]
    fn the_largest_value_has_a_bucket() {
        assert!(bucket_of(u64::MAX) < BUCKETS);
        assert_eq!(bucket_of(u64::MAX) + 1, BUCKETS);
    }
}
