//! The pieces of a header's value that holds a list: `a; b="x, y", c` is two members, the first with
//! a parameter. What stands in quotes separates nothing.

use std::borrow::Cow;

/// The pieces between `separator`s outside quoted strings, trimmed; empty ones are left out.
pub fn pieces(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = end_of_piece(text, separator);
        rest = text.get(end + 1..);
        Some(text[..end].trim_ascii())
    })
    .filter(|piece| !piece.is_empty())
}

fn end_of_piece(text: &str, separator: u8) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes()
        .position(|byte| {
            let separates = byte == separator && !quoted;
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            separates
        })
        .unwrap_or(text.len())
}

/// A parameter's name and value, `ttl=7`; the value is empty where there is none. Quotes are gone.
pub fn parameter(piece: &str) -> (&str, Cow<'_, str>) {
    match piece.split_once('=') {
        Some((name, value)) => (name.trim_ascii_end(), unquoted(value.trim_ascii_start())),
        None => (piece, Cow::Borrowed("")),
    }
}

/// The text of a quoted string; another value as it is.
pub fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(inside) = value.strip_prefix('"') else { return Cow::Borrowed(value) };
    // What follows the closing quote is no part of the string.
    let mut text = String::new();
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_keep_separators() {
        let members: Vec<_> = pieces(r#"a;desc="x, \"y", b ,, c"#, b',').collect();
        assert_eq!(members, [r#"a;desc="x, \"y""#, "b", "c"]);
        assert_eq!(parameter(r#"desc = "x, \"y" z"#), ("desc", "x, \"y".into()));
        assert_eq!(parameter("hit"), ("hit", "".into()));
        assert_eq!(pieces("", b',').count(), 0);
    }

    proptest! {
        #[test]
        fn any_text_falls_into_pieces_of_itself(text in any::<String>()) {
            for piece in pieces(&text, b',') {
                prop_assert!(text.contains(piece));
                parameter(piece);
            }
        }
    }
}
