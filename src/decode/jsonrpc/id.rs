//! The id that joins a response to its request, in a form that can be compared and kept.
//!
//! Nodes echo ids after a round trip through their own JSON library, so the text may come back
//! changed while the id is the same. Two ids are the same here when
//! - both are `null`;
//! - both are numbers of the same value: `1`, `1.0` and `1e0` are one id. Beyond 2⁵³ a JavaScript
//!   node rounds: such ids share a key when they round to the same double, and [`Id::exact`] tells
//!   them apart where the node kept the digits;
//! - both are strings that spell the same text: `"\u0061"` is `"a"`. A string is never a number;
//! - both are something else (an object, an array, a truth value: the standard has none of these)
//!   with the same text, byte for byte.
//!
//! A string is kept as its 64-bit hash, so an id of a megabyte takes no more room than `1`.

use std::hash::{DefaultHasher, Hasher};

use super::text;

/// 2⁵³: up to here every whole number is a double of its own.
const EXACT_DOUBLES: u64 = 1 << 53;

/// A request's or response's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    pub key: IdKey,
    /// Tells apart ids whose keys are equal only after rounding; 0 wherever the key is exact.
    pub exact: u64,
}

/// What ids are looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdKey {
    Null,
    /// A whole number within ±2⁵³.
    Whole(i64),
    /// Any other number, as the bits of the nearest double.
    Rounded(u64),
    /// A string, by the hash of its text.
    Text(u64),
    /// What no id should be, by the hash of its bytes.
    Odd(u64),
}

impl Id {
    /// Reads an id from the text of its value.
    pub(super) fn of(value: &[u8]) -> Self {
        let exact = |key| Self { key, exact: 0 };
        match value {
            b"null" => exact(IdKey::Null),
            [b'"', inner @ .., b'"'] => {
                exact(IdKey::Text(match text(inner) {
                    Some(text) => hash(text.as_bytes()),
                    // Not a text (a lone surrogate, invalid UTF-8): the bytes must do.
                    None => hash(inner),
                }))
            }
            [b'-' | b'0'..=b'9', ..] => Self::number(value),
            _ => exact(IdKey::Odd(hash(value))),
        }
    }

    fn number(value: &[u8]) -> Self {
        let whole = |number| Self { key: IdKey::Whole(number), exact: 0 };
        if value.len() <= 15
            && let Some(number) = short_whole(value)
        {
            return whole(number);
        }
        let Some(double) = std::str::from_utf8(value).ok().and_then(|t| t.parse::<f64>().ok())
        else {
            return Self { key: IdKey::Odd(hash(value)), exact: 0 };
        };
        #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates")]
        let truncated = double as i64;
        #[expect(clippy::cast_precision_loss, reason = "compared within 2^53 only")]
        let is_whole = truncated.unsigned_abs() < EXACT_DOUBLES && truncated as f64 == double;
        if is_whole {
            whole(truncated)
        } else {
            Self { key: IdKey::Rounded(double.to_bits()), exact: hash(value) }
        }
    }
}

/// The number that up to 15 bytes of digits with an optional sign spell.
fn short_whole(value: &[u8]) -> Option<i64> {
    let (sign, digits) = match value {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    Some(sign * number)
}

/// The same in every process: nothing is gained by making two ids of one's own collide.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Id::of(a.as_bytes()).key == Id::of(b.as_bytes()).key
    }

    #[test]
    fn numbers_are_the_same_by_value() {
        assert!(same("1", "1.0"));
        assert!(same("1", "1e0"));
        assert!(same("0", "-0"));
        assert!(same("1057264140543346", "1057264140543346"));
        assert!(same("9007199254740991", "9007199254740991"));
        assert!(!same("1", "2"));
        assert!(!same("1", "1.5"));
        assert!(!same("1", "-1"));
        assert!(!same("9007199254740990", "9007199254740991"));
    }

    #[test]
    fn numbers_beyond_doubles_match_as_rounded_and_are_told_apart_exactly() {
        let (asked, echoed) = (Id::of(b"9007199254740993"), Id::of(b"9007199254740992"));
        assert_eq!(asked.key, echoed.key);
        assert_ne!(asked.exact, echoed.exact);
        assert_eq!(asked, Id::of(b"9007199254740993"));
        assert_eq!(Id::of(b"1e999").key, Id::of(b"1e999").key);
        // The least of 64 bits has no positive counterpart; what is less saturates to it.
        for least in ["-9223372036854775808", "-444444444444444444444444432000", "-1e999"] {
            assert!(matches!(Id::of(least.as_bytes()).key, IdKey::Rounded(_)), "{least}");
        }
    }

    #[test]
    fn strings_are_the_same_by_what_they_spell() {
        assert!(same(r#""\u0061""#, r#""a""#));
        assert!(same(r#""\u00e9""#, "\"é\""));
        assert!(!same(r#""1""#, "1"));
        assert!(!same(r#""null""#, "null"));
        assert!(!same(r#""a""#, r#""A""#));
        assert!(same(r#""\ud800""#, r#""\ud800""#));
    }

    #[test]
    fn what_no_id_should_be_is_compared_as_it_stands() {
        assert!(same("[1]", "[1]"));
        assert!(!same("[1]", "[ 1]"));
        assert!(!same("true", "false"));
        assert!(!same("-", "1"));
    }
}
