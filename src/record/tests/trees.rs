//! What belongs to a request to the API is joined to it, and told once nothing more is expected.

use std::time::Duration;

use super::*;
use crate::decode::routes::{Patterns, Routes};
use crate::record::peer_processes::tests::work;
use crate::record::trees::{CallPart, MinedPart, Trees};
use alloy::primitives::B256;

mod bounds;
mod bursts;
mod first_export;

/// The span of the proxy in every request of these tests.
const PROXY: u64 = 100;

fn context(trace_id: u128, span_id: u64) -> TraceContext {
    TraceContext { trace_id, span_id, flags: 1 }
}

/// A request of trace `trace_id` that took from `from` to `until`, in microseconds.
fn request(trace_id: u128, from: u64, until: u64) -> ApiExchange {
    ApiExchange {
        connection: ConnectionId(9),
        peer: ([127, 0, 0, 1], 9).into(),
        http_method: HttpMethod::known("POST"),
        path: "/buy".into(),
        status: 200,
        timing: Timing {
            request_started: at(from),
            request_read: at(from),
            request_written: at(from + 10),
            response_started: at(until - 20),
            response_forwarded: at(until - 10),
            response_read: at(until - 10),
            response_written: at(until),
        },
        end: End::Complete,
        request_bytes: 0,
        response_bytes: 0,
        trace: context(trace_id, PROXY),
        cache: CacheOutcome::Unknown,
        flow: Flow::Response,
        server_timing: None,
    }
}

/// A call of 50 µs at the node that the relay took 8 µs for, begun at `from`.
fn call(method: &str, from: u64, trace: Option<TraceContext>) -> Exchange {
    let timing = Timing {
        request_started: at(from),
        request_read: at(from + 2),
        request_written: at(from + 7),
        response_started: at(from + 50),
        response_forwarded: at(from + 53),
        response_read: at(from + 57),
        response_written: at(from + 58),
    };
    // No two of one test ask the same.
    let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{from}]}}"#);
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":"0x"}"#;
    Exchange { timing, trace, ..exchange(&request, answer) }
}

fn span(id: u64, parent: u64, kind: SpanKind, name: &str) -> Span {
    Span {
        trace_id: 1,
        span_id: id,
        parent: Some(parent),
        name: name.into(),
        kind,
        // The bench's stamp 0 is a second after the epoch.
        start_ns: 1_000_100_000,
        end_ns: 1_000_400_000,
        ..Span::default()
    }
}

fn query(id: u64, parent: u64, text: &str, from: u64, micros: u64) -> Span {
    let database = DatabaseSpan {
        system: "sqlite".into(),
        query: Some(text.into()),
        ..DatabaseSpan::default()
    };
    Span {
        start_ns: 1_000_000_000 + from * 1_000,
        end_ns: 1_000_000_000 + (from + micros) * 1_000,
        database: Some(Box::new(database)),
        ..span(id, parent, SpanKind::Client, "SELECT")
    }
}

impl Bench {
    fn request(&mut self, exchange: ApiExchange) {
        self.take(Observation::Request(Box::new(exchange)));
    }

    fn spans(&mut self, spans: Vec<Span>) {
        self.take(Observation::Spans(Box::new(Spans { spans, left_out: 0 })));
    }

    fn pass(&mut self, millis: u64) {
        let clock = Clock::fixed(Stamp::from_nanos(0), UnixMicros(1_000_000));
        self.recording.tick(at(millis * 1_000), clock);
        self.recording.hand_over();
    }

    fn breakdowns(&self) -> Vec<Breakdown> {
        let samples = self.received.samples.lock().unwrap();
        let found = samples.iter().filter_map(|sample| match sample {
            Sample::Breakdown(breakdown) => Some((**breakdown).clone()),
            _ => None,
        });
        found.collect()
    }

    fn findings(&self) -> Vec<Finding> {
        let samples = self.received.samples.lock().unwrap();
        let found = samples.iter().filter_map(|sample| match sample {
            Sample::Finding(finding) => Some((**finding).clone()),
            _ => None,
        });
        found.collect()
    }
}

