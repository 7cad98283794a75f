//! Owns what the writer does to one file: commit fresh samples to the tail, seal the tail into
//! blocks, and write the roll-ups whose time is over.

use std::collections::BTreeSet;

use redb::{ReadableTable, Table, WriteTransaction};

use super::block::Block;
use super::column::{Decoder, Effort, Encoder, MOST_ROWS};
use super::columns::{Columns, MOST_WRITTEN};
use super::day::{
    BLOCKS, DAY_UNITS, DayFile, INDEX, KEYS, META, META_CLOSED, META_DIRTY, ROLLUPS, TAIL,
    chunk_key, encode_units, read_closed, read_units, samples_in, sequence_of,
};
use super::error::Fault;
use super::kinds::columns_of;
use super::labels::Labels;
use super::levels::LEVELS;
use super::parents::build_parents;
use super::rollup::{merge_open, roll, row_key};
use crate::model::{Sample, SampleKind};

/// The most bytes of a sealed block: redb keeps a value this large in a run of 2ⁿ pages of 4 KiB,
/// with some twenty bytes of its own, and a block one byte too long would take twice the room.
const BLOCK_BYTES: usize = 64 * 1024 - 64;
/// A block is cut when it is at least this full.
const BLOCK_FULL: usize = BLOCK_BYTES / 100 * 96;
/// After this many commits the tail's chunks are rewritten as one: a reader decodes them all.
const MOST_CHUNKS: usize = 64;

/// What the writer remembers of a file between commits.
pub(super) struct DayState {
    kinds: [KindState; SampleKind::ALL.len()],
    encoder: Encoder,
    closed: u32,
    newest: u32,
    /// The open spans, as the file has them.
    dirty: BTreeSet<u32>,
    closed_at: u32,
}

struct KindState {
    /// Committed rows that are not sealed, and during a commit the fresh ones after them.
    pending: Box<dyn Columns>,
    /// The sequence of the first of them.
    sequence: u64,
    chunks: usize,
    bytes_per_row: f64,
}

impl DayState {
    /// Takes up a file where it was left.
    pub fn load(file: &DayFile) -> Result<Self, Fault> {
        let read = file.read()?;
        let labels = Labels::default();
        let mut decoder = Decoder::new()?;
        let tail = read.open_table(TAIL)?;
        let blocks = read.open_table(BLOCKS)?;
        let mut kinds = Vec::new();
        for kind in SampleKind::ALL {
            let keys = chunk_key(kind, 0)..=chunk_key(kind, sequence_of(u64::MAX));
            let mut next = 0;
            if let Some(row) = blocks.range(keys.clone())?.next_back() {
                let (key, value) = row?;
                let rows = Block::parse(value.value(), kind).map_or(MOST_ROWS, |b| b.span.count);
                next = sequence_of(key.value()) + rows as u64;
            }
            let mut state = KindState {
                pending: columns_of(kind),
                sequence: next,
                chunks: 0,
                bytes_per_row: 16.0,
            };
            for row in tail.range(keys)? {
                let (key, value) = row?;
                state.chunks += 1;
                let parsed = Block::parse(value.value(), kind)
                    .and_then(|block| samples_in(&block, &mut decoder, &labels, &|_, _| true));
                match parsed {
                    Ok(samples) => {
                        next = sequence_of(key.value()) + samples.len() as u64;
                        samples.iter().for_each(|sample| state.pending.push(sample));
                    }
                    Err(damage) => {
                        tracing::error!(
                            file = %file.path.display(), kind = kind.as_str(),
                            "samples of a commit are lost: expected {}", damage.0
                        );
                        // The rest is rewritten with the next commit.
                        state.chunks = MOST_CHUNKS;
                    }
                }
            }
            state.sequence = next.saturating_sub(state.pending.at().len() as u64);
            kinds.push(state);
        }
        let kinds = kinds.try_into().ok().expect("one state for each kind; qed");
        let dirty = read_units(&read)?;
        let closed = read_closed(&read, file.day)?;
        let newest = dirty.last().copied().unwrap_or(closed);
        Ok(Self { kinds, encoder: Encoder::new()?, closed, newest, dirty, closed_at: newest })
    }

