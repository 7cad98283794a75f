//! Measures the store against its targets and prints the figures: bytes a sample, samples a second,
//! the exact p99 over ten million samples, a dashboard's query over seven days.
//!
//! `cargo bench --bench store [-- --quick]`. Not Criterion: each figure is one long run on disk.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation)]
#![allow(clippy::cast_sign_loss)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use dappscope::model::{Sample, SampleKind, Sink, Tally, UnixMicros};
use dappscope::store::{CallFilter, Measure, Options, Paging, Range, SeriesQuery, Store};
use store_support::CallStream;

#[path = "../tests/store_support/mod.rs"]
mod store_support;

const DAY: u64 = 86_400_000_000;
const START: UnixMicros = UnixMicros(20_000 * DAY);
const EVER: Range = Range { from: UnixMicros(0), until: UnixMicros(u64::MAX) };

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let samples = if quick { 1_000_000 } else { 10_000_000 };
    steady(samples);
    trickle(if quick { 200_000 } else { 1_000_000 });
    week();
}

fn options() -> Options {
    Options { retention: None, ..Options::default() }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("0");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn timed<T>(runs: usize, mut run: impl FnMut() -> T) -> (Duration, Duration) {
    let once = |run: &mut dyn FnMut() -> T| {
        let started = Instant::now();
        std::hint::black_box(run());
        started.elapsed()
    };
    let first = once(&mut run);
    (first, median((0..runs).map(|_| once(&mut run)).collect()))
}

/// Calls as fast as the store takes them, stamped as a steady 20,000 a second with bursts.
fn steady(samples: usize) {
    let dir = tempfile::tempdir().unwrap();
    let tally = Arc::new(Tally::default());
    let (store, writer) = Store::open(dir.path(), options(), Arc::clone(&tally)).unwrap();
    let mut sink = writer.sink();
    let mut stream = CallStream::new(1, START, 20_000.0);
    let made: Vec<Sample> = (0..500_000)
        .map(|index| {
            stream.rate = if index % 100_000 < 20_000 { 200_000.0 } else { 20_000.0 };
            Sample::Call(stream.next())
        })
        .collect();
    let lap = (stream.at_ns / 1_000) - START.0;
    let before = resident_mib();
    let mut making = Duration::ZERO;
    let started = Instant::now();
    let mut sent = 0;
    let mut batch: Vec<Sample> = Vec::new();
    while sent < samples {
        // The same half million again and again, each time later: making them anew would cost more
        // than storing them.
        let shift = (sent / made.len()) as u64 * lap;
        let offset = sent % made.len();
        let making_from = Instant::now();
        batch.clear();
        batch.extend_from_slice(&made[offset..offset + 1_000]);
        for sample in &mut batch {
            if let Sample::Call(call) = sample {
                call.at = UnixMicros(call.at.0 + shift);
            }
        }
        making += making_from.elapsed();
        while store.queue_depth() + batch.len() > 65_536 {
            std::thread::sleep(Duration::from_micros(200));
        }
        sink.accept(&batch);
        sent += batch.len();
    }
    writer.flush();
    let took = started.elapsed();
    let resident = resident_mib();
    writer.close();
    let status = store.status();
    assert_eq!(tally.stored(SampleKind::Call), samples as u64);
    println!("steady    {samples} calls, {} commits", status.commits);
    println!(
        "          {:.0} samples/s sustained ({:.2} s; feeding took {:.2} s of it)",
        samples as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        making.as_secs_f64()
    );
    let write = status.write_time.as_secs_f64();
    println!("          {:.0} samples/s of the writer's own time", samples as f64 / write);
    println!(
        "          {:.2} B a sample on disk, all included",
        status.bytes as f64 / samples as f64
    );
    println!("          {:.1} MiB resident more than before", resident - before);

    let (first, usual) =
        timed(5, || store.percentile_raw(Measure::CallDuration, None, EVER, 0.99).unwrap());
    println!("p99 raw   {first:.0?} first, {usual:.0?} median, of {samples} samples");
    let (_, keyed) = timed(3, || {
        store.percentile_raw(Measure::CallDuration, Some("eth_call"), EVER, 0.99).unwrap()
    });
    println!("          {keyed:.0?} for one method");
    let (first, usual) = timed(9, || {
        store.calls(EVER, &CallFilter::default(), Paging { limit: 100, before: None }).unwrap()
    });
    println!("calls     {first:.1?} first, {usual:.1?} median, for the newest hundred");
    let failed = CallFilter { failed: Some(true), ..CallFilter::default() };
    let (_, usual) =
        timed(9, || store.calls(EVER, &failed, Paging { limit: 100, before: None }).unwrap());
    println!("          {usual:.1?} for the newest hundred failures");
    let (took, _) = timed(1, || store.counts(SampleKind::Call).unwrap());
    println!("recount   {took:.0?}");
    drop(store);
    let reopening = Instant::now();
    let (_store, writer) = Store::open(dir.path(), options(), tally).unwrap();
    println!("reopen    {:.1?}", reopening.elapsed());
    drop(writer);
}

/// Few samples in each commit: the tail at its least efficient.
fn trickle(samples: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer) = Store::open(dir.path(), options(), Arc::default()).unwrap();
    let mut sink = writer.sink();
    let mut stream = CallStream::new(2, START, 2_000.0);
    for _ in 0..samples / 500 {
        let batch: Vec<Sample> = (0..500).map(|_| Sample::Call(stream.next())).collect();
        sink.accept(&batch);
        writer.flush();
    }
    writer.close();
    let status = store.status();
    println!(
        "trickle   {samples} calls at 2,000/s in commits of 500: {:.2} B a sample, {:.2?} a commit",
        status.bytes as f64 / samples as f64,
        status.write_time / status.commits as u32,
    );
}

/// Seven days at five calls a second.
fn week() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer) = Store::open(dir.path(), options(), Arc::default()).unwrap();
    let mut sink = writer.sink();
    let mut stream = CallStream::new(3, START, 5.0);
    let end = START.0 + 7 * DAY;
    let mut count = 0u64;
    while stream.at_ns / 1_000 < end {
        let batch: Vec<Sample> = (0..2_000).map(|_| Sample::Call(stream.next())).collect();
        while store.queue_depth() + batch.len() > 65_536 {
            std::thread::sleep(Duration::from_micros(200));
        }
        sink.accept(&batch);
        count += 2_000;
    }
    writer.close();
    println!(
        "week      {count} calls at 5/s over seven days: {:.2} B a sample with roll-ups",
        store.status().bytes as f64 / count as f64
    );
    let range = Range { from: START, until: UnixMicros(end) };
    for (name, key) in [("all methods", None), ("one method", Some("eth_call".to_owned()))] {
        let query = SeriesQuery { measure: Measure::CallDuration, key, range, points: 600 };
        let (first, usual) = timed(9, || store.series(&query).unwrap());
        let points = store.series(&query).unwrap().points.len();
        println!(
            "series    {first:.1?} first, {usual:.1?} median: 7 days, {points} points, {name}"
        );
    }
    let (first, usual) = timed(9, || store.summaries(Measure::CallDuration, range).unwrap());
    println!("summaries {first:.1?} first, {usual:.1?} median: 7 days, every method");
}
