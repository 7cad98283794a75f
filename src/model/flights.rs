//! Requests to the API that are under way, and those that ended a moment ago: by them an RPC call
//! without a trace id is joined to the request that made it.
//!
//! Shared by the reverse proxy, which begins and ends them, the relay, which adds the calls that
//! name one, and the recorder, which asks. The lock is held for a few moves; only the recorder
//! looks through all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::time::Stamp;
use super::trace::TraceContext;

/// Ended ones that are remembered, and for how long: the recorder comes to their calls a few
/// milliseconds later.
const MOST_ENDED: usize = 1_024;
const REMEMBERED: Duration = Duration::from_secs(5);

/// The requests under way. Cheap to clone; the clones share them.
#[derive(Clone, Debug, Default)]
pub struct Flights(Arc<Mutex<Board>>);

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub struct Flight {
    flights: Flights,
    place: usize,
}

/// The requests that were under way at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aloft {
    None,
    /// One alone, with the context that was passed to the API.
    One(TraceContext),
    Several,
}

/// RPC calls that named a request's trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallsMade {
    /// HTTP exchanges with the node; a batch is one.
    pub exchanges: u32,
    /// The node's time for them, all together.
    pub took: Duration,
}

#[derive(Debug, Default)]
struct Board {
    /// By place; free places are none.
    under_way: Vec<Option<Entry>>,
    free: Vec<usize>,
    /// In the order in which they ended.
    ended: VecDeque<Ended>,
    /// The last end that was forgotten, for its age or for want of room.
    forgotten: Stamp,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    trace: TraceContext,
    started: Stamp,
    made: CallsMade,
    /// A long poll: it waits, and makes no calls meanwhile.
    waits: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    trace: TraceContext,
    started: Stamp,
    end: Stamp,
    waits: bool,
}

impl Flights {
    /// A request is under way from `started` on.
    pub fn begin(&self, trace: TraceContext, started: Stamp) -> Flight {
        self.enter(trace, started, false)
    }

    /// A long poll is under way, which is not taken for the maker of calls that name no trace.
    pub fn begin_long_poll(&self, trace: TraceContext, started: Stamp) -> Flight {
        self.enter(trace, started, true)
    }

    fn enter(&self, trace: TraceContext, started: Stamp, waits: bool) -> Flight {
        let mut board = self.board();
        let entry = Some(Entry { trace, started, made: CallsMade::default(), waits });
        let place = match board.free.pop() {
            Some(place) => {
                board.under_way[place] = entry;
                place
            }
            None => {
                board.under_way.push(entry);
                board.under_way.len() - 1
            }
        };
        drop(board);
        Flight { flights: self.clone(), place }
    }

    /// How many are under way now.
    pub fn count(&self) -> u64 {
        let board = self.board();
        (board.under_way.len() - board.free.len()) as u64
    }

    /// Those that were under way at a moment of the last seconds.
    pub fn at(&self, moment: Stamp) -> Aloft {
        let board = self.board();
        if moment <= board.forgotten {
            // One that nobody knows of any more may have been among them.
            return Aloft::Several;
        }
        let may_call = |entry: &&Entry| entry.started <= moment && !entry.waits;
        let now = board.under_way.iter().flatten().filter(may_call);
        let was_there = |it: &&Ended| it.started <= moment && it.end >= moment && !it.waits;
        let ended = board.ended.iter().filter(was_there);
        let mut all = now.map(|entry| entry.trace).chain(ended.map(|it| it.trace));
        match (all.next(), all.next()) {
            (None, _) => Aloft::None,
            (Some(one), None) => Aloft::One(one),
            (Some(_), Some(_)) => Aloft::Several,
        }
    }

    /// Whether a request of this trace may have been under way at a moment of the last seconds.
    pub fn may_know(&self, trace_id: u128, moment: Stamp) -> bool {
        let board = self.board();
        let now = board.under_way.iter().flatten().map(|entry| entry.trace);
        let mut all = now.chain(board.ended.iter().rev().map(|it| it.trace));
        moment <= board.forgotten || all.any(|trace| trace.trace_id == trace_id)
    }

