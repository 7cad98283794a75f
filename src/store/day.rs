//! Owns one database file: its tables, opening it with the right mode, and what has to be made good
//! after a crash.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{
    BackendError, Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageBackend, TableDefinition, TableError, WriteTransaction,
};

use super::block::Block as Sealed;
use super::bytes::{Damage, Read, Reader, put_varint};
use super::column::Decoder;
use super::columns::Record;
use super::error::Fault;
use super::labels::Labels;
use super::levels::{LEVELS, UNIT_MICROS, unit_of};
use super::parents::build_parents;
use super::rollup::{Keys, Open, merge_open, roll, row_key};
use crate::model::{
    Block, Breakdown, Finding, HostReading, HttpRequest, LearnedRoute, Operation, Rollback,
    RpcCall, Sample, SampleKind, StateChange, Transaction, UnixMicros,
};

pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const KEYS: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("keys");
pub(super) const ROLLUPS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rollups");
pub(super) const TAIL: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("tail");
pub(super) const BLOCKS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("blocks");
/// Kind, latest `at`, first sequence → earliest `at`, rows.
pub(super) const INDEX: TableDefinition<'static, (u8, u64, u64), (u64, u32)> =
    TableDefinition::new("index");

pub(super) const META_FORMAT: &str = "format";
pub(super) const META_DIRTY: &str = "dirty";
pub(super) const META_CLOSED: &str = "closed";
const FORMAT_TEXT: &[u8] = b"dappscope samples 1";

/// Units of ten seconds in a day.
pub(super) const DAY_UNITS: u32 = 8_640;
pub(super) const DAY_MICROS: u64 = 86_400_000_000;

/// The key of a block or a tail chunk.
pub(super) const fn chunk_key(kind: SampleKind, sequence: u64) -> u64 {
    (kind as u64) << 56 | sequence
}

pub(super) const fn sequence_of(key: u64) -> u64 {
    key & ((1 << 56) - 1)
}

/// Where databases are kept. The real one is the file system; tests put their own in between, to
/// run out of space or lose power.
pub trait Media: fmt::Debug + Send + Sync {
    /// Opens the storage behind a database file, creating the file when there is none.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>>;

    /// Which file a path names now; `None` where files cannot be told apart.
    ///
    /// # Errors
    /// The path names no file, or it cannot be asked.
    fn identity(&self, _path: &Path) -> io::Result<Option<Identity>> {
        Ok(None)
    }
}

/// What stays with a file as long as it is open, whatever its path comes to name: on Unix its
/// device and its inode.
pub type Identity = (u64, u64);

/// The file system.
#[derive(Debug)]
pub struct Disk;

impl Media for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let backend = FileBackend::new(options.open(path)?).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }

    #[cfg(unix)]
    fn identity(&self, path: &Path) -> io::Result<Option<Identity>> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map(|found| Some((found.dev(), found.ino())))
    }
}

/// Where an open file belongs. A file that is removed can still be written to, without any error;
/// what is written then is on no disk that anybody will read.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    media: Arc<dyn Media>,
    identity: Option<Identity>,
}

impl Place {
    pub fn of(path: &Path, media: &Arc<dyn Media>) -> io::Result<Self> {
        let identity = media.identity(path)?;
        Ok(Self { path: path.to_owned(), media: Arc::clone(media), identity })
    }

    /// # Errors
    /// The path names another file than the open one, or none.
    pub fn check(&self) -> io::Result<()> {
        let there = match self.media.identity(&self.path) {
            Ok(found) => found == self.identity,
            // That it cannot be asked, for whatever other reason, does not say that it is gone.
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
        };
        if there {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the file was removed, or moved away, while it was written; what it held is gone with \
             it; a new one is begun",
        ))
    }
}

/// A boxed backend; redb takes them by type. What it syncs into a file that was removed is not
/// durable, and is told as an error.
#[derive(Debug)]
struct Boxed(Box<dyn StorageBackend>, Place);

