//! Why a call reverted: the label of the reason, and the same for people, panics in words and custom
//! errors with their arguments.

use std::fmt::Write as _;

use alloy::dyn_abi::{DynSolValue, JsonAbiExt};
use alloy::json_abi::{Error as AbiError, Param};
use alloy::primitives::{Address, hex};

use super::residents::Code;
use super::{Contracts, Selector};
use crate::decode::revert::{PANIC, REVERT, panic_code, revert_text};
use crate::model::Reason;

/// The longest message, in characters.
const LONGEST: usize = 300;
/// Parameters of an error, those inside structs counted, beyond which it is told by its name alone.
const MOST_PARAMS: usize = 64;
/// The most revert data, in bytes, that is read as something nested: each item of an array may claim
/// to lie where the others do, so that little data holds the square of it.
const MOST_NESTED: usize = 4 << 10;

/// The codes that Solidity panics with.
const PANICS: [(u8, &str); 10] = [
    (0x00, "generic panic of the compiler"),
    (0x01, "assertion failed"),
    (0x11, "arithmetic overflow or underflow"),
    (0x12, "division or modulo by zero"),
    (0x21, "conversion to an enum value that does not exist"),
    (0x22, "storage byte array encoded incorrectly"),
    (0x31, "pop of an empty array"),
    (0x32, "array index out of bounds"),
    (0x41, "too much memory allocated"),
    (0x51, "call of an internal function that was never set"),
];

impl Contracts {
    /// Why a call to `to` reverted, from what it returned: a custom error's name, `Error` for
    /// `require` and `revert` with a text, `Panic(0x11)`, `no_data` when it returned nothing.
    pub fn reason(&mut self, to: Option<Address>, revert_data: &[u8]) -> Reason {
        if revert_data.is_empty() {
            return Reason::known("no_data");
        }
        match revert_data.first_chunk() {
            Some(&REVERT) => Reason::known("Error"),
            Some(&PANIC) => match panic_code(revert_data) {
                Some(code) => self.reasons.admit(&format!("Panic(0x{code:02x})")),
                None => Reason::known("Panic"),
            },
            Some(selector) => match self.error(to, selector).map(|error| error.name.clone()) {
                Some(name) => self.reasons.admit(&name),
                None => Reason::unknown(),
            },
            None => Reason::unknown(),
        }
    }

    /// The whole message of a revert, for people: the text of `Error(string)`, a panic in words, or a
    /// custom error with its arguments. Free text, cut at 300 characters: not for labels.
    pub fn revert_message(&self, to: Option<Address>, revert_data: &[u8]) -> Option<String> {
        let text = match revert_data.first_chunk()? {
            &REVERT => revert_text(revert_data)?,
            &PANIC => panic_message(panic_code(revert_data)?),
            selector => error_message(self.error(to, selector)?, revert_data),
        };
        Some(cut(&text))
    }

    /// The custom error: the called contract's own or that of the one behind it, else the first one
    /// of any (errors of contracts further down come up unchanged).
    fn error(&self, to: Option<Address>, selector: &Selector) -> Option<&AbiError> {
        let own = to.and_then(|to| {
            self.residents.chain(to, None).find_map(|code| match code {
                Code::Contract(index) => self.registry.get(index).errors.get(selector),
                _ => None,
            })
        });
        own.or_else(|| self.registry.error(selector))
    }
}

/// `text`, cut where it is too long.
fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// A panic in words.
fn panic_message(code: u8) -> String {
    match PANICS.iter().find(|(known, _)| *known == code) {
        Some((_, words)) => format!("Panic(0x{code:02x}): {words}"),
        None => format!("Panic(0x{code:02x})"),
    }
}

/// A custom error with its arguments, as far as they can be read: its name alone where they cannot.
fn error_message(error: &AbiError, revert_data: &[u8]) -> String {
    let arguments = revert_data.get(4..).filter(|data| is_harmless(&error.inputs, data.len()));
    let Some(Ok(values)) = arguments.map(|data| error.abi_decode_input(data)) else {
        return error.name.clone();
    };
    let mut text = Text(format!("{}(", error.name));
    for (i, (value, param)) in values.iter().zip(&error.inputs).enumerate() {
        text.push(if i > 0 { ", " } else { "" });
        if !param.name.is_empty() {
            text.push(&param.name);
            text.push(": ");
        }
        text.value(value);
    }
    text.push(")");
    text.0
}

/// Whether values of these types in so much data take no more memory than can be spared.
fn is_harmless(params: &[Param], bytes: usize) -> bool {
    let mut count = 0;
    let nesting = params.iter().map(|param| nesting(param, &mut count)).max().unwrap_or(0);
    // The decoder makes room for all of an array of fixed size before it reads the first item, and an
    // ABI may say `uint8[99999999999]`.
    count <= MOST_PARAMS
        && !params.iter().any(has_fixed_array)
        && (nesting <= 1 || (nesting == 2 && bytes <= MOST_NESTED))
}

/// How many things of variable size lie one in the other: 2 for `string[]`.
fn nesting(param: &Param, count: &mut usize) -> usize {
    *count += 1;
    let inner = param.components.iter().map(|param| nesting(param, count)).max().unwrap_or(0);
    let text = param.ty.starts_with("string") || param.ty.split('[').next() == Some("bytes");
    inner + usize::from(text) + param.ty.matches('[').count()
}

fn has_fixed_array(param: &Param) -> bool {
    let digit_after = |(at, _)| param.ty[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    param.ty.match_indices('[').any(digit_after) || param.components.iter().any(has_fixed_array)
}

/// A message that grows no further than somebody reads it.
struct Text(String);

impl Text {
    fn push(&mut self, text: &str) {
        // Four bytes are the longest character.
        if self.0.len() <= 4 * LONGEST {
            self.0.push_str(text);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.push(&hex::encode_prefixed(&bytes[..bytes.len().min(LONGEST)]));
    }

    fn list(&mut self, values: &[DynSolValue], [open, close]: [&str; 2]) {
        self.push(open);
        // Each item has a character at least.
        for (i, value) in values.iter().take(LONGEST).enumerate() {
            self.push(if i > 0 { ", " } else { "" });
            self.value(value);
        }
        self.push(close);
    }

    fn value(&mut self, value: &DynSolValue) {
        use DynSolValue as Value;
        if self.0.len() > 4 * LONGEST {
            return;
        }
        // Writing to a string cannot fail.
        let _ = match value {
            Value::Bool(value) => write!(self.0, "{value}"),
            Value::Int(value, _) => write!(self.0, "{value}"),
            Value::Uint(value, _) => write!(self.0, "{value}"),
            Value::Address(value) => write!(self.0, "{value}"),
            Value::FixedBytes(value, size) => {
                self.bytes(&value[..(*size).min(32)]);
                Ok(())
            }
            Value::Bytes(value) => {
                self.bytes(value);
                Ok(())
            }
            Value::String(value) => write!(self.0, "{:?}", cut(value)),
            Value::Array(values) | Value::FixedArray(values) => {
                self.list(values, ["[", "]"]);
                Ok(())
            }
            Value::Tuple(values) => {
                self.list(values, ["(", ")"]);
                Ok(())
            }
            other => write!(self.0, "{other:?}"),
        };
    }
}
