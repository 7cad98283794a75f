//! What the store does when the disk is full, fails to sync, writes halves or loses power: it
//! accounts for each sample exactly, goes on by itself, and never loses what it acknowledged.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dappscope::model::{ConnectionId, DropReason, Sample, SampleKind, Sink, Tally, UnixMicros};
use dappscope::store::{CallFilter, Measure, Options, Paging, Range, Store, Writer};
use disk::{Shared, SimDisk, Trouble};
use store_support::{CallStream, Random};

#[path = "store_support/disk.rs"]
mod disk;
mod store_support;

const EVER: Range = Range { from: UnixMicros(0), until: UnixMicros(u64::MAX) };

fn open(dir: &Path, disk: &Arc<SimDisk>) -> (Store, Writer, Arc<Tally>) {
    let tally = Arc::new(Tally::default());
    let options = Options {
        retention: None,
        commit_every: Duration::from_millis(2),
        cache_bytes: 1 << 20,
        media: Arc::new(Shared(Arc::clone(disk))),
        ..Options::default()
    };
    let (store, writer) = Store::open(dir, options, Arc::clone(&tally)).unwrap();
    (store, writer, tally)
}

/// Calls whose connection is their serial number.
fn numbered(stream: &mut CallStream, serial: &mut u64, count: u64) -> Vec<Sample> {
    (0..count)
        .map(|_| {
            let mut call = stream.next();
            call.connection = ConnectionId(*serial);
            *serial += 1;
            Sample::Call(call)
        })
        .collect()
}

fn serials(store: &Store) -> Vec<u64> {
    let mut found = Vec::new();
    let mut paging = Paging { limit: 10_000, before: None };
    loop {
        let page = store.calls(EVER, &CallFilter::default(), paging).unwrap();
        found.extend(page.items.iter().map(|call| call.connection.0));
        let Some(next) = page.next else { return found };
        paging.before = Some(next);
    }
}

fn dropped(tally: &Tally) -> u64 {
    DropReason::ALL.into_iter().map(|reason| tally.dropped(reason)).sum()
}

fn rolled_up(store: &Store) -> u64 {
    store.summaries(Measure::CallDuration, EVER).unwrap().iter().map(|(_, s)| s.count).sum()
}

