//! Entry points for bytes that mean harm: what the fuzz targets in `fuzz/` call, and a property test.
//! Each ends, panics never, and gives nothing back.

use std::sync::LazyLock;

use alloy::primitives::{Address, B256};

use super::artifact::Artifact;
use super::build_info;
use super::capture::Budget;
use super::contracts::Contracts;
use super::follower::Follower;
use super::http1::{Limits, Requests};
use super::jsonrpc::{self, Answer, Envelope, Notice, Shape};
use super::layout::Layout;
use super::multicall;
use super::otlp;
use super::revert::RevertInfo;
use super::routes::Routes;
use super::sql::Statement;
use super::submission::{self, Submission};
use super::websocket::{Frames, Message};
use super::{cache, reads, route_lists, server_timing, statediff};
use crate::model::{
    ConnectionId, CustomKind, CustomMetric, CustomMetrics, Direction, End, Interval, Opaque, Span,
    Stamp, Underway,
};

/// An error of each kind of parameter, for [`revert`].
const ERRORS: &str = r#"{"contractName":"Errors","bytecode":"0x","deployedBytecode":"0x","abi":[
    {"type":"error","name":"A","inputs":[{"name":"a","type":"uint256"},{"name":"b","type":"bytes"}]},
    {"type":"error","name":"B","inputs":[{"name":"a","type":"string[]"},{"name":"b","type":"int8"}]},
    {"type":"error","name":"C","inputs":[{"name":"a","type":"tuple[]","components":[
        {"name":"b","type":"address"},{"name":"c","type":"bool[]"},{"name":"d","type":"bytes4"}]}]},
    {"type":"error","name":"D","inputs":[{"name":"a","type":"uint8[][][]"}]}]}"#;

/// An artifact, a build info or a storage layout; a sound artifact is also used.
pub fn artifact(bytes: &[u8]) {
    if let Ok(artifact) = Artifact::parse(bytes, "Hostile") {
        let selectors: Vec<_> = artifact.abi.errors().map(|error| error.selector()).collect();
        let mut contracts = Contracts::new();
        contracts.add(artifact);
        contracts.created(Address::ZERO, bytes, Interval::default());
        contracts.learn_code(Address::ZERO, bytes, Some(Address::ZERO));
        contracts.slot_name(Address::ZERO, B256::ZERO);
        for selector in selectors.into_iter().take(16) {
            let end = bytes.len().min(1 << 10);
            contracts.revert_message(None, &[&selector[..], &bytes[..end]].concat());
        }
    }
    let layouts = build_info::layouts(bytes).unwrap_or_default();
    let layouts = layouts.into_iter().map(|built| built.layout);
    let alone = std::str::from_utf8(bytes).ok().and_then(Layout::parse).map(Into::into);
    for layout in layouts.chain(alone).take(16) {
        for slot in [B256::ZERO, B256::with_last_byte(1), B256::repeat_byte(0xff)] {
            layout.name(slot, &[slot]);
        }
    }
}

/// A node's error object, and what a reverted call returned.
pub fn revert(bytes: &[u8]) {
    static ERROR: LazyLock<Option<Artifact>> =
        LazyLock::new(|| Artifact::parse(ERRORS.as_bytes(), "").ok());
    let told = RevertInfo::parse(bytes);
    let mut contracts = Contracts::new();
    let mut selectors = Vec::new();
    if let Some(errors) = &*ERROR {
        selectors.extend(errors.abi.errors().map(|error| error.selector()));
        contracts.add(errors.clone());
    }
    let returned = told.data.unwrap_or_default();
    for data in [&returned[..], bytes] {
        contracts.reason(None, data);
        contracts.revert_message(None, data);
    }
    for selector in selectors {
        let message = contracts.revert_message(None, &[&selector[..], bytes].concat());
        assert!(message.is_some_and(|message| message.chars().count() <= 300));
    }
}

/// The input of a multicall, and what it returned.
pub fn multicall(bytes: &[u8]) {
    multicall::open(bytes);
    let Some((selector, returned)) = bytes.split_first_chunk() else { return };
    multicall::results(*selector, returned);
    for selector in multicall::selectors() {
        multicall::open(&[&selector[..], bytes].concat());
        multicall::results(selector, bytes);
    }
}

