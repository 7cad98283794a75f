//! Requests and spans in, names and samples out.

use std::sync::{Arc, Mutex};

use super::*;
use crate::model::{
    CacheOutcome, ConnectionId, End, Flow, HttpMethod, OTHER, Sink, Tally, Timing, TraceContext,
};

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<LearnedRoute>>>);

impl Sink for Told {
    fn accept(&mut self, samples: &[Sample]) {
        for sample in samples {
            let Sample::Route(route) = sample else { panic!("{sample:?}") };
            self.0.lock().unwrap().push((**route).clone());
        }
    }
}

struct Bench {
    naming: Naming,
    outbox: Outbox,
    told: Told,
}

impl Bench {
    fn after(before: Vec<LearnedRoute>) -> Self {
        let told = Told::default();
        let outbox = Outbox::new(vec![Box::new(told.clone())], Arc::new(Tally::default()));
        Self { naming: Naming::new(Routes::default(), before), outbox, told }
    }

    fn new() -> Self {
        Self::after(Vec::new())
    }

    /// A request of trace 1; `span` is the proxy's.
    fn request(&mut self, span: u64, path: &str) -> &'static str {
        let named = self.naming.request(exchange(span, path), UnixMicros(7), &mut self.outbox);
        named.map_or("held", |(_, route)| route.as_str())
    }

    /// The API's span of that request; the requests that were held for it.
    fn tell(&mut self, span: u64, route: &str) -> Vec<(u64, &'static str)> {
        let spans = Spans { spans: vec![server(span, route)], left_out: 0 };
        let now = self.naming.now;
        names(&self.naming.spans(&spans, now, UnixMicros(9), &mut self.outbox))
    }

    /// The requests that were held for long enough.
    fn release(&mut self) -> Vec<(u64, &'static str)> {
        names(&self.naming.release(false, &mut self.outbox))
    }

    fn tick(&mut self, now: Duration, wall: UnixMicros) {
        self.naming.tick(Stamp::default().after(now), wall, &mut self.outbox);
    }

    /// What was told as samples, and when.
    fn told(&mut self) -> Vec<(u64, String)> {
        self.outbox.hand_over();
        let mut told = self.told.0.lock().unwrap();
        told.drain(..).map(|it| (it.at.0, it.pattern.into())).collect()
    }
}

/// Requests by the proxy's span, with their routes.
fn names(released: &[(ApiExchange, Route)]) -> Vec<(u64, &'static str)> {
    released.iter().map(|(it, route)| (it.trace.span_id, route.as_str())).collect()
}

fn exchange(span_id: u64, path: &str) -> ApiExchange {
    ApiExchange {
        connection: ConnectionId(1),
        peer: ([127, 0, 0, 1], 1).into(),
        http_method: HttpMethod::known("GET"),
        path: path.into(),
        status: 200,
        timing: Timing::default(),
        end: End::Complete,
        request_bytes: 0,
        response_bytes: 0,
        trace: TraceContext { trace_id: 1, span_id, flags: 1 },
        cache: CacheOutcome::Unknown,
        flow: Flow::Response,
        server_timing: None,
    }
}

fn server(parent: u64, route: &str) -> Span {
    Span {
        trace_id: 1,
        span_id: parent + 1_000_000,
        parent: Some(parent),
        kind: SpanKind::Server,
        route: Some(route.into()),
        ..Span::default()
    }
}

fn learned(at: u64, pattern: &str) -> LearnedRoute {
    LearnedRoute { at: UnixMicros(at), pattern: pattern.into() }
}

#[test]
fn a_route_is_learned_from_the_span_of_a_request_whichever_comes_first() {
    let mut bench = Bench::new();
    assert_eq!(bench.request(1, "/api/nfts/7"), "/api/nfts/{id}");
    bench.tell(1, "/api/nfts/<int:token_id>");
    assert_eq!(bench.request(2, "/api/nfts/8"), "/api/nfts/{token_id}");
    assert_eq!(bench.told(), [(9, "/api/nfts/<int:token_id>".into())]);
    bench.tell(2, "/api/nfts/<int:token_id>");
    assert!(bench.told().is_empty(), "known by now");
    // An exporter that does not wait tells before the response has ended.
    bench.tell(3, "/api/nfts/<int:token_id>/buy");
    assert_eq!(bench.request(3, "/api/nfts/7/buy"), "/api/nfts/{token_id}/buy");
    assert_eq!(bench.told(), [(7, "/api/nfts/<int:token_id>/buy".into())]);
}

#[test]
fn what_a_stranger_tells_is_not_believed() {
    let mut bench = Bench::new();
    bench.request(1, "/api/nfts/7");
    // Not of a request that passed the proxy; of one, but of another path; the path itself; no route.
    bench.tell(99, "/api/nfts/<int:stranger>");
    bench.tell(1, "/wp-admin/<x>");
    for (span, path, told) in [
        (2, "/api/nfts/7", "/api/nfts/7"),
        (3, "/a/b", "/a/<script>alert(1)</script>"),
        (4, "/u/0x5FbDB2315678afecb367f032d93F642f64180aa3", "/u/{\"}"),
        (5, "/c", &format!("/<{}>", "x".repeat(200))),
    ] {
        bench.request(span, path);
        bench.tell(span, told);
    }
    assert!(bench.told().is_empty());
    assert_eq!(bench.request(6, "/api/nfts/7"), "/api/nfts/{id}");
}

