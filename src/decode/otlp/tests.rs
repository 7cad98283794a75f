//! What a real Flask sends, and what nobody should.

use prost::bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::*;
use crate::model::{CustomKind, CustomMetric, CustomMetrics, Span, SpanKind};

fn protobuf(bytes: &[u8]) -> Result<Spans, OtlpError> {
    super::protobuf(bytes, &CustomMetrics::default())
}

fn json(bytes: &[u8]) -> Result<Spans, OtlpError> {
    super::json(bytes, &CustomMetrics::default())
}

/// Sent by Flask 3.1 with SQLAlchemy 2.0 and OpenTelemetry 1.45 for three requests.
const FLASK: &[u8] = include_bytes!("../../../tests/fixtures/otlp/flask.pb");
/// The same export in JSON.
const FLASK_JSON: &[u8] = include_bytes!("../../../tests/fixtures/otlp/flask.json");

/// A field of bytes.
fn field(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    encode_key(tag, WireType::LengthDelimited, &mut encoded);
    encode_varint(bytes.len() as u64, &mut encoded);
    encoded.put_slice(bytes);
    encoded
}

/// An export of one scope with these spans.
fn export(spans: &[Vec<u8>]) -> Vec<u8> {
    let scope: Vec<u8> = spans.iter().flat_map(|span| field(2, span)).collect();
    field(1, &field(2, &scope))
}

fn ids() -> Vec<u8> {
    [field(1, &[7; 16]), field(2, &[9; 8])].concat()
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    field(9, &[field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat())
}

#[test]
fn a_real_export_is_read_alike_in_both_encodings() {
    let told = protobuf(FLASK).unwrap();
    assert_eq!(json(FLASK_JSON).unwrap(), told);
    assert_eq!((told.spans.len(), told.left_out), (13, 0));
    let named = |name: &str| -> Vec<&Span> {
        told.spans.iter().filter(|span| &*span.name == name).collect()
    };
    let [request] = named("GET /api/nfts/<int:i>")[..] else { panic!("one request") };
    assert_eq!(request.kind, SpanKind::Server);
    assert_eq!(request.route.as_deref(), Some("/api/nfts/<int:i>"));
    assert_eq!((request.parent, request.failed), (None, false));
    let [mint] = named("mint")[..] else { panic!("one function") };
    assert_eq!((mint.kind, mint.parent), (SpanKind::Internal, Some(request.span_id)));
    assert_eq!(mint.trace_id, request.trace_id);
    assert!(!mint.duration().is_zero() && mint.duration() < request.duration());
    let inserts = named("INSERT");
    assert_eq!(inserts.len(), 2);
    assert_eq!(inserts[0].parent, Some(mint.span_id));
    let database = inserts[0].database.as_ref().unwrap();
    assert_eq!(&*database.scope, "opentelemetry.instrumentation.sqlite3");
    assert_eq!(&*database.system, "sqlite");
    assert_eq!(database.query.as_deref(), Some("INSERT INTO nfts (owner) VALUES (?)"));
    let [outer] = named("INSERT /srv/market.sqlite")[..] else { panic!("SQLAlchemy's own") };
    let database = outer.database.as_ref().unwrap();
    assert_eq!(database.operation.as_deref(), Some("INSERT /srv/market.sqlite"));
    assert_eq!(told.spans.iter().filter(|span| span.failed).count(), 2);
}

#[test]
fn the_newer_name_of_an_attribute_wins_wherever_it_stands() {
    let (new, old) = (attribute("db.query.text", "new"), attribute("db.statement", "old"));
    let system = attribute("db.system", "sqlite");
    for attributes in [[&*new, &old, &system].concat(), [&*old, &system, &new].concat()] {
        let told = protobuf(&export(&[[ids(), attributes].concat()])).unwrap();
        let database = told.spans[0].database.as_ref().unwrap();
        assert_eq!(database.query.as_deref(), Some("new"));
        assert_eq!(&*database.system, "sqlite");
    }
    let alone = export(&[[ids(), old, system].concat()]);
    let database = protobuf(&alone).unwrap().spans[0].database.clone().unwrap();
    assert_eq!(database.query.as_deref(), Some("old"));
}

#[test]
fn spans_without_an_id_and_those_beyond_the_most_are_left_out_and_counted() {
    let nameless = [field(1, &[7; 16]), field(2, &[0; 8])].concat();
    let short = [field(1, &[7; 15]), field(2, &[9; 8])].concat();
    let told = protobuf(&export(&[vec![], nameless, short, ids()])).unwrap();
    assert_eq!((told.spans.len(), told.left_out), (1, 3));
    let told = protobuf(&export(&vec![ids(); MOST_SPANS + 5])).unwrap();
    assert_eq!((told.spans.len(), told.left_out), (MOST_SPANS, 5));
    let id = r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}"#;
    let text = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{id}{}]}}]}}]}}"#,
        r#",{"traceId":"+b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"},{}"#
    );
    let told = json(text.as_bytes()).unwrap();
    assert_eq!((told.spans.len(), told.left_out), (1, 2));
    assert_eq!(told.spans[0].span_id, 0xeee1_9b7e_c3c1_b174);
}

