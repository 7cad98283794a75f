//! Decides which days are too old to keep. Deletes nothing itself.
//!
//! The wall clock alone is not believed: one that jumps ahead for a moment makes every day old. A day
//! goes when two looks in a row, some time of the monotonic clock apart, both find it over age, and
//! when this process has not written to it lately.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::day::DAY_MICROS;

/// A day that was written to so recently, by the monotonic clock, is not old, whatever the wall
/// clock says. As short as the shortest retention: a machine that sleeps counts fewer hours.
const FRESH: Duration = Duration::from_micros(DAY_MICROS);

/// What was seen of the days so far.
pub(super) struct Retention {
    /// Days that ended longer ago are over age; `None` keeps them all.
    kept: Option<Duration>,
    /// Between the two looks.
    every: Duration,
    looked_at: Option<(u32, Instant)>,
    /// Days that each look since this time has found over age.
    over_age: BTreeMap<u32, Instant>,
    written: BTreeMap<u32, Instant>,
}

impl Retention {
    pub fn new(kept: Option<Duration>, every: Duration) -> Self {
        Self { kept, every, looked_at: None, over_age: BTreeMap::new(), written: BTreeMap::new() }
    }

    pub fn wrote(&mut self, day: u32, now: Instant) {
        self.written.insert(day, now);
    }

    /// Whether to look: it is time, or the day is another one. That includes a clock that jumped
    /// back, for the look then clears what the one before had found.
    pub fn is_due(&self, today: u32, now: Instant) -> bool {
        self.kept.is_some()
            && self
                .looked_at
                .is_none_or(|(day, at)| day != today || now.duration_since(at) >= self.every)
    }

    /// Looks at the days that have a file: those that are to be deleted. `today` is none of them.
    pub fn look(&mut self, days: &[u32], today: u32, now: Instant) -> Vec<u32> {
        self.looked_at = Some((today, now));
        let Some(kept) = self.kept else { return Vec::new() };
        let kept = u32::try_from(kept.as_micros() / u128::from(DAY_MICROS)).unwrap_or(u32::MAX);
        let oldest = today.saturating_sub(kept);
        self.written.retain(|_, at| now.duration_since(*at) < FRESH);
        self.over_age = days
            .iter()
            .filter(|day| **day < oldest && !self.written.contains_key(day))
            .map(|day| (*day, self.over_age.get(day).copied().unwrap_or(now)))
            .collect();
        let confirmed =
            self.over_age.iter().filter(|(_, since)| now.duration_since(**since) >= self.every);
        confirmed.map(|(day, _)| *day).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(600);
    const WEEK: Option<Duration> = Some(Duration::from_hours(7 * 24));
    const DAYS: [u32; 4] = [90, 92, 99, 100];

    #[test]
    fn a_day_goes_when_two_looks_some_time_apart_find_it_over_age() {
        let (mut retention, start) = (Retention::new(WEEK, EVERY), Instant::now());
        assert!(retention.is_due(100, start));
        assert!(retention.look(&DAYS, 100, start).is_empty());
        assert!(!retention.is_due(100, start + EVERY / 2));
        assert!(retention.is_due(100, start + EVERY));
        assert_eq!(retention.look(&DAYS, 100, start + EVERY), [90, 92]);
        assert!(!Retention::new(None, EVERY).is_due(100, start));
    }

    #[test]
    fn a_clock_that_jumps_ahead_and_back_deletes_nothing() {
        let (mut retention, start) = (Retention::new(WEEK, EVERY), Instant::now());
        let recent = &DAYS[2..];
        assert!(retention.look(recent, 100, start).is_empty());
        for jump in 1..10 {
            let ahead = start + EVERY * jump;
            assert!(retention.is_due(160, ahead));
            assert!(retention.look(recent, 160, ahead).is_empty(), "jump {jump}");
            let back = ahead + Duration::from_secs(2);
            assert!(retention.is_due(100, back));
            assert!(retention.look(recent, 100, back).is_empty(), "back {jump}");
        }
    }

    #[test]
    fn a_day_that_was_just_written_stays_however_long_the_clock_is_wrong() {
        let (mut retention, start) = (Retention::new(WEEK, EVERY), Instant::now());
        retention.wrote(100, start);
        retention.look(&DAYS, 160, start);
        assert_eq!(retention.look(&DAYS, 160, start + EVERY), [90, 92, 99]);
        let later = start + FRESH;
        assert!(retention.look(&[100], 160, later).is_empty());
        assert_eq!(retention.look(&[100], 160, later + EVERY), [100]);
    }
}
