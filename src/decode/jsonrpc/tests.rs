//! The envelope against hostile texts, and against `serde_json` on generated ones.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

fn single(text: &str) -> Envelope<'_> {
    match read(text.as_bytes()).expect("well-formed").shape {
        Shape::Single(envelope) => envelope,
        Shape::Batch { .. } => panic!("a batch: {text}"),
    }
}

fn items(text: &str) -> (Vec<Envelope<'_>>, u32) {
    match read(text.as_bytes()).expect("well-formed").shape {
        Shape::Batch { items, size } => (items, size),
        Shape::Single(_) => panic!("no batch: {text}"),
    }
}

fn code(text: &str) -> Option<i64> {
    match single(text).answer()? {
        Answer::Result(_) => None,
        Answer::Error { code, .. } => Some(code),
    }
}

#[test]
fn a_request_gives_its_method_id_and_params() {
    let text = r#"{"jsonrpc":"2.0","id":1057264140543346,"method":"eth_call","params":[{"to":"0x1"},"latest"]}"#;
    let request = single(text);
    assert_eq!(request.method().as_deref(), Some("eth_call"));
    assert_eq!(request.id().map(|id| id.key), Some(IdKey::Whole(1_057_264_140_543_346)));
    assert_eq!(request.params, Some(&br#"[{"to":"0x1"},"latest"]"#[..]));
    assert_eq!(request.text, text.as_bytes());
    assert_eq!(request.answer(), None);
}

#[test]
fn an_absent_id_is_a_notification_and_a_null_one_is_not() {
    assert_eq!(single(r#"{"method":"a"}"#).id(), None);
    assert_eq!(single(r#"{"method":"a","id":null}"#).id().map(|id| id.key), Some(IdKey::Null));
    let odd = single(r#"{"method":"a","id":{"x":[1]}}"#).id().expect("present");
    assert!(matches!(odd.key, IdKey::Odd(_)));
}

#[test]
fn a_nested_error_is_not_the_response_s() {
    assert_eq!(code(r#"{"id":1,"result":{"error":{"code":-1}}}"#), None);
    assert_eq!(code(r#"{"id":1,"result":"\"error\":{\"code\":-1}"}"#), None);
    assert_eq!(
        code(r#"{"error":{"data":{"code":7},"code":-32603,"message":"x"},"id":1}"#),
        Some(-32603)
    );
    assert_eq!(code(r#"{"error":{"message":"\\","code":3},"id":1}"#), Some(3));
    assert_eq!(code(r#"{"error":null,"result":null,"id":1}"#), None);
    assert!(single(r#"{"error":null,"result":null,"id":1}"#).answer().is_some());
    assert_eq!(code(r#"{"result":null,"error":{"code":5},"id":1}"#), Some(5));
}

#[test]
fn an_error_without_a_whole_code_has_code_zero() {
    for text in
        [r#"{"error":{}}"#, r#"{"error":"no"}"#, r#"{"error":{"code":"-1"}}"#, r#"{"error":[1]}"#]
    {
        assert_eq!(code(text), Some(0), "{text}");
    }
    assert_eq!(code(r#"{"error":{"code":-32000.0}}"#), Some(-32000));
}

#[test]
fn of_equal_keys_the_last_counts_and_keys_may_be_escaped() {
    let request = single(r#"{"method":"a","method":"b","\u0069d":7,"id\\":8}"#);
    assert_eq!(request.method().as_deref(), Some("b"));
    assert_eq!(request.id().map(|id| id.key), Some(IdKey::Whole(7)));
    assert_eq!(single(r#"{"m\u0065thod":"eth_\u0063all"}"#).method().as_deref(), Some("eth_call"));
}

#[test]
fn a_method_that_is_no_text_is_there_but_unreadable() {
    assert_eq!(single(r#"{"method":7}"#).method(), None);
    let bytes = b"{\"method\":\"eth_\xff\",\"id\":1}";
    let Shape::Single(request) = read(bytes).expect("well-formed").shape else { panic!("single") };
    assert!(request.has_method());
    assert_eq!(request.method(), None);
    assert!(!single(r#"{"id":1}"#).has_method());
}

#[test]
fn items_of_a_batch_keep_their_own_text() {
    let (batch, size) =
        items(r#" [ {"id":1,"method":"a"} , 7, [{"id":2}], {"id":3,"method":"b"}] "#);
    assert_eq!(size, 4);
    assert_eq!(batch[0].text, br#"{"id":1,"method":"a"}"#);
    assert_eq!(batch[1], Envelope { text: b"7", ..Envelope::default() });
    assert_eq!(batch[2].id(), None);
    assert_eq!(batch[3].method().as_deref(), Some("b"));
    assert_eq!(items("[]").1, 0);
}

#[test]
fn malformed_bytes_are_refused_with_their_place() {
    for (text, expected) in [
        ("", Malformed::Empty),
        (" \n", Malformed::Empty),
        ("7", Malformed::NotAnObject { at: 0, found: b'7' }),
        ("\u{feff}{}", Malformed::NotAnObject { at: 0, found: 0xef }),
        ("{} x", Malformed::Trailing { at: 3, found: b'x' }),
        ("[{}]]", Malformed::Trailing { at: 4, found: b']' }),
        ("{a:1}", Malformed::Unexpected { at: 1, found: b'a' }),
        (r#"{"a" 1}"#, Malformed::Unexpected { at: 5, found: b'1' }),
        (r#"{"a":1,}"#, Malformed::Unexpected { at: 7, found: b'}' }),
        ("[1,]", Malformed::Unexpected { at: 3, found: b']' }),
        ("[{}{}]", Malformed::Unexpected { at: 3, found: b'{' }),
    ] {
        assert_eq!(read(text.as_bytes()), Err(expected), "{text}");
    }
}

#[test]
fn a_message_cut_anywhere_gives_what_stands_before_the_cut() {
    let text = r#"{"jsonrpc":"2.0","method":"eth_sendRawTransaction","params":["0x02f8"],"id":42}"#;
    for end in 1..text.len() {
        let message = read(&text.as_bytes()[..end]).expect("a beginning is well-formed");
        assert!(message.cut, "{end}");
        let Shape::Single(request) = message.shape else { panic!("single") };
        let known = end >= text.find(r#","params"#).expect("there");
        assert_eq!(request.method().is_some(), known, "{end}");
        assert_eq!(request.id(), None, "half an id is another id");
    }
    let message = read(br#"{"jsonrpc":"2.0","id":1,"result":"0xabc"#).expect("a beginning");
    let Shape::Single(response) = message.shape else { panic!("single") };
    assert_eq!(response.answer(), Some(Answer::Result(br#""0xabc"#)));
}

#[test]
fn hostile_texts_take_linear_time_and_no_stack() {
    let started = Instant::now();
    let open = "[".repeat(1_000_000);
    assert!(read(open.as_bytes()).expect("a beginning").cut);
    let deep = format!("{{\"id\":1,\"result\":{open}{}}}", "]".repeat(1_000_000));
    assert!(matches!(single(&deep).answer(), Some(Answer::Result(_))));
    let many = format!("[{}1]", "{\"id\":1,\"method\":\"a\"},".repeat(100_000));
    let (kept, size) = items(&many);
    assert_eq!((kept.len(), size), (BATCH_LIMIT, 100_001));
    let long = format!("{{\"method\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(single(&long).method().map(|m| m.len()), Some(1 << 20));
    let escapes = format!("{{\"method\":\"{}\"}}", "\\\"".repeat(1 << 20));
    assert!(single(&escapes).has_method());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

fn json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("error".to_owned()),
        Just("result".to_owned()),
        Just("id".to_owned()),
        Just("method".to_owned()),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        ".{0,40}".prop_map(Value::from),
        "[\\\\\"\\[\\]{}:,a]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn envelope() -> impl Strategy<Value = Value> {
    let key =
        prop::sample::select(vec!["jsonrpc", "id", "method", "params", "result", "error", "x\"\\"]);
    prop::collection::vec((key, json()), 0..8).prop_map(|members| {
        Value::from(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
    })
}

fn agrees(envelope: &Envelope<'_>, value: &Value) {
    let parsed =
        |text: Option<&[u8]>| text.map(|t| serde_json::from_slice::<Value>(t).expect("valid"));
    assert_eq!(parsed(Some(envelope.text)).as_ref(), Some(value));
    for (text, key) in [
        (envelope.method, "method"),
        (envelope.id, "id"),
        (envelope.params, "params"),
        (envelope.result, "result"),
        (envelope.error, "error"),
    ] {
        assert_eq!(parsed(text).as_ref(), value.get(key), "{key}");
    }
    assert_eq!(envelope.method().as_deref(), value.get("method").and_then(Value::as_str));
    if let Some(Answer::Error { code, .. }) = envelope.answer()
        && let Some(expected) = value.pointer("/error/code").and_then(Value::as_i64)
        && value["error"].is_object()
        && expected.abs() < 1 << 53
    {
        assert_eq!(code, expected);
    }
}

proptest! {
    #[test]
    fn generated_objects_are_read_as_serde_reads_them(value in envelope(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        agrees(&single(&text.expect("serialises")), &value);
    }

    #[test]
    fn generated_batches_are_read_as_serde_reads_them(values in prop::collection::vec(envelope(), 0..6)) {
        let text = serde_json::to_string(&values).expect("serialises");
        let (batch, size) = items(&text);
        prop_assert_eq!(size as usize, values.len());
        for (envelope, value) in batch.iter().zip(&values) {
            agrees(envelope, value);
        }
    }

    #[test]
    fn the_beginning_of_a_message_is_never_malformed(value in envelope(), cut: prop::sample::Index) {
        let text = serde_json::to_string(&value).expect("serialises");
        let end = 1 + cut.index(text.len() - 1);
        prop_assert!(read(&text.as_bytes()[..end]).expect("a beginning").cut || end == text.len());
    }

    #[test]
    fn a_message_with_any_bytes_changed_never_panics(
        value in envelope(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = serde_json::to_vec(&value).expect("serialises");
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if let Ok(Message { shape: Shape::Single(envelope), .. }) = read(&bytes) {
            let _ = (envelope.id(), envelope.method(), envelope.answer());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn arbitrary_json_like_bytes_never_panic(text in "[\\[\\]{}:,\"\\\\ a-z0-9.-]{0,200}") {
        if let Ok(Message { shape: Shape::Single(envelope), .. }) = read(text.as_bytes()) {
            let _ = (envelope.id(), envelope.method(), envelope.answer());
        }
    }
}