fn micros(breakdown: &Breakdown) -> [u128; 5] {
    Part::ALL.map(|part| breakdown.part(part).as_micros())
}

#[test]
fn a_request_whose_calls_carry_its_trace_is_told_with_its_spans_once_they_came() {
    let mut bench = Bench::new();
    bench.take(http(call("eth_call", 200, Some(context(1, 3)))));
    bench.take(http(call("eth_blockNumber", 300, Some(context(1, 4)))));
    bench.take(http(call("eth_call", 300, Some(context(7, 4)))));
    bench.request(request(1, 100, 1_100));
    bench.pass(1_000);
    assert!(bench.breakdowns().is_empty(), "its calls carry a trace: its spans are to come");
    bench.spans(vec![
        query(5, 2, "SELECT * FROM nfts WHERE id = 1", 150, 40),
        query(6, 2, "SELECT * FROM nfts WHERE id = 2", 170, 40),
        span(3, 2, SpanKind::Client, "POST"),
        span(4, 2, SpanKind::Client, "POST"),
        span(2, PROXY, SpanKind::Server, "POST /buy"),
    ]);
    bench.pass(1_100);
    let [told] = &bench.breakdowns()[..] else { panic!("one: {:?}", bench.breakdowns()) };
    assert_eq!((told.told_by, told.joined_by), (ToldBy::Spans, Some(Join::Trace)));
    assert_eq!((told.queries, told.rpc_calls), (Some(2), 2));
    assert_eq!(told.total.as_micros(), 1_000);
    // Two queries of 40 µs that overlap by 20; each call 50 µs at the node and 8 in the relay; the
    // reverse proxy held the request 10 µs and the response 10.
    assert_eq!(micros(told), [60, 50, 50, 36, 804]);
}

#[test]
fn a_call_without_a_trace_is_the_request_s_that_was_alone_and_ambiguous_otherwise() {
    let flights = Flights::default();
    let owner = |role| Owner { name: "python (7)".into(), role };
    let who = move |ends: &[Ends], _| vec![Ok(owner(Some(Role::known("flask")))); ends.len()];
    let mut bench = Bench::with(Box::new(who), flights.clone());
    // Real time: requests under way are told by real stamps.
    let first = flights.begin(context(1, PROXY), Stamp::now());
    let now = Stamp::now().as_nanos() / 1_000 + 1;
    bench.take(http(call("eth_chainId", now, None)));
    let second = flights.begin(context(2, PROXY), Stamp::now());
    let later = Stamp::now().as_nanos() / 1_000 + 1;
    bench.take(http(call("eth_chainId", later, None)));
    drop((first, second));
    let end = later + 5_000;
    bench.request(request(1, now - 10, end));
    bench.request(request(2, later - 10, end));
    bench.pass(end / 1_000 + 400);
    let calls = bench.received.calls();
    let joined: Vec<_> =
        calls.iter().map(|call| (call.joined_by, call.trace.map(|it| it.trace_id))).collect();
    assert_eq!(joined, [(Some(Join::Alone), Some(1)), (Some(Join::Ambiguous), None)]);
    let told = bench.breakdowns();
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].joined_by, told[0].rpc_calls), (Some(Join::Alone), 1));
    assert_eq!((told[1].joined_by, told[1].rpc_calls), (Some(Join::Ambiguous), 0));
    assert_eq!((told[1].told_by, told[1].queries), (ToldBy::Nobody, None));
}

#[test]
fn a_call_of_somebody_else_is_no_request_s() {
    let flights = Flights::default();
    let other = Owner { name: "node (8)".into(), role: None };
    let who = move |ends: &[Ends], _| vec![Ok(other.clone()); ends.len()];
    let mut bench = Bench::with(Box::new(who), flights.clone());
    let flight = flights.begin(context(1, PROXY), Stamp::now());
    let now = Stamp::now().as_nanos() / 1_000 + 1;
    bench.take(http(call("eth_chainId", now, None)));
    drop(flight);
    bench.request(request(1, now - 10, now + 1_000));
    // Spans of it might come.
    bench.pass(now / 1_000 + 11_000);
    assert_eq!(bench.received.calls()[0].joined_by, None);
    assert!(bench.breakdowns().is_empty());
    let events = bench.received.events();
    assert!(events.contains(&Event::NothingTold { route: Route::known("/buy") }), "{events:?}");
}

