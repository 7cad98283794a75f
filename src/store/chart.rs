//! Owns reading roll-ups: a measure over time, and one summary for each key.

use std::collections::BTreeMap;

use redb::ReadTransaction;

use super::day::{DAY_UNITS, DayFile, ROLLUPS, read_closed};
use super::error::{Fault, StoreError};
use super::files::{ARCHIVE_DAY, Files};
use super::levels::{HOURS, LEVELS, UNIT, UNIT_MICROS, unit_of};
use super::query::{Measure, Point, Range, Series, SeriesQuery, Summary};
use super::rollup::{Keys, Rollup, row_key, row_parts};
use crate::model::UnixMicros;

/// Steps a chart may have, in units of ten seconds, up to a day; longer ones are whole days.
const STEPS: [u32; 17] =
    [1, 2, 3, 6, 12, 30, 60, 90, 120, 180, 360, 720, 1_080, 1_440, 2_160, 4_320, DAY_UNITS];
/// The most points of a series.
const MOST_POINTS: usize = 10_000;

/// A span of time in units of ten seconds; the end does not belong to it.
#[derive(Clone, Copy, Debug)]
struct Units {
    from: u32,
    until: u32,
}

/// What a range amounts to in this store.
struct Extent {
    units: Units,
    /// Part of it lies in days whose samples are gone: nothing finer than hours is left.
    hours_only: bool,
}

impl Files {
    pub(super) fn series(&self, query: &SeriesQuery) -> Result<Series, StoreError> {
        let Some(Extent { units, hours_only }) = self.extent_of(query.range)? else {
            return Ok(Series { step: UNIT, points: Vec::new() });
        };
        let finest = if hours_only { LEVELS[HOURS] } else { 1 };
        let (step, level) = match query.points {
            // One point is for the whole range, wherever that begins.
            0 | 1 => (None, HOURS),
            points => {
                let step = step_of(units, points.min(MOST_POINTS), finest);
                let level = LEVELS.iter().rposition(|width| step.is_multiple_of(*width));
                (Some(step), level.unwrap_or(0))
            }
        };
        let asked = query.range.in_whole_spans();
        let whole = unit_of(asked.from.0);
        let step_at = |unit: u32| step.map_or(whole, |step| unit / step * step);
        let mut steps: BTreeMap<u32, Rollup> = BTreeMap::new();
        self.each_file(units, |file, units| {
            // Locked before the transaction begins: see `DayFile::open_rollups`.
            let open = file.open_rollups();
            let read = file.read()?;
            let Some(id) = file.keys().of(query.measure, query.key.as_deref()) else {
                return Ok(());
            };
            for (unit, rollups) in open.range(units.from..units.until) {
                if let Some(rollup) = rollups.get(&id) {
                    steps.entry(step_at(*unit)).or_default().merge(rollup);
                }
            }
            drop(open);
            let closed = closed_of(file, &read)?;
            for (level, units) in plan(units, level, closed) {
                each_row(&read, level, id, units, |unit, bytes| {
                    Ok(steps.entry(step_at(unit)).or_default().merge_encoded(bytes)?)
                })?;
            }
            Ok(())
        })?;
        let points = steps
            .into_iter()
            .filter(|(_, rollup)| rollup.count > 0)
            .map(|(unit, rollup)| Point {
                at: UnixMicros(u64::from(unit) * UNIT_MICROS),
                summary: rollup.summary(),
            })
            .collect();
        let step = step.unwrap_or_else(|| unit_of(asked.until.0).saturating_sub(whole));
        Ok(Series { step: UNIT * step, points })
    }

    pub(super) fn summaries(
        &self,
        measure: Measure,
        range: Range,
    ) -> Result<Vec<(String, Summary)>, StoreError> {
        let Some(Extent { units, .. }) = self.extent_of(range)? else { return Ok(Vec::new()) };
        let mut found: BTreeMap<String, Rollup> = BTreeMap::new();
        self.each_file(units, |file, units| {
            let open = file.open_rollups();
            let read = file.read()?;
            let keys: Vec<(String, u32)> =
                file.keys().all(measure).map(|(key, id)| (key.to_owned(), id)).collect();
            for (_, rollups) in open.range(units.from..units.until) {
                for (key, id) in &keys {
                    if let Some(rollup) = rollups.get(id) {
                        found.entry(key.clone()).or_default().merge(rollup);
                    }
                }
            }
            drop(open);
            let closed = closed_of(file, &read)?;
            for (key, id) in keys {
                let mut merged = Rollup::default();
                for (level, units) in plan(units, HOURS, closed) {
                    each_row(&read, level, id, units, |_, bytes| Ok(merged.merge_encoded(bytes)?))?;
                }
                if merged.count > 0 {
                    found.entry(key).or_default().merge(&merged);
                }
            }
            Ok(())
        })?;
        let counted = found.into_iter().filter(|(_, rollup)| rollup.count > 0);
        Ok(counted.map(|(key, rollup)| (key, rollup.summary())).collect())
    }

