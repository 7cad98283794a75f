//! The bounded queue between those who observe and the one who records.
//!
//! Observers never wait: when the queue is full, in entries or in captured bytes, the observation is
//! dropped and counted. The recorder is not woken for an exchange but looks every few milliseconds,
//! because waking a thread costs the proxies more than all the rest of the recording. Only a new
//! connection, whose client may close it soon, wakes it: see [`Observer::wake_recorder`].
//!
//! What begins or ends a state that the recorder keeps, as the end of a connection does, is never
//! dropped: nothing that comes later could put it right. When the queue is full it waits beside it,
//! until what was told before it is taken. That is a few small entries for each connection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use super::chain::{ChainEvent, MinedTransaction};
use super::connection::{ConnectionEvent, ConnectionId};
use super::exchange::{ApiExchange, Exchange};
use super::host::HostReading;
use super::socket::SocketMessage;
use super::span::{Span, Spans};
use super::tally::{DropReason, Tally};
use super::time::Stamp;

/// Between two wakes: many connections at once are seen together.
const BETWEEN_WAKES: Duration = Duration::from_millis(1);

/// Something that was seen, not yet decoded.
#[derive(Clone, Debug)]
pub enum Observation {
    Exchange(Box<Exchange>),
    Socket(Box<SocketMessage>),
    Request(Box<ApiExchange>),
    Connection(ConnectionId, Stamp, ConnectionEvent),
    Chain(ChainEvent),
    Host(Box<HostReading>),
    /// What the API tells of itself: one export.
    Spans(Box<Spans>),
    /// An export that was not taken: why, in a word that fits a label.
    ExportRefused(&'static str),
}

impl Observation {
    /// Whether it changes a state that lasts, so that losing it would leave the state wrong for good.
    const fn is_lasting(&self) -> bool {
        match self {
            // One for each request: it is counted only.
            Self::Connection(_, _, ConnectionEvent::Refused { .. }) => false,
            Self::Connection(..) => true,
            // A trace is a sample, and what was asked is counted only.
            Self::Chain(event) => !matches!(
                event,
                ChainEvent::Block(_) | ChainEvent::Traced(_) | ChainEvent::Asked(_)
            ),
            Self::Exchange(_)
            | Self::Socket(_)
            | Self::Request(_)
            | Self::Host(_)
            | Self::Spans(_)
            | Self::ExportRefused(_) => false,
        }
    }

    /// How many are lost with it, as far as that is known without decoding it.
    fn count(&self) -> u64 {
        match self {
            Self::Spans(told) => told.spans.len().max(1) as u64,
            _ => 1,
        }
    }

    /// Bytes on the heap that grow with what outsiders send.
    fn weight(&self) -> usize {
        match self {
            Self::Exchange(exchange) => {
                exchange.request.bytes.len() + exchange.response.bytes.len()
            }
            Self::Socket(message) => message.payload.bytes.len(),
            Self::Request(request) => {
                request.path.len() + request.server_timing.as_ref().map_or(0, |it| it.len())
            }
            Self::Chain(ChainEvent::Block(block)) => {
                let logs = |t: &MinedTransaction| size_of_val(&*t.logs);
                block.transactions.iter().map(|t| t.input.len() + logs(t) + 256).sum()
            }
            Self::Chain(ChainEvent::Traced(traced)) => size_of_val(&*traced.slots),
            Self::Spans(told) => told.spans.iter().map(Span::weight).sum(),
            Self::Chain(_) | Self::Connection(..) | Self::Host(_) | Self::ExportRefused(_) => 0,
        }
    }
}

/// The queue's end for the recorder.
pub struct Queue {
    ring: ArrayQueue<Observation>,
    beside: Mutex<Beside>,
    weight: AtomicUsize,
    heaviest: usize,
    tally: Arc<Tally>,
    /// The thread that takes from the queue, once it runs.
    recorder: OnceLock<Thread>,
    /// When it was woken last, in nanoseconds.
    woken: AtomicU64,
}

/// What did not fit and must not be lost.
#[derive(Default)]
struct Beside {
    /// Observations taken from the ring so far.
    taken: usize,
    /// Each with how many must have been taken before it.
    lasting: VecDeque<(usize, Observation)>,
}

impl Queue {
    /// A queue of at most `entries` observations holding at most `bytes` of captured bytes.
    pub fn new(entries: usize, bytes: usize, tally: Arc<Tally>) -> Arc<Self> {
        Arc::new(Self {
            ring: ArrayQueue::new(entries.max(1)),
            beside: Mutex::default(),
            weight: AtomicUsize::new(0),
            heaviest: bytes,
            tally,
            recorder: OnceLock::new(),
            woken: AtomicU64::new(0),
        })
    }

    /// Has this thread woken by [`Observer::wake_recorder`] while it is parked. The first one counts.
    pub fn wake_this_thread(&self) {
        self.recorder.get_or_init(thread::current);
    }

    /// The oldest observation.
    pub fn take(&self) -> Option<Observation> {
        let mut beside = self.beside();
        let observation = if beside.lasting.front().is_some_and(|(due, _)| *due <= beside.taken) {
            None
        } else {
            self.ring.pop()
        };
        let Some(observation) = observation else {
            return beside.lasting.pop_front().map(|(_, observation)| observation);
        };
        beside.taken += 1;
        drop(beside);
        self.weight.fetch_sub(observation.weight(), Relaxed);
        Some(observation)
    }

    /// Observations waiting; more than fit while some wait beside the queue.
    pub fn depth(&self) -> usize {
        self.ring.len() + self.beside().lasting.len()
    }

