//! Owns the smallest pieces of the byte layout: variable-length integers, a reader that never reads
//! past its end, and the checksum of a block.

/// Stored bytes are not what was written. Carries what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage(pub &'static str);

pub(super) type Read<T> = Result<T, Damage>;

/// Little-endian base 128, as in protobuf.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80 here")]
    out.push(value as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Small magnitudes of either sign become small numbers.
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Reads stored bytes from the front. Every method fails rather than read past the end.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damage("more bytes"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Damage("more bytes"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn byte(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn varint(&mut self) -> Read<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damage("a varint of at most ten bytes"))
    }

    pub fn length(&mut self) -> Read<usize> {
        usize::try_from(self.varint()?).map_err(|_| Damage("a length that fits memory"))
    }

    pub fn text(&mut self) -> Read<&'a str> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Damage("UTF-8"))
    }

    pub fn end(&self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Damage("no more bytes")) }
    }
}

/// A checksum against flipped bits, not against malice: redb verifies pages only when it repairs,
/// and a flipped bit in a raw plane would otherwise become a plausible latency.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = bytes.len() as u64 ^ PRIME;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks_exact gives eight; qed"));
        state = (state ^ word).wrapping_mul(PRIME).rotate_left(29);
    }
    for byte in words.remainder() {
        state = (state ^ u64::from(*byte)).wrapping_mul(PRIME).rotate_left(29);
    }
    state ^= state >> 32;
    #[expect(clippy::cast_possible_truncation, reason = "both halves were folded into the lower")]
    let folded = state.wrapping_mul(PRIME).rotate_left(32) as u32;
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_survive(value: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.end(), Ok(()));
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }

        #[test]
        fn a_flipped_bit_changes_the_checksum(
            mut bytes in proptest::collection::vec(any::<u8>(), 1..200), at: usize, bit in 0..8u8
        ) {
            let before = checksum(&bytes);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(before, checksum(&bytes));
        }
    }

    #[test]
    fn an_endless_varint_is_damage() {
        assert!(Reader(&[0xff; 20]).varint().is_err());
        assert!(Reader(&[0x80]).varint().is_err());
    }
}