#[test]
fn a_route_changes_its_name_once_at_most() {
    let mut bench = Bench::new();
    let mut names = vec![bench.request(1, "/api/nfts/7")];
    for span in 1..20 {
        let name = if span % 2 == 0 { "token_id" } else { "id" };
        bench.tell(span, &format!("/api/nfts/<int:{name}>"));
        names.push(bench.request(span + 1, "/api/nfts/7"));
    }
    names.dedup();
    // The first one told, which goes by the name of the shape by chance.
    assert_eq!(names, ["/api/nfts/{id}"]);
    bench.tell(20, "/api/nfts/<int:token_id>");
    assert_eq!(bench.request(21, "/api/nfts/7"), "/api/nfts/{id}");
    assert_eq!(bench.told(), [(9, "/api/nfts/<int:id>".into())]);
}

#[test]
fn what_was_learned_before_names_the_first_request_and_is_told_again_once_a_day_while_in_use() {
    let mut bench = Bench::after(vec![
        learned(5, "/api/nfts/<int:token_id>"),
        learned(3, "/api/nfts/<int:token_id>"),
        learned(4, "/api/nfts/<int:older_name>"),
        learned(4, "/api/unused/<name>"),
    ]);
    assert_eq!(bench.request(1, "/api/nfts/7"), "/api/nfts/{token_id}");
    let minute = LOOK.as_secs();
    let at = |minutes| Duration::from_secs(minutes * minute);
    bench.tick(at(1), UnixMicros(DAY_MICROS));
    assert!(bench.told().is_empty(), "told less than a day ago");
    bench.request(2, "/api/nfts/7");
    bench.tick(at(2), UnixMicros(DAY_MICROS + 6));
    assert_eq!(bench.told(), [(DAY_MICROS + 6, "/api/nfts/<int:token_id>".into())]);
    bench.tick(at(3), UnixMicros(DAY_MICROS * 3));
    assert!(bench.told().is_empty(), "not in use");
}

#[test]
fn an_api_that_tells_routes_without_end_fills_neither_the_labels_nor_the_store() {
    let mut bench = Bench::new();
    let mut names = std::collections::BTreeSet::new();
    for span in 1..3_000 {
        let word: String =
            format!("{span:04}").bytes().map(|b| char::from(b - b'0' + b'a')).collect();
        bench.request(span, &format!("/{word}/x"));
        bench.tell(span, &format!("/{word}/<name>"));
        names.insert(bench.request(span, &format!("/{word}/x")));
    }
    assert_eq!(bench.told().len(), 100);
    assert!(names.len() <= 101 && names.contains(OTHER), "{}", names.len());
    assert_eq!(bench.naming.learned.len(), 100);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut bench = Bench::new();
    for span in 1..100 {
        bench.request(span, "/a");
    }
    assert_eq!(bench.naming.requests.len(), UNTOLD as usize, "nobody tells spans");
    for span in 0..40_000 {
        bench.tell(span, "/strange/<x>");
        bench.request(1_000_000 + span, "/a");
    }
    assert_eq!(bench.naming.requests.len(), MOST_REQUESTS);
    assert_eq!(bench.naming.waiting.len(), MOST_WAITING);
    bench.request(7_000_000, &"/a".repeat(500));
    assert!(bench.naming.requests.get(&(1, 7_000_000)).is_none());
}

#[test]
fn a_request_that_several_routes_match_waits_for_its_own_span() {
    let mut bench = Bench::new();
    bench.tick(Duration::from_secs(60), UnixMicros(1));
    bench.request(1, "/x/1/2");
    bench.tell(1, "/x/<b>/<c>");
    bench.request(2, "/y/b/c");
    bench.tell(2, "/<a>/b/c");
    assert_eq!(bench.request(3, "/x/b/c"), "held");
    assert_eq!(bench.request(4, "/x/b/3"), "/x/{b}/{c}", "only one matches");
    assert_eq!(bench.request(5, "/x/b/c"), "held");
    assert_eq!(bench.tell(3, "/x/<b>/<c>"), [(3, "/x/{b}/{c}")]);
    assert_eq!(bench.request(6, "/x/b/c"), "/x/{b}/{c}", "it is known by now");
    assert_eq!(bench.release(), []);
    bench.tick(Duration::from_secs(63), UnixMicros(1));
    assert_eq!(bench.release(), [(5, "/x/{b}/{c}")], "its span did not come");
    // A span that comes before its request has ended says it, too.
    bench.tell(7, "/<a>/b/c");
    assert_eq!(bench.request(7, "/x/b/c"), "/{a}/b/c");
}

#[test]
fn a_path_is_masked_but_for_words_of_known_routes() {
    let mut bench = Bench::new();
    let mask = |bench: &Bench, path: &str| bench.naming.mask(path.into());
    assert_eq!(&*mask(&bench, "/users/@me"), "/users/{token}");
    bench.request(1, "/users/@me");
    bench.tell(1, "/users/@me");
    assert_eq!(&*mask(&bench, "/users/@me"), "/users/@me");
    assert_eq!(&*mask(&bench, "/users/@ann"), "/users/{token}");
}
