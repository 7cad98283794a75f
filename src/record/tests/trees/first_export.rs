//! What the API's first export tells of requests that ended before it came.

use super::*;

fn nothing_told(bench: &Bench) -> usize {
    let nothing = Event::NothingTold { route: Route::known("/buy") };
    bench.received.events().iter().filter(|event| **event == nothing).count()
}

#[test]
fn requests_before_the_api_s_first_export_are_told_with_it() {
    let mut bench = Bench::new();
    bench.request(request(1, 100, 1_100));
    bench.pass(5_000);
    assert_eq!((bench.breakdowns().len(), nothing_told(&bench)), (0, 0));
    bench.spans(vec![
        query(10, 2, "SELECT 1", 150, 40),
        span(2, PROXY, SpanKind::Server, "POST /buy"),
    ]);
    bench.pass(5_200);
    let [told] = &bench.breakdowns()[..] else { panic!("one") };
    assert_eq!((told.told_by, told.queries), (ToldBy::Spans, Some(1)));
    bench.pass(60_000);
    assert_eq!((bench.breakdowns().len(), nothing_told(&bench)), (1, 0), "told once");
}

#[test]
fn where_no_export_comes_requests_are_told_to_have_nothing_once_and_few_wait() {
    let mut bench = Bench::new();
    for trace_id in 1..=3_000 {
        bench.request(request(trace_id, 100, 1_100));
    }
    bench.pass(1_000);
    assert_eq!(nothing_told(&bench), 3_000 - 1_024, "the others wait");
    bench.pass(11_000);
    assert_eq!((bench.breakdowns().len(), nothing_told(&bench)), (0, 3_000));
}
