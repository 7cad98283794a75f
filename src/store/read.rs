//! Owns reading samples: lists newest first, the exact percentile, and the recount.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use redb::ReadTransaction;

use super::block::Block as Sealed;
use super::call;
use super::column::Decoder;
use super::columns::{Record, Selected, read_at};
use super::day::{
    BLOCKS, Chunk, DAY_MICROS, DayFile, TAIL, chunk_key, day_of, samples_in, sequence_of,
};
use super::error::{Fault, StoreError, contain};
use super::files::Files;
use super::query::{Cursor, Measure, Page, Paging, Range};
use super::rollup::values_of;
use super::sketch::{Sketch, rank_of};
use crate::model::{SampleKind, UnixMicros};

/// The most items of a page.
const LONGEST_PAGE: usize = 10_000;
/// The most samples looked at for one page; the answer then says where to go on.
const MOST_SCANNED: usize = 2_000_000;

impl Files {
    /// Asks one day's file. Damage and faults of a single file are told and counted, and leave the
    /// other days' answers standing.
    pub(super) fn ask<T>(
        &self,
        day: u32,
        question: impl FnOnce(&DayFile) -> Result<T, Fault>,
    ) -> Result<Option<T>, StoreError> {
        let file = match self.get(day) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.counts.failed(error.to_string(), false);
                return Err(error);
            }
        };
        match contain(|| question(&file)) {
            Ok(answer) => Ok(Some(answer)),
            Err(fault) => {
                let corrupt = fault.is_corruption();
                let error = fault.at(&file.path);
                tracing::error!("a query could not read: {error}");
                self.counts.failed(error.to_string(), false);
                self.forget_if_idle(day, file);
                if corrupt { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Looks at a chunk; a damaged one is told, counted and left out.
    fn look<T>(
        &self,
        file: &DayFile,
        read: &ReadTransaction,
        chunk: &Chunk,
        kind: SampleKind,
        look: impl FnOnce(&Sealed<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let looked = chunk.with_bytes(read, |bytes| look(&Sealed::parse(bytes, kind)?));
        match looked {
            Ok(found) => Ok(Some(found)),
            Err(Fault::Damaged(expected)) => {
                tracing::error!(
                    file = %file.path.display(), kind = kind.as_str(),
                    "a block of samples is damaged and left out: expected {expected}"
                );
                self.counts.damaged(1);
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// A page of samples, newest first.
    pub(super) fn page<T: Record>(
        &self,
        range: Range,
        filter: &T::Filter,
        paging: Paging,
    ) -> Result<Page<T>, StoreError> {
        let limit = paging.limit.min(LONGEST_PAGE);
        let mut page = Page { items: Vec::new(), next: None };
        let mut scan = Scan { left: MOST_SCANNED, before: paging.before };
        let until = match paging.before {
            Some(cursor) => range.until.0.min(cursor.at.0.saturating_add(1)),
            None => range.until.0,
        };
        if limit == 0 || until <= range.from.0 {
            return Ok(page);
        }
        let (first, last) = (day_of(range.from), day_of(UnixMicros(until - 1)));
        let days = self.days().into_iter().filter(|day| (first..=last).contains(day));
        for day in days.rev() {
            let wanted = (range.from.0, until, limit - page.items.len());
            let Some((rows, next)) =
                self.ask(day, |file| self.page_of::<T>(file, filter, wanted, &mut scan))?
            else {
                continue;
            };
            page.items.extend(rows);
            page.next = next;
            if page.next.is_some() {
                return Ok(page);
            }
            if page.items.len() >= limit {
                // The day is read to its beginning; older days may hold more.
                let at = UnixMicros(u64::from(day) * DAY_MICROS);
                let older = self.days().first().is_some_and(|oldest| *oldest < day);
                page.next = (older && at > range.from).then_some(Cursor { at, sequence: 0 });
                return Ok(page);
            }
        }
        Ok(page)
    }

    fn page_of<T: Record>(
        &self,
        file: &DayFile,
        filter: &T::Filter,
        (from, until, limit): (u64, u64, usize),
        scan: &mut Scan,
    ) -> Result<(Vec<T>, Option<Cursor>), Fault> {
        let read = file.read()?;
        let mut decoder = Decoder::new()?;
        let mut found: Vec<(Cursor, T)> = Vec::new();
        let mut cut = None;
        for chunk in file.chunks(&read, T::KIND, from, until)? {
            // What is left cannot be newer than the oldest of a full page.
            if found.len() > limit && found[limit].0.at.0 > chunk.most_at {
                break;
            }
            let stuck = scan.before.is_some_and(|before| chunk.most_at >= before.at.0);
            if scan.left == 0 && !stuck {
                cut = Some(Cursor { at: UnixMicros(chunk.most_at), sequence: u64::MAX });
                break;
            }
            scan.left = scan.left.saturating_sub(chunk.count);
            let first = sequence_of(chunk.key);
            let keep = |at: u64, row: usize| {
                let place = Cursor { at: UnixMicros(at), sequence: first + row as u64 };
                (from..until).contains(&at) && scan.before.is_none_or(|before| place < before)
            };
            let selected = self.look(file, &read, &chunk, T::KIND, |block| {
                Ok(T::select(block, &mut decoder, &self.labels, filter, &keep)?)
            })?;
            found.extend(selected.into_iter().flatten().map(|Selected { row, at, sample }| {
                (Cursor { at, sequence: first + row as u64 }, sample)
            }));
            found.sort_by_key(|(place, _)| Reverse(*place));
            // One more than asked for tells whether there is a next page.
            found.truncate(limit + 1);
        }
        if let Some(cut) = cut {
            found.retain(|(place, _)| *place >= cut);
        }
        let next = if found.len() > limit { Some(found[limit - 1].0) } else { cut };
        found.truncate(limit);
        Ok((found.into_iter().map(|(_, sample)| sample).collect(), next))
    }

    /// The exact percentile, from every sample. `None` when there is none.
    pub(super) fn percentile(
        &self,
        measure: Measure,
        key: Option<&str>,
        range: Range,
        quantile: f64,
    ) -> Result<Option<u64>, StoreError> {
        // Small values are counted one by one, large ones coarsely; should the rank fall among the
        // large ones, they are read once more, only the right bucket exactly. So memory stays at
        // half a megabyte whatever the number of samples.
        const SMALL: usize = 1 << 16;
        let mut small = vec![0u64; SMALL];
        let mut large = Sketch::default();
        let mut count = 0u64;
        self.each_value(measure, key, range, &mut |value| {
            count += 1;
            match usize::try_from(value) {
                Ok(value) if value < SMALL => small[value] += 1,
                _ => large.add(value, 1),
            }
        })?;
        if count == 0 {
            return Ok(None);
        }
        let rank = rank_of(count, quantile);
        let mut below = 0;
        for (value, times) in small.iter().enumerate() {
            below += times;
            if below >= rank {
                return Ok(Some(value as u64));
            }
        }
        let coarse = large.at_rank(rank - below);
        let under = large.count_under(coarse);
        let mut exact: BTreeMap<u64, u64> = BTreeMap::new();
        self.each_value(measure, key, range, &mut |value| {
            if value >= SMALL as u64 && Sketch::same_bucket(value, coarse) {
                *exact.entry(value).or_default() += 1;
            }
        })?;
        let mut below = below + under;
        for (value, times) in &exact {
            below += times;
            if below >= rank {
                return Ok(Some(*value));
            }
        }
        // Samples came in between the two readings.
        Ok(exact.last_key_value().map(|(value, _)| *value).or(Some(coarse)))
    }

    fn each_value(
        &self,
        measure: Measure,
        key: Option<&str>,
        range: Range,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let (first, last) = (day_of(range.from), day_of(range.until));
        for day in self.days().into_iter().filter(|day| (first..=last).contains(day)) {
            self.ask(day, |file| {
                let read = file.read()?;
                let mut decoder = Decoder::new()?;
                let kind = kind_of(measure);
                for chunk in file.chunks(&read, kind, range.from.0, range.until.0)? {
                    self.look(file, &read, &chunk, kind, |block| {
                        self.values_in(block, &mut decoder, (measure, key), range, tell)
                    })?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn values_in(
        &self,
        block: &Sealed<'_>,
        decoder: &mut Decoder,
        (measure, key): (Measure, Option<&str>),
        range: Range,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), Fault> {
        let span = block.span;
        let whole = range.from.0 <= span.least_at && span.most_at < range.until.0;
        if measure != Measure::CallDuration {
            let wanted = |at: u64, _: usize| (range.from.0..range.until.0).contains(&at);
            for sample in samples_in(block, decoder, &self.labels, &wanted)? {
                values_of(&sample, |value| {
                    let mine = value.measure == measure;
                    if mine && key.is_none_or(|key| key == value.key()) {
                        tell(value.value);
                    }
                });
            }
            return Ok(());
        }
        // The hot kind: two of its columns tell it all.
        let totals = decoder.numbers(block.column(call::TOTAL)?, span.count)?;
        if whole && key.is_none() {
            totals.into_iter().for_each(tell);
            return Ok(());
        }
        let mut kept = vec![true; span.count];
        if let Some(key) = key {
            let (texts, indexes) = decoder.texts(block.column(call::METHOD)?, span.count)?;
            let Some(wanted) = texts.iter().position(|text| *text == key) else {
                return Ok(());
            };
            kept.iter_mut().zip(indexes).for_each(|(kept, i)| *kept &= i == wanted as u64);
        }
        if !whole {
            let at = read_at(block, decoder)?;
            let inside = |at: &u64| (range.from.0..range.until.0).contains(at);
            kept.iter_mut().zip(&at).for_each(|(kept, at)| *kept &= inside(at));
        }
        totals.into_iter().zip(kept).filter(|(_, kept)| *kept).for_each(|(value, _)| tell(value));
        Ok(())
    }

    /// How many samples of a kind are on disk, counted in the blocks themselves.
    pub(super) fn recount(&self, kind: SampleKind) -> Result<u64, StoreError> {
        let mut count = 0;
        for day in self.days() {
            let held = self.ask(day, |file| {
                let read = file.read()?;
                let mut decoder = Decoder::new()?;
                let keys = chunk_key(kind, 0)..=chunk_key(kind, sequence_of(u64::MAX));
                let mut held = 0u64;
                for table in [BLOCKS, TAIL] {
                    for row in read.open_table(table)?.range(keys.clone())? {
                        let (_, value) = row?;
                        let Ok(block) = Sealed::parse(value.value(), kind) else {
                            self.counts.damaged(1);
                            continue;
                        };
                        held += read_at(&block, &mut decoder)?.len() as u64;
                    }
                }
                Ok(held)
            })?;
            count += held.unwrap_or(0);
        }
        Ok(count)
    }
}

/// How far a page may still look.
struct Scan {
    left: usize,
    before: Option<Cursor>,
}

const fn kind_of(measure: Measure) -> SampleKind {
    match measure {
        Measure::CallDuration | Measure::ContractCall | Measure::Uninspected => SampleKind::Call,
        Measure::RequestDuration
        | Measure::RequestBytes
        | Measure::ResponseBytes
        | Measure::CacheResult => SampleKind::Request,
        Measure::GasUsed | Measure::Confirmation => SampleKind::Transaction,
        Measure::BlockInterval | Measure::BlockGas => SampleKind::Block,
        Measure::RequestPart | Measure::RequestCalls | Measure::RequestQueries => {
            SampleKind::Breakdown
        }
    }
}
