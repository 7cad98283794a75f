//! Watches the machine and the dapp's processes, on a thread of its own.
//!
//! Owns the readings (sysinfo), and the search for who listens on a port and who is at the other end of
//! a connection. Tells an
//! [`Observation::Host`] every few seconds; makes no metrics and stores nothing. On systems other
//! than Linux the processes behind the upstreams cannot be found: only the monitor's own is read.

mod databases;
mod descriptors;
mod listen;
mod own_io;
mod owners;
mod read;
#[cfg_attr(not(target_os = "linux"), path = "sock_diag_elsewhere.rs")]
mod sock_diag;

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use listen::{who_holds, who_listens};
pub use owners::Owners;

use crate::model::{Observation, Observer, Role};

/// The system computes CPU use from two readings and needs this long between them.
pub const SHORTEST_INTERVAL: Duration = sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;

/// What is read, and how often.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Between two readings; shorter than [`SHORTEST_INTERVAL`] is taken for it.
    pub interval: Duration,
    /// The dapp's processes: what they are, and the port of this machine on which they listen.
    pub roles: Vec<(Role, u16)>,
    /// Database files whose size is told.
    pub databases: Vec<PathBuf>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), roles: Vec::new(), databases: Vec::new() }
    }
}

/// Why the machine cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    #[error("this system cannot be read: {0}; CPU, memory and processes are not recorded")]
    Unreadable(String),
    #[error("no thread could be started to watch the machine: {0}")]
    Thread(#[from] std::io::Error),
}

/// The watching thread; it ends when this is dropped.
#[derive(Debug)]
pub struct HostWatch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts to watch.
///
/// # Errors
/// The system cannot be read, or no thread can be started.
pub fn watch(settings: &HostSettings, observer: Observer) -> Result<HostWatch, HostError> {
    let interval = settings.interval.max(SHORTEST_INTERVAL);
    let mut reader = read::Reader::new(&settings.roles, &settings.databases)?;
    if !cfg!(target_os = "linux") && !settings.roles.is_empty() {
        tracing::warn!(
            "who listens on a port cannot be told on this system: of the dapp's processes only \
             dappscope itself is measured"
        );
    }
    let (stop, stopped) = mpsc::channel();
    let thread = std::thread::Builder::new().name("host".to_owned()).spawn(move || {
        // The first reading only gives the second one something to be compared with.
        reader.read();
        let mut pause = SHORTEST_INTERVAL;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            observer.tell(Observation::Host(Box::new(reader.read())));
            pause = interval;
        }
    })?;
    Ok(HostWatch { stop: Some(stop), thread: Some(thread) })
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Queue, Tally};

    #[test]
    fn readings_arrive_until_the_watch_is_dropped() {
        let queue = Queue::new(16, 1_000, Arc::new(Tally::default()));
        let settings = HostSettings { interval: Duration::ZERO, ..HostSettings::default() };
        let watch = watch(&settings, Observer::new(&queue)).unwrap();
        let mut readings = 0;
        while readings < 2 {
            match queue.take() {
                Some(Observation::Host(_)) => readings += 1,
                Some(other) => panic!("{other:?}"),
                None => std::thread::park_timeout(Duration::from_millis(5)),
            }
        }
        drop(watch);
        while queue.take().is_some() {}
        assert_eq!(queue.depth(), 0);
    }
}
