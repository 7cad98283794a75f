//! The bounded queue between those who observe and the one who records.
//!
//! Observers never wait: when the queue is full, in entries or in captured bytes, the observation is
//! dropped and counted. Nobody is woken: the recorder looks every few milliseconds, because waking a
//! thread for each exchange would cost the proxies more than all the rest of the recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;

use super::chain::ChainEvent;
use super::connection::{ConnectionEvent, ConnectionId};
use super::exchange::{ApiExchange, Exchange};
use super::host::HostReading;
use super::socket::SocketMessage;
use super::tally::{DropReason, Tally};
use super::time::Stamp;

/// Something that was seen, not yet decoded.
#[derive(Clone, Debug)]
pub enum Observation {
    Exchange(Box<Exchange>),
    Socket(Box<SocketMessage>),
    Request(Box<ApiExchange>),
    Connection(ConnectionId, Stamp, ConnectionEvent),
    Chain(ChainEvent),
    Host(Box<HostReading>),
}

impl Observation {
    /// Bytes on the heap that grow with what outsiders send.
    fn weight(&self) -> usize {
        match self {
            Self::Exchange(exchange) => {
                exchange.request.bytes.len() + exchange.response.bytes.len()
            }
            Self::Socket(message) => message.payload.bytes.len(),
            Self::Request(request) => request.path.len(),
            Self::Chain(ChainEvent::Block(block)) => {
                block.transactions.iter().map(|t| t.input.len() + 256).sum()
            }
            Self::Chain(_) | Self::Connection(..) | Self::Host(_) => 0,
        }
    }
}

/// The queue's end for the recorder.
pub struct Queue {
    ring: ArrayQueue<Observation>,
    weight: AtomicUsize,
    heaviest: usize,
    tally: Arc<Tally>,
}

impl Queue {
    /// A queue of at most `entries` observations holding at most `bytes` of captured bytes.
    pub fn new(entries: usize, bytes: usize, tally: Arc<Tally>) -> Arc<Self> {
        Arc::new(Self {
            ring: ArrayQueue::new(entries.max(1)),
            weight: AtomicUsize::new(0),
            heaviest: bytes,
            tally,
        })
    }

    /// The oldest observation.
    pub fn take(&self) -> Option<Observation> {
        let observation = self.ring.pop()?;
        self.weight.fetch_sub(observation.weight(), Relaxed);
        Some(observation)
    }

    /// Observations waiting.
    pub fn depth(&self) -> usize {
        self.ring.len()
    }

    /// Observations that fit.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    fn offer(&self, observation: Observation) {
        let weight = observation.weight();
        let before = self.weight.fetch_add(weight, Relaxed);
        let too_heavy = weight > 0 && before + weight > self.heaviest;
        if too_heavy || self.ring.push(observation).is_err() {
            self.weight.fetch_sub(weight, Relaxed);
            self.tally.count_dropped(DropReason::QueueFull, 1);
        }
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
}