/// An export of spans in either encoding.
pub fn otlp(bytes: &[u8]) {
    let listed = ["a", "b"].map(|name| CustomMetric {
        name: name.into(),
        kind: CustomKind::Gauge,
        unit: None,
    });
    let listed = CustomMetrics::new(listed.into());
    let read = [otlp::protobuf(bytes, &listed), otlp::json(bytes, &listed)];
    for told in read.into_iter().flatten() {
        assert!(told.spans.len() <= otlp::MOST_SPANS);
        assert!(told.spans.iter().all(|span| span.numbers.len() <= Span::MOST_NUMBERS));
    }
}

/// A query's text, in every dialect.
pub fn sql(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(Span::LONGEST_QUERY)]);
    for system in ["sqlite", "mysql", "postgresql", "mssql", ""] {
        let shape = Statement::read(system, &text).fingerprint;
        assert!(shape.len() <= Statement::LONGEST_FINGERPRINT);
    }
}

/// A relayed connection. Before each piece of it stands a byte that says how long it is, and by its
/// high bit that it is the upstream's.
pub fn relay(bytes: &[u8]) {
    const ROOM: usize = 1 << 20;
    let (budget, active) = (Budget::new(ROOM), Underway::default());
    let limits =
        Limits { capture: 32 << 10, budget: budget.clone(), pipeline: 16, active: active.clone() };
    let mut follower = Follower::new(ConnectionId(1), ([127, 0, 0, 1], 1).into(), limits);
    let (mut held, mut passed, mut told) = (Vec::new(), (0, 0), Vec::new());
    let mut tell = |observation| told.push(observation);
    let mut rest = bytes;
    while let [begin, tail @ ..] = rest {
        let (piece, tail) = tail.split_at(tail.len().min(usize::from(begin & 0x7f)));
        rest = tail;
        if *begin >= 0x80 {
            follower.from_upstream(piece, Stamp::default(), &mut tell);
            passed.1 += piece.len() as u64;
            follower.to_client(passed.1, Stamp::default(), &mut tell);
        } else {
            held.extend_from_slice(piece);
        }
        let pass = match follower.from_client(&held, Stamp::default(), |_| true, &mut tell) {
            Requests::HeadAt(at) | Requests::UndecidedAt(at) => at,
            Requests::Followed => held.len(),
            Requests::UnreadableAt(..) | Requests::RefusedAt(_) => {
                follower.pass_unread(Opaque::RequestNotHttp, Stamp::default(), &mut tell);
                held.len()
            }
        };
        held.drain(..pass);
        passed.0 += pass as u64;
        follower.to_upstream(passed.0, Stamp::default(), &mut tell);
    }
    follower.finish(End::ClientGone, Stamp::default(), &mut tell);
    drop(follower);
    assert_eq!((budget.left(), active.count()), (ROOM, 0), "what was taken is given back");
}

/// The frames of a WebSocket, which tell the same however they are cut: the first byte says whose
/// they are and how long the pieces.
pub fn websocket(bytes: &[u8]) {
    let Some((first, frames)) = bytes.split_first() else { return };
    let direction = if first & 1 == 0 { Direction::Request } else { Direction::Response };
    let follow = |piece: usize| {
        let budget = Budget::new(1 << 20);
        let mut followed = Frames::new(direction, first & 2 != 0, 1 << 10, budget);
        let mut messages = Vec::new();
        let keep = |it: Message| messages.push((it.end, it.payload.total, it.payload.bytes));
        let mut keep = keep;
        let mut pieces = frames.chunks(piece.max(1));
        let end = pieces.try_for_each(|it| followed.follow(it, Stamp::default(), &mut keep));
        (messages, end)
    };
    assert_eq!(follow(frames.len()), follow(usize::from(first >> 2)));
}

