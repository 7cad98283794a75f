//! A client that asks the node for its block number every 20 ms, and how long it waited.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use crate::client::Client;
use crate::load::Part;

const EVERY: Duration = Duration::from_millis(20);

/// The client at work, on a thread of its own.
pub struct Probe {
    /// Since when what is going on.
    parts: Mutex<Vec<(Instant, Option<Part>)>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<(Instant, f64)>>>,
}

/// How long each answer took, in milliseconds, by what was going on when it was due.
pub struct Waits(Vec<(Part, f64)>);

impl Probe {
    pub fn start(node: SocketAddr) -> anyhow::Result<Self> {
        let mut client = Client::connect(node)?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let run = move || {
            let mut waits = Vec::new();
            let mut due = Instant::now();
            while !stopped.load(Relaxed) {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                client.call("eth_blockNumber", &json!([])).context("the probe's call")?;
                // From when the call was due: a node that is silent keeps all those waiting that
                // would have been made meanwhile.
                waits.push((due, due.elapsed().as_secs_f64() * 1e3));
                due += EVERY;
            }
            Ok(waits)
        };
        let thread = std::thread::spawn(run);
        Ok(Self { parts: Mutex::default(), stop, thread })
    }

    /// What is going on from now on; nothing that counts, if none.
    pub fn during(&self, part: Option<Part>) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), part));
    }

    pub fn stop(self) -> anyhow::Result<Waits> {
        self.stop.store(true, Relaxed);
        let waits = self.thread.join().map_err(|_| anyhow::anyhow!("the probe panicked"))??;
        let parts = self.parts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let part = |due: Instant| {
            let begun = parts.partition_point(|(since, _)| *since <= due);
            parts[..begun].last().and_then(|(_, part)| *part)
        };
        Ok(Waits(waits.into_iter().filter_map(|(due, wait)| Some((part(due)?, wait))).collect()))
    }
}

/// Percentiles of waits, in milliseconds.
#[derive(Clone, Copy)]
pub struct Percentiles {
    pub count: usize,
    /// p50, p99, p99.9 and the longest.
    pub values: [f64; 4],
}

impl Waits {
    /// Of one part of the load, or of all.
    pub fn percentiles(&self, part: Option<Part>) -> Percentiles {
        let of_part = self.0.iter().filter(|(during, _)| part.is_none_or(|part| part == *during));
        let mut waits: Vec<f64> = of_part.map(|(_, wait)| *wait).collect();
        waits.sort_by(f64::total_cmp);
        let at = |per_mille: usize| {
            let place = (waits.len() * per_mille).div_ceil(1_000).max(1) - 1;
            waits.get(place).copied().unwrap_or(f64::NAN)
        };
        Percentiles { count: waits.len(), values: [at(500), at(990), at(999), at(1_000)] }
    }
}