#[test]
fn a_call_of_whom_nobody_was_found_may_be_a_request_s() {
    let flights = Flights::default();
    // Its connection was closed before the look.
    let who = |ends: &[Ends], _| vec![Err(UnknownPeer::ConnectionClosed); ends.len()];
    let mut bench = Bench::with(Box::new(who), flights.clone());
    let _flight = flights.begin(context(1, PROXY), Stamp::now());
    let now = Stamp::now().as_nanos() / 1_000 + 1;
    bench.take(http(call("eth_chainId", now, None)));
    let told = bench.received.calls();
    assert_eq!((told[0].joined_by, told[0].trace), (Some(Join::Ambiguous), None));
}

#[test]
fn a_call_of_whom_there_was_no_time_to_look_for_may_be_a_request_s() {
    let flights = Flights::default();
    // Two ways to look, each of which uses up more than its budget.
    let other = Owner { name: "node (8)".into(), role: None };
    let who = move |ends: &[Ends], _| {
        work(Duration::from_millis(300));
        vec![Ok(other.clone()); ends.len()]
    };
    let mut bench = Bench::with(Box::new(who), flights.clone());
    let _flight = flights.begin(context(1, PROXY), Stamp::now());
    let now = Stamp::now().as_nanos() / 1_000 + 1;
    for connection in 1..=3 {
        let connection = ConnectionId(connection);
        bench.take(http(Exchange { connection, ..call("eth_chainId", now, None) }));
    }
    let joined: Vec<_> = bench.received.calls().iter().map(|call| call.joined_by).collect();
    assert_eq!(joined, [None, None, Some(Join::Ambiguous)]);
}

#[test]
fn what_server_timing_tells_stands_in_for_spans() {
    let mut bench = Bench::new();
    let told = Some("db;dur=0.3;desc=\"4 queries\"".into());
    bench.request(ApiExchange { server_timing: told, ..request(1, 100, 1_100) });
    bench.pass(200);
    assert!(bench.breakdowns().is_empty(), "its calls may still be told");
    bench.pass(500);
    let [told] = &bench.breakdowns()[..] else { panic!("one") };
    assert_eq!((told.told_by, told.queries, told.joined_by), (ToldBy::ServerTiming, Some(4), None));
    assert_eq!(micros(told), [300, 0, 0, 20, 680]);
}

#[test]
fn a_request_that_tells_of_its_functions_alone_is_known_to_be_the_api_s_own_code() {
    let mut bench = Bench::new();
    let told = Some("fn.resize;dur=0.7".into());
    bench.request(ApiExchange { server_timing: told, ..request(1, 100, 1_100) });
    bench.pass(500);
    let [told] = &bench.breakdowns()[..] else { panic!("one") };
    assert_eq!((told.told_by, told.queries), (ToldBy::ServerTiming, None));
    assert_eq!(micros(told), [0, 0, 0, 20, 980]);
}

#[test]
fn similar_queries_of_one_request_are_found_and_told_once_in_a_while() {
    let mut bench = Bench::new();
    for second in [0, 1] {
        let own = 1_000 * second;
        let mut spans: Vec<Span> = (0..25)
            .map(|i| (own + i, format!("SELECT * FROM nfts WHERE id = {i}")))
            .map(|(id, text)| query(10 + id, own + 2, &text, 150 + id % 1_000, 1))
            .collect();
        spans.push(query(own + 50, own + 2, "SELECT count(*) FROM nfts", 160, 1));
        spans.push(span(own + 2, PROXY, SpanKind::Server, "GET /list"));
        bench.spans(spans);
        bench.request(request(1, 100, 1_100));
        bench.pass(1_000 * (second + 1));
    }
    let [found] = &bench.findings()[..] else { panic!("one: {:?}", bench.findings()) };
    assert_eq!((found.kind, found.count), (FindingKind::RepeatedQueries, 25));
    assert_eq!(found.query.as_deref(), Some("SELECT * FROM nfts WHERE id = ?"));
    assert_eq!(found.request.map(|it| (it.trace_id, it.route.as_str())), Some((1, "/buy")));
    let again = Event::RepeatedQueries { route: Route::known("/buy") };
    assert_eq!(bench.received.events().iter().filter(|event| **event == again).count(), 2);
}