    /// A call with a trace id was answered: counts it for the request under way of that trace.
    pub fn made(&self, trace_id: u128, took: Duration) {
        let mut board = self.board();
        let mut entries = board.under_way.iter_mut().flatten();
        if let Some(entry) = entries.find(|entry| entry.trace.trace_id == trace_id) {
            entry.made.exchanges = entry.made.exchanges.saturating_add(1);
            entry.made.took = entry.made.took.saturating_add(took);
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // Held for a few moves only, none of which can panic half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The calls that it has made so far, as far as they name its trace.
    pub fn calls_made(&self) -> CallsMade {
        self.flights.board().under_way[self.place].map_or_else(CallsMade::default, |e| e.made)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let now = Stamp::now();
        let mut board = self.flights.board();
        let Some(entry) = board.under_way[self.place].take() else { return };
        board.free.push(self.place);
        let Entry { trace, started, waits, .. } = entry;
        board.ended.push_back(Ended { trace, started, end: now, waits });
        while let Some(Ended { end, .. }) = board.ended.front() {
            let end = *end;
            if now.since(end) < REMEMBERED && board.ended.len() <= MOST_ENDED {
                break;
            }
            board.ended.pop_front();
            board.forgotten = board.forgotten.max(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(id: u128) -> TraceContext {
        TraceContext { trace_id: id, span_id: 1, flags: 1 }
    }

    #[test]
    fn a_long_poll_is_not_taken_for_the_maker_of_calls() {
        let flights = Flights::default();
        let poll = flights.begin_long_poll(trace(1), Stamp::now());
        assert_eq!((flights.at(Stamp::now()), flights.count()), (Aloft::None, 1));
        let one = flights.begin(trace(2), Stamp::now());
        let during = Stamp::now();
        assert_eq!(flights.at(during), Aloft::One(trace(2)));
        drop((one, poll));
        assert_eq!(flights.at(during), Aloft::One(trace(2)));
        assert!(flights.may_know(1, during));
    }

    #[test]
    fn one_alone_is_known_while_it_lasts_and_a_moment_later() {
        let flights = Flights::default();
        let before = Stamp::now();
        let flight = flights.begin(trace(7), Stamp::now());
        let during = Stamp::now();
        assert_eq!((flights.at(during), flights.count()), (Aloft::One(trace(7)), 1));
        drop(flight);
        assert_eq!((flights.at(during), flights.count()), (Aloft::One(trace(7)), 0));
        let earlier = Stamp::from_nanos(before.as_nanos().saturating_sub(1));
        assert_eq!(flights.at(earlier), Aloft::None);
        assert_eq!(flights.at(Stamp::now().after(Duration::from_secs(1))), Aloft::None);
    }

    #[test]
    fn of_several_nobody_is_told() {
        let flights = Flights::default();
        let first = flights.begin(trace(1), Stamp::now());
        let alone = Stamp::now();
        let second = flights.begin(trace(2), Stamp::now());
        let both = Stamp::now();
        assert_eq!(flights.at(both), Aloft::Several);
        drop(first);
        assert_eq!(flights.at(both), Aloft::Several, "the first one was there then");
        assert_eq!(flights.at(alone), Aloft::One(trace(1)));
        assert_eq!(flights.at(Stamp::now()), Aloft::One(trace(2)));
        drop(second);
    }

    #[test]
    fn what_was_forgotten_makes_nobody_alone() {
        let flights = Flights::default();
        let first = flights.begin(trace(1), Stamp::now());
        let moment = Stamp::now();
        drop(first);
        for id in 0..=MOST_ENDED as u128 {
            drop(flights.begin(trace(id), Stamp::now()));
        }
        assert_eq!(flights.at(moment), Aloft::Several);
        assert!(flights.may_know(u128::MAX, moment));
        assert_eq!(flights.board().ended.len(), MOST_ENDED);
        assert_eq!(flights.board().under_way.len(), 1, "places are used again");
    }

    #[test]
    fn calls_are_counted_for_the_trace_they_name() {
        let flights = Flights::default();
        let flight = flights.begin(trace(5), Stamp::now());
        flights.made(5, Duration::from_millis(2));
        flights.made(5, Duration::from_millis(3));
        flights.made(6, Duration::from_millis(9));
        let made = CallsMade { exchanges: 2, took: Duration::from_millis(5) };
        assert_eq!(flight.calls_made(), made);
        let now = Stamp::now();
        assert!(flights.may_know(5, now) && !flights.may_know(6, now));
        drop(flight);
        assert!(flights.may_know(5, now), "it ended a moment ago");
    }
}
