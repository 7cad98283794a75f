//! Time as dappscope measures it: monotonic stamps for durations, Unix microseconds for "when".
//!
//! A wall-clock time is never subtracted from another to get a duration: the clock may be set while
//! a call is under way.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment on the monotonic clock, in nanoseconds since the first stamp of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// The present moment.
    pub fn now() -> Self {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// A stamp at a given number of nanoseconds, for tests and replays.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The stamp so much later.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this stamp; zero when `earlier` is in fact later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// From one stamp to a later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    pub start: Stamp,
    pub end: Stamp,
}

impl Interval {
    /// From `start` on, for so long.
    pub fn lasting(start: Stamp, time: Duration) -> Self {
        Self { start, end: start.after(time) }
    }

    /// Whether a time belongs to both; the end of one may be the start of the other.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The one of two that ends later.
    pub fn latest(self, other: Self) -> Self {
        if other.end > self.end { other } else { self }
    }
}

/// A wall-clock moment: microseconds since the Unix epoch.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// The present moment by the machine's clock.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Tells the wall-clock time of a stamp. Taken anew for each batch of observations, so a clock that
/// is corrected while the program runs moves later samples only, and no duration at all.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    stamp: Stamp,
    wall: UnixMicros,
}

impl Clock {
    /// Reads both clocks.
    pub fn read() -> Self {
        Self { stamp: Stamp::now(), wall: UnixMicros::now() }
    }

    /// A clock on which `stamp` is `wall`, for tests and replays.
    pub const fn fixed(stamp: Stamp, wall: UnixMicros) -> Self {
        Self { stamp, wall }
    }

    /// The wall-clock time at which `stamp` was taken, by the present setting of the clock.
    pub const fn wall(&self, stamp: Stamp) -> UnixMicros {
        let micros = if stamp.0 >= self.stamp.0 {
            self.wall.0.saturating_add((stamp.0 - self.stamp.0) / 1_000)
        } else {
            self.wall.0.saturating_sub((self.stamp.0 - stamp.0) / 1_000)
        };
        UnixMicros(micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_before_the_reading_maps_to_an_earlier_wall_time() {
        let clock = Clock::fixed(Stamp::from_nanos(5_000_000), UnixMicros(1_000_000));
        assert_eq!(clock.wall(Stamp::from_nanos(3_000_000)), UnixMicros(998_000));
        assert_eq!(clock.wall(Stamp::from_nanos(6_500_000)), UnixMicros(1_001_500));
    }

    #[test]
    fn a_duration_never_runs_backwards() {
        let (early, late) = (Stamp::from_nanos(10), Stamp::from_nanos(30));
        assert_eq!(late.since(early), Duration::from_nanos(20));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
