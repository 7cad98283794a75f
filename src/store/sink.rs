//! Owns the bounded queue between the recorder and the writer.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{Batch, DropReason, Sample, Sink, Tally};

/// Batches waiting to be written.
pub(super) struct Waiting {
    inside: Mutex<Inside>,
    changed: Condvar,
    depth: AtomicUsize,
    pub capacity: usize,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Inside {
    batches: Vec<Batch>,
    /// Flushes asked for and done.
    asked: u64,
    done: u64,
    stop: bool,
}

/// What the writer is to do next.
pub(super) struct Turn {
    pub batches: Vec<Batch>,
    /// Somebody waits for a flush of this number.
    pub flush: Option<u64>,
    pub stop: bool,
}

impl Waiting {
    pub fn new(capacity: usize, tally: Arc<Tally>) -> Self {
        Self {
            inside: Mutex::default(),
            changed: Condvar::new(),
            depth: AtomicUsize::new(0),
            capacity: capacity.max(1),
            tally,
        }
    }

    pub fn depth(&self) -> usize {
        self.depth.load(Relaxed)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a commit is due: at `due`, when the queue is half full, or when somebody asks.
    /// A half full queue does not count while `hold` says that writing is pointless for now.
    pub fn wait(&self, due: Instant, hold: bool) -> Turn {
        let mut inside = self.inside();
        loop {
            let half_full = !hold && self.depth() * 2 >= self.capacity;
            let left = due.saturating_duration_since(Instant::now());
            let flush = (inside.asked > inside.done).then_some(inside.asked);
            if inside.stop || flush.is_some() || half_full || left.is_zero() {
                let batches = std::mem::take(&mut inside.batches);
                self.depth.store(0, Relaxed);
                return Turn { batches, flush, stop: inside.stop };
            }
            inside = self
                .changed
                .wait_timeout(inside, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(inside, _)| inside);
        }
    }

    /// Tells those who wait for flushes up to `number` that they may go on.
    pub fn flushed(&self, number: u64) {
        self.inside().done = number;
        self.changed.notify_all();
    }

    /// Waits until what was accepted so far is committed or dropped.
    pub fn flush(&self) {
        let mut inside = self.inside();
        if inside.stop {
            return;
        }
        inside.asked += 1;
        let number = inside.asked;
        self.changed.notify_all();
        while inside.done < number && !inside.stop {
            inside = self
                .changed
                .wait_timeout(inside, Duration::from_secs(1))
                .map_or_else(|poisoned| poisoned.into_inner().0, |(inside, _)| inside);
        }
    }

    /// No more is accepted; the writer gets its last turn.
    pub fn stop(&self) {
        self.inside().stop = true;
        self.changed.notify_all();
    }

    fn offer(&self, batch: &Batch) {
        if batch.is_empty() {
            return;
        }
        let mut inside = self.inside();
        let room = self.capacity.saturating_sub(self.depth());
        if inside.stop || batch.len() > room {
            drop(inside);
            self.tally.count_dropped(DropReason::StoreBehind, batch.len() as u64);
            return;
        }
        let before = self.depth.fetch_add(batch.len(), Relaxed);
        inside.batches.push(Arc::clone(batch));
        let half = self.capacity / 2;
        if before < half && before + batch.len() >= half {
            self.changed.notify_all();
        }
    }
}

/// The recorder's end of the queue: shares a batch, or drops and counts it whole.
pub(super) struct StoreSink(pub Arc<Waiting>);

impl Sink for StoreSink {
    fn accept(&mut self, samples: &[Sample]) {
        self.0.offer(&Arc::new(samples.to_vec()));
    }

    fn accept_shared(&mut self, batch: &Batch) {
        self.0.offer(batch);
    }
}
