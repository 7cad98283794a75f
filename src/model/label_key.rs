//! Labels as keys: by where their texts lie, which costs a hash of a few words instead of one of the
//! texts, and a comparison of none.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::label::Label;

/// Where a text of a label, or one known when the program was written, lies. Equal texts at two
/// places are two keys: whoever maps them must have both lead to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelKey(usize, usize);

impl From<&'static str> for LabelKey {
    fn from(text: &'static str) -> Self {
        Self(text.as_ptr().addr(), text.len())
    }
}

impl<K> From<Label<K>> for LabelKey {
    fn from(label: Label<K>) -> Self {
        label.as_str().into()
    }
}

/// Multiplies and folds: for keys of a few words that no outsider chooses.
#[derive(Default)]
pub struct LabelHasher(u64);

impl Hasher for LabelHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map by keys that are made of [`LabelKey`]s and small numbers.
pub type LabelMap<K, V> = HashMap<K, V, BuildHasherDefault<LabelHasher>>;