/// A JSON-RPC message, which is read as `serde_json` reads it where that does; what its parameters
/// mean, and a node's traces.
pub fn jsonrpc(bytes: &[u8]) {
    let read = jsonrpc::read(bytes);
    if let Ok(message) = &read {
        match &message.shape {
            Shape::Single(envelope) => envelope_is_used(envelope),
            Shape::Batch { items, .. } => items.iter().for_each(envelope_is_used),
        }
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let agrees = |envelope: &Envelope<'_>, value: &serde_json::Value| {
        let is_null = |name| value.get(name).is_none_or(serde_json::Value::is_null);
        let method = value.get("method").and_then(serde_json::Value::as_str);
        assert_eq!(envelope.method().as_deref(), method);
        assert_eq!(envelope.id().is_some(), value.get("id").is_some());
        assert_eq!(matches!(envelope.answer(), Some(Answer::Error { .. })), !is_null("error"));
    };
    match (value, read.map(|it| (it.shape, it.cut))) {
        (value @ serde_json::Value::Object(_), Ok((Shape::Single(envelope), false))) => {
            agrees(&envelope, &value);
        }
        (serde_json::Value::Array(values), Ok((Shape::Batch { items, size }, false))) => {
            assert_eq!(values.len(), size as usize);
            items.iter().zip(&values).for_each(|(item, value)| agrees(item, value));
        }
        (serde_json::Value::Object(_) | serde_json::Value::Array(_), other) => panic!("{other:?}"),
        _ => {}
    }
}

fn envelope_is_used(envelope: &Envelope<'_>) {
    let params = envelope.params.unwrap_or_default();
    envelope.answer();
    if let Some(notice) = Notice::of(envelope) {
        notice.head();
    }
    jsonrpc::subscription_id(params);
    jsonrpc::subscription_kind(params);
    jsonrpc::unsubscribed(params);
    if let Ok(Submission { signed: Some(signed), .. }) = Submission::signed(params) {
        signed.signer();
    }
    let _ = Submission::unsigned(params);
    submission::call_target(params);
    reads::account(params);
    let result = std::str::from_utf8(envelope.result.unwrap_or_default()).unwrap_or_default();
    let _ = statediff::prestate_diff(result);
    let _ = statediff::struct_logs(result, Address::ZERO, params.is_empty());
}

/// What headers tell of the time and of caches: each line a header's value.
pub fn headers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (cache_status, x_cache, hit_cache) = (next(), next(), next());
    let (server_timing, age) = (next(), next());
    let words = [x_cache, "", "", "", "", age];
    let told = cache::Headers { cache_status, words, hit_cache, server_timing, age };
    for status in [200, 304] {
        cache::outcome(status, &told);
    }
    assert!(server_timing::entries(&text).count() <= server_timing::MOST_ENTRIES);
}

/// What lists routes, patterns and paths: the lines of a text are each of these.
pub fn routes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let listed = route_lists::openapi(bytes).unwrap_or_default();
    let printed = route_lists::flask_routes(&text).unwrap_or_default();
    let mut routes = Routes::new(&[listed, printed].concat());
    for (at, line) in text.lines().enumerate() {
        let before = routes.route(line, 200);
        let learned = routes.learn(line, text.lines().nth(at / 2).unwrap_or_default());
        for route in [before, routes.route(line, 404)].into_iter().chain(learned.route) {
            let route = route.as_str();
            assert!(route.len() <= 128 && route.bytes().all(|b| b.is_ascii_graphic()), "{route}");
        }
        assert!(!learned.added.is_some_and(|it| routes.recall(&it)), "{line} is learned once");
        routes.mask(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: [fn(&[u8]); 10] =
        [artifact, revert, multicall, otlp, sql, relay, websocket, jsonrpc, headers, routes];

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>, words in proptest::collection::vec(0u8..=64, 0..16)) {
            let words: Vec<u8> = words.iter().flat_map(|low| [&[0; 31][..], &[*low]].concat()).collect();
            for bytes in [bytes, words] {
                TARGETS.iter().for_each(|target| target(&bytes));
            }
        }
    }

    /// What fuzzing begins with, and what it found once; each has its own target's folder, and no
    /// target may mind another's.
    #[test]
    fn every_seed_of_the_fuzzing_is_borne() {
        let folders =
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds")).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        let seeds: Vec<_> =
            files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(seeds.len() > 30, "{}", seeds.len());
        for seed in seeds {
            TARGETS.iter().for_each(|target| target(&seed));
        }
    }

    #[test]
    fn what_is_sound_is_used() {
        artifact(ERRORS.as_bytes());
        artifact(include_bytes!("../../tests/fixtures/artifacts/MarketNFT.json"));
        revert(br#"{"code":3,"message":"execution reverted","data":"0x4e487b71"}"#);
    }
}
