//! Parameters of the monitor's JSON-RPC methods: one object, every field optional.
//!
//! A mistake is answered with what was expected, what was found and an example that works.

use std::str::FromStr;
use std::time::Duration;

use jsonrpsee::types::{ErrorObjectOwned, Params, error::INVALID_PARAMS_CODE};
use serde_json::{Map, Value};

use crate::model::UnixMicros;
use crate::store::{Cursor, Paging, Range};

/// What a method answers.
pub type Answer = Result<Value, ErrorObjectOwned>;

/// Items of a list when no limit is given, and at most.
const USUAL_LIMIT: usize = 100;
const HIGHEST_LIMIT: usize = 1_000;
/// The span that is told of when none is given.
const USUAL_SPAN: Duration = Duration::from_secs(15 * 60);
/// The longest span: ten years.
const LONGEST_SPAN: Duration = Duration::from_secs(3_653 * 86_400);
/// How much of a mistaken value is repeated in the answer, in characters.
const REPEATED: usize = 60;

/// The fields of the one object, taken out one by one; what is left at the end is a mistake.
pub struct Fields {
    fields: Map<String, Value>,
    known: Vec<&'static str>,
}

/// The answer to a mistake.
pub fn invalid(message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(INVALID_PARAMS_CODE, message, None::<()>)
}

fn found(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= REPEATED {
        return text;
    }
    text.chars().take(REPEATED).chain("…".chars()).collect()
}

impl Fields {
    /// Accepts `[{…}]`, as Ethereum tools send it, `{…}`, `[]` and nothing.
    pub fn of(params: &Params<'_>) -> Result<Self, ErrorObjectOwned> {
        let text = params.as_str().unwrap_or("null");
        let value: Value = serde_json::from_str(text)
            .map_err(|error| invalid(format!("the params are not JSON: {error}")))?;
        let fields = match value {
            Value::Null => Map::new(),
            Value::Object(fields) => fields,
            Value::Array(items) if items.is_empty() => Map::new(),
            Value::Array(mut items) if items.len() == 1 && items[0].is_object() => {
                match items.remove(0) {
                    Value::Object(fields) => fields,
                    _ => Map::new(),
                }
            }
            other => {
                return Err(invalid(format!(
                    "expected the params to be one object, found {}; for example \
                     [{{\"last\": \"15m\"}}]",
                    found(&other)
                )));
            }
        };
        Ok(Self { fields, known: Vec::new() })
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.fields.remove(key).filter(|value| !value.is_null())
    }