    /// The spans that a range touches, as far as there are any in the store.
    fn extent_of(&self, range: Range) -> Result<Option<Extent>, StoreError> {
        if range.until <= range.from {
            return Ok(None);
        }
        let from = unit_of(range.from.0);
        let until = unit_of(range.until.0 - 1).saturating_add(1);
        let days = self.days();
        let mut earliest = days.first().map(|day| day * DAY_UNITS);
        let mut hours_only = false;
        if earliest.is_none_or(|earliest| from < earliest)
            && let Some(Some(kept)) = self.ask(ARCHIVE_DAY, earliest_hour)?
        {
            hours_only = kept < until && earliest.is_none_or(|earliest| kept < earliest);
            earliest = Some(earliest.map_or(kept, |earliest| earliest.min(kept)));
        }
        let Some(earliest) = earliest else { return Ok(None) };
        let latest = days.last().map_or(u32::MAX, |day| (day + 1) * DAY_UNITS);
        let units = Units { from: from.max(earliest), until: until.min(latest) };
        Ok((units.from < units.until).then_some(Extent { units, hours_only }))
    }

    /// Asks every file for its part of the spans: the archive for the days without a file.
    fn each_file(
        &self,
        units: Units,
        mut ask: impl FnMut(&DayFile, Units) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        let days = self.days();
        let mut from = units.from;
        let mut gaps = Vec::new();
        for day in &days {
            let (begin, end) = (day * DAY_UNITS, (day + 1) * DAY_UNITS);
            if from < begin.min(units.until) {
                gaps.push(Units { from, until: begin.min(units.until) });
            }
            from = from.max(end);
            let mine = Units { from: units.from.max(begin), until: units.until.min(end) };
            if mine.from < mine.until {
                self.ask(*day, |file| ask(file, mine))?;
            }
        }
        if from < units.until {
            gaps.push(Units { from, until: units.until });
        }
        for gap in gaps {
            // Days are whole hours, so widening the ends does not reach into a day with a file.
            let hour = LEVELS[HOURS];
            let from = gap.from / hour * hour;
            let gap = Units { from, until: gap.until.div_ceil(hour).saturating_mul(hour) };
            self.ask(ARCHIVE_DAY, |file| ask(file, gap))?;
        }
        Ok(())
    }
}

/// The finest step with which the spans make no more than so many points.
fn step_of(units: Units, points: usize, finest: u32) -> u32 {
    let fits = |step: u32| {
        let steps = units.until.div_ceil(step) - units.from / step;
        steps as usize <= points
    };
    STEPS
        .into_iter()
        .find(|step| step.is_multiple_of(finest) && fits(*step))
        .or_else(|| (2..u32::MAX / DAY_UNITS).map(|days| days * DAY_UNITS).find(|step| fits(*step)))
        .unwrap_or(DAY_UNITS)
}

/// Until where a file's roll-ups are made at every level.
fn closed_of(file: &DayFile, read: &ReadTransaction) -> Result<u32, Fault> {
    if file.day == ARCHIVE_DAY { Ok(u32::MAX) } else { read_closed(read, file.day) }
}

fn earliest_hour(file: &DayFile) -> Result<Option<u32>, Fault> {
    let read = file.read()?;
    let mut earliest: Option<u32> = None;
    for measure in Measure::ALL {
        let id = Keys::everything(measure);
        let rows = read.open_table(ROLLUPS)?;
        let row = rows.range(row_key(HOURS, id, 0)..row_key(HOURS, id, u32::MAX))?.next();
        if let Some(row) = row {
            let unit = row_parts(row?.0.value()).1;
            earliest = Some(earliest.map_or(unit, |earliest| earliest.min(unit)));
        }
    }
    Ok(earliest)
}

/// Which level to read where: the coarsest wherever a whole span of it lies inside and is made,
/// finer ones at the edges.
fn plan(units: Units, level: usize, closed: u32) -> Vec<(usize, Units)> {
    if units.from >= units.until {
        return Vec::new();
    }
    if level == 0 {
        return vec![(0, units)];
    }
    let width = LEVELS[level];
    let first = units.from.div_ceil(width) * width;
    let last = units.until.min(closed) / width * width;
    if first >= last {
        return plan(units, level - 1, closed);
    }
    let mut parts = plan(Units { from: units.from, until: first }, level - 1, closed);
    parts.push((level, Units { from: first, until: last }));
    parts.extend(plan(Units { from: last, until: units.until }, level - 1, closed));
    parts
}

fn each_row(
    read: &ReadTransaction,
    level: usize,
    id: u32,
    units: Units,
    mut tell: impl FnMut(u32, &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let rows = read.open_table(ROLLUPS)?;
    for row in rows.range(row_key(level, id, units.from)..row_key(level, id, units.until))? {
        let (key, value) = row?;
        tell(row_parts(key.value()).1, value.value())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_covers_every_span_once() {
        for (from, until, closed) in [(7, 1_000, 900), (0, 360, 360), (5, 6, 0), (3, 800, 2_000)] {
            let mut parts = plan(Units { from, until }, HOURS, closed);
            parts.sort_by_key(|(_, units)| units.from);
            let mut at = from;
            for (level, units) in parts {
                assert_eq!(units.from, at);
                assert!(level == 0 || units.until <= closed);
                assert!(units.from % LEVELS[level] == 0 && units.until % LEVELS[level] == 0);
                at = units.until;
            }
            assert_eq!(at, until);
        }
    }

    #[test]
    fn a_week_in_six_hundred_points_has_steps_of_twenty_minutes() {
        let week = Units { from: 1_000_000, until: 1_000_000 + 7 * DAY_UNITS };
        assert_eq!(step_of(week, 600, 1), 120);
        assert_eq!(step_of(week, 2, 1), 5 * DAY_UNITS);
    }
}
