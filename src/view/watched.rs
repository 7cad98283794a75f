//! How much of a range was really watched: a rate is a count over this, not over what was asked for.
//!
//! This program watches since its start. What a run before it watched begins, as far as can be told,
//! with the first sample in the range; whether that run ended before this one began cannot be told
//! from a time in which nothing happened.

use std::time::Duration;

use crate::model::UnixMicros;
use crate::store::{Measure, Range, SeriesQuery, Store, StoreError};

/// A shorter time tells nothing of a rate.
const SHORTEST: Duration = Duration::from_secs(1);
/// Into how many steps a range is cut to find the first one that holds something.
const CUT: usize = 240;

/// The part of `range` that was watched: from the earlier of `began` (this program's start) and the
/// first sample in the range, up to `now`. At least a second, whatever the clocks say. Blocks.
pub fn watched(
    store: &Store,
    range: Range,
    began: UnixMicros,
    now: UnixMicros,
) -> Result<Duration, StoreError> {
    let mut from = began;
    if range.from < began {
        for measure in Measure::ALL {
            if let Some(step) = first(store, measure, range)?
                // What is in the step of the start itself is of this run.
                && step.until <= began
            {
                from = from.min(step.from);
            }
        }
    }
    let from = from.max(range.from);
    let until = range.until.min(now);
    Ok(Duration::from_micros(until.0.saturating_sub(from.0)).max(SHORTEST))
}

/// The step in which a measure has its first value in a range, as fine as the store tells: ten seconds.
fn first(store: &Store, measure: Measure, mut range: Range) -> Result<Option<Range>, StoreError> {
    let mut finest = Duration::MAX;
    let mut found = None;
    loop {
        let series = store.series(&SeriesQuery { measure, key: None, range, points: CUT })?;
        let Some(point) = series.points.first() else { return Ok(found) };
        let step = u64::try_from(series.step.as_micros()).unwrap_or(u64::MAX);
        let until = UnixMicros(point.at.0.saturating_add(step));
        found = Some(Range { from: point.at, until });
        if series.step >= finest {
            return Ok(found);
        }
        finest = series.step;
        range = Range { from: point.at.max(range.from), until: until.min(range.until) };
    }
}