    /// The sequence that the next sample of each kind will have.
    pub fn sequences(&self) -> [u64; SampleKind::ALL.len()] {
        self.kinds.each_ref().map(|kind| kind.sequence + kind.pending.at().len() as u64)
    }

    /// Commits samples, in order of time, durably. After an error the file is to be opened anew.
    pub fn commit(&mut self, file: &DayFile, samples: &[&Sample]) -> Result<(), Fault> {
        let before = self.kinds.each_ref().map(|kind| kind.pending.at().len());
        for sample in samples {
            self.kinds[sample.kind() as usize].pending.push(sample);
        }
        let write = file.write()?;
        for (kind, before) in SampleKind::ALL.into_iter().zip(before) {
            let state = &mut self.kinds[kind as usize];
            if state.pending.at().len() > before {
                state.store(kind, &write, &mut self.encoder, before)?;
            }
        }
        let rolled = {
            let mut keys = file.keys();
            let rolled = roll(samples.iter().copied(), &mut keys);
            let unwritten = keys.take_unwritten();
            if !unwritten.is_empty() {
                let mut table = write.open_table(KEYS)?;
                for (id, row) in unwritten {
                    table.insert(id, &row[..])?;
                }
            }
            rolled
        };
        let dirty: BTreeSet<u32> = self.dirty.iter().chain(rolled.keys()).copied().collect();
        if dirty != self.dirty {
            write.open_table(META)?.insert(META_DIRTY, &encode_units(&dirty)[..])?;
        }
        write.commit()?;
        self.dirty = dirty;
        self.newest = self.newest.max(rolled.keys().last().copied().unwrap_or(0));
        merge_open(&mut file.open_rollups(), rolled);
        Ok(())
    }

    /// Removes samples from a sequence on: of a commit that was given up and reached the disk all
    /// the same, so that what is counted as dropped is not there. To be loaded anew afterwards.
    pub fn retract(&mut self, file: &DayFile, kept: &[u64]) -> Result<(), Fault> {
        let write = file.write()?;
        let mut changed = false;
        for (kind, kept) in SampleKind::ALL.into_iter().zip(kept) {
            if self.sequences()[kind as usize] > *kept {
                changed = true;
                self.kinds[kind as usize].retract(kind, &write, &mut self.encoder, *kept)?;
            }
        }
        if changed {
            // Their roll-ups were built from what is now gone; those of spans that are not closed
            // are marked in the file and are built again when it is opened.
            write.commit()?;
            file.rebuild_open()?;
        }
        Ok(())
    }

    /// Whether spans are over and not written yet. Late samples alone do not make it so: they wait
    /// for the next span to end, or each would cost a transaction of its own.
    pub fn has_to_close(&self) -> bool {
        (self.newest > self.closed_at + 1 && !self.dirty.is_empty()) || self.dirty.len() > 256
    }

    /// Writes the roll-ups of spans that are over: of all of them when the file is left.
    pub fn close_spans(&mut self, file: &DayFile, leave: Leave) -> Result<(), Fault> {
        // A call counts where it began, and is told when it ended: one span of grace.
        let (until, closed) = match leave {
            Leave::Stay => (self.newest.saturating_sub(1), self.newest.saturating_sub(1)),
            Leave::ForNow => (u32::MAX, self.newest),
            Leave::ForGood => (u32::MAX, (file.day + 1).saturating_mul(DAY_UNITS)),
        };
        let closed = closed.max(self.closed);
        let mut open = file.open_rollups();
        let write = file.write()?;
        let mut dirty = self.dirty.clone();
        {
            let mut rows = write.open_table(ROLLUPS)?;
            let mut late = BTreeSet::new();
            for (unit, rollups) in open.range(..until) {
                dirty.remove(unit);
                for (id, rollup) in rollups {
                    let key = row_key(0, *id, *unit);
                    let mut merged = rollup.clone();
                    if let Some(row) = rows.get(key)? {
                        merged.merge_encoded(row.value())?;
                    }
                    rows.insert(key, &merged.encode()[..])?;
                    if *unit < self.closed {
                        late.insert((*id, *unit));
                    }
                }
            }
            let ids = file.keys().ids();
            for (level, width) in LEVELS.into_iter().enumerate().skip(1) {
                let (from, until) = (self.closed / width * width, closed / width * width);
                for id in &ids {
                    build_parents(&mut rows, level, *id, from, until)?;
                }
                for (id, unit) in &late {
                    let from = unit / width * width;
                    if from + width <= self.closed / width * width {
                        build_parents(&mut rows, level, *id, from, from + width)?;
                    }
                }
            }
            let mut meta = write.open_table(META)?;
            meta.insert(META_DIRTY, &encode_units(&dirty)[..])?;
            meta.insert(META_CLOSED, &closed.to_le_bytes()[..])?;
        }
        write.commit()?;
        *open = if until == u32::MAX { Default::default() } else { open.split_off(&until) };
        self.dirty = dirty;
        self.closed = closed;
        self.closed_at = self.newest;
        Ok(())
    }

