//! The store's directory: modes, the lock, files that are corrupt, foreign, too old, or of the first
//! version.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dappscope::model::{DropReason, Sample, SampleKind, Sink, Tally, UnixMicros};
use dappscope::store::{
    BlockFilter, BreakdownFilter, CallFilter, FindingFilter, Measure, OperationFilter, Options,
    Paging, Range, RequestFilter, SeriesQuery, StateFilter, Store, StoreError, TransactionFilter,
    Writer,
};
use store_support::{
    CallStream, Random, any_first_sample, any_fourth_sample, any_sample, any_second_sample,
    any_third_sample,
};

mod store_support;

const DAY: u64 = 86_400_000_000;
const EVER: Range = Range { from: UnixMicros(0), until: UnixMicros(u64::MAX) };
const ALL: Paging = Paging { limit: 10_000, before: None };

type Spoil = Box<dyn Fn(&mut Vec<u8>)>;

fn open(dir: &Path) -> (Store, Writer) {
    let options = Options { retention: None, ..Options::default() };
    Store::open(dir, options, Arc::default()).unwrap()
}

fn write(writer: &Writer, from: UnixMicros, count: usize) {
    let mut stream = CallStream::new(1, from, 1_000.0);
    let samples: Vec<Sample> = (0..count).map(|_| Sample::Call(stream.next())).collect();
    writer.sink().accept(&samples);
    writer.flush();
}

fn databases(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains("redb")).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn nobody_else_may_read_the_store() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("deep/store");
    let (_store, writer) = open(&dir);
    write(&writer, UnixMicros::now(), 10);
    assert_eq!(mode(&dir), 0o700);
    for entry in fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_second_opening_names_the_directory_that_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = Store::open(dir.path(), Options::default(), Arc::default());
    let Err(error @ StoreError::InUse { .. }) = second.map(|_| ()) else { panic!("in use") };
    assert!(error.to_string().contains(&*dir.path().to_string_lossy()));
    drop(first);
    open(dir.path());
}

#[test]
fn a_corrupt_or_foreign_file_is_moved_away_and_recording_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let now = UnixMicros::now();
    let (store, writer) = open(dir.path());
    write(&writer, now, 30_000);
    writer.close();
    drop(store);
    let name = databases(dir.path()).remove(0);
    let path = dir.path().join(&name);
    let healthy = fs::read(&path).unwrap();
    let spoiled: [Spoil; 4] = [
        Box::new(|bytes| *bytes = b"SQLite format 3\0 and so on, not ours at all".to_vec()),
        Box::new(|bytes| bytes.truncate(bytes.len() / 3)),
        Box::new(|bytes| bytes[..4_096].fill(0xa5)),
        Box::new(|bytes| bytes[4_096..].fill(0)),
    ];
    for (index, spoil) in spoiled.iter().enumerate() {
        let mut bytes = healthy.clone();
        spoil(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let (store, writer) = open(dir.path());
        write(&writer, now, 20);
        assert_eq!(store.counts(SampleKind::Call).unwrap(), 20, "spoiled {index}");
        let moved = format!("{name}.corrupt-{}", index + 1);
        assert!(databases(dir.path()).contains(&moved));
        assert_eq!(fs::read(dir.path().join(moved)).unwrap(), bytes, "kept as it was");
        assert_eq!(store.status().quarantined.len(), 1);
        writer.close();
    }
}

