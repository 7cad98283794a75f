//! What the recorder has made and not handed over yet: counts samples as seen, and gives them to
//! the sinks in batches.

use std::sync::Arc;

use crate::model::{Event, Sample, SampleKind, Sink, Tally};

/// The most samples in a batch.
const BATCH: usize = 1_024;

pub(super) struct Outbox {
    samples: Vec<Sample>,
    /// Whether events were told since the last handing over.
    has_told: bool,
    sinks: Vec<Box<dyn Sink>>,
    tally: Arc<Tally>,
}

impl Outbox {
    pub(super) fn new(sinks: Vec<Box<dyn Sink>>, tally: Arc<Tally>) -> Self {
        Self { samples: Vec::with_capacity(BATCH), has_told: false, sinks, tally }
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() == BATCH {
            self.hand_over_samples();
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.has_told = true;
        for sink in &mut self.sinks {
            sink.event(event);
        }
    }

    /// Gives what is waiting to every sink.
    pub(super) fn hand_over(&mut self) {
        if !self.samples.is_empty() {
            self.hand_over_samples();
        }
        if std::mem::take(&mut self.has_told) {
            self.sinks.iter_mut().for_each(|sink| sink.flush());
        }
    }

    /// Counts as seen first, so that at no moment more is stored than was seen.
    fn hand_over_samples(&mut self) {
        let mut made = [0_u64; SampleKind::ALL.len()];
        for sample in &self.samples {
            made[sample.kind() as usize] += 1;
        }
        for kind in SampleKind::ALL {
            if made[kind as usize] > 0 {
                self.tally.count_seen(kind, made[kind as usize]);
            }
        }
        // Moved to a place of just their size: what is written to again and again stays in the cache.
        let batch = Arc::new(self.samples.drain(..).collect::<Vec<_>>());
        for sink in &mut self.sinks {
            sink.accept_shared(&batch);
        }
    }
}