impl StorageBackend for Boxed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()?;
        self.1.check()
    }
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(offset, bytes)
    }
    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}

/// How to open a file.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub media: Arc<dyn Media>,
    pub cache_bytes: usize,
    /// Verify every page first: something in it was found wrong.
    pub check: bool,
}

/// An open database file.
pub(super) struct DayFile {
    pub path: PathBuf,
    /// Days since the Unix epoch.
    pub day: u32,
    place: Place,
    database: Database,
    keys: Mutex<Keys>,
    open: Mutex<Open>,
}

impl DayFile {
    pub fn open(path: &Path, day: u32, opening: &Opening) -> Result<Self, Fault> {
        let backend = opening.media.open(path)?;
        let place = Place::of(path, &opening.media)?;
        let backend = Boxed(backend, place.clone());
        let mut builder = Builder::new();
        builder.set_cache_size(opening.cache_bytes).set_check_integrity_on_open(opening.check);
        let database = builder.create_with_backend(backend)?;
        let file = Self {
            path: path.to_owned(),
            day,
            place,
            database,
            keys: Mutex::default(),
            open: Mutex::default(),
        };
        file.prepare()?;
        file.recover()?;
        Ok(file)
    }

    /// Asks the file system once.
    ///
    /// # Errors
    /// The file was removed, or moved away, since it was opened.
    pub fn in_place(&self) -> Result<(), Fault> {
        Ok(self.place.check()?)
    }

    pub fn write(&self) -> Result<WriteTransaction, Fault> {
        let mut transaction = self.database.begin_write()?;
        // Without it a file of gigabytes is read through after each kill. It brings the two-phase
        // commit with it.
        transaction.set_quick_repair(QUICK_REPAIR);
        Ok(transaction)
    }

    pub fn read(&self) -> Result<ReadTransaction, Fault> {
        Ok(self.database.begin_read()?)
    }

