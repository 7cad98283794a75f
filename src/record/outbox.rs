//! What the recorder has made and not handed over yet: counts samples as seen, and gives them to
//! the sinks in batches.

use std::sync::Arc;

use crate::model::{Event, Sample, SampleKind, Sink, Tally};

/// The most samples in a batch.
const BATCH: usize = 1_024;

pub(super) struct Outbox {
    samples: Vec<Sample>,
    sinks: Vec<Box<dyn Sink>>,
    tally: Arc<Tally>,
}

impl Outbox {
    pub(super) fn new(sinks: Vec<Box<dyn Sink>>, tally: Arc<Tally>) -> Self {
        Self { samples: Vec::with_capacity(BATCH), sinks, tally }
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() == BATCH {
            self.hand_over();
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        for sink in &mut self.sinks {
            sink.event(event);
        }
    }

    /// Gives what is waiting to every sink. Counted as seen first, so that at no moment more is
    /// stored than was seen.
    pub(super) fn hand_over(&mut self) {
        if self.samples.is_empty() {
            return;
        }
        let mut made = [0_u64; SampleKind::ALL.len()];
        for sample in &self.samples {
            made[sample.kind() as usize] += 1;
        }
        for kind in SampleKind::ALL {
            if made[kind as usize] > 0 {
                self.tally.count_seen(kind, made[kind as usize]);
            }
        }
        for sink in &mut self.sinks {
            sink.accept(&self.samples);
        }
        self.samples.clear();
    }
}
