//! The bounded copy of a body or message: so much of each, and so much of all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::model::{Captured, Codings, CopyStop};

/// Room that is made at once for a body of known size. A larger one gets room as its bytes arrive:
/// a head that promises a gigabyte and sends nothing costs nothing.
const TRUSTED: usize = 64 * 1024;
/// A copy up to this size is not accounted for: most are far smaller, and there are at most a few
/// for each connection.
const FREE: usize = 16 * 1024;

/// How many bytes the copies under way may hold together. Cheap to clone; the clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Bytes that may still be taken.
    pub fn left(&self) -> usize {
        self.0.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// A part of a budget; given back when dropped, which is when the copy is handed to the recorder.
#[derive(Debug)]
pub struct Ration {
    budget: Budget,
    bytes: usize,
}

impl Drop for Ration {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Relaxed);
    }
}

/// A copy under way.
#[derive(Debug)]
pub struct Capture {
    captured: Captured,
    limit: usize,
    ration: Option<Ration>,
}

impl Capture {
    /// Nothing yet, of which the first `limit` bytes will be kept.
    pub fn new(limit: usize, codings: Codings) -> Self {
        let captured = Captured { codings, ..Captured::default() };
        Self { captured, limit, ration: None }
    }

    /// Counts `bytes` and copies what still fits. `promised` is how many bytes are known to come,
    /// these included.
    pub fn keep(&mut self, bytes: &[u8], promised: u64, budget: &Budget) {
        self.captured.total = self.captured.total.saturating_add(bytes.len() as u64);
        let kept = &mut self.captured.bytes;
        let count = (self.limit - kept.len()).min(bytes.len());
        if count == 0 {
            return;
        }
        if kept.capacity() - kept.len() < count && !self.make_room(count, promised, budget) {
            // From here on only the size is told.
            self.limit = self.captured.bytes.len();
            self.captured.stopped = Some(CopyStop::BudgetSpent);
            return;
        }
        self.captured.bytes.extend_from_slice(&bytes[..count]);
    }

    /// The bytes that were kept last, to be unmasked in place.
    pub fn kept_from(&mut self, begin: usize) -> &mut [u8] {
        let begin = begin.min(self.captured.bytes.len());
        &mut self.captured.bytes[begin..]
    }

    /// Bytes kept so far.
    pub fn len(&self) -> usize {
        self.captured.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.captured.bytes.is_empty()
    }

    /// The copy, and its part of the budget: to be dropped when the copy is handed over.
    pub fn finish(self) -> (Captured, Option<Ration>) {
        (self.captured, self.ration)
    }

    fn make_room(&mut self, count: usize, promised: u64, budget: &Budget) -> bool {
        let kept = &mut self.captured.bytes;
        let room = self.limit - kept.len();
        let useful = usize::try_from(promised).map_or(room, |promised| promised.min(room));
        // Exactly what is promised, if that is little. Otherwise at least double, so that many small
        // pieces are not copied over and over.
        let wanted = useful.min(TRUSTED).max(kept.len().min(room)).max(count);
        let capacity = kept.len() + wanted;
        if capacity > FREE {
            let ration =
                self.ration.get_or_insert_with(|| Ration { budget: budget.clone(), bytes: 0 });
            let more = capacity.saturating_sub(ration.bytes);
            if !budget.take(more) {
                return false;
            }
            ration.bytes += more;
        }
        kept.reserve_exact(wanted);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_copy_of_known_size_takes_exactly_its_size() {
        let budget = Budget::new(0);
        let mut capture = Capture::new(1 << 20, Codings::None);
        capture.keep(&[1; 150], 200, &budget);
        capture.keep(&[1; 50], 50, &budget);
        assert_eq!(capture.finish().0.bytes.capacity(), 200);
    }

    #[test]
    fn a_promised_size_makes_no_room_before_the_bytes_come() {
        let budget = Budget::new(1 << 30);
        let mut capture = Capture::new(1 << 20, Codings::None);
        capture.keep(b"x", 1 << 40, &budget);
        assert_eq!(capture.finish().0.bytes.capacity(), TRUSTED);
    }

    #[test]
    fn copies_together_stay_within_the_budget_and_give_it_back() {
        let budget = Budget::new(3 << 20);
        let mut captures: Vec<_> = (0..5).map(|_| Capture::new(1 << 20, Codings::None)).collect();
        for _ in 0..32 {
            for capture in &mut captures {
                capture.keep(&[7; 65_536], 1 << 40, &budget);
            }
        }
        let done: Vec<_> = captures.into_iter().map(Capture::finish).collect();
        assert!(done.iter().all(|(captured, _)| captured.total == 32 * 65_536));
        let held: usize = done.iter().map(|(captured, _)| captured.bytes.capacity()).sum();
        assert!((1 << 20..=(3 << 20) + 5 * FREE).contains(&held), "{held}");
        drop(done);
        assert_eq!(budget.left(), 3 << 20);
    }

    #[test]
    fn a_copy_ends_at_its_limit() {
        let budget = Budget::new(1 << 30);
        let mut capture = Capture::new(100_000, Codings::None);
        (0..1_000).for_each(|_| capture.keep(&[1; 1_000], 5_000, &budget));
        let (captured, _) = capture.finish();
        assert_eq!((captured.bytes.len(), captured.total), (100_000, 1_000_000));
        assert_eq!(captured.whole(), None);
    }
}
