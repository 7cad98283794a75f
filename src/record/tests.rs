//! Observations in, samples and events out, as a sink receives them.

mod contracts;
mod counting;
mod http;
mod inspection;
mod names;
mod sockets;
mod spans;
mod threads;
mod trees;

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::{Receiver, channel};

use super::custom::Custom;
use super::ledger::Ledger;
use super::naming::Naming;
use super::outbox::Outbox;
use super::peer_processes::{PeerLookup, no_lookup};
use super::recording::Recording;
use super::tracing::Traces;
use crate::decode::contracts::Contracts;
use crate::decode::routes::Routes;
use crate::model::*;

/// What a sink received.
#[derive(Clone, Default)]
struct Received {
    samples: Arc<Mutex<Vec<Sample>>>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Sink for Received {
    fn accept(&mut self, samples: &[Sample]) {
        assert!(!samples.is_empty() && samples.len() <= 1_024);
        self.samples.lock().unwrap().extend_from_slice(samples);
    }

    fn event(&mut self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
    }
}

impl Received {
    fn calls(&self) -> Vec<RpcCall> {
        let samples = self.samples.lock().unwrap();
        let calls = samples.iter().filter_map(|sample| match sample {
            Sample::Call(call) => Some(call.clone()),
            _ => None,
        });
        calls.collect()
    }

    fn transactions(&self) -> Vec<Transaction> {
        let samples = self.samples.lock().unwrap();
        let transactions = samples.iter().filter_map(|sample| match sample {
            Sample::Transaction(transaction) => Some((**transaction).clone()),
            _ => None,
        });
        transactions.collect()
    }

    fn operations(&self) -> Vec<Operation> {
        let samples = self.samples.lock().unwrap();
        let operations = samples.iter().filter_map(|sample| match sample {
            Sample::Operation(operation) => Some((**operation).clone()),
            _ => None,
        });
        operations.collect()
    }

    fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Methods and outcomes of the calls, in order.
    fn outcomes(&self) -> Vec<(&'static str, Outcome)> {
        self.calls().iter().map(|call| (call.method.as_str(), call.outcome)).collect()
    }
}

/// A recorder without its thread.
struct Bench {
    recording: Recording,
    received: Received,
    wanted: Receiver<ChainQuestion>,
    tally: Arc<Tally>,
}

impl Bench {
    fn new() -> Self {
        Self::with(no_lookup(), Flights::default())
    }

    /// With these routes known.
    fn naming(routes: Routes) -> Self {
        Self::made(routes, no_lookup(), Flights::default())
    }

    /// Where `lookup` finds the processes, beside an API whose requests are `flights`.
    fn with(lookup: PeerLookup, flights: Flights) -> Self {
        Self::made(Routes::default(), lookup, flights)
    }

    fn made(routes: Routes, lookup: PeerLookup, flights: Flights) -> Self {
        let (received, tally) = (Received::default(), Arc::new(Tally::default()));
        let (sender, wanted) = channel(1_024);
        let outbox = Outbox::new(vec![Box::new(received.clone())], Arc::clone(&tally));
        let mut recording = Recording::new(
            outbox,
            Ledger::new(Contracts::new(), Traces::Off, sender),
            Naming::new(routes, Vec::new()),
            Custom::new(CustomMetrics::default()),
            lookup,
            flights,
            1 << 20,
        );
        // Stamp 0 is one second after the epoch.
        recording
            .tick(Stamp::from_nanos(0), Clock::fixed(Stamp::from_nanos(0), UnixMicros(1_000_000)));
        Self { recording, received, wanted, tally }
    }

    fn take(&mut self, observation: Observation) {
        self.recording.take(observation);
        self.recording.hand_over();
    }
}

fn at(micros: u64) -> Stamp {
    Stamp::from_nanos(micros * 1_000)
}

fn captured(bytes: &[u8]) -> Captured {
    Captured { bytes: bytes.to_vec(), total: bytes.len() as u64, ..Captured::default() }
}

fn exchange(request: &str, response: &str) -> Exchange {
    Exchange {
        connection: ConnectionId(1),
        peer: ([127, 0, 0, 1], 1).into(),
        http_method: HttpMethod::known("POST"),
        status: 200,
        timing: Timing {
            request_started: at(10),
            request_read: at(20),
            request_written: at(25),
            response_started: at(70),
            response_forwarded: at(73),
            response_read: at(80),
            response_written: at(84),
        },
        end: End::Complete,
        request: captured(request.as_bytes()),
        response: captured(response.as_bytes()),
        trace: None,
        user_agent: None,
    }
}

fn http(exchange: Exchange) -> Observation {
    Observation::Exchange(Box::new(exchange))
}

/// A message on a connection that was begun at `micros`, read 2 µs and written 5 µs later.
fn message(connection: u64, direction: Direction, micros: u64, text: &str) -> Observation {
    Observation::Socket(Box::new(SocketMessage {
        connection: ConnectionId(connection),
        direction,
        started: at(micros),
        read: at(micros + 2),
        written: at(micros + 5),
        payload: captured(text.as_bytes()),
        peer: ([127, 0, 0, 1], 1).into(),
        user_agent: None,
    }))
}

fn asked(connection: u64, micros: u64, text: &str) -> Observation {
    message(connection, Direction::Request, micros, text)
}

fn told(connection: u64, micros: u64, text: &str) -> Observation {
    message(connection, Direction::Response, micros, text)
}
