//! Owns the writer's thread: takes batches from the queue, commits them to the file of their day,
//! accounts for each sample exactly once, and starts anew after a fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::commit::{DayState, Leave};
use super::day::{DayFile, day_of};
use super::error::{Fault, StoreError, contain};
use super::files::Files;
use super::retention::Retention;
use super::sink::{StoreSink, Waiting};
use crate::model::{Batch, DropReason, Sample, SampleKind, Sink, Tally, UnixMicros};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a day that is over is kept open for late samples.
const GRACE: Duration = Duration::from_secs(60);
/// The most days written to at once; samples of more than two are a clock gone wrong.
const MOST_DAYS: usize = 3;

/// Owns the writer's thread. Dropping it closes it.
pub struct Writer {
    waiting: Arc<Waiting>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        files: Arc<Files>,
        waiting: Arc<Waiting>,
        tally: Arc<Tally>,
    ) -> Result<Self, StoreError> {
        let retention = Retention::new(files.options.retention, files.options.retention_every);
        let mut days = Days {
            files,
            tally,
            waiting: Arc::clone(&waiting),
            active: BTreeMap::new(),
            doubts: BTreeMap::new(),
            pause: FIRST_PAUSE,
            retry_at: None,
            retention,
            held: true,
        };
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || days.run())
            .map_err(StoreError::Thread)?;
        Ok(Self { waiting, thread: Some(thread) })
    }

    /// Where samples go in. A batch that does not fit the queue is dropped whole and counted as
    /// [`DropReason::StoreBehind`]. Never waits for the disk.
    pub fn sink(&self) -> impl Sink + use<> {
        StoreSink(Arc::clone(&self.waiting))
    }

    /// Waits until every sample accepted so far is committed, or dropped and counted.
    pub fn flush(&self) {
        self.waiting.flush();
    }

    /// Flushes, seals what is in the tail, writes unfinished roll-ups and stops.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.waiting.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

type Sequences = [u64; SampleKind::ALL.len()];

/// A day that is being written.
struct Active {
    file: Arc<DayFile>,
    state: DayState,
    used: Instant,
}

struct Days {
    files: Arc<Files>,
    tally: Arc<Tally>,
    waiting: Arc<Waiting>,
    active: BTreeMap<u32, Active>,
    /// Where a day's samples end as far as they were counted as stored, after a commit of which it
    /// could not be told whether it reached the disk; its samples were counted as dropped.
    doubts: BTreeMap<u32, Sequences>,
    pause: Duration,
    retry_at: Option<Instant>,
    retention: Retention,
    /// Whether the directory's lock was held at the last look.
    held: bool,
}

impl Days {
    fn run(&mut self) {
        self.take_up();
        let every = self.files.options.commit_every;
        let mut due = Instant::now() + every;
        loop {
            let until = self.retry_at.map_or(due, |retry_at| due.max(retry_at));
            let turn = self.waiting.wait(until, self.retry_at.is_some());
            due = Instant::now() + every;
            self.look_for_removed();
            self.write(&turn.batches);
            drop(turn.batches);
            if let Some(number) = turn.flush {
                self.waiting.flushed(number);
            }
            if turn.stop {
                self.leave_all();
                return;
            }
            self.maintain();
        }
    }

    /// Finishes what a killed process left of the days before.
    fn take_up(&mut self) {
        let today = day_of(UnixMicros::now());
        let before: Vec<u32> = self.files.days().into_iter().filter(|d| *d < today).collect();
        for day in before.into_iter().rev().take(2) {
            if let Err(fault) = self.activate(day, false).map(|_| ()) {
                self.told(day, &fault, true);
            }
        }
    }

    /// Begins anew what somebody removed under the store: the directory, its lock, the files being
    /// written. What is removed later, during a commit, the commit's last sync meets.
    fn look_for_removed(&mut self) {
        let held = self.files.hold();
        if let (Err(error), true) = (&held, self.held) {
            tracing::error!("the store directory was removed and cannot be made anew: {error}");
            self.files.counts.failed(error.to_string(), false);
        }
        self.held = held.is_ok();
        let gone: Vec<(u32, Fault)> = self
            .active
            .iter()
            .filter_map(|(day, active)| Some((*day, active.file.in_place().err()?)))
            .collect();
        for (day, fault) in gone {
            // Not failing: the next samples have a file to go into, or the opening says otherwise.
            self.told(day, &fault, false);
            self.abandon(day);
            if let Err(fault) = self.activate(day, false).map(|_| ()) {
                self.told(day, &fault, true);
                self.back_off();
            }
        }
    }

