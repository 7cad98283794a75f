//! What the tests share for a machine that is busy: patience, attempts of which one has to be good,
//! and how late the machine is.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen. It only ends tests that hang: a machine
/// that is busy with other work as well may be twenty times as slow as one that is not.
pub const PATIENCE: Duration = Duration::from_secs(300);

const ATTEMPTS: usize = 20;

/// Measures until `is_good`, at most some twenty times; panics with all measurements if none was.
///
/// Other work on the machine only ever adds to what something takes. So one good measurement of
/// several shows what the program can do, and none that it cannot.
pub fn measured_once<T: Debug>(mut measure: impl FnMut() -> T, is_good: impl Fn(&T) -> bool) -> T {
    let mut measured = Vec::new();
    for _ in 0..ATTEMPTS {
        let this = measure();
        if is_good(&this) {
            return this;
        }
        measured.push(this);
    }
    panic!("no good one among {measured:#?}");
}

/// How late this machine wakes a thread, measured beside a test from here on.
pub struct Lateness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Lateness {
    pub fn measure() -> Self {
        const PAUSE: Duration = Duration::from_millis(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut late = Vec::new();
            while !stopped.load(Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(PAUSE);
                late.push(begun.elapsed().saturating_sub(PAUSE));
            }
            late.sort_unstable();
            late
        });
        Self { stop, thread }
    }

    /// Ends measuring; every wake by how late it was, the latest last. Never empty.
    pub fn end(self) -> Vec<Duration> {
        self.stop.store(true, Relaxed);
        let late = self.thread.join().expect("it only sleeps");
        if late.is_empty() { vec![Duration::ZERO] } else { late }
    }
}
