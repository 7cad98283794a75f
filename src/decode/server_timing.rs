//! `Server-Timing`, in which an API tells where a request's time went: `db;dur=12.3;desc="7",
//! fn.mint;dur=8.1, cache;desc=hit`.
//!
//! Source: the W3C's Server Timing, 4. It asks for tolerance: what is malformed is left out, an
//! unknown parameter is skipped, and of a parameter given twice the first counts.

use std::borrow::Cow;
use std::time::Duration;

use super::members::{parameter, pieces};

/// Entries of one response that are read.
pub const MOST_ENTRIES: usize = 64;
/// The longest name, in bytes; an entry with a longer one is left out.
const LONGEST_NAME: usize = 128;
/// The longest description, in bytes; a longer one is cut.
const LONGEST_DESCRIPTION: usize = 256;
/// The longest duration that is believed: a day. What is longer is no time of a request.
const LONGEST: f64 = 86_400_000.0;

/// One metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// A token of HTTP: printable ASCII without separators.
    pub name: &'a str,
    /// `dur`, which is in milliseconds; none when it is absent or no such time.
    pub duration: Option<Duration>,
    /// Whether there is a `dur`, be it such a time or not.
    pub has_duration: bool,
    /// `desc`; empty when there is none.
    pub description: Cow<'a, str>,
}

/// The entries of a header's value; of several headers, their values joined by commas.
pub fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    pieces(text, b',').filter_map(entry).take(MOST_ENTRIES)
}

fn entry(text: &str) -> Option<Entry<'_>> {
    let mut parts = pieces(text, b';');
    let name = parts.next()?;
    if name.len() > LONGEST_NAME || !name.bytes().all(is_token) {
        return None;
    }
    let (mut duration, mut description) = (None, None);
    for (name, value) in parts.map(parameter) {
        if name.eq_ignore_ascii_case("dur") && duration.is_none() {
            duration = Some(value);
        } else if name.eq_ignore_ascii_case("desc") && description.is_none() {
            description = Some(value);
        }
    }
    let mut description = description.unwrap_or_default();
    if description.len() > LONGEST_DESCRIPTION {
        let end = description.floor_char_boundary(LONGEST_DESCRIPTION);
        description = Cow::Owned(description[..end].to_owned());
    }
    let has_duration = duration.is_some();
    let duration = duration.as_deref().and_then(milliseconds);
    Some(Entry { name, duration, has_duration, description })
}

fn milliseconds(text: &str) -> Option<Duration> {
    let milliseconds: f64 = text.parse().ok()?;
    (0.0..=LONGEST).contains(&milliseconds).then(|| Duration::from_secs_f64(milliseconds / 1e3))
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> Vec<(String, Option<u128>, String)> {
        entries(text)
            .map(|e| (e.name.into(), e.duration.map(|d| d.as_micros()), e.description.into()))
            .collect()
    }

    fn one(name: &str, micros: Option<u128>, description: &str) -> (String, Option<u128>, String) {
        (name.into(), micros, description.into())
    }

    #[test]
    fn names_durations_and_descriptions_are_read() {
        assert_eq!(
            told(r#"db;dur=12.3;desc="7", fn.mint;dur=8.1, cache;desc=hit, total"#),
            [
                one("db", Some(12_300), "7"),
                one("fn.mint", Some(8_100), ""),
                one("cache", None, "hit"),
                one("total", None, ""),
            ]
        );
        assert_eq!(
            told(r#"a ; DUR = 1 ; desc = "x, y; \"z\"""#),
            [one("a", Some(1_000), "x, y; \"z\"")]
        );
    }

    #[test]
    fn what_is_malformed_is_left_out_and_the_first_of_two_counts() {
        assert_eq!(told("a b;dur=1, ok;dur=2"), [one("ok", Some(2_000), "")]);
        assert_eq!(told("a;dur=1;dur=2"), [one("a", Some(1_000), "")]);
        for no_time in ["-1", "NaN", "inf", "1e300", "86400001", "x", ""] {
            assert_eq!(told(&format!("a;dur={no_time}")), [one("a", None, "")], "{no_time}");
        }
        assert_eq!(told(&"é, ,;dur=1,".repeat(9)), []);
        assert_eq!(told("a;desc=\"never closed, b"), [one("a", None, "never closed, b")]);
    }

    #[test]
    fn what_is_read_is_bounded() {
        assert_eq!(entries(&"a,".repeat(10_000)).count(), MOST_ENTRIES);
        assert_eq!(told(&format!("{}, b", "a".repeat(129))), [one("b", None, "")]);
        let long = format!("a;desc=\"{}\"", "é".repeat(1_000));
        assert_eq!(entries(&long).next().unwrap().description.len(), 256);
    }

    proptest! {
        #[test]
        fn any_text_gives_entries_within_bounds(text in any::<String>()) {
            for entry in entries(&text) {
                prop_assert!(!entry.name.is_empty() && entry.name.bytes().all(is_token));
                prop_assert!(entry.description.len() <= LONGEST_DESCRIPTION);
            }
        }

        #[test]
        fn what_was_written_is_read(
            names in proptest::collection::vec("[a-z.]{1,20}", 0..8),
            micros in 0..60_000_000u64, description in "[ -~]{0,60}",
        ) {
            let escaped = description.replace('\\', "\\\\").replace('"', "\\\"");
            #[expect(clippy::cast_precision_loss, reason = "a minute in microseconds")]
            let duration = micros as f64 / 1e3;
            let text: Vec<_> = names
                .iter()
                .map(|name| format!("{name};desc=\"{escaped}\";dur={duration}"))
                .collect();
            let read: Vec<_> = entries(&text.join(", ")).map(|e| e.name.to_owned()).collect();
            prop_assert_eq!(read, names);
            for entry in entries(&text.join(",")) {
                prop_assert_eq!(&entry.description, &description);
                prop_assert_eq!(entry.duration.map(|d| d.as_micros()), Some(u128::from(micros)));
            }
        }
    }
}