    /// Refuses what nobody asked for: a misspelt filter would otherwise answer too much.
    pub fn finish(self) -> Result<(), ErrorObjectOwned> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(invalid(format!(
                "unknown parameter {}; this method takes {}",
                found(&Value::from(unknown.as_str())),
                self.known.join(", ")
            ))),
        }
    }

    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, ErrorObjectOwned> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(mistaken(key, "a string", &other, "\"eth_call\"")),
        }
    }

    pub fn truth(&mut self, key: &'static str) -> Result<Option<bool>, ErrorObjectOwned> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(other) => Err(mistaken(key, "true or false", &other, "true")),
        }
    }

    pub fn number(
        &mut self,
        key: &'static str,
        within: std::ops::RangeInclusive<u64>,
        example: &str,
    ) -> Result<Option<u64>, ErrorObjectOwned> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if within.contains(&number) => Ok(Some(number)),
            _ => {
                let expected =
                    format!("a whole number from {} to {}", within.start(), within.end());
                Err(mistaken(key, &expected, &value, example))
            }
        }
    }

    /// A string that `T` reads, such as an address or a hash.
    pub fn parsed<T: FromStr>(
        &mut self,
        key: &'static str,
        expected: &str,
        example: &str,
    ) -> Result<Option<T>, ErrorObjectOwned> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_str().map(str::parse) {
            Some(Ok(parsed)) => Ok(Some(parsed)),
            _ => Err(mistaken(key, expected, &value, example)),
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<T>, ErrorObjectOwned> {
        let Some(value) = self.take(key) else { return Ok(None) };
        chosen(key, &value, choices).map(Some)
    }

    /// A list of words out of a few; none when it is not given.
    pub fn choices<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<Vec<T>>, ErrorObjectOwned> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let Value::Array(items) = &value else {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let expected = format!("a list of {}", words.join(", "));
            return Err(mistaken(key, &expected, &value, &format!("[\"{}\"]", words[0])));
        };
        items.iter().map(|item| chosen(key, item, choices)).collect::<Result<_, _>>().map(Some)
    }

    /// `at_least_ms` and its like: milliseconds, fractions allowed.
    pub fn milliseconds(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Duration>, ErrorObjectOwned> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let duration = value
            .as_f64()
            .filter(|ms| *ms >= 0.0)
            .and_then(|ms| Duration::try_from_secs_f64(ms / 1_000.0).ok());
        match duration {
            Some(duration) => Ok(Some(duration)),
            None => Err(mistaken(key, "milliseconds", &value, "250")),
        }
    }

    /// A trace id of 32 hexadecimal digits, as `traceparent` carries it.
    pub fn trace_id(&mut self, key: &'static str) -> Result<Option<u128>, ErrorObjectOwned> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_str().filter(|text| text.len() == 32) {
            Some(text) if u128::from_str_radix(text, 16).is_ok() => {
                Ok(u128::from_str_radix(text, 16).ok())
            }
            _ => Err(mistaken(
                key,
                "32 hexadecimal digits",
                &value,
                "\"4bf92f3577b34da6a3ce929d0e0e4736\"",
            )),
        }
    }

    /// `last`, or `from_ms` and `until_ms`; the last quarter of an hour when nothing is given.
    pub fn range(&mut self, now: UnixMicros) -> Result<Range, ErrorObjectOwned> {
        let last = self.take("last");
        let from = self.number("from_ms", 0..=u64::MAX / 1_000, "1795464000000")?;
        let until = self.number("until_ms", 0..=u64::MAX / 1_000, "1795467600000")?;
        if let Some(last) = last {
            if from.is_some() || until.is_some() {
                return Err(invalid(
                    "`last` and `from_ms`/`until_ms` exclude each other: give {\"last\": \
                     \"15m\"} or {\"from_ms\": 1795464000000, \"until_ms\": 1795467600000}",
                ));
            }
            let span = last.as_str().and_then(span).ok_or_else(|| {
                mistaken("last", "a time such as 30s, 15m, 2h or 7d", &last, "\"15m\"")
            })?;
            return Ok(back(now, span));
        }
        let until = until.map_or(now.0, |ms| ms * 1_000);
        let usual = u64::try_from(USUAL_SPAN.as_micros()).expect("a quarter of an hour fits");
        let from = from.map_or(until.saturating_sub(usual), |ms| ms * 1_000);
        if from >= until {
            return Err(invalid(format!(
                "`from_ms` must be before `until_ms`, found {} and {}",
                from / 1_000,
                until / 1_000
            )));
        }
        Ok(Range { from: UnixMicros(from), until: UnixMicros(until) })
    }

    /// A share: 0 to 1.
    pub fn share(&mut self, key: &'static str) -> Result<Option<f64>, ErrorObjectOwned> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_f64().filter(|share| (0.0..=1.0).contains(share)) {
            Some(share) => Ok(Some(share)),
            None => Err(mistaken(key, "a share from 0 to 1", &value, "0.5")),
        }
    }

    /// `limit`, the most items of a list.
    pub fn limit(&mut self) -> Result<usize, ErrorObjectOwned> {
        let limit = self.number("limit", 1..=HIGHEST_LIMIT as u64, "100")?;
        Ok(limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(USUAL_LIMIT))
    }

    /// `limit` and `before`, the cursor that an earlier answer gave as `next`.
    pub fn paging(&mut self) -> Result<Paging, ErrorObjectOwned> {
        let limit = self.limit()?;
        let before = match self.take("before") {
            None => None,
            Some(value) => Some(value.as_str().and_then(read_cursor).ok_or_else(|| {
                mistaken("before", "the `next` of an earlier answer", &value, "\"6606f…\"")
            })?),
        };
        Ok(Paging { limit, before })
    }
}