    /// Seals what is left in the tail and writes every roll-up.
    pub fn leave(&mut self, file: &DayFile, leave: Leave) -> Result<(), Fault> {
        let write = file.write()?;
        for kind in SampleKind::ALL {
            let state = &mut self.kinds[kind as usize];
            if !state.pending.at().is_empty() {
                state.seal(kind, &write, &mut self.encoder, true)?;
            }
        }
        write.commit()?;
        self.close_spans(file, leave)
    }
}

/// Whether the writer goes on with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Stay,
    /// The program stops; the day is not over.
    ForNow,
    /// The day is over.
    ForGood,
}

impl KindState {
    /// Writes the rows from `fresh` on: full blocks are sealed, the rest goes to the tail.
    fn store(
        &mut self,
        kind: SampleKind,
        write: &WriteTransaction,
        encoder: &mut Encoder,
        fresh: usize,
    ) -> Result<(), Fault> {
        let sealed = self.seal(kind, write, encoder, false)?;
        let rows = self.pending.at().len();
        let mut tail = write.open_table(TAIL)?;
        let from = if sealed > 0 || self.chunks >= MOST_CHUNKS {
            clear_tail(&mut tail, kind)?;
            self.chunks = 0;
            0
        } else {
            fresh
        };
        if from < rows {
            encoder.effort = Effort::Fast;
            let chunk = self.pending.encode(from..rows, encoder);
            tail.insert(chunk_key(kind, self.sequence + from as u64), &chunk[..])?;
            self.chunks += 1;
        }
        Ok(())
    }

    /// Brings everything from the first row that is to go back into the tail, without those rows.
    fn retract(
        &mut self,
        kind: SampleKind,
        write: &WriteTransaction,
        encoder: &mut Encoder,
        kept: u64,
    ) -> Result<(), Fault> {
        let labels = Labels::default();
        let mut decoder = Decoder::new()?;
        let mut blocks = write.open_table(BLOCKS)?;
        let mut index = write.open_table(INDEX)?;
        let mut samples = Vec::new();
        let mut first = None;
        let keys = chunk_key(kind, 0)..=chunk_key(kind, sequence_of(u64::MAX));
        let mut reaching = Vec::new();
        for row in blocks.range(keys.clone())?.rev() {
            let (key, value) = row?;
            let block = Block::parse(value.value(), kind)?;
            let sequence = sequence_of(key.value());
            if sequence + block.span.count as u64 <= kept {
                break;
            }
            reaching.push((key.value(), block.span.most_at));
            let mut held = samples_in(&block, &mut decoder, &labels, &|_, _| true)?;
            held.append(&mut samples);
            (samples, first) = (held, Some(sequence));
        }
        for (key, most_at) in reaching {
            blocks.remove(key)?;
            index.remove((kind as u8, most_at, sequence_of(key)))?;
        }
        let mut tail = write.open_table(TAIL)?;
        for row in tail.range(keys)? {
            let (key, value) = row?;
            first = first.or(Some(sequence_of(key.value())));
            let block = Block::parse(value.value(), kind)?;
            samples.extend(samples_in(&block, &mut decoder, &labels, &|_, _| true)?);
        }
        let first = first.unwrap_or(kept);
        samples.truncate(usize::try_from(kept.saturating_sub(first)).unwrap_or(usize::MAX));
        clear_tail(&mut tail, kind)?;
        let mut rows = columns_of(kind);
        samples.iter().for_each(|sample| rows.push(sample));
        if !samples.is_empty() {
            encoder.effort = Effort::Fast;
            tail.insert(chunk_key(kind, first), &rows.encode(0..samples.len(), encoder)[..])?;
        }
        Ok(())
    }

