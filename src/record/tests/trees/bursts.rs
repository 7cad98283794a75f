//! Calls that one multicall would serve are found for each request by itself, and what they waste is
//! counted once.

use super::*;

/// A read of a function by its number, of this item, begun at `from`.
fn read(function: u64, item: u64, from: u64, trace: Option<TraceContext>) -> Observation {
    let asked = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{{"to":"0x{:040x}","data":"0x{:08x}{item:064x}"}},"latest"]}}"#,
        0xabc,
        0x1234_0000 + function
    );
    let Exchange { timing, trace, response, .. } = call("eth_call", from, trace);
    http(Exchange { timing, trace, response, ..exchange(&asked, "") })
}

/// Kind, count and trace of what was found.
fn found(bench: &mut Bench, millis: u64) -> Vec<(FindingKind, u32, Option<u128>)> {
    bench.pass(millis);
    let findings = bench.findings();
    let told = findings.iter().map(|it| (it.kind, it.count, it.request.map(|it| it.trace_id)));
    told.collect()
}

/// The recorder beside an API that has begun requests of traces 1 and 2.
fn with_requests() -> (Bench, [Flight; 2]) {
    let flights = Flights::default();
    let both = [1, 2].map(|trace_id| flights.begin(context(trace_id, PROXY), Stamp::now()));
    (Bench::with(no_lookup(), flights), both)
}

#[test]
fn reads_of_two_requests_make_no_burst_though_one_connection_carries_them() {
    let (mut bench, _under_way) = with_requests();
    for function in 0..7 {
        for item in [1, 2] {
            let from = 200 + 10 * function;
            bench.take(read(function, item, from, Some(context(item.into(), PROXY))));
        }
    }
    bench.request(request(1, 100, 1_100));
    bench.request(request(2, 100, 1_100));
    assert_eq!(found(&mut bench, 20_000), []);
}

#[test]
fn reads_of_one_request_are_told_with_it_unless_they_are_told_as_similar() {
    let (mut bench, _under_way) = with_requests();
    for function in 0..9 {
        let from = 200 + 10 * function;
        bench.take(read(function, 0, from, Some(context(1, PROXY))));
        // A repetition of another request's, which is a matter of its own.
        bench.take(read(function, 0, from + 1, Some(context(2, PROXY))));
        // Items of a list.
        bench.take(read(100, function, from + 2, Some(context(2, PROXY))));
    }
    bench.take(read(100, 9, 500, Some(context(2, PROXY))));
    bench.request(request(1, 100, 1_100));
    bench.request(request(2, 100, 1_100));
    let expected = [
        (FindingKind::MulticallBurst, 9, Some(1)),
        (FindingKind::RepeatedCallsInRequest, 10, Some(2)),
    ];
    assert_eq!(found(&mut bench, 20_000), expected);
}

#[test]
fn a_page_that_traces_its_own_reads_is_a_client_as_others_are() {
    let (mut bench, _under_way) = with_requests();
    for function in 0..9 {
        bench.take(read(function, 0, 200 + function, Some(context(77, 5))));
    }
    assert_eq!(found(&mut bench, 20_000), [(FindingKind::MulticallBurst, 9, None)]);
}

#[test]
fn what_is_asked_again_within_a_moment_wastes_as_a_repetition_only() {
    let mut bench = Bench::new();
    for load in 0..12 {
        for function in 0..9 {
            bench.take(read(function, 0, 200 + 200_000 * load + 10 * function, None));
        }
    }
    let told = found(&mut bench, 20_000);
    let burst = (FindingKind::MulticallBurst, 9, None);
    let repeated = (FindingKind::RepeatedCalls, 12, None);
    assert_eq!(told.iter().filter(|it| **it == burst).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|it| **it == repeated).count(), 9, "{told:?}");
    let wasted: u32 = bench.findings().iter().filter_map(Finding::wasted).sum();
    assert_eq!(wasted, 12 * 9 - 1, "one multicall, asked once, would have done");
}

#[test]
fn reads_that_the_api_made_for_one_of_several_requests_are_nobody_s_burst() {
    let flights = Flights::default();
    let owner = Owner { name: "python (7)".into(), role: Some(Role::known("flask")) };
    let who = move |ends: &[Ends], _| vec![Ok(owner.clone()); ends.len()];
    let mut bench = Bench::with(Box::new(who), flights.clone());
    let under_way = [1, 2].map(|trace_id| flights.begin(context(trace_id, PROXY), Stamp::now()));
    let now = Stamp::now().as_nanos() / 1_000 + 1;
    for function in 0..20 {
        bench.take(read(function, 0, now + function, None));
    }
    drop(under_way);
    let joined = bench.received.calls();
    assert!(joined.iter().all(|call| call.joined_by == Some(Join::Ambiguous)), "{joined:?}");
    assert_eq!(found(&mut bench, now / 1_000 + 20_000), []);
}
