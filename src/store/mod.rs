//! Owns every sample on disk: writes them, rolls them up, answers questions, deletes the old and
//! survives faults. Comes after `record`, which hands it samples; `view`, `alert` and `report` ask
//! it. Does not own what a sample means, nor metrics.
//!
//! One writer thread takes batches from a bounded queue and commits at most every 150 ms. A batch
//! goes into the *tail* at once, durably; when enough has gathered it is *sealed* into blocks of
//! columns, in the same transaction that clears the tail. Ten-second roll-ups stay in memory until
//! their time is over and are then written, and merged into minutes, ten minutes and hours; after a
//! kill they are built again from the samples.
//!
//! # The bytes
//!
//! ```text
//! <dir>/                        0700
//!   lock                        held while the store is open
//!   samples-2026-11-23.redb     0600, one for each day (UTC) of the samples' `at`
//!   rollups.redb                hours of days whose file was deleted by age, for 400 days
//!   samples-….redb.corrupt-1    moved away, never deleted
//!
//! tables of a file
//!   meta      "format"  → "dappscope samples 1"
//!             "dirty"   → spans of 10 s whose roll-ups are not written: count, then each
//!             "closed"  → u32: before this span, roll-ups of every level are written
//!   keys      u32 id    → measure byte, key text; ids below 16 are "all keys" of measure id
//!   rollups   u64       → see `rollup`: level 8 │ id 24 │ start 32 → count … sketch
//!   tail      u64       → block     kind 8 │ sequence of its first sample 56; one for each commit
//!   blocks    u64       → block     the same, sealed
//!   index     (kind u8, latest at u64, first sequence u64) → (earliest at u64, rows u32)
//!
//! block     format 1 │ kind 1 │ checksum 4 │ rows │ earliest at │ latest - earliest │
//!           columns │ length… │ column…       (numbers are varints; column: see `column`)
//!   call        0 at   1 total   2 overhead   3 total - upstream - overhead   4 method
//!               5 transport   6 outcome   7 connection   8 request bytes   9 response bytes
//!               10 batch size + 1   11 batch index   12 target   13 transaction   14 trace
//!               15 detail   16 join + 1 (absent in blocks of version 0.1)
//!   request     0 at   1 total   2 overhead   3 total - upstream - overhead
//!               4 upstream - first byte   5 method   6 route   7 path   8 status   9 end
//!               10 connection   11 request bytes   12 response bytes   13 trace
//!               14 cache   15 flow   16 the API's own timing (absent in blocks of version 0.1)
//!   others      0 at   1 rows: see `row`
//! ```
//! `at` is told as differences, zigzag; the first one is to the earliest. Durations are whole
//! microseconds. A sample's sequence is its block's first plus its row, and stays when it is
//! sealed: page cursors hold on to it. `tests/fixtures/samples-v1.redb` to
//! `samples-v4.redb` guard all of this.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod app_timing;
mod block;
mod breakdown;
mod bytes;
mod call;
mod chart;
mod column;
mod columns;
mod commit;
mod day;
mod error;
mod fields;
mod files;
mod finding;
mod host;
mod kinds;
mod labels;
mod levels;
mod mined;
mod operation;
mod parents;
mod query;
mod read;
mod request;
mod retention;
mod rollback;
mod rollup;
mod row;
mod sink;
mod sketch;
mod state;
mod status;
mod transaction;
mod writer;

pub use day::{Disk, Identity, Media};
pub use error::{Fault, StoreError};
pub use query::{
    BlockFilter, BreakdownFilter, CallFilter, Cursor, FindingFilter, Measure, OperationFilter,
    Page, Paging, Point, Range, RequestFilter, Series, SeriesQuery, StateFilter, Summary,
    TransactionFilter,
};
pub use status::StoreStatus;
pub use writer::Writer;

use files::Files;
use sink::Waiting;

use crate::model::{
    Block, Breakdown, Finding, HostReading, HttpRequest, LearnedRoute, Operation, Rollback,
    RpcCall, SampleKind, StateChange, Tally, Transaction, UnixMicros,
};

/// How the store is to work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files of days that ended longer ago are deleted; `None` keeps them all.
    pub retention: Option<Duration>,
    /// How often the age of the files is looked at. A file is deleted at the second look in a row
    /// that finds it too old: a clock that is wrong for a moment must not cost samples.
    pub retention_every: Duration,
    /// Memory for redb's page caches, all files together, in bytes.
    pub cache_bytes: usize,
    /// The longest that an accepted sample waits for its commit, and so what a kill can lose.
    pub commit_every: Duration,
    /// The most samples between the recorder and the writer.
    pub queue_samples: usize,
    /// Where the databases are kept; tests put faults in between.
    pub media: Arc<dyn Media>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Some(Duration::from_hours(7 * 24)),
            retention_every: Duration::from_mins(10),
            cache_bytes: 48 << 20,
            commit_every: Duration::from_millis(150),
            queue_samples: 65_536,
            media: Arc::new(Disk),
        }
    }
}

/// Reads the store. Cheap to clone; sees what is committed.
#[derive(Clone)]
pub struct Store {
    files: Arc<Files>,
    waiting: Arc<Waiting>,
}