    /// Observations that fit, not counting those that may wait beside the queue.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    fn offer(&self, observation: Observation) {
        let weight = observation.weight();
        let before = self.weight.fetch_add(weight, Relaxed);
        let too_heavy = weight > 0 && before + weight > self.heaviest;
        let refused = if too_heavy { Some(observation) } else { self.ring.push(observation).err() };
        let Some(observation) = refused else { return };
        self.weight.fetch_sub(weight, Relaxed);
        if observation.is_lasting() {
            let mut beside = self.beside();
            // All that its observer told before is among the ring's next ones.
            let due = beside.taken + self.ring.capacity();
            beside.lasting.push_back((due, observation));
        } else {
            self.tally.count_dropped(DropReason::QueueFull, observation.count());
        }
    }

    fn wake(&self) {
        let (now, woken) = (Stamp::now(), Stamp::from_nanos(self.woken.load(Relaxed)));
        if now.since(woken) >= BETWEEN_WAKES
            && let Some(recorder) = self.recorder.get()
        {
            self.woken.store(now.as_nanos(), Relaxed);
            recorder.unpark();
        }
    }

    fn beside(&self) -> MutexGuard<'_, Beside> {
        // Held for a few moves only, none of which can panic half done.
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An observer's end of the queue. Cheap to clone.
#[derive(Clone)]
pub struct Observer(Arc<Queue>);

impl Observer {
    pub fn new(queue: &Arc<Queue>) -> Self {
        Self(Arc::clone(queue))
    }

    /// Hands an observation over, or drops and counts it. Never waits.
    pub fn tell(&self, observation: Observation) {
        self.0.offer(observation);
    }

    /// Wakes the recorder, at most once a millisecond: something has to be looked at while it lasts.
    /// Takes some microseconds where the recorder is parked.
    pub fn wake_recorder(&self) {
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Captured, Direction};

    fn message(bytes: usize) -> Observation {
        let payload =
            Captured { bytes: vec![0; bytes], total: bytes as u64, ..Captured::default() };
        Observation::Socket(Box::new(SocketMessage {
            connection: ConnectionId(1),
            direction: Direction::Request,
            started: Stamp::default(),
            read: Stamp::default(),
            written: Stamp::default(),
            payload,
            peer: ([127, 0, 0, 1], 1).into(),
            user_agent: None,
        }))
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let tally = Arc::new(Tally::default());
        let queue = Queue::new(2, 1_000, Arc::clone(&tally));
        let observer = Observer::new(&queue);
        for _ in 0..5 {
            observer.tell(message(10));
        }
        assert_eq!(queue.depth(), 2);
        assert_eq!(tally.dropped(DropReason::QueueFull), 3);
    }

    #[test]
    fn what_is_urgent_wakes_the_thread_that_waits_for_it() {
        let queue = Queue::new(2, 1_000, Arc::new(Tally::default()));
        let observer = Observer::new(&queue);
        let waiting = thread::spawn(move || {
            queue.wake_this_thread();
            while queue.take().is_none() {
                // For ever, if it were not woken.
                thread::park();
            }
        });
        while !waiting.is_finished() {
            observer.tell(message(1));
            observer.wake_recorder();
            thread::yield_now();
        }
        waiting.join().unwrap();
    }

    #[test]
    fn of_an_export_each_span_is_lost() {
        let tally = Arc::new(Tally::default());
        let queue = Queue::new(1, 1_000_000, Arc::clone(&tally));
        let observer = Observer::new(&queue);
        for _ in 0..2 {
            let spans = vec![Span::default(); 500];
            observer.tell(Observation::Spans(Box::new(Spans { spans, left_out: 0 })));
        }
        assert_eq!((queue.depth(), tally.dropped(DropReason::QueueFull)), (1, 500));
    }

    #[test]
    fn captured_bytes_are_bounded_in_total_and_given_back() {
        let tally = Arc::new(Tally::default());
        let queue = Queue::new(100, 1_000, Arc::clone(&tally));
        let observer = Observer::new(&queue);
        observer.tell(message(900));
        observer.tell(message(200));
        assert_eq!(tally.dropped(DropReason::QueueFull), 1);
        assert!(queue.take().is_some());
        observer.tell(message(200));
        assert_eq!(queue.depth(), 1);
        assert_eq!(tally.dropped(DropReason::QueueFull), 1);
    }

    #[test]
    fn what_ends_something_is_never_dropped_and_keeps_its_place() {
        use crate::model::{Closer, Proxy};

        let tally = Arc::new(Tally::default());
        let queue = Queue::new(4, 1_000, Arc::clone(&tally));
        let observer = Observer::new(&queue);
        let closed = |id| {
            let connection = ConnectionId(id);
            let (proxy, by) = (Proxy::Rpc, Closer::Client);
            let (upgraded, sent, received) = (true, 0, 0);
            let event = ConnectionEvent::Closed { proxy, connection, by, upgraded, sent, received };
            Observation::Connection(connection, Stamp::default(), event)
        };
        for id in 1..=3 {
            for _ in 0..5 {
                observer.tell(message(10));
            }
            observer.tell(closed(id));
        }
        assert_eq!((queue.depth(), tally.dropped(DropReason::QueueFull)), (7, 11));
        let mut order = String::new();
        let mut take = || match queue.take() {
            Some(Observation::Connection(id, ..)) => order.push_str(&id.0.to_string()),
            Some(_) => order.push('m'),
            None => order.push('.'),
        };
        take();
        // There is room again, and yet the ends do not wait for ever behind what is told later.
        for _ in 0..8 {
            observer.tell(message(10));
            take();
        }
        (0..4).for_each(|_| take());
        assert_eq!(order, "mmmm123mmmmm.");
    }
}
