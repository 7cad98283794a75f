//! The JSON encoding: camelCase names, ids in hexadecimal, long numbers as texts, enums as numbers.
//!
//! Each level's items are taken as they lie in the text and read one by one, so that nothing is built
//! of what is left out.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::OtlpError;
use super::draft::{self, Draft, has_room, take};
use crate::model::{CustomMetrics, Spans};

type Items<'a> = Option<Vec<&'a RawValue>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    resource_spans: Items<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    #[serde(borrow, default)]
    scope_spans: Items<'a>,
}

#[derive(Deserialize)]
struct ScopeSpans<'a> {
    #[serde(borrow, default)]
    scope: Option<Scope<'a>>,
    #[serde(borrow, default)]
    spans: Items<'a>,
}

#[derive(Deserialize)]
struct Scope<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpanFields<'a> {
    #[serde(borrow)]
    trace_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    span_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    parent_span_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<Number<'a>>,
    #[serde(borrow)]
    start_time_unix_nano: Option<Number<'a>>,
    #[serde(borrow)]
    end_time_unix_nano: Option<Number<'a>>,
    #[serde(borrow)]
    attributes: Items<'a>,
    #[serde(borrow)]
    status: Option<Status<'a>>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    code: Option<Number<'a>>,
}

#[derive(Deserialize)]
struct KeyValue<'a> {
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<AnyValue<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue<'a> {
    #[serde(borrow, default)]
    string_value: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    int_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    double_value: Option<&'a RawValue>,
}

impl AnyValue<'_> {
    /// Numbers are texts where JSON's own would lose digits, or could not say them.
    fn number(&self) -> Option<f64> {
        let number = self.int_value.or(self.double_value)?;
        number.get().trim_matches('"').parse().ok()
    }
}

/// Protobuf's JSON allows numbers as texts, and enums by name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number<'a> {
    Number(u64),
    Text(#[serde(borrow)] Cow<'a, str>),
}

impl Number<'_> {
    fn value(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => match &**text {
                "SPAN_KIND_UNSPECIFIED" | "STATUS_CODE_UNSET" => Some(0),
                "SPAN_KIND_INTERNAL" | "STATUS_CODE_OK" => Some(1),
                "SPAN_KIND_SERVER" | "STATUS_CODE_ERROR" => Some(2),
                "SPAN_KIND_CLIENT" => Some(3),
                "SPAN_KIND_PRODUCER" => Some(4),
                "SPAN_KIND_CONSUMER" => Some(5),
                digits => digits.parse().ok(),
            },
        }
    }
}

pub(super) fn read(bytes: &[u8], listed: &CustomMetrics) -> Result<Spans, OtlpError> {
    let mut spans = Spans::default();
    let request: Request<'_> = serde_json::from_slice(bytes).map_err(|error| OtlpError::Json {
        place: "the top".to_owned(),
        found: error.to_string(),
    })?;
    for (r, resource) in request.resource_spans.into_iter().flatten().enumerate() {
        let place = || format!("resourceSpans[{r}]");
        let resource: ResourceSpans<'_> = parse(resource, place)?;
        for (s, scope) in resource.scope_spans.into_iter().flatten().enumerate() {
            let place = || format!("resourceSpans[{r}].scopeSpans[{s}]");
            let scope: ScopeSpans<'_> = parse(scope, place)?;
            let name = scope.scope.and_then(|scope| scope.name).unwrap_or_default();
            let name = draft::scope(&name);
            for (i, span) in scope.spans.into_iter().flatten().enumerate() {
                if has_room(&mut spans) {
                    let place = || format!("resourceSpans[{r}].scopeSpans[{s}].spans[{i}]");
                    let span = read_span(parse(span, place)?, listed, place)?;
                    take(&mut spans, span, &name);
                }
            }
        }
    }
    Ok(spans)
}

fn read_span(
    fields: SpanFields<'_>,
    listed: &CustomMetrics,
    place: impl Fn() -> String,
) -> Result<Draft, OtlpError> {
    let number = |name: &str, number: Option<Number<'_>>| match number.map(|it| it.value()) {
        Some(Some(number)) => Ok(number),
        None => Ok(0),
        Some(None) => Err(OtlpError::Json {
            place: format!("{}.{name}", place()),
            found: "a text that is no number".to_owned(),
        }),
    };
    let long_id = |text: Cow<'_, str>| u128::from_str_radix(hex(&text, 32)?, 16).ok();
    let short_id = |text: Cow<'_, str>| u64::from_str_radix(hex(&text, 16)?, 16).ok();
    let mut draft = Draft::default();
    draft.trace_id = fields.trace_id.and_then(long_id);
    draft.span_id = fields.span_id.and_then(short_id);
    draft.parent = fields.parent_span_id.and_then(short_id);
    draft.start_ns = number("startTimeUnixNano", fields.start_time_unix_nano)?;
    draft.end_ns = number("endTimeUnixNano", fields.end_time_unix_nano)?;
    draft.name(&fields.name.unwrap_or_default());
    draft.kind(number("kind", fields.kind)?);
    draft.status(number("status.code", fields.status.and_then(|status| status.code))?);
    for (i, attribute) in fields.attributes.into_iter().flatten().enumerate() {
        let place = || format!("{}.attributes[{i}]", place());
        let attribute: KeyValue<'_> = parse(attribute, place)?;
        let Some(value) = attribute.value else { continue };
        if let Some(text) = &value.string_value {
            draft.attribute(&attribute.key, text);
        }
        draft.number(&attribute.key, value.number().unwrap_or(f64::NAN), listed);
    }
    Ok(draft)
}

fn parse<'a, T: Deserialize<'a>>(
    item: &'a RawValue,
    place: impl Fn() -> String,
) -> Result<T, OtlpError> {
    serde_json::from_str(item.get())
        .map_err(|error| OtlpError::Json { place: place(), found: error.to_string() })
}

/// `text`, if it is so many hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<&str> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(text)
}
