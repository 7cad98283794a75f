//! A scanner that finds where JSON values begin and end, without building them.
//!
//! It visits each byte once and keeps a counter instead of a stack, so depth costs nothing: a
//! million `[` is a loop of a million steps. It is lenient inside nested values (brackets must
//! balance, strings must end, nothing else is checked): what matters here is where the top-level
//! members are, and the node judges the rest.

use memchr::memchr2;

/// Why scanning stopped before the end of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The bytes ended inside a value.
    Cut,
    /// A byte at this offset cannot stand there.
    Unexpected(usize),
}

/// A position in a JSON text.
pub(super) struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

/// How a closing byte or separator ends a member or an element.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    More,
    End,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next byte that is not white space, without taking it.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, Halt> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(Halt::Cut)
    }

    /// Takes the expected byte, white space before it skipped.
    #[inline]
    pub(super) fn expect(&mut self, expected: u8) -> Result<(), Halt> {
        if self.peek()? == expected {
            self.at += 1;
            Ok(())
        } else {
            Err(Halt::Unexpected(self.at))
        }
    }

    /// Takes a comma or the closing byte.
    #[inline]
    pub(super) fn separator(&mut self, closing: u8) -> Result<Next, Halt> {
        let byte = self.peek()?;
        let next = match byte {
            b',' => Next::More,
            _ if byte == closing => Next::End,
            _ => return Err(Halt::Unexpected(self.at)),
        };
        self.at += 1;
        Ok(next)
    }

    /// Takes a string and gives what stands between its quotes, escapes as they are.
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a [u8], Halt> {
        self.expect(b'"')?;
        let start = self.at;
        self.rest_of_string()?;
        Ok(&self.bytes[start..self.at - 1])
    }

    /// Takes a string's remainder with its closing quote, the opening one having been taken.
    #[inline]
    fn rest_of_string(&mut self) -> Result<(), Halt> {
        // Keys, methods, addresses and hashes are short: eight bytes at a time beat the set-up of a
        // search there.
        let near = self.at + 64;
        while self.at < near
            && let Some((&eight, _)) = self.bytes[self.at..].split_first_chunk()
        {
            let eight = u64::from_le_bytes(eight);
            let found = first_equal(eight, b'"') | first_equal(eight, b'\\');
            if found == 0 {
                self.at += 8;
                continue;
            }
            self.at += found.trailing_zeros() as usize / 8;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(());
            }
            break;
        }
        self.rest_of_long_string()
    }

    fn rest_of_long_string(&mut self) -> Result<(), Halt> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            match memchr2(b'"', b'\\', rest) {
                None => {
                    self.at = self.bytes.len();
                    return Err(Halt::Cut);
                }
                Some(found) if rest[found] == b'"' => {
                    self.at += found + 1;
                    return Ok(());
                }
                // The escaped byte is never looked at, so an escaped quote does not end the string.
                Some(found) => self.at += found + 2,
            }
        }
    }

    /// Takes a value of any kind and gives its text. When the bytes end inside it, the position is
    /// the end of the bytes.
    #[inline]
    pub(super) fn value(&mut self) -> Result<&'a [u8], Halt> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.at += 1;
                self.rest_of_string()?;
            }
            b'{' | b'[' => self.nested()?,
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.scalar()?,
            _ => return Err(Halt::Unexpected(start)),
        }
        Ok(&self.bytes[start..self.at])
    }

    /// Takes an object or array, whatever is in it.
    fn nested(&mut self) -> Result<(), Halt> {
        let mut depth = 0_usize;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => self.rest_of_string()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    // Starts at an opening bracket, so the depth is 1 or more here.
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        self.at = self.bytes.len();
        Err(Halt::Cut)
    }

    /// Takes a number, `true`, `false` or `null`. One that touches the end of the bytes may go on
    /// after it, so it is cut.
    fn scalar(&mut self) -> Result<(), Halt> {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'0'..=b'9' | b'a'..=b'z' | b'+' | b'-' | b'.' | b'E' => self.at += 1,
                b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' => return Ok(()),
                _ => return Err(Halt::Unexpected(self.at)),
            }
        }
        Err(Halt::Cut)
    }
}

/// A word whose lowest set bit is in the first byte of `eight` that equals `byte`; 0 if none does.
const fn first_equal(eight: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    let zero_where_equal = eight ^ (ONES * byte as u64);
    zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & (ONES << 7)
}
