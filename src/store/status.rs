//! Owns what the store tells of itself.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many of the latest commit times are kept.
const RECENT: usize = 64;
/// How many quarantined files are named.
const NAMED: usize = 32;

/// How the store is doing. Counts begin with the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreStatus {
    /// Disk space that all database files take together, in bytes; their lengths may be twice it.
    pub bytes: u64,
    /// Committed batches of samples.
    pub commits: u64,
    /// Time spent in those commits, waiting for the disk included.
    pub write_time: Duration,
    /// The latest commits' times, oldest first, at most 64.
    pub recent_writes: Vec<Duration>,
    /// Failed writes, reads and openings.
    pub errors: u64,
    pub last_error: Option<String>,
    /// Files that were found corrupt or foreign and moved away, by their new names.
    pub quarantined: Vec<PathBuf>,
    /// Files that were found removed or moved away while they were written, with what they held.
    pub removed: u64,
    /// Blocks that a query had to leave out because their bytes are damaged.
    pub damaged_blocks: u64,
    /// Whether the latest write failed; samples are dropped until one succeeds.
    pub failing: bool,
    /// Samples between the recorder and the writer.
    pub queue_depth: usize,
    pub queue_capacity: usize,
}

/// The counts behind a [`StoreStatus`].
#[derive(Default)]
pub(super) struct Counts(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    status: StoreStatus,
    recent: VecDeque<Duration>,
}

impl Counts {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn committed(&self, took: Duration) {
        let mut inside = self.inside();
        inside.status.commits += 1;
        inside.status.write_time += took;
        inside.status.failing = false;
        if inside.recent.len() == RECENT {
            inside.recent.pop_front();
        }
        inside.recent.push_back(took);
    }

    pub fn failed(&self, error: String, writing: bool) {
        let mut inside = self.inside();
        inside.status.errors += 1;
        inside.status.failing |= writing;
        inside.status.last_error = Some(error);
    }

    pub fn quarantined(&self, name: PathBuf) {
        let mut inside = self.inside();
        if inside.status.quarantined.len() < NAMED {
            inside.status.quarantined.push(name);
        }
    }

    pub fn removed(&self) {
        self.inside().status.removed += 1;
    }

    pub fn damaged(&self, blocks: u64) {
        self.inside().status.damaged_blocks += blocks;
    }

    pub fn tell(&self) -> StoreStatus {
        let inside = self.inside();
        let recent_writes = inside.recent.iter().copied().collect();
        StoreStatus { recent_writes, ..inside.status.clone() }
    }
}