    /// Seals full blocks, or everything; the number of rows sealed.
    fn seal(
        &mut self,
        kind: SampleKind,
        write: &WriteTransaction,
        encoder: &mut Encoder,
        everything: bool,
    ) -> Result<usize, Fault> {
        encoder.effort = Effort::Small;
        let rows = self.pending.at().len();
        let mut done = 0;
        while let Some((end, bytes)) = self.cut(done..rows, encoder, everything) {
            let at = &self.pending.at()[done..end];
            let least_at = at.iter().copied().min().unwrap_or(0);
            let most_at = at.iter().copied().max().unwrap_or(0);
            let sequence = self.sequence + done as u64;
            write.open_table(BLOCKS)?.insert(chunk_key(kind, sequence), &bytes[..])?;
            let count = u32::try_from(at.len()).expect("at most a million rows in a block; qed");
            let key = (kind as u8, most_at, sequence);
            write.open_table(INDEX)?.insert(key, (least_at, count))?;
            done = end;
        }
        self.pending.drain_front(done);
        self.sequence += done as u64;
        if everything {
            clear_tail(&mut write.open_table(TAIL)?, kind)?;
            self.chunks = 0;
        }
        Ok(done)
    }

    /// The next block: as many rows as fill it without going over. `None` when the rows that are
    /// left do not fill one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "row counts up to a million, rounded down"
    )]
    fn cut(
        &mut self,
        rows: std::ops::Range<usize>,
        encoder: &mut Encoder,
        everything: bool,
    ) -> Option<(usize, Vec<u8>)> {
        let left = self.pending.within(rows.clone(), MOST_WRITTEN).min(rows.len());
        let everything = everything || left < rows.len();
        let fitting = |bytes_per_row: f64| {
            ((BLOCK_BYTES as f64 * 0.985 / bytes_per_row) as usize).clamp(1, MOST_ROWS / 16)
        };
        let mut count = fitting(self.bytes_per_row);
        if left == 0 || (count > left && !everything) {
            return None;
        }
        let mut largest_fit: Option<(usize, Vec<u8>)> = None;
        for _ in 0..8 {
            count = count.min(left);
            let bytes = self.pending.encode(rows.start..rows.start + count, encoder);
            self.bytes_per_row = (bytes.len() as f64 / count as f64).max(0.01);
            let (size, tried) = (bytes.len(), count);
            if size <= BLOCK_BYTES || count == 1 {
                if largest_fit.as_ref().is_none_or(|(fit, _)| *fit < count) {
                    largest_fit = Some((count, bytes));
                }
                if size >= BLOCK_FULL || count == left || count == MOST_ROWS / 16 {
                    break;
                }
                count = fitting(self.bytes_per_row).max(count + 1);
            } else {
                count = fitting(self.bytes_per_row).min(count - 1);
            }
            // Nothing between what fits and what does not is worth another try.
            if largest_fit.as_ref().is_some_and(|(fit, _)| count <= *fit || tried == *fit + 1) {
                break;
            }
        }
        let (count, bytes) = largest_fit?;
        // What is left does not fill a block and may wait for more.
        if count == left && bytes.len() < BLOCK_FULL && count < MOST_ROWS / 16 && !everything {
            return None;
        }
        Some((rows.start + count, bytes))
    }
}

fn clear_tail(tail: &mut Table<'_, u64, &'static [u8]>, kind: SampleKind) -> Result<(), Fault> {
    tail.retain_in(chunk_key(kind, 0)..=chunk_key(kind, sequence_of(u64::MAX)), |_, _| false)?;
    Ok(())
}
