//! Finds what a request does again and again: a query or a call for each item of a list, where one
//! would serve them all.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// From so many similar ones on they are a repetition …
const LEAST: u32 = 5;
/// … when they take this long together …
const LONG: Duration = Duration::from_millis(50);
/// … or more than half of the request, or when there are so many of them: a database file beside the
/// program answers in microseconds what costs a round trip each in production.
const MANY: u32 = 10;

/// Similar queries or calls of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Similar<K> {
    pub(super) shape: K,
    pub(super) count: u32,
    pub(super) took: Duration,
}

/// The repetitions of a request that took `total`, the longest first.
pub(super) fn repeated<K: Eq + Hash>(
    each: impl Iterator<Item = (K, Duration)>,
    total: Duration,
) -> Vec<Similar<K>> {
    let mut shapes: HashMap<K, (u32, Duration)> = HashMap::new();
    for (shape, took) in each {
        let (count, sum) = shapes.entry(shape).or_default();
        *count += 1;
        *sum = sum.saturating_add(took);
    }
    let similar = shapes.into_iter().map(|(shape, (count, took))| Similar { shape, count, took });
    let mut found: Vec<_> = similar.filter(|similar| similar.is_repetition(total)).collect();
    found.sort_by_key(|similar| std::cmp::Reverse((similar.took, similar.count)));
    found
}

impl<K> Similar<K> {
    fn is_repetition(&self, total: Duration) -> bool {
        self.count >= LEAST && (self.took > LONG || self.took > total / 2 || self.count >= MANY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(count: usize, each_us: u64, total_ms: u64) -> Vec<Similar<&'static str>> {
        let queries = std::iter::repeat_n(("SELECT ?", Duration::from_micros(each_us)), count);
        let other = std::iter::once(("INSERT", Duration::from_millis(40)));
        repeated(queries.chain(other), Duration::from_millis(total_ms))
    }

    #[test]
    fn five_are_a_repetition_when_they_take_long_or_most_of_the_request() {
        assert_eq!(found(5, 11_000, 1_000).len(), 1, "55 ms");
        assert_eq!(found(5, 9_000, 1_000), [], "45 ms of a second");
        assert_eq!(found(5, 2_000, 15).len(), 1, "10 ms of 15");
        assert_eq!(found(4, 50_000, 100), [], "four");
    }

    #[test]
    fn ten_are_one_however_quick_they_were() {
        assert_eq!(found(9, 10, 1_000), []);
        let [one] = found(10, 10, 1_000)[..] else { panic!("one") };
        let took = Duration::from_micros(100);
        assert_eq!(one, Similar { shape: "SELECT ?", count: 10, took });
    }
}