    pub fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The roll-ups that are not written yet. Held across a transaction that writes some of them,
    /// so that a reader which takes it before it begins to read finds each exactly once.
    pub fn open_rollups(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates the tables of a new file, refuses a file of another format.
    fn prepare(&self) -> Result<(), Fault> {
        let read = self.read()?;
        match read.open_table(META) {
            Ok(meta) => {
                let format = meta.get(META_FORMAT)?;
                if format.as_ref().map(|format| format.value()) != Some(FORMAT_TEXT) {
                    return Err(Damage("a file of dappscope samples, format 1").into());
                }
                let table = read.open_table(KEYS)?;
                let mut keys = self.keys();
                for row in table.iter()? {
                    let (id, row) = row?;
                    keys.load(id.value(), row.value())?;
                }
                return Ok(());
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if read.list_tables()?.next().is_some() {
            return Err(Damage("a file of dappscope samples").into());
        }
        drop(read);
        let write = self.write()?;
        write.open_table(META)?.insert(META_FORMAT, FORMAT_TEXT)?;
        write.open_table(KEYS)?;
        write.open_table(ROLLUPS)?;
        write.open_table(TAIL)?;
        write.open_table(BLOCKS)?;
        write.open_table(INDEX)?;
        write.commit()?;
        Ok(())
    }

    /// Forgets the open roll-ups and builds them from the samples.
    pub fn rebuild_open(&self) -> Result<(), Fault> {
        self.recover()
    }

    /// Builds the roll-ups that were open when the program was killed, from their samples.
    fn recover(&self) -> Result<(), Fault> {
        let read = self.read()?;
        let dirty = read_units(&read)?;
        if dirty.is_empty() {
            return Ok(());
        }
        let mut keys = self.keys();
        let rolled = self.roll_again(&read, &dirty, &mut keys)?;
        drop(read);
        // A clean stop writes the unfinished ones too; what is stored of them is in `rolled`.
        let write = self.write()?;
        {
            let mut rows = write.open_table(ROLLUPS)?;
            for unit in &dirty {
                for id in keys.ids() {
                    rows.remove(row_key(0, id, *unit))?;
                }
            }
            // Late spans are in the levels above as well, which have to forget them too.
            for (level, width) in LEVELS.into_iter().enumerate().skip(1) {
                let spans: BTreeSet<u32> = dirty.iter().map(|unit| unit / width * width).collect();
                for (from, id) in
                    spans.iter().flat_map(|from| keys.ids().into_iter().map(move |id| (*from, id)))
                {
                    if rows.remove(row_key(level, id, from))?.is_some() {
                        build_parents(&mut rows, level, id, from, from + width)?;
                    }
                }
            }
            let mut table = write.open_table(KEYS)?;
            for (id, row) in keys.take_unwritten() {
                table.insert(id, &row[..])?;
            }
        }
        write.commit()?;
        drop(keys);
        *self.open_rollups() = rolled;
        Ok(())
    }

    /// Rolls up every sample of some spans of ten seconds; one chunk at a time, for there may be
    /// millions.
    fn roll_again(
        &self,
        read: &ReadTransaction,
        units: &BTreeSet<u32>,
        keys: &mut Keys,
    ) -> Result<Open, Fault> {
        let labels = Labels::default();
        let mut decoder = Decoder::new()?;
        let mut open = Open::new();
        let range = units.first().zip(units.last()).map(|(first, last)| {
            (u64::from(*first) * UNIT_MICROS, (u64::from(*last) + 1) * UNIT_MICROS)
        });
        let Some((from, until)) = range else { return Ok(open) };
        let wanted = |at: u64, _: usize| units.contains(&unit_of(at));
        for kind in SampleKind::ALL {
            for chunk in self.chunks(read, kind, from, until)? {
                let samples = chunk.with_bytes(read, |bytes| {
                    let block = Sealed::parse(bytes, kind)?;
                    Ok(samples_in(&block, &mut decoder, &labels, &wanted)?)
                })?;
                merge_open(&mut open, roll(samples.iter(), keys));
            }
        }
        Ok(open)
    }

    /// The blocks and tail chunks of a kind that may hold samples of a span of time, latest first.
    pub fn chunks(
        &self,
        read: &ReadTransaction,
        kind: SampleKind,
        from: u64,
        until: u64,
    ) -> Result<Vec<Chunk>, Fault> {
        let mut chunks = Vec::new();
        let index = read.open_table(INDEX)?;
        let tag = kind as u8;
        for row in index.range((tag, from, 0)..=(tag, u64::MAX, u64::MAX))? {
            let (key, value) = row?;
            let ((_, most_at, sequence), (least_at, count)) = (key.value(), value.value());
            if least_at < until {
                let key = chunk_key(kind, sequence);
                chunks.push(Chunk { sealed: true, key, most_at, count: count as usize });
            }
        }
        let tail = read.open_table(TAIL)?;
        for row in tail.range(chunk_key(kind, 0)..=chunk_key(kind, sequence_of(u64::MAX)))? {
            let (key, value) = row?;
            // A damaged one is met again, and told, by whoever reads it.
            let Ok(block) = Sealed::parse(value.value(), kind) else { continue };
            let span = block.span;
            if span.least_at < until && span.most_at >= from {
                chunks.push(Chunk {
                    sealed: false,
                    key: key.value(),
                    most_at: span.most_at,
                    count: span.count,
                });
            }
        }
        chunks.sort_by_key(|chunk| std::cmp::Reverse((chunk.most_at, chunk.key)));
        Ok(chunks)
    }
}

/// Opening after a kill must not take longer the fuller the day is; a second sync in each commit is
/// the price.
const QUICK_REPAIR: bool = true;

/// A place where samples are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    sealed: bool,
    pub key: u64,
    pub most_at: u64,
    pub count: usize,
}

impl Chunk {
    /// Reads its bytes. A chunk that is gone (it cannot be, within one transaction) is damage.
    pub fn with_bytes<T>(
        &self,
        read: &ReadTransaction,
        look: impl FnOnce(&[u8]) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let table = read.open_table(if self.sealed { BLOCKS } else { TAIL })?;
        let bytes = table.get(self.key)?.ok_or(Damage("a block that the index names"))?;
        look(bytes.value())
    }
}

/// The samples of a block whose time `wanted` accepts.
pub(super) fn samples_in(
    block: &Sealed<'_>,
    decoder: &mut Decoder,
    labels: &Labels,
    wanted: &dyn Fn(u64, usize) -> bool,
) -> Read<Vec<Sample>> {
    fn of<T: Record>(
        (block, decoder, labels): (&Sealed<'_>, &mut Decoder, &Labels),
        wanted: &dyn Fn(u64, usize) -> bool,
        wrap: impl Fn(T) -> Sample,
    ) -> Read<Vec<Sample>>
    where
        T::Filter: Default,
    {
        let selected = T::select(block, decoder, labels, &T::Filter::default(), wanted)?;
        Ok(selected.into_iter().map(|selected| wrap(selected.sample)).collect())
    }
    let from = (block, decoder, labels);
    match block.kind {
        SampleKind::Call => of::<RpcCall>(from, wanted, Sample::Call),
        SampleKind::Request => of::<HttpRequest>(from, wanted, Sample::Request),
        SampleKind::Transaction => {
            of::<Transaction>(from, wanted, |t| Sample::Transaction(Box::new(t)))
        }
        SampleKind::Block => of::<Block>(from, wanted, |b| Sample::Block(Box::new(b))),
        SampleKind::Host => of::<HostReading>(from, wanted, |h| Sample::Host(Box::new(h))),
        SampleKind::State => of::<StateChange>(from, wanted, |s| Sample::State(Box::new(s))),
        SampleKind::Finding => of::<Finding>(from, wanted, |f| Sample::Finding(Box::new(f))),
        SampleKind::Operation => of::<Operation>(from, wanted, |o| Sample::Operation(Box::new(o))),
        SampleKind::Breakdown => of::<Breakdown>(from, wanted, |b| Sample::Breakdown(Box::new(b))),
        SampleKind::Route => of::<LearnedRoute>(from, wanted, |r| Sample::Route(Box::new(r))),
        SampleKind::Rollback => of::<Rollback>(from, wanted, |r| Sample::Rollback(Box::new(r))),
    }
}

/// The spans whose roll-ups were open at the last commit.
pub(super) fn read_units(read: &ReadTransaction) -> Result<BTreeSet<u32>, Fault> {
    let meta = read.open_table(META)?;
    let Some(row) = meta.get(META_DIRTY)? else { return Ok(BTreeSet::new()) };
    let mut reader = Reader(row.value());
    let mut units = BTreeSet::new();
    for _ in 0..reader.length()? {
        units.insert(u32::try_from(reader.varint()?).map_err(|_| Damage("a span"))?);
    }
    Ok(units)
}

pub(super) fn encode_units(units: &BTreeSet<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, units.len() as u64);
    units.iter().for_each(|unit| put_varint(&mut out, u64::from(*unit)));
    out
}

/// The span before which everything is rolled up at every level.
pub(super) fn read_closed(read: &ReadTransaction, day: u32) -> Result<u32, Fault> {
    let meta = read.open_table(META)?;
    let Some(row) = meta.get(META_CLOSED)? else { return Ok(day.saturating_mul(DAY_UNITS)) };
    let bytes = row.value().try_into().map_err(|_| Damage("a span of four bytes"))?;
    Ok(u32::from_le_bytes(bytes))
}

/// The day a sample belongs to, in days since the epoch.
pub(super) fn day_of(at: UnixMicros) -> u32 {
    u32::try_from(at.0 / DAY_MICROS).unwrap_or(u32::MAX).min(u32::MAX / DAY_UNITS - LEVELS[3])
}
