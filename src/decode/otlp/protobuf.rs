//! The protobuf encoding, read field by field where it lies.
//!
//! Generated messages would be built whole before anybody could count them: two bytes of input make a
//! span of a hundred. So the fields are walked with the primitives that generated code uses too.

use prost::bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::OtlpError;
use super::draft::{Draft, has_room, scope, take};
use crate::model::{CustomMetrics, Spans};

pub(super) fn read(bytes: &[u8], listed: &CustomMetrics) -> Result<Spans, OtlpError> {
    let mut spans = Spans::default();
    let mut request = Fields::of("ExportTraceServiceRequest", bytes);
    while let Some((tag, value)) = request.next()? {
        let (1, Value::Bytes(resource)) = (tag, value) else { continue };
        let mut resource = Fields::of("ResourceSpans", resource);
        while let Some((tag, value)) = resource.next()? {
            let (2, Value::Bytes(scope)) = (tag, value) else { continue };
            read_scope(scope, listed, &mut spans)?;
        }
    }
    Ok(spans)
}

fn read_scope(bytes: &[u8], listed: &CustomMetrics, spans: &mut Spans) -> Result<(), OtlpError> {
    // Its name may come after its spans.
    let mut name = &[][..];
    let mut fields = Fields::of("ScopeSpans", bytes);
    while let Some((tag, value)) = fields.next()? {
        let (1, Value::Bytes(scope)) = (tag, value) else { continue };
        let mut scope = Fields::of("InstrumentationScope", scope);
        while let Some((tag, value)) = scope.next()? {
            if let (1, Value::Bytes(found)) = (tag, value) {
                name = found;
            }
        }
    }
    let name = scope(&String::from_utf8_lossy(name));
    let mut fields = Fields::of("ScopeSpans", bytes);
    while let Some((tag, value)) = fields.next()? {
        if let (2, Value::Bytes(span)) = (tag, value)
            && has_room(spans)
        {
            take(spans, read_span(span, listed)?, &name);
        }
    }
    Ok(())
}

fn read_span(bytes: &[u8], listed: &CustomMetrics) -> Result<Draft, OtlpError> {
    let mut draft = Draft::default();
    let mut span = Fields::of("Span", bytes);
    while let Some((tag, value)) = span.next()? {
        match (tag, value) {
            (1, Value::Bytes(id)) => draft.trace_id = id.try_into().ok().map(u128::from_be_bytes),
            (2, Value::Bytes(id)) => draft.span_id = id.try_into().ok().map(u64::from_be_bytes),
            (4, Value::Bytes(id)) => draft.parent = id.try_into().ok().map(u64::from_be_bytes),
            (5, Value::Bytes(name)) => draft.name(&String::from_utf8_lossy(name)),
            (6, Value::Number(kind)) => draft.kind(kind),
            (7, Value::Number(start)) => draft.start_ns = start,
            (8, Value::Number(end)) => draft.end_ns = end,
            (9, Value::Bytes(attribute)) => read_attribute(attribute, listed, &mut draft)?,
            (15, Value::Bytes(status)) => {
                let mut status = Fields::of("Status", status);
                while let Some((tag, value)) = status.next()? {
                    if let (3, Value::Number(code)) = (tag, value) {
                        draft.status(code);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(draft)
}

fn read_attribute(
    bytes: &[u8],
    listed: &CustomMetrics,
    draft: &mut Draft,
) -> Result<(), OtlpError> {
    let (mut key, mut text, mut number, mut has_value) = (&[][..], None, None, false);
    let mut attribute = Fields::of("KeyValue", bytes);
    while let Some((tag, value)) = attribute.next()? {
        match (tag, value) {
            (1, Value::Bytes(name)) => key = name,
            (2, Value::Bytes(value)) => {
                has_value = true;
                let mut value = Fields::of("AnyValue", value);
                while let Some((tag, value)) = value.next()? {
                    match (tag, value) {
                        (1, Value::Bytes(found)) => text = Some(found),
                        (3, Value::Number(bits)) => number = Some(integer(bits)),
                        (4, Value::Number(bits)) => number = Some(f64::from_bits(bits)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let Ok(key) = std::str::from_utf8(key) else { return Ok(()) };
    if let Some(text) = text {
        draft.attribute(key, &String::from_utf8_lossy(text));
    }
    if has_value {
        draft.number(key, number.unwrap_or(f64::NAN), listed);
    }
    Ok(())
}

/// An `int64` as it lies in a varint.
#[expect(clippy::cast_precision_loss, reason = "a metric's value is a float by Prometheus's rules")]
const fn integer(bits: u64) -> f64 {
    bits.cast_signed() as f64
}

/// A field's value, of the wire types that the messages use.
enum Value<'a> {
    /// A varint or eight fixed bytes.
    Number(u64),
    Bytes(&'a [u8]),
    /// Another type: a field that these messages do not have.
    Skipped,
}

/// The fields of a message, one after another.
struct Fields<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    const fn of(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { message, rest: bytes }
    }

    /// The next field's number and value.
    fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, OtlpError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let message = self.message;
        let malformed =
            |error: prost::DecodeError| OtlpError::Protobuf { message, found: error.to_string() };
        let (tag, wire_type) = decode_key(&mut self.rest).map_err(malformed)?;
        let value = match wire_type {
            WireType::Varint => Value::Number(decode_varint(&mut self.rest).map_err(malformed)?),
            WireType::SixtyFourBit => Value::Number(self.fixed(tag)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.rest).map_err(malformed)?;
                let parts =
                    usize::try_from(length).ok().and_then(|n| self.rest.split_at_checked(n));
                let (value, rest) = parts.ok_or_else(|| self.cut_off(tag))?;
                self.rest = rest;
                Value::Bytes(value)
            }
            other => {
                skip_field(other, tag, &mut self.rest, DecodeContext::default())
                    .map_err(malformed)?;
                Value::Skipped
            }
        };
        Ok(Some((tag, value)))
    }

    fn fixed(&mut self, tag: u32) -> Result<u64, OtlpError> {
        if self.rest.remaining() < 8 { Err(self.cut_off(tag)) } else { Ok(self.rest.get_u64_le()) }
    }

    fn cut_off(&self, tag: u32) -> OtlpError {
        let left = self.rest.len();
        let found = format!("field {tag} longer than the {left} bytes that are left");
        OtlpError::Protobuf { message: self.message, found }
    }
}
