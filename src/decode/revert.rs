//! Why a node refused: what a JSON-RPC error object tells of a transaction or call.
//!
//! Reads the `error` member that the envelope decoder found. Naming custom errors takes ABIs and is
//! [`super::contracts`]' business.

use alloy::primitives::{B256, Bytes, U256, hex};
use serde::Deserialize;
use serde_json::Value;

use wordings::classify;

mod wordings;

pub use wordings::RefusalKind;

/// Selector of `Error(string)`.
pub const REVERT: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// Selector of `Panic(uint256)`.
pub const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

/// The largest error object that is looked into, in bytes.
const LARGEST: usize = 1 << 20;
/// The longest words of a node that are kept, in characters.
const MOST_WORDS: usize = 300;
/// How far nested `data` is followed.
const DEEPEST: usize = 16;
/// The longest revert data that is kept, in bytes.
const MOST_DATA: usize = 64 << 10;

/// How the nodes say that code reverted and returned nothing.
const NO_DATA: [&str; 2] = ["execution reverted", "reverted without a reason string"];
/// Under which keys nodes put what the call returned.
const DATA_KEYS: [&str; 5] = ["data", "return", "result", "output", "returnData"];
/// Under which keys nodes nest one error in another.
const NESTING_KEYS: [&str; 5] = ["data", "error", "originalError", "cause", "info"];
/// Under which keys nodes put the hash of the transaction that failed.
const HASH_KEYS: [&str; 3] = ["txHash", "transactionHash", "hash"];

/// What an error object tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevertInfo {
    /// The transaction's hash, when the node gave one: it was mined although the call failed.
    pub transaction: Option<B256>,
    /// What the reverted call returned; empty when it returned nothing, none when nothing is told.
    pub data: Option<Bytes>,
    pub kind: RefusalKind,
    /// The node's own words, for people; at most 300 characters.
    pub words: Box<str>,
}

#[derive(Deserialize)]
struct ErrorObject {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

impl RevertInfo {
    /// Reads an error object's JSON. One that cannot be read is [`RefusalKind::Rejected`].
    pub fn parse(error: &[u8]) -> Self {
        let parsed = (error.len() <= LARGEST).then(|| serde_json::from_slice::<ErrorObject>(error));
        let Some(Ok(ErrorObject { code, message, data })) = parsed else {
            return Self {
                transaction: None,
                data: None,
                kind: RefusalKind::Rejected,
                words: Box::default(),
            };
        };
        let mut found = Found::default();
        found.look(&data, DEEPEST);
        let returned = found.data.as_ref().is_some_and(|data| !data.is_empty());
        let mut kind = classify(code, &message);
        if returned && (kind == RefusalKind::Rejected || kind.ran()) {
            // Whatever the words, only code that ran and reverted returns something.
            kind = RefusalKind::Reverted;
        }
        if kind == RefusalKind::Reverted
            && !returned
            && NO_DATA.iter().any(|words| message.ends_with(words))
        {
            kind = RefusalKind::NoData;
        }
        // A hash in a refusal's words may be one that the node knew before; in a revert's it is the
        // transaction that was mined.
        if found.hash.is_none() && kind.ran() {
            found.hash = hash_in_words(&message);
        }
        let words = message.chars().take(MOST_WORDS).collect::<String>().into();
        Self { transaction: found.hash, data: found.data, kind, words }
    }
}

#[derive(Default)]
struct Found {
    hash: Option<B256>,
    data: Option<Bytes>,
}

impl Found {
    /// Walks nested `data`: what is found deeper takes the place of what was found before.
    fn look(&mut self, value: &Value, depth: usize) {
        match value {
            Value::String(text) => self.take_data(text),
            Value::Object(members) if depth > 0 => {
                for (key, member) in members {
                    match member {
                        Value::String(text) if HASH_KEYS.contains(&key.as_str()) => {
                            self.hash = self.hash.or_else(|| text.parse().ok());
                        }
                        Value::String(text) if DATA_KEYS.contains(&key.as_str()) => {
                            self.take_data(text);
                        }
                        // Ganache: the details lie under the transaction's hash.
                        Value::Object(_) if is_hash(key) => {
                            self.hash = self.hash.or_else(|| key.parse().ok());
                            self.look(member, depth - 1);
                        }
                        Value::Object(_) if NESTING_KEYS.contains(&key.as_str()) => {
                            self.look(member, depth - 1);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn take_data(&mut self, text: &str) {
        // OpenEthereum's way: `Reverted 0x08c379a0…`.
        let text = text.trim().trim_start_matches("Reverted ");
        if text.len() > 2 * MOST_DATA + 2 || !text.starts_with("0x") {
            return;
        }
        let Ok(bytes) = hex::decode(text) else { return };
        // An empty one deeper down says less than what was found above.
        if self.data.is_none() || !bytes.is_empty() {
            self.data = Some(bytes.into());
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 66 && text.starts_with("0x") && text[2..].bytes().all(|b| b.is_ascii_hexdigit())
}

/// The only transaction hash in a message, if it holds exactly one.
fn hash_in_words(message: &str) -> Option<B256> {
    let words = message.split(|c: char| !c.is_ascii_alphanumeric());
    let mut hashes = words.filter(|word| is_hash(word));
    let hash = hashes.next()?;
    hashes.next().is_none().then(|| hash.parse().ok()).flatten()
}

/// The code of a `Panic(uint256)`, when it is one byte, as all that exist are.
pub fn panic_code(revert_data: &[u8]) -> Option<u8> {
    let word = revert_data.get(4..36)?;
    word[..31].iter().all(|byte| *byte == 0).then_some(word[31])
}

/// The text of an `Error(string)`.
pub fn revert_text(revert_data: &[u8]) -> Option<String> {
    let body = revert_data.get(4..)?;
    let word = |at: usize| -> Option<usize> {
        let word = U256::from_be_slice(body.get(at..at.checked_add(32)?)?);
        usize::try_from(word).ok()
    };
    let start = word(0)?;
    let from = start.checked_add(32)?;
    let text = body.get(from..from.checked_add(word(start)?)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests;
