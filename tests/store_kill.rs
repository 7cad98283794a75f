//! Kills a writing process at a random moment, again and again: the store opens, and what was
//! acknowledged is there.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dappscope::model::{ConnectionId, Sample, SampleKind, Sink, Tally, UnixMicros};
use dappscope::store::{CallFilter, Measure, Options, Paging, Range, Store};
use store_support::{CallStream, Random};

mod store_support;

const DIRECTORY: &str = "STORE_KILL_DIRECTORY";
const SERIAL: &str = "STORE_KILL_SERIAL";
const EVER: Range = Range { from: UnixMicros(0), until: UnixMicros(u64::MAX) };

/// The process that is killed: this test, run again with a directory in its environment. By itself
/// it has nothing to do.
#[test]
fn a_child_writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let mut serial: u64 = std::env::var(SERIAL).unwrap().parse().unwrap();
    let tally = Arc::new(Tally::default());
    let options = Options { commit_every: Duration::from_millis(5), ..Options::default() };
    let (_store, writer) = Store::open(Path::new(&directory), options, Arc::clone(&tally)).unwrap();
    let mut sink = writer.sink();
    let mut random = Random(serial);
    let mut stream = CallStream::new(serial, UnixMicros::now(), 2_000.0);
    loop {
        let most = if random.below(4) == 0 { 20_000 } else { 300 };
        let size = 1 + random.below(most);
        let batch: Vec<Sample> = (0..size)
            .map(|_| {
                let mut call = stream.next();
                call.connection = ConnectionId(serial);
                serial += 1;
                Sample::Call(call)
            })
            .collect();
        let before = tally.stored(SampleKind::Call);
        sink.accept(&batch);
        writer.flush();
        assert_eq!(tally.stored(SampleKind::Call), before + size);
        println!("acknowledged {serial}");
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("STORE_KILLS").ok().and_then(|count| count.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(9);
    let mut kept: Vec<std::ops::Range<u64>> = Vec::new();
    for round in 0..rounds.unwrap_or(50u64) {
        let first = round * 100_000_000;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_child_writes_until_it_is_killed", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .env(SERIAL, first.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = first;
        // Some acknowledgements, then a moment into the next commit.
        let wanted = random.below(6);
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the child goes on until it is killed").unwrap();
            if let Some(serial) = line.strip_prefix("acknowledged ") {
                acknowledged = serial.parse().unwrap();
                seen += 1;
            }
        }
        std::thread::sleep(Duration::from_micros(random.below(12_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts.
        for line in lines.map_while(Result::ok) {
            if let Some(serial) = line.strip_prefix("acknowledged ") {
                acknowledged = serial.parse().unwrap();
            }
        }
        kept.push(first..acknowledged);

        let (store, writer) = Store::open(dir.path(), Options::default(), Arc::default()).unwrap();
        assert!(store.status().quarantined.is_empty(), "round {round}");
        let least: u64 = kept.iter().map(|range| range.end - range.start).sum();
        let count = store.counts(SampleKind::Call).unwrap();
        assert!(count >= least, "round {round}: {count} of {least}");
        let summaries = store.summaries(Measure::CallDuration, EVER).unwrap();
        let rolled_up: u64 = summaries.iter().map(|(_, summary)| summary.count).sum();
        assert_eq!(rolled_up, count, "roll-ups, round {round}");
        // Every other time the parent leaves without closing either.
        if round % 2 == 0 {
            writer.close();
        }
    }

    let (store, _writer) = Store::open(dir.path(), Options::default(), Arc::default()).unwrap();
    let mut found = HashSet::new();
    let mut paging = Paging { limit: 10_000, before: None };
    loop {
        let page = store.calls(EVER, &CallFilter::default(), paging).unwrap();
        for call in page.items {
            assert!(found.insert(call.connection.0), "a sample twice");
        }
        let Some(next) = page.next else { break };
        paging.before = Some(next);
    }
    for serial in kept.into_iter().flatten() {
        assert!(found.contains(&serial), "{serial} is lost");
    }
}
