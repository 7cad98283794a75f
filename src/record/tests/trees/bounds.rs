//! What is kept for trees is bounded, and costs little.

use super::*;
use crate::record::peer_processes::thread_cpu_time;

#[test]
fn parts_of_traces_that_end_in_no_request_are_not_kept_for_ever() {
    let mut bench = Bench::new();
    for trace_id in 1..20_000 {
        bench.take(http(call("eth_chainId", 200, Some(context(trace_id, 1)))));
    }
    bench.pass(100);
    bench.request(request(19_999, 100, 1_100));
    bench.pass(20_000);
    assert_eq!(bench.breakdowns().len(), 1, "the newest are kept");
    bench.pass(100_000);
    bench.request(request(19_998, 100_000_000, 100_001_000));
    bench.pass(102_000);
    assert_eq!(bench.breakdowns().len(), 1, "and forgotten after a minute");
}

#[test]
fn a_circle_of_thousands_costs_each_request_of_its_trace_little() {
    let mut bench = Bench::new();
    let count = 4_000;
    let circle =
        (0..count).map(|i| span(1_000 + i, 1_000 + (i + 1) % count, SpanKind::Internal, "f"));
    bench.spans(circle.collect());
    let begun = thread_cpu_time();
    for i in 0..500 {
        bench.request(ApiExchange { trace: context(1, 10_000 + i), ..request(1, 100, 1_100) });
    }
    bench.pass(20_000);
    let took = thread_cpu_time().saturating_sub(begun);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(bench.breakdowns().is_empty(), "it is nobody's");
}

#[test]
fn operations_that_lead_elsewhere_cost_each_request_of_their_trace_little() {
    let mut bench = Bench::new();
    let chain = (0..4_000).map(|i| span(2_000 + i, 1_999 + i, SpanKind::Internal, "f"));
    bench.spans(chain.collect());
    let begun = thread_cpu_time();
    for i in 0..10_000 {
        bench.request(ApiExchange { trace: context(1, 10_000 + i), ..request(1, 100, 1_100) });
    }
    bench.pass(20_000);
    let took = thread_cpu_time().saturating_sub(begun);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(bench.breakdowns().is_empty(), "it is nobody's");
}

#[test]
fn calls_of_a_trace_that_there_is_no_room_for_are_counted() {
    let mut bench = Bench::new();
    for i in 0..5_000 {
        bench.take(http(call("eth_chainId", 200 + i, Some(context(1, PROXY)))));
    }
    bench.take(http(call("eth_chainId", 200, Some(context(2, PROXY)))));
    bench.request(request(1, 100, 90_000));
    bench.request(request(2, 100, 90_000));
    bench.pass(20_000);
    let told: Vec<_> = bench.breakdowns().iter().map(|it| (it.rpc_calls, it.left_out)).collect();
    assert_eq!(told, [(4_096, 5_000 - 4_096), (1, 0)]);
}

#[test]
fn beyond_the_bound_of_traces_a_request_is_told_as_one_whose_parts_are_missing() {
    let mut bench = Bench::new();
    let first = context(1, PROXY);
    bench.take(http(call("eth_chainId", 200, Some(first))));
    for trace_id in 2..40_000 {
        bench.take(http(call("eth_chainId", 200, Some(context(trace_id, PROXY)))));
    }
    // What comes now finds no room, and takes none from others.
    bench.take(http(call("eth_chainId", 300, Some(first))));
    bench.request(request(1, 100, 1_100));
    bench.request(request(39_999, 100, 1_100));
    bench.pass(20_000);
    let told: Vec<_> =
        bench.breakdowns().iter().map(|it| (it.rpc_calls, it.left_out, it.is_whole())).collect();
    assert_eq!(told, [(0, 2, false), (1, 0, true)]);
    bench.pass(100_000);
    bench.request(request(2, 100_000_000, 100_001_000));
    bench.pass(120_000);
    assert_eq!(bench.breakdowns().len(), 2, "and forgotten after a minute");
}

#[test]
fn a_trace_that_goes_on_for_minutes_keeps_the_parts_of_its_newest_request() {
    let mut bench = Bench::new();
    for second in 0..90 {
        let from = second * 1_000_000;
        bench.take(http(call("eth_chainId", from + 200, Some(context(1, PROXY + second)))));
        // It is still under way when those of a minute ago are forgotten.
        bench.pass(second * 1_000 + 100);
        let exchange = request(1, from + 100, from + 200_000);
        bench.request(ApiExchange { trace: context(1, PROXY + second), ..exchange });
        bench.spans(vec![span(5_000 + second, PROXY + second, SpanKind::Server, "GET /page")]);
        bench.pass(second * 1_000 + 900);
    }
    let calls: Vec<_> = bench.breakdowns().iter().map(|it| it.rpc_calls).collect();
    assert_eq!(calls, vec![1; 90]);
}
