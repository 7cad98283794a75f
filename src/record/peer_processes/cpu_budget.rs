//! How much CPU time something may take on this thread: a token bucket.

use std::time::Duration;

use crate::model::Stamp;

/// The CPU time of so long without use may be saved up.
const SAVED_UP: Duration = Duration::from_secs(1);

/// A share of time. What is spent may go below zero once, and is paid back before the next use.
pub(super) struct CpuBudget {
    /// Seconds of CPU time earned each second.
    share: f64,
    /// Seconds of CPU time that may be spent.
    balance: f64,
    earned_until: Stamp,
}

/// How much it matters to look now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// The process is to be named now.
    Wanted,
    /// It may be of use later: half of what can be saved up is left for what is wanted.
    Early,
}

impl CpuBudget {
    /// A full budget of a share of this thread's time, between 0 and 1.
    pub(super) fn new(share: f64) -> Self {
        Self { share, balance: share * SAVED_UP.as_secs_f64(), earned_until: Stamp::default() }
    }

    pub(super) fn allows(&mut self, now: Stamp, urgency: Urgency) -> bool {
        let earned = now.since(self.earned_until).as_secs_f64() * self.share;
        self.earned_until = self.earned_until.max(now);
        let most = self.share * SAVED_UP.as_secs_f64();
        self.balance = (self.balance + earned).min(most);
        match urgency {
            Urgency::Wanted => self.balance > 0.0,
            Urgency::Early => self.balance > most / 2.0,
        }
    }

    pub(super) fn spend(&mut self, time: Duration) {
        self.balance -= time.as_secs_f64();
    }
}

/// CPU time that this thread has used so far. On a busy machine a look takes long because others
/// work meanwhile, which is no reason to look less often.
#[cfg(unix)]
pub(in crate::record) fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The same, where there is only the clock.
#[cfg(not(unix))]
pub(in crate::record) fn thread_cpu_time() -> Duration {
    Stamp::now().since(Stamp::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn what_is_overdrawn_is_paid_back_before_the_next_use() {
        let mut budget = CpuBudget::new(0.02);
        assert!(budget.allows(ms(0), Urgency::Early), "full at first");
        budget.spend(Duration::from_millis(30));
        assert!(!budget.allows(ms(490), Urgency::Wanted), "10 ms too much, 9.8 earned");
        assert!(budget.allows(ms(510), Urgency::Wanted));
        assert!(!budget.allows(ms(900), Urgency::Early), "not half full");
        assert!(budget.allows(ms(1_100), Urgency::Early));
    }

    #[test]
    fn no_more_than_a_second_s_share_is_saved_up() {
        let mut budget = CpuBudget::new(0.02);
        assert!(budget.allows(ms(3_600_000), Urgency::Wanted));
        budget.spend(Duration::from_millis(21));
        assert!(!budget.allows(ms(3_600_000), Urgency::Wanted));
    }

    #[test]
    fn a_clock_that_stands_still_earns_nothing_twice() {
        let mut budget = CpuBudget::new(0.02);
        assert!(budget.allows(ms(1_000), Urgency::Wanted));
        budget.spend(Duration::from_millis(40));
        assert!(!budget.allows(ms(1_500), Urgency::Wanted));
        assert!(!budget.allows(ms(900), Urgency::Wanted), "time never runs backwards");
        assert!(!budget.allows(ms(1_500), Urgency::Wanted));
    }
}
