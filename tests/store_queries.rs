//! Every number the store tells, counted another way: each sample written is read back equal, and
//! each series, summary, percentile and count is recomputed from the samples by brute force.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dappscope::model::{
    CallDetail, ContractCall, ContractName, FindingKind, FunctionName, InnerCall, Join, Outcome,
    Part, RpcCall, Sample, SampleKind, Sink, Tally, TransactionKind, TransactionStatus, UnixMicros,
};
use dappscope::store::{
    BlockFilter, BreakdownFilter, CallFilter, Cursor, FindingFilter, Measure, OperationFilter,
    Options, Paging, Range, RequestFilter, SeriesQuery, StateFilter, Store, TransactionFilter,
    Writer,
};
use store_support::{CallStream, Random, any_sample};

mod store_support;

const DAY: u64 = 86_400_000_000;
const START: u64 = 20_000 * DAY;
const EVER: Range = Range { from: UnixMicros(0), until: UnixMicros(u64::MAX) };
const ALL: Paging = Paging { limit: 10_000, before: None };

fn open(dir: &Path) -> (Store, Writer, Arc<Tally>) {
    let tally = Arc::new(Tally::default());
    let options = Options { retention: None, ..Options::default() };
    let (store, writer) = Store::open(dir, options, Arc::clone(&tally)).unwrap();
    (store, writer, tally)
}

/// Samples of every kind over a day and a half, nearly in order, with ties.
fn mixed(seed: u64, count: usize) -> Vec<Sample> {
    let mut random = Random(seed);
    let step = DAY * 3 / 2 / count as u64;
    (0..count as u64)
        .map(|index| {
            let jitter = random.below(step * 4) / 8 * 8;
            any_sample(&mut random, UnixMicros(START + index * step / 64 * 64 + jitter))
        })
        .collect()
}

fn write(writer: &Writer, samples: &[Sample], batch: usize) {
    let mut sink = writer.sink();
    for samples in samples.chunks(batch) {
        sink.accept(samples);
        writer.flush();
    }
}

fn calls(samples: &[Sample]) -> Vec<RpcCall> {
    let of = |sample: &Sample| match sample {
        Sample::Call(call) => Some(call.clone()),
        _ => None,
    };
    samples.iter().filter_map(of).collect()
}

type Fits<'a> = Box<dyn Fn(&RpcCall) -> bool + 'a>;

/// By measure and key: when, how much, whether it failed.
type Values = BTreeMap<(Measure, String), Vec<(u64, u64, bool)>>;

/// What the roll-ups should have seen, from the catalogue's words rather than the store's code.
fn values(samples: &[Sample]) -> Values {
    let mut found = Values::new();
    let us = |duration: Duration| duration.as_micros() as u64;
    for sample in samples {
        let at = sample.at().0;
        let mut add = |measure, key: String, value, error| {
            found.entry((measure, key)).or_default().push((at, value, error));
        };
        match sample {
            Sample::Call(c) => {
                let failed = !matches!(
                    c.outcome,
                    Outcome::Success | Outcome::Uninspected | Outcome::Notification
                );
                add(Measure::CallDuration, c.method.to_string(), us(c.total), failed);
                if let Some(target) = c.target {
                    let access = match c.method.as_str() {
                        "eth_estimateGas" => "estimate",
                        "eth_sendRawTransaction" => "write",
                        _ => "read",
                    };
                    let key = format!("{access} {}.{}", target.contract, target.function);
                    add(Measure::ContractCall, key, us(c.total), failed);
                }
                if let Some(it) = c.detail.as_ref().and_then(|detail| detail.uninspected) {
                    let key = format!("{} {}", it.reason.as_str(), c.method);
                    let unknown = c.outcome == Outcome::Uninspected;
                    add(Measure::Uninspected, key, u64::from(it.calls), unknown);
                }
            }
            Sample::Request(r) => {
                use dappscope::model::End::{ClientGone, Complete};
                let failed = r.status >= 500
                    || (r.status == 0 && r.end != ClientGone)
                    || !matches!(r.end, Complete | ClientGone);
                if r.flow == dappscope::model::Flow::Response {
                    let key = format!("{} {}", r.method, r.route);
                    add(Measure::RequestDuration, key.clone(), us(r.total), failed);
                    add(Measure::RequestBytes, key.clone(), r.request_bytes, failed);
                    add(Measure::ResponseBytes, key.clone(), r.response_bytes, failed);
                    let outcome = r.cache.as_str();
                    if outcome != "unknown" {
                        add(Measure::CacheResult, format!("{key} {outcome}"), us(r.total), failed);
                    }
                }
            }
            Sample::Transaction(t) => {
                let key = format!("{}.{}", t.contract, t.function);
                let failed = t.status == TransactionStatus::Reverted;
                if let Some(gas) = t.gas_used {
                    add(Measure::GasUsed, key.clone(), gas, failed);
                }
                if let Some(time) = t.confirmation {
                    add(Measure::Confirmation, key, us(time), failed);
                }
            }
            Sample::Block(b) => {
                if let Some(interval) = b.interval {
                    add(Measure::BlockInterval, "chain".into(), us(interval), false);
                }
                add(Measure::BlockGas, "chain".into(), b.gas_used, false);
            }
            Sample::Breakdown(b) => {
                let key = format!("{} {}", b.method, b.route);
                let is_known = b.joined_by != Some(Join::Ambiguous);
                for part in Part::ALL.into_iter().filter(|_| is_known) {
                    let key = format!("{key} {}", part.as_str());
                    add(Measure::RequestPart, key, us(b.part(part)), false);
                }
                if is_known {
                    add(Measure::RequestCalls, key.clone(), u64::from(b.rpc_calls), false);
                }
                if let Some(queries) = b.queries {
                    add(Measure::RequestQueries, key, u64::from(queries), false);
                }
            }
            Sample::Host(_)
            | Sample::State(_)
            | Sample::Finding(_)
            | Sample::Operation(_)
            | Sample::Route(_)
            | Sample::Rollback(_) => {}
        }
    }
    found
}