#[test]
fn a_removed_store_is_told_and_begun_anew_and_what_went_with_it_is_no_stored_sample() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("store");
    let tally = Arc::new(Tally::default());
    let options = Options { commit_every: Duration::from_millis(1), ..Options::default() };
    let (store, writer) = Store::open(&dir, options, Arc::clone(&tally)).unwrap();
    let dropped = || DropReason::ALL.into_iter().map(|reason| tally.dropped(reason)).sum::<u64>();
    for round in 1..=20 {
        write(&writer, UnixMicros::now(), 100);
        // In every second round under load, for the removal to meet a commit.
        let before = store.counts(SampleKind::Call).unwrap();
        assert!(before > 0, "recording goes on, round {round}");
        let (stored, lost) = (tally.stored(SampleKind::Call), dropped());
        let load = if round % 2 == 0 { 40 } else { 0 };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..load).for_each(|_| write(&writer, UnixMicros::now(), 50)));
            if round % 4 < 2 {
                let _ = fs::remove_dir_all(&dir);
            } else {
                for name in databases(&dir) {
                    fs::remove_file(dir.join(name)).unwrap();
                }
            }
        });
        write(&writer, UnixMicros::now(), 100);
        let after = tally.stored(SampleKind::Call) - stored;
        assert_eq!(after + dropped() - lost, load * 50 + 100, "round {round}");
        let there = store.counts(SampleKind::Call).unwrap();
        assert!(there >= 100 && there <= after, "round {round}: {there} of {after}");
        if load == 0 {
            assert_eq!(there, after, "none went into the removed file, round {round}");
        }
        let status = store.status();
        assert!(status.removed >= round, "round {round}");
        assert!(!status.failing, "round {round}");
        assert!(status.last_error.unwrap().contains("removed"), "round {round}");
        let second = Store::open(&dir, Options::default(), Arc::default());
        assert!(matches!(second.map(|_| ()), Err(StoreError::InUse { .. })), "round {round}");
        assert_eq!((mode(&dir), databases(&dir).len()), (0o700, 1));
    }
}

#[test]
fn a_flipped_bit_costs_a_block_at_most_and_no_panic_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer) = open(dir.path());
    write(&writer, UnixMicros(20_000 * DAY), 40_000);
    writer.close();
    drop(store);
    let path = dir.path().join(databases(dir.path()).remove(0));
    let healthy = fs::read(&path).unwrap();
    let mut random = Random(3);
    for _ in 0..60 {
        let mut bytes = healthy.clone();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        fs::write(&path, &bytes).unwrap();
        let (store, writer) = open(dir.path());
        // Any answer or error will do; a panic will not, nor an answer nobody gave.
        let count = store.counts(SampleKind::Call).unwrap_or(0);
        assert!(count <= 40_000);
        let _ = store.percentile_raw(Measure::CallDuration, None, EVER, 0.99);
        let _ = store.calls(EVER, &CallFilter::default(), ALL);
        let _ = store.summaries(Measure::CallDuration, EVER);
        write(&writer, UnixMicros::now(), 5);
        writer.close();
        for name in databases(dir.path()) {
            if dir.path().join(&name) != path {
                fs::remove_file(dir.path().join(name)).unwrap();
            }
        }
    }
}

