//! Owns the spans of time that samples are rolled up over, and the unit they are counted in.

use std::time::Duration;

/// The spans that are rolled up, in units of ten seconds: 10 s, 1 min, 10 min, 1 h. The ten minutes
/// are for charts of a week, which would otherwise merge ten thousand rows.
pub(super) const LEVELS: [u32; 4] = [1, 6, 60, 360];
/// The hours, which outlive the samples.
pub(super) const HOURS: usize = 3;
pub(super) const UNIT: Duration = Duration::from_secs(10);
pub(super) const UNIT_MICROS: u64 = 10_000_000;

pub(super) fn unit_of(at: u64) -> u32 {
    u32::try_from(at / UNIT_MICROS).unwrap_or(u32::MAX - LEVELS[HOURS])
}
