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
pub(super) const TOKEN: &str = "{token}";

/// Whether a segment may be a secret: an API key, a signed token, a mail address. Rather one too
/// many than one in a label: a word with digits or capitals in it of 16 letters, or any of 32, is
/// hidden unless it can be read as words.
fn is_secret(bytes: &[u8]) -> bool {
    let digits = bytes.iter().any(u8::is_ascii_digit);
    let capitals = bytes.iter().any(u8::is_ascii_uppercase);
    let word = bytes.iter().all(u8::is_ascii_alphanumeric);
    bytes.iter().any(|byte| b"@;=".contains(byte))
        || bytes.starts_with(b"eyJ")
        || bytes.starts_with(b"sk_")
        || bytes.starts_with(b"pk_")
        || (bytes.len() >= 32 || bytes.len() >= 16 && word && (digits || capitals))
            && !reads_as_words(bytes)
}

/// Whether a name is made of words as people put them together: `getMarketplaceItems`,
/// `password-reset-confirmation-email`, `oauth2callbackv1`. Of random keys of 16 letters and digits
/// one in some hundred reads so, of longer ones fewer.
fn reads_as_words(name: &[u8]) -> bool {
    let goes_on = |a: &u8, b: &u8| {
        b.is_ascii_lowercase() && a.is_ascii_alphabetic()
            || a.is_ascii_digit() && b.is_ascii_digit()
    };
    let (mut letters, mut vowels, mut digits) = (0, 0, 0);
    let (mut words, mut in_words) = (0, 0);
    for part in name.chunk_by(goes_on) {
        if part[0].is_ascii_digit() {
            digits += part.len();
        } else if part[0].is_ascii_alphabetic() {
            let is_vowel = |b: &&u8| b"aeiouy".contains(&b.to_ascii_lowercase());
            let consonants = part.split(|b| is_vowel(&b)).map(<[u8]>::len).max();
            if consonants.is_some_and(|most| most > MOST_CONSONANTS) {
                return false;
            }
            vowels += part.iter().filter(is_vowel).count();
            letters += part.len();
            if part.len() >= 3 {
                words += 1;
                in_words += part.len();
            }
        }
    }
    digits <= 2
        && in_words >= 4 * words.max(1)
        && 10 * in_words >= 7 * letters
        && (20..=65).contains(&(100 * vowels / letters.max(1)))
}

/// In a row, in a word: `lengths`, `thirsts`.
const MOST_CONSONANTS: usize = 5;

/// Whether a part of a reported route can be a literal of the API's, and not a value of one request.
pub(super) fn is_own_word(name: &str) -> bool {
    // As in `/users/@me`.
    let word = name.strip_prefix('@').unwrap_or(name);
    is_plain(name) && shape(word).is_none()
}

/// A path with what may be secret in it hidden, but for the words that are known; ids, hashes and
/// addresses of the chain stay.
pub(super) fn masked(path: &str, is_known: impl Fn(&str) -> bool) -> Cow<'_, str> {
    let hidden =
        |segment: &str| !segment.is_empty() && shape(segment) == Some(TOKEN) && !is_known(segment);
    if !path.split('/').any(hidden) {
        return Cow::Borrowed(path);
    }
    let segments: Vec<&str> =
        path.split('/').map(|segment| if hidden(segment) { TOKEN } else { segment }).collect();
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