#[test]
fn old_days_are_deleted_whole_and_their_hours_stay() {
    let dir = tempfile::tempdir().unwrap();
    let now = UnixMicros::now().0;
    let (store, writer) = open(dir.path());
    for age in [0, 1, 2, 5, 9] {
        write(&writer, UnixMicros(now - age * DAY), 1_000);
    }
    writer.close();
    drop(store);
    let before = databases(dir.path());
    let options = Options {
        retention: Some(Duration::from_hours(72)),
        retention_every: Duration::from_millis(1),
        commit_every: Duration::from_millis(1),
        ..Options::default()
    };
    let (store, writer) = Store::open(dir.path(), options, Arc::default()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while databases(dir.path()).len() != 4 && Instant::now() < deadline {
        writer.flush();
    }
    writer.close();
    let after = databases(dir.path());
    assert!(after.contains(&"rollups.redb".to_owned()));
    let samples = |names: &[String]| names.iter().filter(|n| n.starts_with("samples")).count();
    assert_eq!((samples(&before), samples(&after)), (5, 3));
    assert_eq!(store.counts(SampleKind::Call).unwrap(), 3_000);
    let count = |range| {
        let query = SeriesQuery { measure: Measure::CallDuration, key: None, range, points: 500 };
        store.series(&query).unwrap().points.iter().map(|p| p.summary.count).sum::<u64>()
    };
    assert_eq!(count(EVER), 5_000);
    let old = Range { from: UnixMicros(0), until: UnixMicros((now - 4 * DAY) / DAY * DAY) };
    assert_eq!(count(old), 2_000);
}

/// The samples of a fixture, of every kind.
fn fixture_samples(any: fn(&mut Random, UnixMicros) -> Sample) -> Vec<Sample> {
    let mut random = Random(1);
    (0..400u64)
        .map(|index| any(&mut random, UnixMicros(20_000 * DAY + index * 1_000_000)))
        .collect()
}

/// Every sample of a store, in order of time.
fn every_sample(store: &Store) -> Vec<Sample> {
    let mut found: Vec<Sample> = Vec::new();
    let page = store.calls(EVER, &CallFilter::default(), ALL).unwrap();
    found.extend(page.items.into_iter().map(Sample::Call));
    let page = store.requests(EVER, &RequestFilter::default(), ALL).unwrap();
    found.extend(page.items.into_iter().map(Sample::Request));
    let page = store.transactions(EVER, &TransactionFilter::default(), ALL).unwrap();
    found.extend(page.items.into_iter().map(|t| Sample::Transaction(Box::new(t))));
    let page = store.blocks(EVER, &BlockFilter::default(), ALL).unwrap();
    found.extend(page.items.into_iter().map(|b| Sample::Block(Box::new(b))));
    let page = store.host(EVER, ALL).unwrap();
    found.extend(page.items.into_iter().map(|h| Sample::Host(Box::new(h))));
    let page = store.states(EVER, &StateFilter::default(), ALL).unwrap();
    found.extend(page.items.into_iter().map(|s| Sample::State(Box::new(s))));
    let page = store.findings(EVER, &FindingFilter::default(), ALL).unwrap();
    found.extend(page.items.into_iter().map(|f| Sample::Finding(Box::new(f))));
    let page = store.operations(EVER, &OperationFilter::default(), ALL).unwrap();
    found.extend(page.items.into_iter().map(|o| Sample::Operation(Box::new(o))));
    let page = store.breakdowns(EVER, &BreakdownFilter::default(), ALL).unwrap();
    found.extend(page.items.into_iter().map(|b| Sample::Breakdown(Box::new(b))));
    let page = store.learned_routes(EVER, ALL).unwrap();
    found.extend(page.items.into_iter().map(|r| Sample::Route(Box::new(r))));
    let page = store.rollbacks(EVER, ALL).unwrap();
    found.extend(page.items.into_iter().map(|r| Sample::Rollback(Box::new(r))));
    found.sort_by_key(Sample::at);
    found
}

/// Bytes written by each version are read as they were meant: the first had no details of calls,
/// state changes or findings, the second nothing of what a request's headers tell, the third nothing
/// of a request's inside, the fourth nothing of why a process is not known. To write the fixture of a
/// new format, under a new name:
/// `STORE_FIXTURE=samples-v5.redb cargo test --test store_files of_every_version`.
#[test]
fn a_file_of_every_version_is_read_as_it_was_meant() {
    const DATE: &str = "samples-2024-10-04.redb";
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let first = ("samples-v1.redb", fixture_samples(any_first_sample));
    let second = ("samples-v2.redb", fixture_samples(any_second_sample));
    let third = ("samples-v3.redb", fixture_samples(any_third_sample));
    let fourth = ("samples-v4.redb", fixture_samples(any_fourth_sample));
    let fifth = ("samples-v5.redb", fixture_samples(any_sample));
    for (name, samples) in [first, second, third, fourth, fifth] {
        let fixture = fixtures.join(name);
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(DATE);
        if std::env::var("STORE_FIXTURE").is_ok_and(|value| value == name) {
            let (store, writer) = open(dir.path());
            // Sealed blocks, and a tail as a killed process leaves it.
            writer.sink().accept(&samples[..300]);
            writer.close();
            drop(store);
            let (_store, writer) = open(dir.path());
            writer.sink().accept(&samples[300..]);
            writer.flush();
            fs::copy(&place, &fixture).unwrap();
            continue;
        }
        fs::copy(&fixture, &place).unwrap();
        let (store, _writer) = open(dir.path());
        assert_eq!(every_sample(&store), samples, "{name}");
        let calls = samples.iter().filter(|s| s.kind() == SampleKind::Call).count() as u64;
        let summaries = store.summaries(Measure::CallDuration, EVER).unwrap();
        assert_eq!(summaries.iter().map(|(_, s)| s.count).sum::<u64>(), calls, "{name}");
    }
}
