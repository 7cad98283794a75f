//! Which spans came before: exporters send an export again when its answer is lost, and what is
//! counted twice is wrong. Span id and trace id make a span one.

use std::collections::HashSet;

use crate::model::Spans;

/// Spans that are remembered, twice: those of some minutes.
const MOST: usize = 65_536;

#[derive(Default)]
pub(super) struct SeenSpans {
    recent: HashSet<(u128, u64)>,
    older: HashSet<(u128, u64)>,
}

impl SeenSpans {
    /// Takes out what came before; how many these were.
    pub(super) fn keep_new(&mut self, told: &mut Spans) -> u64 {
        let before = told.spans.len();
        told.spans.retain(|span| self.is_new((span.trace_id, span.span_id)));
        (before - told.spans.len()) as u64
    }

    fn is_new(&mut self, id: (u128, u64)) -> bool {
        if self.older.contains(&id) {
            return false;
        }
        if self.recent.len() >= MOST {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    fn export(ids: impl Iterator<Item = u64>) -> Spans {
        let span = |span_id| Span { trace_id: 1, span_id, ..Span::default() };
        Spans { spans: ids.map(span).collect(), left_out: 0 }
    }

    #[test]
    fn what_is_sent_again_is_taken_once() {
        let mut seen = SeenSpans::default();
        let mut first = export(1..6);
        assert_eq!((seen.keep_new(&mut first), first.spans.len()), (0, 5));
        let mut again = export(3..9);
        assert_eq!((seen.keep_new(&mut again), again.spans.len()), (3, 3));
        let mut twice = export([20, 20].into_iter());
        assert_eq!((seen.keep_new(&mut twice), twice.spans.len()), (1, 1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = SeenSpans::default();
        for begin in 0..100 {
            seen.keep_new(&mut export(begin * 10_000..(begin + 1) * 10_000));
        }
        assert!(seen.recent.len() <= MOST && seen.older.len() <= MOST);
        assert_eq!(seen.keep_new(&mut export(990_000..1_000_000)), 10_000);
    }
}