#[test]
fn similar_calls_of_one_request_are_found_but_not_the_asking_for_a_receipt() {
    let mut bench = Bench::new();
    for i in 0..30 {
        bench.take(http(call("eth_getBlockByNumber", 200 + i, Some(context(1, PROXY)))));
        bench.take(http(call("eth_getTransactionReceipt", 200 + i, Some(context(1, PROXY)))));
    }
    bench.request(request(1, 100, 90_000));
    // No spans come, ever.
    bench.pass(20_000);
    let found = bench.findings();
    let repeated: Vec<_> = found
        .iter()
        .filter(|it| it.kind == FindingKind::RepeatedCallsInRequest)
        .map(|it| (it.method.unwrap().as_str(), it.count))
        .collect();
    assert_eq!(repeated, [("eth_getBlockByNumber", 30)]);
}

#[test]
fn what_is_repeated_again_within_moments_is_told_once_and_counted_each_time() {
    let mut bench = Bench::new();
    for trace_id in [1, 2, 3] {
        for i in 0..12 {
            let from = 1_000 * u64::try_from(trace_id).unwrap() + i;
            bench.take(http(call("eth_getBlockByNumber", from, Some(context(trace_id, PROXY)))));
        }
        bench.request(request(trace_id, 100, 90_000));
    }
    bench.pass(20_000);
    let found = bench.findings();
    let kind = FindingKind::RepeatedCallsInRequest;
    assert_eq!(found.iter().filter(|it| it.kind == kind).count(), 1);
    let again = Event::Wasted { finding: kind, calls: 11 };
    assert_eq!(bench.received.events().iter().filter(|event| **event == again).count(), 2);
}

#[test]
fn the_same_call_again_and_again_is_no_call_for_each_item() {
    let mut bench = Bench::new();
    for i in 0..30 {
        let Exchange { request, .. } = call("eth_chainId", 0, None);
        let again = call("eth_chainId", 200 + i, Some(context(1, PROXY)));
        bench.take(http(Exchange { request, ..again }));
    }
    bench.request(request(1, 100, 90_000));
    bench.pass(20_000);
    let kinds: Vec<_> = bench.findings().iter().map(|it| it.kind).collect();
    assert!(!kinds.contains(&FindingKind::RepeatedCallsInRequest), "{kinds:?}");
    assert!(kinds.contains(&FindingKind::RepeatedCalls), "{kinds:?}");
}