#[test]
fn texts_are_cut_between_characters() {
    let text = "é".repeat(10_000);
    let span = [
        ids(),
        field(5, text.as_bytes()),
        attribute("db.system.name", "sqlite"),
        attribute("db.query.text", &text),
        attribute("http.route", &text),
    ];
    let span = protobuf(&export(&[span.concat()])).unwrap().spans.remove(0);
    assert_eq!(span.name.len(), Span::LONGEST_NAME);
    assert_eq!(span.route.unwrap().len(), Span::LONGEST_NAME);
    assert_eq!(span.database.unwrap().query.unwrap().len(), Span::LONGEST_QUERY);
}

#[test]
fn an_end_before_the_start_is_no_duration() {
    let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{
        "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
        "startTimeUnixNano":"1544712661000000000","endTimeUnixNano":1544712660000000000,
        "kind":"SPAN_KIND_SERVER","status":{"code":"STATUS_CODE_ERROR"},"parentSpanId":"",
        "attributes":[{"key":"n","value":{"intValue":"7"}},
                      {"key":"http.route","value":{"stringValue":"/a\u00e9"}}],
        "links":null,"somethingNew":[1,{"x":2}]}],"scope":null}],"resource":{}}]}"#;
    let span = json(text.as_bytes()).unwrap().spans.remove(0);
    assert!(span.duration().is_zero());
    assert_eq!(span.start_ns, 1_544_712_661_000_000_000);
    assert_eq!((span.kind, span.failed, span.parent), (SpanKind::Server, true, None));
    assert_eq!(span.route.as_deref(), Some("/aé"));
}