    fn back_off(&mut self) {
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn write(&mut self, batches: &[Batch]) {
        let mut order: Vec<(u64, &Sample)> = batches
            .iter()
            .flat_map(|batch| batch.iter())
            .map(|sample| (sample.at().0, sample))
            .collect();
        // Stable: samples of one microsecond keep the order in which they came to be.
        order.sort_by_key(|(at, _)| *at);
        let mut rest = &order[..];
        while let Some((at, _)) = rest.first() {
            let day = day_of(UnixMicros(*at));
            let count = rest.partition_point(|(at, _)| day_of(UnixMicros(*at)) == day);
            let (samples, later) = rest.split_at(count);
            let samples: Vec<&Sample> = samples.iter().map(|(_, sample)| *sample).collect();
            self.write_day(day, &samples);
            rest = later;
        }
    }

    fn write_day(&mut self, day: u32, samples: &[&Sample]) {
        let mut counts: Sequences = Default::default();
        samples.iter().for_each(|sample| counts[sample.kind() as usize] += 1);
        let started = Instant::now();
        let mut before = None;
        let outcome = self.activate(day, false).and_then(|active| {
            before = Some(active.state.sequences());
            active.used = started;
            contain(|| active.state.commit(&active.file, samples))
        });
        let stored = match (outcome, before) {
            (Ok(()), _) => true,
            (Err(fault), None) => {
                self.told(day, &fault, true);
                false
            }
            (Err(fault), Some(before)) => {
                self.told(day, &fault, true);
                self.settle(day, before, counts, fault.is_corruption())
            }
        };
        if stored {
            for kind in SampleKind::ALL {
                self.tally.count_stored(kind, counts[kind as usize]);
            }
            self.files.counts.committed(started.elapsed());
            self.retention.wrote(day, started);
            self.pause = FIRST_PAUSE;
            self.retry_at = None;
        } else {
            self.tally.count_dropped(DropReason::StoreFailed, samples.len() as u64);
            self.back_off();
        }
        self.close_spans(day);
    }

    /// After a failed commit: opens the file anew and looks whether the samples are in it. A
    /// failed sync says nothing about what reached the disk.
    fn settle(&mut self, day: u32, before: Sequences, counts: Sequences, check: bool) -> bool {
        self.abandon(day);
        let Ok(active) = self.activate(day, check) else {
            self.doubts.entry(day).or_insert(before);
            return false;
        };
        let after = active.state.sequences();
        let expected: Vec<u64> = before.iter().zip(counts).map(|(b, count)| b + count).collect();
        after[..] == expected[..]
    }

    fn abandon(&mut self, day: u32) {
        if let Some(active) = self.active.remove(&day) {
            if active.file.in_place().is_err() {
                self.files.counts.removed();
            }
            // Closing a broken database may panic as well as using it.
            let _ = contain(|| {
                drop(active);
                Ok(())
            });
        }
        let files = &self.files;
        let _ = contain(|| {
            files.forget(day);
            Ok(())
        });
    }

    /// The day, open for writing.
    fn activate(&mut self, day: u32, check: bool) -> Result<&mut Active, Fault> {
        if !self.active.contains_key(&day) {
            let active = self.open(day, check)?;
            self.active.insert(day, active);
        }
        Ok(self.active.get_mut(&day).expect("inserted above if it was absent; qed"))
    }

    fn open(&mut self, day: u32, check: bool) -> Result<Active, Fault> {
        let deadline = Instant::now() + Duration::from_millis(500);
        let file = loop {
            match self.files.get_or_create(day, check) {
                Ok(file) => break file,
                // A reader still holds the handle that was given up.
                Err(StoreError::File { fault, .. })
                    if fault.is_busy() && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(StoreError::File { fault, .. }) => return Err(fault),
                Err(other) => return Err(Fault::Io(std::io::Error::other(other))),
            }
        };
        match self.load(day, &file) {
            Ok(state) => Ok(Active { file, state, used: Instant::now() }),
            Err(fault) => {
                // After any failed read or write redb refuses everything until it is reopened.
                drop(file);
                self.abandon(day);
                Err(fault)
            }
        }
    }

    fn load(&mut self, day: u32, file: &DayFile) -> Result<DayState, Fault> {
        let mut state = contain(|| DayState::load(file))?;
        if let Some(kept) = self.doubts.get(&day) {
            contain(|| state.retract(file, kept))?;
            state = contain(|| DayState::load(file))?;
            self.doubts.remove(&day);
        }
        Ok(state)
    }

    fn close_spans(&mut self, day: u32) {
        let Some(active) = self.active.get_mut(&day) else { return };
        if !active.state.has_to_close() {
            return;
        }
        if let Err(fault) = contain(|| active.state.close_spans(&active.file, Leave::Stay)) {
            // Nothing is lost: the spans are marked as open and are built from their samples.
            self.told(day, &fault, true);
            self.abandon(day);
        }
    }

    /// Finishes days that are over, and deletes those that are too old.
    fn maintain(&mut self) {
        let today = day_of(UnixMicros::now());
        let newest = self.active.keys().next_back().copied().unwrap_or(0);
        let over = |day: u32, active: &Active| {
            (day < newest || day < today) && active.used.elapsed() > GRACE
        };
        let crowded = self.active.len() > MOST_DAYS;
        let done: Vec<u32> = self
            .active
            .iter()
            .filter(|(day, active)| over(**day, active) || (crowded && **day < newest))
            .map(|(day, _)| *day)
            .collect();
        for day in done {
            self.leave(day, Leave::ForGood);
        }
        let now = Instant::now();
        if self.retention.is_due(today, now) {
            let old = self.retention.look(&self.files.days(), today, now);
            // Let go of before they are deleted: what the store deletes itself is not missing.
            self.active.retain(|day, _| !old.contains(day));
            self.files.delete(&old);
        }
    }

    fn leave(&mut self, day: u32, leave: Leave) {
        if let Some(mut active) = self.active.remove(&day)
            && let Err(fault) = contain(|| active.state.leave(&active.file, leave))
        {
            self.told(day, &fault, true);
            drop(active);
            self.abandon(day);
        }
    }

    fn leave_all(&mut self) {
        let newest = self.active.keys().next_back().copied().unwrap_or(0);
        let today = day_of(UnixMicros::now()).max(newest);
        for day in self.active.keys().copied().collect::<Vec<_>>() {
            self.leave(day, if day < today { Leave::ForGood } else { Leave::ForNow });
        }
    }

    fn told(&self, day: u32, fault: &Fault, writing: bool) {
        let path = self.files.path_of(day);
        tracing::error!(file = %path.display(), "samples could not be written: {fault}");
        self.files.counts.failed(format!("{}: {fault}", path.display()), writing);
    }
}
