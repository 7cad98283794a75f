//! The JSON-RPC 2.0 envelope: which calls a message holds, and what it answers, without parsing
//! params or results.
//!
//! Owns where the members of each object are and how ids compare. Does not own what params mean
//! (`submission`), nor which response belongs to which request (`record`).
//!
//! Decisions, where texts disagree or break the standard:
//! - of equal keys the last one counts, as with `JSON.parse`; keys may be spelled with escapes;
//! - an absent `id` makes a notification, `"id": null` a call whose id is null;
//! - `"error": null` beside a result is a success, any other `error` is an error; one without a
//!   whole-number `code` has code 0;
//! - the top level is strict: a byte-order mark, anything after the value, and unquoted keys are
//!   malformed, as they are to the nodes. Inside params and results only brackets and strings are
//!   followed: text that a node refuses there still counts as the call it was meant to be;
//! - more than [`BATCH_LIMIT`] items of a batch are counted but not looked into.

mod id;
mod notice;
mod scan;

use std::borrow::Cow;

pub use id::{Id, IdKey};
pub use notice::{Notice, subscription_id, subscription_kind, unsubscribed};
use scan::{Halt, Next, Scanner};

/// How many items of a batch are looked into. Nodes that limit batches stop at 100 to 1,000.
pub const BATCH_LIMIT: usize = 10_000;

/// Why bytes are no JSON-RPC message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("expected a JSON object or array, found nothing")]
    Empty,
    #[error("expected a JSON object or array, found byte 0x{found:02x} at offset {at}")]
    NotAnObject { at: usize, found: u8 },
    #[error("byte 0x{found:02x} at offset {at} cannot stand there in JSON")]
    Unexpected { at: usize, found: u8 },
    #[error("expected the end of the message, found byte 0x{found:02x} at offset {at}")]
    Trailing { at: usize, found: u8 },
}

/// A message, as far as its bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub shape: Shape<'a>,
    /// The bytes ended before the message did. What was begun last may then be partial.
    pub cut: bool,
}

/// One object or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape<'a> {
    Single(Envelope<'a>),
    Batch {
        /// The first [`BATCH_LIMIT`] items. One that is not an object has no members.
        items: Vec<Envelope<'a>>,
        /// All items.
        size: u32,
    },
}

/// The members of one request, response or notification, each as the JSON text of its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The whole object.
    pub text: &'a [u8],
    method: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    pub params: Option<&'a [u8]>,
    pub result: Option<&'a [u8]>,
    pub error: Option<&'a [u8]>,
}

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The result's text.
    Result(&'a [u8]),
    Error {
        code: i64,
        /// The error object's text.
        text: &'a [u8],
    },
}

impl<'a> Envelope<'a> {
    /// The method's name; none where there is no `method` or it is not a text.
    pub fn method(&self) -> Option<Cow<'a, str>> {
        match self.method? {
            [b'"', inner @ .., b'"'] => text(inner),
            _ => None,
        }
    }

    /// Whether there is a `method`, readable or not: responses have none.
    pub const fn has_method(&self) -> bool {
        self.method.is_some()
    }

    /// Whether it asks for something, however badly. Nodes answer an item of a batch that does not,
    /// such as a number, with an error whose id is `null`.
    pub const fn is_request(&self) -> bool {
        self.method.is_some() || self.id.is_some()
    }

    /// The id; none for a notification.
    pub fn id(&self) -> Option<Id> {
        self.id.map(Id::of)
    }

    /// What the response says; none for an object that is no response.
    pub fn answer(&self) -> Option<Answer<'a>> {
        match (self.error, self.result) {
            (Some(b"null") | None, Some(result)) => Some(Answer::Result(result)),
            (Some(b"null") | None, None) => None,
            (Some(error), _) => Some(Answer::Error { code: error_code(error), text: error }),
        }
    }

    fn keep(&mut self, key: &[u8], value: &'a [u8]) {
        match key {
            b"id" => self.id = Some(value),
            b"method" => self.method = Some(value),
            b"params" => self.params = Some(value),
            b"result" => self.result = Some(value),
            b"error" => self.error = Some(value),
            _ if key.contains(&b'\\') => {
                if let Some(Cow::Owned(plain)) = text(key)
                    && !plain.contains('\\')
                {
                    self.keep(plain.as_bytes(), value);
                }
            }
            _ => {}
        }
    }

    /// Keeps a value whose end is missing. Half an id or method would be another one.
    fn keep_partial(&mut self, key: &[u8], value: &'a [u8]) {
        if !value.is_empty() && matches!(key, b"params" | b"result" | b"error") {
            self.keep(key, value);
        }
    }
}

