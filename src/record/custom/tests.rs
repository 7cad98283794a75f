//! Headers and spans in, events out.

use std::sync::{Arc, Mutex};

use super::*;
use crate::model::{
    CacheOutcome, ConnectionId, End, Flow, HttpMethod, Sample, Sink, Tally, Timing, TraceContext,
    UNKNOWN,
};

const CART: Route = Route::known("/api/cart");

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Event>>>);

impl Sink for Events {
    fn accept(&mut self, _: &[Sample]) {}

    fn event(&mut self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

struct Bench {
    custom: Custom,
    outbox: Outbox,
    events: Events,
}

impl Bench {
    fn new() -> Self {
        let metric = |name: &str, kind, unit: Option<&str>| CustomMetric {
            name: name.into(),
            kind,
            unit: unit.map(Into::into),
        };
        let metrics = CustomMetrics::new(vec![
            metric("render", CustomKind::Histogram, Some("seconds")),
            metric("cart_items", CustomKind::Gauge, None),
            metric("coins", CustomKind::Counter, None),
        ]);
        let events = Events::default();
        let outbox = Outbox::new(vec![Box::new(events.clone())], Arc::new(Tally::default()));
        Self { custom: Custom::new(metrics), outbox, events }
    }

    /// A request of trace 1; `span` is the proxy's.
    fn request(&mut self, span: u64, route: Route, header: &str) {
        let exchange = ApiExchange {
            connection: ConnectionId(1),
            peer: ([127, 0, 0, 1], 1).into(),
            http_method: HttpMethod::known("GET"),
            path: route.as_str().into(),
            status: 200,
            timing: Timing::default(),
            end: End::Complete,
            request_bytes: 0,
            response_bytes: 0,
            trace: TraceContext { trace_id: 1, span_id: span, flags: 1 },
            cache: CacheOutcome::Unknown,
            flow: Flow::Response,
            server_timing: Some(header.into()),
        };
        self.custom.request(&exchange, route, &mut self.outbox);
    }

    /// A span that tells a number.
    fn span(&mut self, trace_id: u128, parent: u64, name: &str, value: f64) {
        let id = self.custom.metrics.find(name).unwrap();
        let numbers = [(id, value)].into();
        let span = Span { trace_id, span_id: 9, parent: Some(parent), numbers, ..Span::default() };
        self.custom.spans(&[span], Stamp::default(), &mut self.outbox);
    }

    /// What was told, by name and route; what was refused has neither.
    fn told(&self) -> Vec<(&str, &'static str, f64)> {
        let events = std::mem::take(&mut *self.events.0.lock().unwrap());
        let told = events.into_iter().map(|event| match event {
            Event::Custom { metric, route, value } => {
                (&*self.custom.metrics.get(metric).name, route.as_str(), value)
            }
            Event::ParseFailure("custom_value") => ("", "", 0.0),
            other => panic!("{other:?}"),
        });
        told.collect()
    }
}

#[test]
fn entries_of_listed_names_are_told_in_the_unit_of_their_metric() {
    let mut bench = Bench::new();
    let header = "render;dur=12.5, cart_items;desc=\"7\", coins;desc=\"2.5 ETH\", db;dur=3;desc=1, \
                  cart_items, render;desc=later";
    bench.request(1, CART, header);
    let route = CART.as_str();
    let expected = [
        ("render", route, 0.0125),
        ("cart_items", route, 7.0),
        ("coins", route, 2.5),
        ("", "", 0.0),
    ];
    assert_eq!(bench.told(), expected);
}

#[test]
fn what_a_metric_cannot_take_is_refused_and_counted() {
    let mut bench = Bench::new();
    bench.request(1, CART, "coins;desc=-1, coins;desc=NaN, cart_items;desc=inf, coins;desc=many");
    bench.span(1, 1, "coins", f64::NAN);
    bench.span(1, 1, "render", -0.5);
    assert_eq!(bench.told(), [("", "", 0.0); 6]);
    for no_time in ["-1", "NaN", "inf", "1e12", "soon", ""] {
        bench.request(1, CART, &format!("render;dur={no_time}, render;dur={no_time};desc=1"));
        assert_eq!(bench.told(), [("", "", 0.0); 2], "{no_time}");
    }
    bench.request(1, CART, "cart_items;dur=7");
    assert_eq!(bench.told(), [("", "", 0.0)], "a time, of what is none");
    bench.request(1, CART, "cart_items, render, db;dur=-1");
    assert_eq!(bench.told(), [], "nothing was told of them");
    bench.request(1, CART, "cart_items;desc=-3");
    assert_eq!(bench.told(), [("cart_items", CART.as_str(), -3.0)], "a gauge may fall below zero");
}

#[test]
fn a_span_s_number_is_told_with_the_route_of_its_request_whichever_comes_first() {
    let mut bench = Bench::new();
    let other = Route::known("/api/other");
    bench.request(1, CART, "");
    bench.request(2, other, "");
    bench.span(1, 1, "coins", 1.0);
    bench.span(1, 77, "coins", 2.0);
    let told = [("coins", CART.as_str(), 1.0), ("coins", other.as_str(), 2.0)];
    assert_eq!(bench.told(), told, "by the proxy's span, or the trace's last request");
    let mut bench = Bench::new();
    bench.span(1, 1, "coins", 4.0);
    assert_eq!(bench.told(), []);
    bench.request(1, CART, "");
    assert_eq!(bench.told(), [("coins", CART.as_str(), 4.0)]);
}

#[test]
fn a_number_of_no_request_is_told_without_a_route_after_a_while() {
    let mut bench = Bench::new();
    bench.span(5, 1, "coins", 4.0);
    bench.custom.tick(Stamp::default().after(PATIENCE / 2), &mut bench.outbox);
    assert_eq!(bench.told(), []);
    bench.custom.tick(Stamp::default().after(PATIENCE), &mut bench.outbox);
    assert_eq!(bench.told(), [("coins", UNKNOWN, 4.0)]);
    bench.span(6, 1, "coins", 1.0);
    bench.custom.finish(&mut bench.outbox);
    assert_eq!(bench.told(), [("coins", UNKNOWN, 1.0)]);
}

#[test]
fn what_waits_is_bounded() {
    let mut bench = Bench::new();
    for trace in 1..10_000 {
        bench.span(trace, 1, "coins", 1.0);
        bench.span(7_000_000, 1, "coins", 1.0);
    }
    assert_eq!(bench.custom.order.len(), MOST_WAITING);
    assert!(bench.custom.waiting.len() <= MOST_WAITING);
    assert!(bench.custom.waiting.values().all(|it| it.len() <= MOST_NUMBERS));
}