#[test]
fn calls_of_one_batch_are_no_repetition_and_batches_are() {
    let answer = |id| format!(r#"{{"id":{id},"result":"0x"}}"#);
    let all = |each: &dyn Fn(u64) -> String| (0..30).map(each).collect::<Vec<_>>().join(",");
    let batch = |from: u64| {
        let item = |id| {
            format!(r#"{{"id":{id},"method":"eth_getBalance","params":[{}]}}"#, 100 * from + id)
        };
        let batch = exchange(&format!("[{}]", all(&item)), &format!("[{}]", all(&answer)));
        let Exchange { timing, trace, .. } = call("", from, Some(context(1, PROXY)));
        http(Exchange { timing, trace, ..batch })
    };
    let found = |bench: &Bench| -> Vec<u32> {
        let mut found = bench.findings();
        found.retain(|it| it.kind == FindingKind::RepeatedCallsInRequest);
        found.iter().map(|it| it.count).collect()
    };
    let mut bench = Bench::new();
    bench.take(batch(200));
    bench.request(request(1, 100, 90_000));
    bench.pass(20_000);
    assert_eq!(bench.breakdowns()[0].rpc_calls, 30);
    assert!(found(&bench).is_empty(), "a batch is one");

    for i in 0..20 {
        bench.take(batch(20_000_000 + i));
    }
    bench.request(request(1, 20_000_000, 20_090_000));
    bench.pass(40_000);
    assert_eq!(found(&bench), [20]);
}

#[test]
fn requests_of_one_trace_keep_their_parts_apart() {
    let mut bench = Bench::new();
    let of = |id, parent| span(id, parent, SpanKind::Server, "GET /page");
    bench.spans(vec![
        query(21, 20, "SELECT 1", 150, 10),
        query(22, 20, "SELECT 1", 170, 10),
        of(20, PROXY),
        query(31, 30, "SELECT 1", 150, 10),
        of(30, PROXY + 1),
    ]);
    let other = ApiExchange { trace: context(1, PROXY + 1), ..request(1, 100, 1_100) };
    bench.request(request(1, 100, 1_100));
    bench.request(other);
    bench.pass(1_000);
    let queries: Vec<_> = bench.breakdowns().iter().map(|it| it.queries).collect();
    assert_eq!(queries, [Some(2), Some(1)]);
}

/// A transaction that a call of this trace and span has sent, mined.
fn mined_of(span_id: u64) -> MinedPart {
    MinedPart { span_id, hash: B256::repeat_byte(7), gas: 21_000, reverted: false }
}

fn part_of(span_id: u64, sends: bool, started: Stamp) -> CallPart {
    CallPart {
        span_id,
        carried_trace: true,
        started,
        left: started,
        upstream: Duration::from_micros(50),
        overhead: Duration::ZERO,
        runs_code: sends,
        sends,
        gathers: false,
        shape: None,
        question: None,
    }
}

#[test]
fn of_requests_of_one_trace_the_sender_has_the_transaction() {
    let clock = Clock::fixed(Stamp::from_nanos(0), UnixMicros(1_000_000));
    for when in ["before both", "in between", "long after"] {
        let mut trees = Trees::default();
        let pass = |trees: &mut Trees, millis: u64| trees.tick(at(millis * 1_000), &clock);
        let wall = UnixMicros(1_000_000);
        let ended = |trees: &mut Trees, span, from, route| {
            let exchange = ApiExchange { trace: context(1, span), ..request(1, from, from + 900) };
            trees.request(&exchange, Route::known(route), wall, None);
        };
        if when == "before both" {
            trees.mined(1, mined_of(PROXY));
        }
        // The page's other request ends first, and its calls are told first.
        trees.call(Some(1), Join::Trace, part_of(PROXY + 1, false, at(50_000)));
        ended(&mut trees, PROXY + 1, 49_900, "/list");
        pass(&mut trees, 30_000);
        if when == "in between" {
            trees.mined(1, mined_of(PROXY));
        }
        trees.call(Some(1), Join::Trace, part_of(PROXY, true, at(30_000_100)));
        ended(&mut trees, PROXY, 30_000_000, "/buy");
        pass(&mut trees, 45_000);
        trees.call(Some(1), Join::Trace, part_of(PROXY + 2, false, at(50_000_100)));
        ended(&mut trees, PROXY + 2, 50_000_000, "/list");
        pass(&mut trees, 70_000);
        if when == "long after" {
            trees.mined(1, mined_of(PROXY));
        }
        let events = trees.take().events;
        let mined = |event: &Event| match event {
            Event::RequestMined { route, .. } => Some(route.as_str()),
            _ => None,
        };
        assert_eq!(events.iter().filter_map(mined).collect::<Vec<_>>(), ["/buy"], "{when}");
    }
}

#[test]
fn an_excluded_request_is_in_no_figure_and_counted() {
    let mut routes = Routes::default();
    routes.exclude(Patterns::new(&["/healthz"]));
    let mut bench = Bench::naming(routes);
    for path in ["/healthz", "/buy"] {
        bench.request(ApiExchange { path: path.into(), ..request(1, 100, 1_100) });
    }
    bench.pass(500);
    let samples = bench.received.samples.lock().unwrap();
    let paths: Vec<_> = samples
        .iter()
        .filter_map(|sample| match sample {
            Sample::Request(request) => Some(&*request.path),
            _ => None,
        })
        .collect();
    assert_eq!(paths, ["/buy"]);
    drop(samples);
    assert!(bench.received.events().contains(&Event::Excluded));
}
