//! The recorder's thread: takes observations from the queue every few milliseconds and has them
//! recorded.
//!
//! It looks by itself, for hardly anything wakes it (see [`Queue`]): 5 ms after it found something,
//! and up to 20 ms after it found nothing for a while. A connection that is opened wakes it, so that
//! its client's process is found before it closes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use super::custom::Custom;
use super::ledger::Ledger;
use super::naming::Naming;
use super::outbox::Outbox;
use super::peer_processes::{PeerLookup, no_lookup};
use super::recording::Recording;
use super::tracing::Traces;
use crate::decode::artifact::Compiled;
use crate::decode::contracts::Contracts;
use crate::decode::routes::Routes;
use crate::model::{
    ChainQuestion, Clock, CustomMetrics, Flights, INSPECTED_BYTES, LearnedRoute, Queue, Sink,
    Stamp, Tally,
};

const BUSY_PAUSE: Duration = Duration::from_millis(5);
const IDLE_PAUSE: Duration = Duration::from_millis(20);
/// How many artifacts are taken in between two looks at the queue.
const ARTIFACTS: usize = 64;
/// How often a flush makes sure that there is still somebody to wait for.
const PATIENCE: Duration = Duration::from_millis(100);

/// How the recorder is to work.
pub struct Settings {
    pub traces: Traces,
    pub peer_lookup: PeerLookup,
    /// The requests to the API under way, by which calls without a trace are joined.
    pub flights: Flights,
    /// The API's routes, as far as they are known.
    pub routes: Routes,
    /// What was learned of them before.
    pub learned: Vec<LearnedRoute>,
    /// Metrics of the dapp's own.
    pub custom: CustomMetrics,
    /// Bytes of a body that are looked into, once it is decompressed.
    pub inspect_bytes: usize,
    /// How long the first scan of the artifacts is waited for: what is recorded before has no names.
    pub first_scan: Duration,
}

impl Default for Settings {
    /// Traces nothing, and finds no process.
    fn default() -> Self {
        Self {
            traces: Traces::Off,
            peer_lookup: no_lookup(),
            flights: Flights::default(),
            routes: Routes::default(),
            learned: Vec::new(),
            custom: CustomMetrics::default(),
            inspect_bytes: INSPECTED_BYTES,
            first_scan: Duration::ZERO,
        }
    }
}

/// The running recorder.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the thread could not be started for.
#[derive(Debug, thiserror::Error)]
#[error("the recorder's thread could not be started: {0}")]
pub struct StartError(#[from] std::io::Error);

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    flushed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    /// Flushes asked for and done.
    asked: u64,
    done: u64,
    is_stopping: bool,
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Progress) -> T) -> T {
        // Plain numbers: there is no half-done change that a panic could leave behind.
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recorder {
    /// Starts the thread. What comes from `artifacts` is added to `contracts` while it runs, so that
    /// a compiler may run too. What only the node knows is asked through `wanted`; it comes back as
    /// [`ChainEvent`](crate::model::ChainEvent)s.
    pub fn start(
        queue: Arc<Queue>,
        tally: Arc<Tally>,
        contracts: Contracts,
        artifacts: Receiver<Compiled>,
        settings: Settings,
        sinks: Vec<Box<dyn Sink>>,
        wanted: Sender<ChainQuestion>,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::default());
        let first_scan = settings.first_scan;
        let mut recording = Recording::new(
            Outbox::new(sinks, tally),
            Ledger::new(contracts, settings.traces, wanted),
            Naming::new(settings.routes, settings.learned),
            Custom::new(settings.custom),
            settings.peer_lookup,
            settings.flights,
            settings.inspect_bytes,
        );
        let thread = thread::Builder::new().name("recorder".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                await_scan(&artifacts, first_scan, &shared, &mut recording);
                run(&queue, &shared, &artifacts, recording);
            }
        })?;
        Ok(Self { shared, thread })
    }

    /// Waits until everything told to the queue so far has been handed to the sinks. Calls that
    /// wait for their answer, and transactions for their block, are not waited for.
    pub fn flush(&self) {
        let ticket = self.shared.with(|progress| {
            progress.asked += 1;
            progress.asked
        });
        self.thread.thread().unpark();
        let mut progress = self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
        while progress.done < ticket && !self.thread.is_finished() {
            (progress, _) = self
                .shared
                .flushed
                .wait_timeout(progress, PATIENCE)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Records what was told so far, ends calls that still wait as unanswered, and ends the thread.
    pub fn stop(self) {
        self.shared.with(|progress| progress.is_stopping = true);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the recorder's thread had panicked");
        }
    }
}

/// Takes in what the first scan of the artifacts finds. What is observed meanwhile waits in the queue.
fn await_scan(
    artifacts: &Receiver<Compiled>,
    most: Duration,
    shared: &Shared,
    recording: &mut Recording,
) {
    let begun = Instant::now();
    while begun.elapsed() < most && !shared.with(|progress| progress.is_stopping) {
        match artifacts.recv_timeout(BUSY_PAUSE) {
            Ok(Compiled::Artifact(artifact)) => recording.learn(*artifact),
            Ok(Compiled::Scanned) => {
                recording.scanned();
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn run(queue: &Queue, shared: &Shared, artifacts: &Receiver<Compiled>, mut recording: Recording) {
    queue.wake_this_thread();
    let mut pause = BUSY_PAUSE;
    loop {
        // Read before the queue is: what was told before a flush was asked for is then in it.
        let asked = shared.with(|progress| *progress);
        recording.tick(Stamp::now(), Clock::read());
        for compiled in artifacts.try_iter().take(ARTIFACTS) {
            match compiled {
                Compiled::Artifact(artifact) => recording.learn(*artifact),
                Compiled::Scanned => recording.scanned(),
            }
        }
        let mut taken = 0;
        // As many as may be in it, so that endless new ones cannot delay a flush for ever.
        let most = queue.capacity() + queue.depth();
        while taken < most
            && let Some(observation) = queue.take()
        {
            // Bytes from outside that no test thought of must not end the recording of all others.
            let taking = AssertUnwindSafe(|| recording.take(observation));
            if catch_unwind(taking).is_err() {
                recording.panicked();
            }
            taken += 1;
        }
        if asked.is_stopping {
            recording.finish(Stamp::now());
        } else if asked.asked > asked.done {
            recording.flush();
        } else {
            recording.hand_over();
        }
        shared.with(|progress| progress.done = asked.asked);
        shared.flushed.notify_all();
        if asked.is_stopping {
            return;
        }
        if taken >= queue.capacity() / 2 {
            // Behind: looking again at once is worth more than rest.
            continue;
        }
        pause = if taken > 0 { BUSY_PAUSE } else { (pause + BUSY_PAUSE).min(IDLE_PAUSE) };
        thread::park_timeout(pause);
    }
}