#[test]
fn numbers_of_listed_metrics_are_read_alike_in_both_encodings() {
    let listed = ["coins", "wait"].map(|name| CustomMetric {
        name: name.into(),
        kind: CustomKind::Gauge,
        unit: None,
    });
    let listed = CustomMetrics::new(listed.into());
    let number = |key: &str, value: Vec<u8>| {
        field(9, &[field(1, key.as_bytes()), field(2, &value)].concat())
    };
    let integer = |value: i64| {
        let mut encoded = Vec::new();
        encode_key(3, WireType::Varint, &mut encoded);
        encode_varint(value.cast_unsigned(), &mut encoded);
        encoded
    };
    let double = |value: f64| {
        let mut encoded = Vec::new();
        encode_key(4, WireType::SixtyFourBit, &mut encoded);
        encoded.put_f64_le(value);
        encoded
    };
    let truth = || {
        let mut encoded = Vec::new();
        encode_key(2, WireType::Varint, &mut encoded);
        encode_varint(1, &mut encoded);
        encoded
    };
    let span = [
        ids(),
        number("coins", integer(-3)),
        number("app.custom.wait", double(0.25)),
        number("other", integer(9)),
        attribute("coins", "7"),
        number("coins", truth()),
        field(9, &field(1, b"coins")),
    ];
    let told = super::protobuf(&export(&[span.concat()]), &listed).unwrap();
    let numbers = |told: &Spans| -> Vec<String> {
        let numbers = told.spans[0].numbers.iter();
        numbers.map(|(id, value)| format!("{} {value}", listed.get(*id).name)).collect()
    };
    // What is no number is told as none, so that it is refused and counted.
    let expected = ["coins -3", "wait 0.25", "coins NaN", "coins NaN"];
    assert_eq!(numbers(&told), expected);
    let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{
        "traceId":"07070707070707070707070707070707","spanId":"0909090909090909","attributes":[
        {"key":"coins","value":{"intValue":"-3"}},{"key":"wait","value":{"doubleValue":0.25}},
        {"key":"other","value":{"intValue":-9}},{"key":"coins","value":{"stringValue":"7"}},
        {"key":"coins","value":{"boolValue":true}},{"key":"coins"}]}]}]}]}"#;
    assert_eq!(numbers(&super::json(text.as_bytes(), &listed).unwrap()), expected);
    let many = [ids(), number("coins", integer(1)).repeat(100)].concat();
    let told = super::protobuf(&export(&[many]), &listed).unwrap();
    assert_eq!(told.spans[0].numbers.len(), Span::MOST_NUMBERS);
}

#[test]
fn what_is_malformed_is_told_with_its_place() {
    let told = |text: &str| json(text.as_bytes()).unwrap_err().to_string();
    let text = r#"{"resourceSpans":[{},{"scopeSpans":[{"spans":[{"name":7}]}]}]}"#;
    let error = told(text);
    assert!(error.contains("resourceSpans[1].scopeSpans[0].spans[0]: invalid type"), "{error}");
    let error = told(r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"x"}]}]}]}"#);
    assert!(error.contains("spans[0].kind: a text that is no number"), "{error}");
    let error = told("[1");
    assert!(error.contains("in JSON, found at the top"), "{error}");
    let cut = &FLASK[..FLASK.len() - 1];
    let error = protobuf(cut).unwrap_err().to_string();
    assert!(error.contains("ExportTraceServiceRequest field 1 longer than the"), "{error}");
    let error = protobuf(FLASK_JSON).unwrap_err().to_string();
    assert!(error.contains("in protobuf"), "{error}");
    assert_eq!(protobuf(b""), Ok(Spans::default()));
    assert_eq!(json(b"{}"), Ok(Spans::default()));
    assert!(json(b"").is_err());
    let deep = [&b"{\"x\":"[..], &[b'['; 1 << 20]].concat();
    assert!(json(&deep).is_err());
    // Groups within groups.
    assert!(protobuf(&[0x0b; 1 << 16]).is_err());
}

proptest::proptest! {
    #[test]
    fn nothing_panics(mut bytes: Vec<u8>, at: proptest::sample::Index, byte: u8) {
        let _ = (protobuf(&bytes), json(&bytes));
        for real in [FLASK, FLASK_JSON] {
            bytes = real.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = (protobuf(&bytes), json(&bytes));
            let _ = (protobuf(&bytes[..at]), json(&bytes[..at]));
        }
    }
}

#[test]
fn the_scopes_of_instrumentation_libraries_are_known() {
    for (scope, by_library) in [
        ("opentelemetry.instrumentation.fastapi", true),
        ("@opentelemetry/instrumentation-express", true),
        ("io.opentelemetry.tomcat-10.0", true),
        ("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp", true),
        ("OpenTelemetry.Instrumentation.AspNetCore", true),
        ("next.js", true),
        ("marketplace", false),
        ("app.pricing", false),
        ("", false),
    ] {
        let document = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"scope":{{"name":"{scope}"}},"spans":[
            {{"traceId":"{}1","spanId":"{}1","name":"a"}}]}}]}}]}}"#,
            "0".repeat(31),
            "0".repeat(15)
        );
        let told = json(document.as_bytes()).unwrap();
        assert_eq!(told.spans[0].by_library, by_library, "{scope}");
    }
}
