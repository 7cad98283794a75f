//! Owns what the last line of the log says of samples that are not in the store.

use crate::model::{DropReason, SampleKind, Tally};
use crate::store::StoreStatus;

/// What was not recorded, or is gone, in words. To be asked once the writer is closed.
pub fn losses(tally: &Tally, status: &StoreStatus) -> Option<String> {
    let count = |of: &dyn Fn(SampleKind) -> u64| SampleKind::ALL.into_iter().map(of).sum::<u64>();
    let seen = count(&|kind| tally.seen(kind));
    // Not what was counted as dropped: a writer that ended badly counts nothing any more.
    let missing = seen.saturating_sub(count(&|kind| tally.stored(kind)));
    let undecoded = tally.dropped(DropReason::QueueFull);
    let mut losses = Vec::new();
    if missing > 0 {
        let why = match &status.last_error {
            Some(error) => error,
            None => "the disk did not keep up",
        };
        losses.push(format!(
            "{} of {} samples could not be stored: {why}",
            grouped(missing),
            grouped(seen)
        ));
    }
    if undecoded > 0 {
        losses.push(format!(
            "{} observations were given up before they were samples: the recorder did not keep up",
            grouped(undecoded)
        ));
    }
    if status.removed > 0 {
        losses.push(format!(
            "{} of the store's files were removed while they were written, with the samples in them",
            grouped(status.removed)
        ));
    }
    (!losses.is_empty()).then(|| losses.join("; "))
}

/// A count with its thousands set apart.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII; qed"))
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_tells_what_was_lost() {
        let (tally, mut status) = (Tally::default(), StoreStatus::default());
        tally.count_seen(SampleKind::Call, 104_000);
        tally.count_stored(SampleKind::Call, 104_000);
        assert_eq!(losses(&tally, &status), None);

        tally.count_seen(SampleKind::Block, 1_007);
        tally.count_stored(SampleKind::Block, 7);
        status.last_error = Some("no space left on device".to_owned());
        let told = "1,000 of 105,007 samples could not be stored: no space left on device";
        assert_eq!(losses(&tally, &status).as_deref(), Some(told));

        tally.count_dropped(DropReason::QueueFull, 12);
        status.removed = 2;
        let told = losses(&tally, &status).unwrap_or_default();
        assert!(told.contains("12 observations were given up"), "{told}");
        assert!(told.contains("2 of the store's files were removed"), "{told}");
    }
}