impl Store {
    /// Opens the store in a directory, which is created if need be, and starts its writer. A file
    /// that cannot be written for the moment is no error here: samples are dropped and counted
    /// until it can.
    pub fn open(
        dir: &Path,
        options: Options,
        tally: Arc<Tally>,
    ) -> Result<(Self, Writer), StoreError> {
        let waiting = Arc::new(Waiting::new(options.queue_samples, Arc::clone(&tally)));
        let files = Arc::new(Files::open(dir, options)?);
        if let Err(error) = files.get_or_create(day::day_of(UnixMicros::now()), false) {
            tracing::error!("nothing can be recorded for now: {error}");
            files.counts.failed(error.to_string(), true);
        }
        let writer = Writer::start(Arc::clone(&files), Arc::clone(&waiting), tally)?;
        Ok((Self { files, waiting }, writer))
    }

    /// Calls, newest first. A filter that few calls pass is answered in parts: a page may be
    /// short, or empty, and still say where to go on.
    pub fn calls(
        &self,
        range: Range,
        filter: &CallFilter,
        paging: Paging,
    ) -> Result<Page<RpcCall>, StoreError> {
        self.files.page(range, filter, paging)
    }

    /// Requests to the API, newest first, in parts like [`Store::calls`].
    pub fn requests(
        &self,
        range: Range,
        filter: &RequestFilter,
        paging: Paging,
    ) -> Result<Page<HttpRequest>, StoreError> {
        self.files.page(range, filter, paging)
    }

    /// Transactions, newest first, in parts like [`Store::calls`].
    pub fn transactions(
        &self,
        range: Range,
        filter: &TransactionFilter,
        paging: Paging,
    ) -> Result<Page<Transaction>, StoreError> {
        self.files.page(range, filter, paging)
    }

    /// Blocks, newest first, in parts like [`Store::calls`].
    pub fn blocks(
        &self,
        range: Range,
        filter: &BlockFilter,
        paging: Paging,
    ) -> Result<Page<Block>, StoreError> {
        self.files.page(range, filter, paging)
    }

    /// What traced transactions changed, newest first, in parts like [`Store::calls`].
    pub fn states(
        &self,
        range: Range,
        filter: &StateFilter,
        paging: Paging,
    ) -> Result<Page<StateChange>, StoreError> {
        self.files.page(range, filter, paging)
    }

    /// Findings, newest first, in parts like [`Store::calls`].
    pub fn findings(
        &self,
        range: Range,
        filter: &FindingFilter,
        paging: Paging,
    ) -> Result<Page<Finding>, StoreError> {
        self.files.page(range, filter, paging)
    }

    /// What programs told of their own work, newest first, in parts like [`Store::calls`].
    pub fn operations(
        &self,
        range: Range,
        filter: &OperationFilter,
        paging: Paging,
    ) -> Result<Page<Operation>, StoreError> {
        self.files.page(range, filter, paging)
    }

    /// Where the time of requests went, newest first, in parts like [`Store::calls`].
    pub fn breakdowns(
        &self,
        range: Range,
        filter: &BreakdownFilter,
        paging: Paging,
    ) -> Result<Page<Breakdown>, StoreError> {
        self.files.page(range, filter, paging)
    }

    /// Routes that the API told of, newest first, each as often as it was told.
    pub fn learned_routes(
        &self,
        range: Range,
        paging: Paging,
    ) -> Result<Page<LearnedRoute>, StoreError> {
        self.files.page(range, &(), paging)
    }

    /// Rollbacks of the chain, newest first, in parts like [`Store::calls`].
    pub fn rollbacks(&self, range: Range, paging: Paging) -> Result<Page<Rollback>, StoreError> {
        self.files.page(range, &(), paging)
    }

    /// Readings of the machine, newest first.
    pub fn host(&self, range: Range, paging: Paging) -> Result<Page<HostReading>, StoreError> {
        self.files.page(range, &(), paging)
    }

    /// A measure over time. The range is widened to whole spans of ten seconds.
    pub fn series(&self, query: &SeriesQuery) -> Result<Series, StoreError> {
        self.files.series(query)
    }

    /// One summary for each key of a measure, by key. The range is widened to whole spans of ten
    /// seconds.
    pub fn summaries(
        &self,
        measure: Measure,
        range: Range,
    ) -> Result<Vec<(String, Summary)>, StoreError> {
        self.files.summaries(measure, range)
    }

    /// The exact percentile, read from every sample: the smallest value that leaves at least the
    /// share `q` (0 to 1) of the samples at or below it. `None` when there is no sample.
    pub fn percentile_raw(
        &self,
        measure: Measure,
        key: Option<&str>,
        range: Range,
        q: f64,
    ) -> Result<Option<u64>, StoreError> {
        self.files.percentile(measure, key, range, q)
    }

    /// How many samples of a kind are on disk, counted anew in the blocks themselves.
    pub fn counts(&self, kind: SampleKind) -> Result<u64, StoreError> {
        self.files.recount(kind)
    }

    /// Samples waiting between the recorder and the writer. Reads one counter, where
    /// [`Store::status`] asks the file system.
    pub fn queue_depth(&self) -> usize {
        self.waiting.depth()
    }

    /// How the store is doing.
    pub fn status(&self) -> StoreStatus {
        StoreStatus {
            bytes: self.files.bytes(),
            queue_depth: self.waiting.depth(),
            queue_capacity: self.waiting.capacity,
            ..self.files.counts.tell()
        }
    }
}