/// Reads a message's bytes: a request, a response, a notification, or a batch of them.
pub fn read(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut scanner = Scanner::new(bytes);
    let message = match scanner.peek() {
        Err(_) => return Err(Malformed::Empty),
        Ok(b'{') => {
            let mut envelope = Envelope::default();
            let cut = is_cut(object(&mut scanner, &mut envelope), bytes)?;
            Message { shape: Shape::Single(envelope), cut }
        }
        Ok(b'[') => {
            let (mut items, mut size) = (Vec::new(), 0_usize);
            let cut = is_cut(batch(&mut scanner, &mut items, &mut size), bytes)?;
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            Message { shape: Shape::Batch { items, size }, cut }
        }
        Ok(found) => return Err(Malformed::NotAnObject { at: scanner.at, found }),
    };
    match scanner.peek() {
        Ok(found) if !message.cut => Err(Malformed::Trailing { at: scanner.at, found }),
        _ => Ok(message),
    }
}

/// Drops the last item of a batch that ended early, where its own end is missing.
pub fn drop_partial(items: &mut Vec<Envelope<'_>>) {
    items.pop_if(|last| !matches!(read(last.text), Ok(Message { cut: false, .. })));
}

fn is_cut(end: Result<(), Halt>, bytes: &[u8]) -> Result<bool, Malformed> {
    match end {
        Ok(()) => Ok(false),
        Err(Halt::Cut) => Ok(true),
        Err(Halt::Unexpected(at)) => {
            Err(Malformed::Unexpected { at, found: bytes.get(at).copied().unwrap_or_default() })
        }
    }
}

/// Reads an object's members into `envelope`, which holds what was found when the bytes end early.
fn object<'a>(scanner: &mut Scanner<'a>, envelope: &mut Envelope<'a>) -> Result<(), Halt> {
    let (bytes, start) = (scanner.bytes, scanner.at);
    let end = members(scanner, |key, value| match value {
        Ok(value) => envelope.keep(key, value),
        Err(partial) => envelope.keep_partial(key, partial),
    });
    envelope.text = &bytes[start..scanner.at];
    end
}

/// Walks an object's members: each key with its value, or with the beginning of it where the bytes
/// end.
#[inline]
fn members<'a>(
    scanner: &mut Scanner<'a>,
    mut each: impl FnMut(&'a [u8], Result<&'a [u8], &'a [u8]>),
) -> Result<(), Halt> {
    scanner.expect(b'{')?;
    if scanner.peek()? == b'}' {
        scanner.at += 1;
        return Ok(());
    }
    loop {
        let key = scanner.string()?;
        scanner.expect(b':')?;
        scanner.peek()?;
        let start = scanner.at;
        match scanner.value() {
            Ok(value) => each(key, Ok(value)),
            Err(halt) => {
                if halt == Halt::Cut {
                    each(key, Err(&scanner.bytes[start..]));
                }
                return Err(halt);
            }
        }
        if scanner.separator(b'}')? == Next::End {
            return Ok(());
        }
    }
}

fn batch<'a>(
    scanner: &mut Scanner<'a>,
    items: &mut Vec<Envelope<'a>>,
    size: &mut usize,
) -> Result<(), Halt> {
    scanner.expect(b'[')?;
    if scanner.peek()? == b']' {
        scanner.at += 1;
        return Ok(());
    }
    loop {
        let inspected = items.len() < BATCH_LIMIT;
        if inspected && scanner.peek()? == b'{' {
            let mut envelope = Envelope::default();
            let end = object(scanner, &mut envelope);
            items.push(envelope);
            *size += 1;
            end?;
        } else {
            let text = scanner.value()?;
            if inspected {
                items.push(Envelope { text, ..Envelope::default() });
            }
            *size += 1;
        }
        if scanner.separator(b']')? == Next::End {
            return Ok(());
        }
    }
}

fn error_code(error: &[u8]) -> i64 {
    let mut code = 0;
    // An error that is not an object, or is cut off, keeps what was found before.
    let _ = members(&mut Scanner::new(error), |key, value| {
        if key == b"code"
            && let Ok(value) = value
            && let IdKey::Whole(number) = Id::of(value).key
        {
            code = number;
        }
    });
    code
}

/// The text of a JSON string, given what stands between its quotes; none if it is not a text.
fn text(inner: &[u8]) -> Option<Cow<'_, str>> {
    if !inner.contains(&b'\\') {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    let quoted = [b"\"", inner, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests;
