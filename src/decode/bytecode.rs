//! A contract's compiled code, and whether code from the chain is an instance of it.
//!
//! The compiler leaves holes: library addresses are filled in by the linker, immutables by the
//! constructor, and the metadata at the end changes with every comment of the source. Code is
//! compared with the holes left out. Vyper's constructors append immutables to the code instead.
//! Knows no artifact format and no address.

use std::ops::Range;

mod vyper;

/// Code with its holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytecode {
    code: Vec<u8>,
    /// Sorted, never overlapping, all inside `code`.
    holes: Vec<Range<usize>>,
    appended: Appended,
}

/// What the constructor appends to deployed code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Appended {
    #[default]
    Nothing,
    /// So many bytes.
    Bytes(usize),
    /// Words of 32 bytes, an unknown number of them.
    Words,
}

/// How well code from the chain fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It begins with all of the code, and immutables may follow.
    Beginning,
    /// The instructions are the same; the metadata is not, so the source may be another one.
    Instructions,
    /// All is the same, outside the holes.
    Whole,
}

const PUSH20: u8 = 0x73;
const PUSH32: u8 = 0x7f;
/// `ADDRESS EQ`: what follows the address a library compares itself with.
const LIBRARY_GUARD: [u8; 2] = [0x30, 0x14];

impl Bytecode {
    /// Code whose `holes` are known; those that reach outside the code are cut.
    pub fn new(code: Vec<u8>, mut holes: Vec<Range<usize>>) -> Self {
        holes.sort_unstable_by_key(|hole| hole.start);
        let mut disjoint: Vec<Range<usize>> = Vec::with_capacity(holes.len());
        let mut filled = 0;
        for hole in holes {
            let (start, end) = (hole.start.max(filled), hole.end.min(code.len()));
            if start < end {
                filled = end;
                disjoint.push(start..end);
            }
        }
        Self { code, holes: disjoint, appended: Appended::Nothing }
    }

    /// Deployed code: also takes for holes what artifacts without immutable references do not tell.
    /// An immutable is compiled to `PUSH32` of zero, and a library's guard to `PUSH20` of zero;
    /// an optimiser pushes a zero it means by shorter ways.
    pub fn deployed(code: Vec<u8>, mut holes: Vec<Range<usize>>) -> Self {
        holes.extend(zero_pushes(&code));
        Self::new(code, holes)
    }

    /// The same, deployed by creation code of Vyper, which appends immutables to it.
    pub fn with_immutables_of(mut self, creation: &[u8]) -> Self {
        self.appended = match vyper::immutables(creation) {
            Some(0) => Appended::Nothing,
            Some(bytes) => Appended::Bytes(bytes),
            None => self.appended,
        };
        self
    }

    /// The same, written by a Vyper whose creation code does not say how much is appended.
    pub fn with_any_immutables(mut self) -> Self {
        self.appended = Appended::Words;
        self
    }

    pub fn len(&self) -> usize {
        self.code.len()
    }

    /// Whether there is none: an interface, an abstract contract, or an account.
    pub fn is_empty(&self) -> bool {
        self.code.is_empty()
    }

    /// Whether `input` creates an instance: begins with this code (the constructor's arguments
    /// follow). The metadata at the end may differ.
    pub fn begins(&self, input: &[u8]) -> Option<Fit> {
        if self.is_empty() || input.len() < self.code.len() {
            return None;
        }
        self.compare(&input[..self.code.len()])
    }

    /// Whether `code` is an instance.
    pub fn matches(&self, code: &[u8]) -> Option<Fit> {
        if self.is_empty() || code.is_empty() {
            return None;
        }
        if code.len() == self.code.len() {
            return self.compare(code);
        }
        if let Some(more) = code.len().checked_sub(self.code.len()) {
            let (fits, fit) = match self.appended {
                Appended::Nothing => (false, Fit::Beginning),
                Appended::Bytes(bytes) => (more == bytes, Fit::Whole),
                Appended::Words => (more.is_multiple_of(32), Fit::Beginning),
            };
            if fits && self.equal(code, 0..self.code.len()) {
                return Some(fit);
            }
        }
        // Metadata of another length: compare what comes before it.
        let (ours, theirs) = (instructions(&self.code), instructions(code));
        let same = ours > 0 && ours == theirs && self.equal(code, 0..ours);
        same.then_some(Fit::Instructions)
    }

    /// Compares code of the same length.
    fn compare(&self, code: &[u8]) -> Option<Fit> {
        let body = instructions(&self.code);
        // Code that is all metadata would fit everything of its length.
        if !self.equal(code, 0..body) || (body == 0 && code != self.code) {
            return None;
        }
        let whole = self.equal(code, body..self.code.len());
        Some(if whole { Fit::Whole } else { Fit::Instructions })
    }

    /// Whether `code` equals ours in `range`, outside the holes. Both are at least `range.end` long.
    fn equal(&self, code: &[u8], range: Range<usize>) -> bool {
        let mut from = range.start;
        for hole in &self.holes {
            if hole.end <= from {
                continue;
            }
            if hole.start >= range.end {
                break;
            }
            let to = hole.start.max(from);
            if code[from..to] != self.code[from..to] {
                return false;
            }
            from = hole.end.min(range.end);
        }
        code[from..range.end] == self.code[from..range.end]
    }
}