fn mistaken(key: &str, expected: &str, value: &Value, example: &str) -> ErrorObjectOwned {
    invalid(format!(
        "`{key}` must be {expected}, found {}; for example {{\"{key}\": {example}}}",
        found(value)
    ))
}

fn chosen<T: Copy>(
    key: &str,
    value: &Value,
    choices: &[(&'static str, T)],
) -> Result<T, ErrorObjectOwned> {
    let hit = choices.iter().find(|(word, _)| value.as_str() == Some(word));
    hit.map(|&(_, choice)| choice).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let expected = format!("one of {}", words.join(", "));
        mistaken(key, &expected, value, &format!("\"{}\"", words[0]))
    })
}

/// Reads `30s`, `15m`, `2h`, `7d`.
fn span(text: &str) -> Option<Duration> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        _ => return None,
    };
    let count: u64 = text[..text.len() - 1].parse().ok()?;
    let span = Duration::from_secs(count.checked_mul(unit)?);
    (!span.is_zero() && span <= LONGEST_SPAN).then_some(span)
}

/// The span up to and with this very microsecond.
fn back(now: UnixMicros, span: Duration) -> Range {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let until = now.0.saturating_add(1);
    Range { from: UnixMicros(until.saturating_sub(micros)), until: UnixMicros(until) }
}

/// A cursor as the text that clients hand back.
pub fn write_cursor(cursor: Cursor) -> String {
    format!("{:x}-{:x}", cursor.at.0, cursor.sequence)
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let (at, sequence) = text.split_once('-')?;
    Some(Cursor {
        at: UnixMicros(u64::from_str_radix(at, 16).ok()?),
        sequence: u64::from_str_radix(sequence, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_795_464_000_000_000);

    fn fields(json: &'static str) -> Fields {
        Fields::of(&Params::new(Some(json))).unwrap()
    }

    #[test]
    fn params_may_be_an_object_alone_or_in_a_list_or_nothing() {
        for json in [r#"{"last":"2h"}"#, r#"[{"last":"2h"}]"#] {
            let range = fields(json).range(NOW).unwrap();
            assert_eq!(range.until.0 - range.from.0, 7_200_000_000);
        }
        assert_eq!(fields("[]").range(NOW).unwrap().until, NOW);
        assert!(Fields::of(&Params::new(None)).is_ok());
        let error = Fields::of(&Params::new(Some("[1, 2]"))).err().unwrap();
        assert_eq!(
            error.message(),
            "expected the params to be one object, found [1,2]; for example [{\"last\": \"15m\"}]"
        );
    }

    #[test]
    fn a_mistake_is_told_with_what_was_expected_and_found() {
        let message = |error: ErrorObjectOwned| error.message().to_owned();
        assert_eq!(
            message(fields(r#"{"last":"soon"}"#).range(NOW).unwrap_err()),
            "`last` must be a time such as 30s, 15m, 2h or 7d, found \"soon\"; for example \
             {\"last\": \"15m\"}"
        );
        assert_eq!(
            message(fields(r#"{"limit":5000}"#).paging().unwrap_err()),
            "`limit` must be a whole number from 1 to 1000, found 5000; for example {\"limit\": \
             100}"
        );
        let mut misspelt = fields(r#"{"methud":"eth_call"}"#);
        misspelt.text("method").unwrap();
        assert_eq!(
            message(misspelt.finish().unwrap_err()),
            "unknown parameter \"methud\"; this method takes method"
        );
        assert!(fields(r#"{"from_ms":5,"until_ms":5}"#).range(NOW).is_err());
        assert!(fields(r#"{"last":"1h","from_ms":5}"#).range(NOW).is_err());
        for bad in ["", "m", "0m", "-1m", "1é", "99999999999999999999d", "4000d"] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cursor_survives_its_way_through_a_client() {
        let cursor = Cursor { at: NOW, sequence: u64::MAX };
        assert_eq!(read_cursor(&write_cursor(cursor)), Some(cursor));
        assert_eq!(read_cursor("x-1"), None);
    }
}