/// How often to cut the power; `STORE_POWER_CUTS` for a long run.
fn rounds(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

#[test]
fn after_a_power_cut_everything_acknowledged_is_there() {
    let mut random = Random(0xc0ffee);
    let now = UnixMicros::now();
    let mut cut_short = 0;
    for round in 0..rounds("STORE_POWER_CUTS", 1_500) / 5 {
        let dir = tempfile::tempdir().unwrap();
        let disk = SimDisk::new();
        let mut stream = CallStream::new(round, now, 200.0);
        let (mut serial, mut kept, mut told) = (0, HashSet::new(), HashSet::new());
        for _ in 0..5 {
            let (store, writer, tally) = open(dir.path(), &disk);
            disk.trouble(random.below(150), u64::MAX, Trouble::PowerCut);
            let mut sink = writer.sink();
            loop {
                let size = if random.below(20) == 0 { 9_000 } else { 1 + random.below(40) };
                let batch = numbered(&mut stream, &mut serial, size);
                let before = tally.stored(SampleKind::Call);
                sink.accept(&batch);
                writer.flush();
                let numbers = serial - size..serial;
                told.extend(numbers.clone());
                if tally.stored(SampleKind::Call) == before + size {
                    kept.extend(numbers);
                } else {
                    cut_short += 1;
                    break;
                }
            }
            drop((writer, sink, store));
            disk.restart(&mut random);
        }
        let (store, writer, _) = open(dir.path(), &disk);
        assert_eq!(store.status().quarantined, Vec::<std::path::PathBuf>::new(), "round {round}");
        let found = serials(&store);
        let distinct: HashSet<u64> = found.iter().copied().collect();
        assert_eq!(found.len(), distinct.len(), "no sample twice, round {round}");
        let lost: Vec<_> = kept.difference(&distinct).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        assert!(distinct.is_subset(&told));
        assert_eq!(rolled_up(&store), found.len() as u64, "roll-ups, round {round}");
        writer.close();
        assert_eq!(rolled_up(&store), found.len() as u64);
    }
    assert!(cut_short > 0);
}

#[test]
fn a_failing_disk_drops_samples_and_every_one_is_accounted_for() {
    let mut random = Random(7);
    let now = UnixMicros::now();
    let mut total_dropped = 0;
    for round in 0..rounds("STORE_FAULTS", 100) {
        let dir = tempfile::tempdir().unwrap();
        let disk = SimDisk::new();
        let (store, writer, tally) = open(dir.path(), &disk);
        let mut stream = CallStream::new(round, now, 500.0);
        let mut sink = writer.sink();
        let mut serial = 0;
        for _ in 0..3 {
            let trouble = [Trouble::Full, Trouble::Sync, Trouble::Short][random.below(3) as usize];
            disk.trouble(random.below(40), 1 + random.below(30), trouble);
            for _ in 0..6 {
                let size = if random.below(10) == 0 { 9_000 } else { 1 + random.below(200) };
                let batch = numbered(&mut stream, &mut serial, size);
                tally.count_seen(SampleKind::Call, size);
                sink.accept(&batch);
                if random.below(2) == 0 {
                    writer.flush();
                }
            }
            writer.flush();
            let (seen, stored) = (tally.seen(SampleKind::Call), tally.stored(SampleKind::Call));
            assert_eq!(seen, stored + dropped(&tally), "round {round}");
        }
        disk.heal();
        let before = tally.stored(SampleKind::Call);
        let batch = numbered(&mut stream, &mut serial, 10);
        tally.count_seen(SampleKind::Call, 10);
        sink.accept(&batch);
        writer.flush();
        let stored = tally.stored(SampleKind::Call);
        assert_eq!(stored, before + 10, "recording resumes, round {round}: {:?}", store.status());
        assert!(!store.status().failing);
        let found = serials(&store);
        assert_eq!(found.len() as u64, stored, "what is counted is there, round {round}");
        assert_eq!(store.counts(SampleKind::Call).unwrap(), stored);
        assert_eq!(rolled_up(&store), stored, "roll-ups, round {round}");
        total_dropped += dropped(&tally);
        writer.close();
        assert_eq!(rolled_up(&store), stored);
    }
    assert!(total_dropped > 0);
}

#[test]
fn recording_resumes_by_itself_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SimDisk::new();
    let (store, writer, tally) = open(dir.path(), &disk);
    let mut stream = CallStream::new(1, UnixMicros::now(), 500.0);
    let (mut sink, mut serial) = (writer.sink(), 0);
    disk.trouble(0, u64::MAX, Trouble::Full);
    sink.accept(&numbered(&mut stream, &mut serial, 100));
    writer.flush();
    assert_eq!(tally.dropped(DropReason::StoreFailed), 100);
    let status = store.status();
    assert!(status.failing && status.last_error.is_some() && status.errors > 0);
    disk.heal();
    sink.accept(&numbered(&mut stream, &mut serial, 50));
    // No flush, which would force an attempt: the writer has to try again on its own.
    let deadline = Instant::now() + Duration::from_secs(10);
    while tally.stored(SampleKind::Call) < 50 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(tally.stored(SampleKind::Call), 50);
}

#[test]
fn a_queue_that_is_full_drops_whole_batches_and_never_waits() {
    let dir = tempfile::tempdir().unwrap();
    let tally = Arc::new(Tally::default());
    let options =
        Options { queue_samples: 100, commit_every: Duration::from_mins(10), ..Options::default() };
    let (store, writer) = Store::open(dir.path(), options, Arc::clone(&tally)).unwrap();
    let mut stream = CallStream::new(1, UnixMicros::now(), 500.0);
    let (mut sink, mut serial) = (writer.sink(), 0);
    sink.accept(&numbered(&mut stream, &mut serial, 40));
    sink.accept(&numbered(&mut stream, &mut serial, 101));
    assert_eq!(tally.dropped(DropReason::StoreBehind), 101);
    assert_eq!(store.status().queue_depth, 40);
    writer.flush();
    assert_eq!(tally.stored(SampleKind::Call), 40);
    writer.close();
    sink.accept(&numbered(&mut stream, &mut serial, 5));
    assert_eq!(tally.dropped(DropReason::StoreBehind), 106);
}
