//! What Vyper says of a contract at the end of its creation code: since 0.3.10 a CBOR list and its
//! length in two bytes.
//!
//! ```text
//! [integrity hash (since 0.4.1), size of the runtime code, [sizes of data sections],
//!  size of the immutables, {"vyper": [0, 4, 3]}]
//! ```

const UINT: u8 = 0;
const BYTES: u8 = 2;
const LIST: u8 = 4;
const MAP: u8 = 5;
/// The map's key, as CBOR has it.
const KEY: [u8; 6] = *b"\x65vyper";

/// How many bytes the constructor appends to the runtime code for the contract's immutables; none for
/// code that no Vyper since 0.3.10 wrote.
pub(super) fn immutables(creation: &[u8]) -> Option<usize> {
    let (rest, length) = creation.split_last_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    // The length counts its own two bytes too.
    let start = creation.len().checked_sub(length)?;
    let mut cbor = Cbor(rest.get(start..)?);
    let items = cbor.head(LIST)?;
    if items == 5 {
        let hash = cbor.head(BYTES)?;
        cbor.0 = cbor.0.get(hash..)?;
    } else if items != 4 {
        return None;
    }
    cbor.head(UINT)?;
    for _ in 0..cbor.head(LIST)? {
        cbor.head(UINT)?;
    }
    let immutables = cbor.head(UINT)?;
    cbor.head(MAP)?;
    cbor.0.starts_with(&KEY).then_some(immutables)
}

/// What is left to be read.
struct Cbor<'a>(&'a [u8]);

impl Cbor<'_> {
    /// The number in the head of an item of this major type.
    fn head(&mut self, major: u8) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        if first >> 5 != major {
            return None;
        }
        let size = match first & 0x1f {
            value @ 0..24 => {
                self.0 = rest;
                return Some(usize::from(value));
            }
            24 => 1,
            25 => 2,
            26 => 4,
            _ => return None,
        };
        let (number, rest) = rest.split_at_checked(size)?;
        self.0 = rest;
        Some(number.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::hex;

    use super::*;

    #[test]
    fn the_size_of_the_immutables_is_at_the_end() {
        let with_hash =
            format!("fe855820{}190140810a1840a1657679706572830004030037", "ab".repeat(32));
        assert_eq!(immutables(&hex::decode(with_hash).unwrap()), Some(64));
        // Vyper 0.3.10 and 0.4.0.
        assert_eq!(immutables(&hex!("fe8418d4801820a1657679706572830004000013")), Some(32));
    }

    #[test]
    fn other_code_has_none() {
        for code in [&[][..], &[0], &[0, 0], &[0xff, 0xff], &[0x85, 0, 3], &hex!("a1640004")] {
            assert_eq!(immutables(code), None, "{code:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, length in 0_u16..64) {
            let code = [&bytes[..], &length.to_be_bytes()].concat();
            immutables(&code);
        }
    }
}
