//! Questions that the node has not answered yet, so that it can be said what it was doing for the
//! monitor when it fell.
//!
//! A question that was given up on is kept: the node may work on it long after its time-out. It is
//! forgotten when the node answers a question that was asked later.

use std::time::{Duration, Instant};

use crate::model::Unanswered;

/// Questions that are remembered after they were given up on.
const MOST_GIVEN_UP: usize = 16;
/// A question that waited for less was not what the node fell over: a closed port refuses as fast.
const LEAST: Duration = Duration::from_millis(5);

/// The questions, the oldest first.
#[derive(Debug, Default)]
pub struct Outstanding {
    questions: Vec<Question>,
    next: u64,
}

#[derive(Debug)]
struct Question {
    id: u64,
    purpose: &'static str,
    method: &'static str,
    calls: u32,
    asked: Instant,
    given_up: bool,
}

impl Outstanding {
    /// A question goes out; its number.
    pub fn begin(
        &mut self,
        purpose: &'static str,
        method: &'static str,
        calls: u32,
        asked: Instant,
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        self.questions.push(Question { id, purpose, method, calls, asked, given_up: false });
        id
    }

    /// The node answered: it is done with what was given up on before this was asked.
    pub fn answered(&mut self, id: u64) {
        self.questions.retain(|it| it.id != id && !(it.given_up && it.id < id));
    }

    /// Its answer is waited for no longer.
    pub fn give_up(&mut self, id: u64) {
        if let Some(question) = self.questions.iter_mut().find(|it| it.id == id) {
            question.given_up = true;
        }
        if self.questions.iter().filter(|it| it.given_up).count() > MOST_GIVEN_UP
            && let Some(oldest) = self.questions.iter().position(|it| it.given_up)
        {
            self.questions.remove(oldest);
        }
    }

    /// The node is gone: the question that had waited longest. Those given up on are forgotten.
    pub fn take_longest(&mut self, now: Instant) -> Option<Unanswered> {
        let longest = self.questions.first().map(|it| Unanswered {
            purpose: it.purpose,
            method: it.method,
            calls: it.calls,
            waited: now.saturating_duration_since(it.asked),
        });
        self.questions.retain(|it| !it.given_up);
        longest.filter(|it| it.waited >= LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begun: Instant, seconds: u64) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    #[test]
    fn of_several_questions_the_one_that_waited_longest_is_named() {
        let (mut outstanding, begun) = (Outstanding::default(), Instant::now());
        let trace = outstanding.begin("traces", "debug_traceTransaction", 1, begun);
        outstanding.begin("blocks", "eth_getBlockByHash", 3, after(begun, 20));
        outstanding.give_up(trace);
        let longest = outstanding.take_longest(after(begun, 30)).unwrap();
        assert_eq!((longest.method, longest.calls), ("debug_traceTransaction", 1));
        assert_eq!((longest.purpose, longest.waited), ("traces", Duration::from_secs(30)));
        let next = outstanding.take_longest(after(begun, 30)).unwrap();
        assert_eq!(next.method, "eth_getBlockByHash", "named once");
    }

    #[test]
    fn an_answer_clears_what_was_given_up_on_before_it_was_asked() {
        let (mut outstanding, begun) = (Outstanding::default(), Instant::now());
        let before = outstanding.begin("blocks", "eth_getBlockByHash", 1, begun);
        let trace = outstanding.begin("traces", "debug_traceTransaction", 1, begun);
        outstanding.give_up(trace);
        outstanding.answered(before);
        assert!(outstanding.take_longest(after(begun, 1)).is_some(), "asked before the trace");
        let trace = outstanding.begin("traces", "debug_traceTransaction", 1, begun);
        outstanding.give_up(trace);
        let later = outstanding.begin("blocks", "eth_getBlockByHash", 1, begun);
        outstanding.answered(later);
        assert_eq!(outstanding.take_longest(after(begun, 1)), None);
    }

    #[test]
    fn what_a_closed_port_refused_is_not_named_and_memory_is_bounded() {
        let (mut outstanding, begun) = (Outstanding::default(), Instant::now());
        for _ in 0..100 {
            let id = outstanding.begin("blocks", "eth_getBlockByNumber", 1, begun);
            outstanding.give_up(id);
        }
        assert_eq!(outstanding.questions.len(), MOST_GIVEN_UP);
        assert_eq!(outstanding.take_longest(begun), None);
    }
}