fn exact(sorted: &[u64], quantile: f64) -> u64 {
    let rank = ((quantile * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
    sorted[rank - 1]
}

fn assert_summary(told: &dappscope::store::Summary, values: &[(u64, u64, bool)]) {
    let mut sorted: Vec<u64> = values.iter().map(|(_, value, _)| *value).collect();
    sorted.sort_unstable();
    assert_eq!(told.count, sorted.len() as u64);
    assert_eq!(told.errors, values.iter().filter(|(_, _, error)| *error).count() as u64);
    assert_eq!(told.sum, sorted.iter().sum::<u64>() as f64);
    assert_eq!((told.min, told.max), (sorted[0], sorted[sorted.len() - 1]));
    for (told, quantile) in [(told.p50, 0.5), (told.p95, 0.95), (told.p99, 0.99)] {
        let exact = exact(&sorted, quantile);
        assert!(told.abs_diff(exact) <= exact / 100, "{told} for {exact}");
    }
}

fn check_numbers(store: &Store, samples: &[Sample], ranges: &[(u64, u64)]) {
    let values = values(samples);
    for (from, until) in ranges {
        let range = Range { from: UnixMicros(*from), until: UnixMicros(*until) };
        let inside = |(at, _, _): &&(u64, u64, bool)| (*from..*until).contains(at);
        for measure in Measure::ALL {
            let told: BTreeMap<String, _> =
                store.summaries(measure, range).unwrap().into_iter().collect();
            let mut together = Vec::new();
            let mut keys = 0;
            for ((_, key), held) in values.iter().filter(|((owner, _), _)| *owner == measure) {
                let held: Vec<_> = held.iter().filter(inside).copied().collect();
                together.extend_from_slice(&held);
                if held.is_empty() {
                    assert!(!told.contains_key(key));
                    continue;
                }
                keys += 1;
                assert_summary(&told[key], &held);
                check_series(store, measure, Some(key), range, &held);
                let mut sorted: Vec<u64> = held.iter().map(|(_, value, _)| *value).collect();
                sorted.sort_unstable();
                for quantile in [0.0, 0.37, 0.99, 1.0] {
                    let raw = store.percentile_raw(measure, Some(key), range, quantile).unwrap();
                    assert_eq!(raw, Some(exact(&sorted, quantile)), "{measure:?} {key}");
                }
            }
            assert_eq!(told.len(), keys);
            check_series(store, measure, None, range, &together);
            let mut sorted: Vec<u64> = together.iter().map(|(_, value, _)| *value).collect();
            sorted.sort_unstable();
            let raw = store.percentile_raw(measure, None, range, 0.95).unwrap();
            assert_eq!(raw, (!sorted.is_empty()).then(|| exact(&sorted, 0.95)));
        }
    }
}

fn check_series(
    store: &Store,
    measure: Measure,
    key: Option<&str>,
    range: Range,
    values: &[(u64, u64, bool)],
) {
    for points in [7, 600] {
        let query = SeriesQuery { measure, key: key.map(str::to_owned), range, points };
        let series = store.series(&query).unwrap();
        assert!(series.points.len() <= points);
        let step = series.step.as_micros() as u64;
        let mut steps: BTreeMap<u64, Vec<(u64, u64, bool)>> = BTreeMap::new();
        for value in values {
            steps.entry(value.0 / step * step).or_default().push(*value);
        }
        let at: Vec<u64> = series.points.iter().map(|point| point.at.0).collect();
        assert_eq!(at, steps.keys().copied().collect::<Vec<_>>(), "{measure:?} {key:?}");
        for point in &series.points {
            assert_summary(&point.summary, &steps[&point.at.0]);
        }
    }
}

/// Ranges with whole ten seconds at their ends: roll-ups know nothing finer.
fn ranges() -> Vec<(u64, u64)> {
    let second = 1_000_000;
    vec![
        (0, u64::MAX / 2),
        (START, START + DAY),
        (START + 3_610 * second, START + 50_000 * second),
        (START + 80_000 * second, START + 100_010 * second),
        (START + 10 * second, START + 620 * second),
        (START + 9 * DAY, START + 10 * DAY),
    ]
}

#[test]
fn every_number_is_what_brute_force_finds() {
    let dir = tempfile::tempdir().unwrap();
    let samples = mixed(1, 30_000);
    let (store, writer, tally) = open(dir.path());
    write(&writer, &samples, 700);
    for kind in SampleKind::ALL {
        let made = samples.iter().filter(|sample| sample.kind() == kind).count() as u64;
        assert_eq!(tally.stored(kind), made);
        assert_eq!(store.counts(kind).unwrap(), made);
    }
    // While the newest roll-ups are in memory and the newest samples in the tail…
    check_numbers(&store, &samples, &ranges());
    // … and when everything is written and sealed, by this process …
    writer.close();
    check_numbers(&store, &samples, &ranges());
    drop(store);
    // … and by another, which then adds to spans that were closed before.
    let (store, writer, _) = open(dir.path());
    check_numbers(&store, &samples, &ranges());
    let late = mixed(2, 3_000);
    write(&writer, &late, 100);
    let both: Vec<Sample> = samples.into_iter().chain(late).collect();
    check_numbers(&store, &both, &ranges());
    writer.close();
    check_numbers(&store, &both, &ranges());
}

#[test]
fn samples_come_back_equal_newest_first_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let samples = mixed(3, 20_000);
    let (store, writer, _) = open(dir.path());
    write(&writer, &samples, 900);
    let check = |store: &Store| {
        let mut found: Vec<Sample> = Vec::new();
        macro_rules! pages {
            ($page:expr, $wrap:expr) => {
                let mut paging = Paging { limit: 333, before: None };
                loop {
                    let page = $page(paging);
                    let at: Vec<_> = page.items.iter().map(|item| item.at).collect();
                    assert!(at.is_sorted_by(|left, right| left >= right));
                    found.extend(page.items.into_iter().map($wrap));
                    let Some(next) = page.next else { break };
                    assert!(paging.before.is_none_or(|before: Cursor| next < before));
                    paging.before = Some(next);
                }
            };
        }
        let none = CallFilter::default();
        pages!(|paging| store.calls(EVER, &none, paging).unwrap(), Sample::Call);
        let none = RequestFilter::default();
        pages!(|paging| store.requests(EVER, &none, paging).unwrap(), Sample::Request);
        let none = TransactionFilter::default();
        pages!(|paging| store.transactions(EVER, &none, paging).unwrap(), |t| {
            Sample::Transaction(Box::new(t))
        });
        let none = BlockFilter::default();
        pages!(|paging| store.blocks(EVER, &none, paging).unwrap(), |b| Sample::Block(Box::new(b)));
        let none = StateFilter::default();
        pages!(|paging| store.states(EVER, &none, paging).unwrap(), |s| Sample::State(Box::new(s)));
        let none = FindingFilter::default();
        pages!(|paging| store.findings(EVER, &none, paging).unwrap(), |f| {
            Sample::Finding(Box::new(f))
        });
        let none = OperationFilter::default();
        pages!(|paging| store.operations(EVER, &none, paging).unwrap(), |o| {
            Sample::Operation(Box::new(o))
        });
        let none = BreakdownFilter::default();
        pages!(|paging| store.breakdowns(EVER, &none, paging).unwrap(), |b| {
            Sample::Breakdown(Box::new(b))
        });
        pages!(|paging| store.learned_routes(EVER, paging).unwrap(), |r| Sample::Route(Box::new(
            r
        )));
        pages!(|paging| store.rollbacks(EVER, paging).unwrap(), |r| Sample::Rollback(Box::new(r)));
        pages!(|paging| store.host(EVER, paging).unwrap(), |h| Sample::Host(Box::new(h)));
        let order = |samples: &[Sample]| {
            let mut texts: Vec<String> = samples.iter().map(|s| format!("{s:?}")).collect();
            texts.sort();
            texts
        };
        assert_eq!(order(&found), order(&samples));
    };
    check(&store);
    writer.close();
    check(&store);
}

#[test]
fn filters_find_what_a_scan_finds() {
    let dir = tempfile::tempdir().unwrap();
    let samples = mixed(4, 12_000);
    let (store, writer, _) = open(dir.path());
    write(&writer, &samples, 2_000);
    let calls = calls(&samples);
    let traced = calls.iter().find(|call| call.trace.is_some()).unwrap();
    let sent = calls.iter().find(|call| call.transaction.is_some()).unwrap();
    let trace_id = traced.trace.map(|trace| trace.trace_id);
    let slow = Duration::from_millis(20);
    let text = |text: &str| Some(text.to_owned());
    let reason = |c: &RpcCall| c.detail.as_ref().and_then(|detail| detail.reason);
    let filters: [(CallFilter, Fits<'_>); 7] = [
        (
            CallFilter { reason: text("NotOwner"), ..CallFilter::default() },
            Box::new(move |c| reason(c).is_some_and(|reason| reason.as_str() == "NotOwner")),
        ),
        (
            CallFilter { method: text("eth_call"), ..CallFilter::default() },
            Box::new(|c| c.method.as_str() == "eth_call"),
        ),
        (
            CallFilter { failed: Some(true), at_least: Some(slow), ..CallFilter::default() },
            Box::new(move |c| c.outcome.is_failure() && c.total >= slow),
        ),
        (
            CallFilter {
                contract: text("DappNFT"),
                function: text("mint"),
                ..CallFilter::default()
            },
            Box::new(|c| {
                c.target.is_some_and(|t| {
                    t.contract.as_str() == "DappNFT" && t.function.as_str() == "mint"
                })
            }),
        ),
        (
            CallFilter { transaction: sent.transaction, ..CallFilter::default() },
            Box::new(|c| c.transaction == sent.transaction),
        ),
        (
            CallFilter { trace_id, ..CallFilter::default() },
            Box::new(|c| c.trace.map(|trace| trace.trace_id) == trace_id),
        ),
        (CallFilter { method: text("eth_nothing"), ..CallFilter::default() }, Box::new(|_| false)),
    ];
    for (filter, fits) in &filters {
        let found = store.calls(EVER, filter, ALL).unwrap();
        assert_eq!(found.items.len(), calls.iter().filter(|call| fits(call)).count(), "{filter:?}");
        assert!(found.items.iter().all(fits));
        assert_eq!(found.next, None);
    }
    let server_errors = RequestFilter { status_at_least: Some(500), ..RequestFilter::default() };
    let found = store.requests(EVER, &server_errors, ALL).unwrap().items.len();
    let expected = |s: &&Sample| matches!(s, Sample::Request(r) if r.status >= 500);
    assert_eq!(found, samples.iter().filter(expected).count());
}

#[test]
fn filters_of_the_rare_kinds_find_what_a_scan_finds() {
    type Fits = fn(&Sample) -> bool;
    let dir = tempfile::tempdir().unwrap();
    let samples = mixed(6, 12_000);
    let (store, writer, _) = open(dir.path());
    write(&writer, &samples, 2_000);
    let text = |text: &str| Some(text.to_owned());
    let scan = |fits: Fits| {
        let found = samples.iter().filter(|sample| fits(sample)).count();
        assert!(found > 0, "the filter is tried on something");
        found
    };
    let any = TransactionFilter::default;
    let transactions: [(TransactionFilter, Fits); 6] = [
        (
            TransactionFilter { kind: Some(TransactionKind::Deployment), ..any() },
            |s| matches!(s, Sample::Transaction(t) if t.kind == TransactionKind::Deployment),
        ),
        (
            TransactionFilter { reason: text("NotOwner"), ..any() },
            |s| matches!(s, Sample::Transaction(t) if t.reason.is_some()),
        ),
        (
            TransactionFilter { through_relay: Some(false), ..any() },
            |s| matches!(s, Sample::Transaction(t) if t.submission.is_none()),
        ),
        (
            TransactionFilter { min_gas: Some(300_000), ..any() },
            |s| matches!(s, Sample::Transaction(t) if t.gas_used >= Some(300_000)),
        ),
        (
            TransactionFilter { status: Some(TransactionStatus::Dropped), ..any() },
            |s| matches!(s, Sample::Transaction(t) if t.status == TransactionStatus::Dropped),
        ),
        (any(), |s| matches!(s, Sample::Transaction(_))),
    ];
    for (filter, fits) in transactions {
        let found = store.transactions(EVER, &filter, ALL).unwrap().items.len();
        assert_eq!(found, scan(fits), "{filter:?}");
    }
    let mined = samples.iter().find_map(|s| match s {
        Sample::Transaction(t) => t.block,
        _ => None,
    });
    let filter = TransactionFilter { block: mined, ..any() };
    let found = store.transactions(EVER, &filter, ALL).unwrap().items;
    assert!(!found.is_empty() && found.iter().all(|t| t.block == mined));
    let blocks: [(BlockFilter, Fits); 2] = [
        (
            BlockFilter { min_fullness: Some(0.5), ..BlockFilter::default() },
            |s| matches!(s, Sample::Block(b) if b.gas_used >= 15_000_000),
        ),
        (
            BlockFilter { with_transactions: Some(true), ..BlockFilter::default() },
            |s| matches!(s, Sample::Block(b) if b.transactions > 0),
        ),
    ];
    for (filter, fits) in blocks {
        let found = store.blocks(EVER, &filter, ALL).unwrap().items.len();
        assert_eq!(found, scan(fits), "{filter:?}");
    }
    let filter = StateFilter { contract: text("DappNFT"), ..StateFilter::default() };
    let found = store.states(EVER, &filter, ALL).unwrap().items.len();
    let dapp_nft: Fits = |s| matches!(s, Sample::State(c) if c.contract.as_str() == "DappNFT");
    assert_eq!(found, scan(dapp_nft));
    let filter = FindingFilter { kind: Some(FindingKind::NonceAhead) };
    let found = store.findings(EVER, &filter, ALL).unwrap().items.len();
    let ahead: Fits = |s| matches!(s, Sample::Finding(f) if f.kind == FindingKind::NonceAhead);
    assert_eq!(found, scan(ahead));
}

/// Rows that repeat shrink a thousandfold; a block must not hold more of them than can be read.
#[test]
fn ten_thousand_large_multicalls_are_all_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer, tally) = open(dir.path());
    let target = ContractCall {
        contract: ContractName::known("AContractWithAnEspeciallyLongNameThatRepeatsManyTimes"),
        function: FunctionName::known("andAFunctionWhoseNameIsNoShorterThanThatIs(address,uint)"),
    };
    let inner = InnerCall { target, selector: None, success: Some(true), reason: None };
    let detail =
        CallDetail { inner: vec![inner; CallDetail::MOST_INNER].into(), ..CallDetail::default() };
    let mut stream = CallStream::new(7, UnixMicros(START), 20_000.0);
    let mut multicall =
        || Sample::Call(RpcCall { detail: Some(Box::new(detail.clone())), ..stream.next() });
    let samples: Vec<Sample> = (0..10_000).map(|_| multicall()).collect();
    write(&writer, &samples, 5_000);
    writer.close();
    assert_eq!(tally.stored(SampleKind::Call), 10_000);
    let found = store.calls(EVER, &CallFilter::default(), ALL).unwrap().items;
    assert_eq!(found.len(), 10_000);
    assert!(found.iter().all(|call| call.detail.as_deref() == Some(&detail)));
}

#[test]
fn a_steady_stream_of_calls_costs_at_most_eight_bytes_each() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer, tally) = open(dir.path());
    let mut stream = CallStream::new(5, UnixMicros(START), 20_000.0);
    let samples: Vec<Sample> = (0..400_000).map(|_| Sample::Call(stream.next())).collect();
    write(&writer, &samples, 5_000);
    writer.close();
    assert_eq!(tally.stored(SampleKind::Call), 400_000);
    let each = store.status().bytes as f64 / 400_000.0;
    assert!(each <= 8.0, "{each} bytes a sample");
}
