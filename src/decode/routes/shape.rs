//! What a segment of a path is: one of the dapp's own shapes, what may be a secret, or a plain word.

use std::borrow::Cow;

/// What a segment goes by in the tree: its shape, its name, or `{*}` for what no label may hold.
pub(super) fn name_of(segment: &str) -> &str {
    shape(segment).unwrap_or(if is_plain(segment) { segment } else { "{*}" })
}

/// What a segment is, if it is one of the dapp's own shapes.
pub(super) fn shape(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    let hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    if bytes.iter().all(u8::is_ascii_digit) {
        return Some("{id}");
    }
    match bytes {
        [b'0', b'x' | b'X', rest @ ..] if rest.len() == 40 && hex(rest) => Some("{address}"),
        [b'0', b'x' | b'X', rest @ ..] if rest.len() == 64 && hex(rest) => Some("{hash}"),
        [b'0', b'x' | b'X', rest @ ..] if !rest.is_empty() && hex(rest) => Some("{hex}"),
        _ if is_uuid(bytes) => Some("{uuid}"),
        _ if is_cid(bytes) => Some("{cid}"),
        _ if bytes.len() > 4 && bytes[bytes.len() - 4..].eq_ignore_ascii_case(b".eth") => {
            Some("{name}")
        }
        _ if is_secret(bytes) => Some(TOKEN),
        _ => None,
    }
}

/// Stands for what may be a key, a password or a person.
const TOKEN: &str = "{token}";

/// Whether a segment may be a secret: an API key, a signed token, a mail address. Rather one too
/// many than one in a label: a word with digits in it of 16 letters, or any of 32, is hidden.
fn is_secret(bytes: &[u8]) -> bool {
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let word = bytes.iter().all(u8::is_ascii_alphanumeric);
    bytes.iter().any(|byte| b"@;=".contains(byte))
        || bytes.starts_with(b"eyJ")
        || bytes.starts_with(b"sk_")
        || bytes.starts_with(b"pk_")
        || bytes.len() >= 32
        || (bytes.len() >= 16 && word && (digits > 0 || bytes.iter().any(u8::is_ascii_uppercase)))
}

/// A path with what may be secret in it hidden; ids, hashes and addresses of the chain stay.
pub fn without_secrets(path: &str) -> Cow<'_, str> {
    let hidden = |segment: &&str| shape(segment) == Some(TOKEN);
    if !path.split('/').any(|segment| !segment.is_empty() && hidden(&segment)) {
        return Cow::Borrowed(path);
    }
    let segments: Vec<&str> =
        path.split('/').map(|s| if !s.is_empty() && hidden(&s) { TOKEN } else { s }).collect();
    Cow::Owned(segments.join("/"))
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// CIDv0 (`Qm…`, base58) or CIDv1 in base32 (`bafy…`), base36 (`k…`) or base58 (`z…`).
fn is_cid(bytes: &[u8]) -> bool {
    let base58 = |b: &u8| b.is_ascii_alphanumeric() && !b"0OIl".contains(b);
    match bytes {
        [b'Q', b'm', rest @ ..] => rest.len() == 44 && rest.iter().all(base58),
        [b'b', rest @ ..] => {
            rest.len() >= 50 && rest.iter().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        }
        [b'k', rest @ ..] => {
            rest.len() >= 50 && rest.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'))
        }
        [b'z', rest @ ..] => rest.len() >= 46 && rest.iter().all(base58),
        _ => false,
    }
}

/// Whether a name may stand in a label: a short word as routes are made of.
pub(super) fn is_plain(segment: &str) -> bool {
    segment.len() <= 40
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~@:+".contains(&b))
}