/// Where the instructions end and the metadata begins: solc writes CBOR (a map of 1 to 4 entries)
/// and its length in two bytes at the very end.
fn instructions(code: &[u8]) -> usize {
    let Some((rest, &[high, low])) = code.split_last_chunk::<2>() else {
        return code.len();
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    match rest.len().checked_sub(length) {
        Some(start) if matches!(rest.get(start), Some(0xa1..=0xa4)) => start,
        _ => code.len(),
    }
}

/// The operands of `PUSH32` that are all zero, and the address of a library's guard.
fn zero_pushes(code: &[u8]) -> Vec<Range<usize>> {
    let mut zeros = Vec::new();
    if code.len() > 23 && code[0] == PUSH20 && code[21..23] == LIBRARY_GUARD {
        zeros.push(1..21);
    }
    let mut at = 0;
    while at < code.len() {
        let op = code[at];
        let operand = match op {
            0x60..=PUSH32 => usize::from(op - 0x5f),
            _ => 0,
        };
        let end = at + 1 + operand;
        if op == PUSH32 && end <= code.len() && code[at + 1..end].iter().all(|byte| *byte == 0) {
            zeros.push(at + 1..end);
        }
        at = end;
    }
    zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_metadata(body: &[u8], metadata: &[u8]) -> Vec<u8> {
        let length = u16::try_from(metadata.len()).unwrap().to_be_bytes();
        [body, metadata, &length].concat()
    }

    #[test]
    fn the_same_instructions_with_other_metadata_fit_less_well() {
        let ours = Bytecode::new(with_metadata(&[1, 2, 3, 4], &[0xa1, 7, 7]), vec![]);
        assert_eq!(ours.matches(&with_metadata(&[1, 2, 3, 4], &[0xa1, 7, 7])), Some(Fit::Whole));
        assert_eq!(
            ours.matches(&with_metadata(&[1, 2, 3, 4], &[0xa1, 8, 8])),
            Some(Fit::Instructions)
        );
        assert_eq!(
            ours.matches(&with_metadata(&[1, 2, 3, 4], &[0xa2, 8, 8, 8])),
            Some(Fit::Instructions)
        );
        assert_eq!(ours.matches(&with_metadata(&[1, 2, 3, 5], &[0xa1, 7, 7])), None);
        assert_eq!(ours.matches(&[]), None);
    }

    #[test]
    fn holes_are_left_out_of_the_comparison() {
        let ours = Bytecode::new(vec![1, 0, 0, 4, 0, 6], vec![4..5, 1..3, 2..3, 9..20]);
        assert_eq!(ours.matches(&[1, 9, 9, 4, 9, 6]), Some(Fit::Whole));
        assert_eq!(ours.matches(&[1, 9, 9, 5, 9, 6]), None);
        assert_eq!(ours.begins(&[1, 9, 9, 4, 9, 6, 77, 78]), Some(Fit::Whole));
        assert_eq!(ours.begins(&[1, 9, 9, 4, 9]), None);
    }

    #[test]
    fn an_immutable_is_found_without_being_told() {
        let mut code = vec![0x60, 0x7f, PUSH32];
        code.extend([0; 32]);
        code.push(0x00);
        let ours = Bytecode::deployed(code.clone(), vec![]);
        code[10] = 0xee;
        assert_eq!(ours.matches(&code), Some(Fit::Whole));
        code[1] = 0x7e;
        assert_eq!(ours.matches(&code), None);
    }

    #[test]
    fn immutables_may_follow_the_code_of_vyper_only() {
        let plain = Bytecode::deployed(vec![1, 2, 3], vec![]);
        let with = |more: usize| [&[1, 2, 3][..], &vec![9; more]].concat();
        let creation = alloy::primitives::hex!("fe8403801820a1657679706572830004000012");
        let counted = plain.clone().with_immutables_of(&creation);
        let uncounted = plain.clone().with_any_immutables();
        assert_eq!(plain.matches(&with(32)), None);
        assert_eq!(counted.matches(&with(32)), Some(Fit::Whole));
        assert_eq!(counted.matches(&with(64)), None, "a longer contract");
        assert_eq!(counted.matches(&with(0)), Some(Fit::Whole), "as compiled");
        assert_eq!(uncounted.matches(&with(64)), Some(Fit::Beginning));
        assert_eq!(uncounted.matches(&with(33)), None);
        assert_eq!(uncounted.with_immutables_of(&creation).matches(&with(64)), None);
    }

    #[test]
    fn a_library_knows_itself_at_any_address() {
        let mut code = vec![PUSH20];
        code.extend([0; 20]);
        code.extend([0x30, 0x14, 0x60, 0x80]);
        let ours = Bytecode::deployed(code.clone(), vec![]);
        code[1..21].fill(0xab);
        assert_eq!(ours.matches(&code), Some(Fit::Whole));
    }
}
