//! The queries that spans told of, by their shape: how often each ran and how long it took.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::json as as_json;
use crate::model::{DbCollection, DbOperation, DbSystem, Work};
use crate::store::{Cursor, OperationFilter, Paging, Range, Store, StoreError};

/// Operations that are looked through, the newest of the range.
const MOST: usize = 200_000;
const PAGE: usize = 10_000;

/// What is the same of the queries of one shape.
#[derive(PartialEq, Eq, Hash)]
struct Shape {
    system: DbSystem,
    operation: Option<DbOperation>,
    collection: Option<DbCollection>,
    fingerprint: Arc<str>,
}

#[derive(Default)]
struct Ran {
    micros: Vec<u64>,
    failed: u64,
    /// A request that ran one of them, the newest.
    trace_id: u128,
}

/// Queries by shape.
pub struct Found {
    shapes: Vec<(Shape, Ran)>,
    /// Whether all of the range was looked through.
    exact: bool,
}

/// Reads the queries of a range, of one table or of all. Blocks.
pub fn read(store: &Store, range: Range, table: Option<&str>) -> Result<Found, StoreError> {
    let mut shapes: HashMap<Shape, Ran> = HashMap::new();
    let mut before: Option<Cursor> = None;
    let mut seen = 0;
    loop {
        let paging = Paging { limit: PAGE, before };
        let page = store.operations(range, &OperationFilter::default(), paging)?;
        seen += page.items.len();
        for operation in page.items {
            let Work::Query(query) = operation.work else { continue };
            if table.is_some_and(|table| query.collection.is_none_or(|it| it.as_str() != table)) {
                continue;
            }
            let shape = Shape {
                system: query.system,
                operation: query.operation,
                collection: query.collection,
                fingerprint: query.fingerprint,
            };
            let ran = shapes.entry(shape).or_default();
            if ran.micros.is_empty() {
                ran.trace_id = operation.trace_id;
            }
            ran.micros.push(as_json::micros(operation.duration));
            ran.failed += u64::from(operation.failed);
        }
        before = page.next;
        if before.is_none() || seen >= MOST {
            break;
        }
    }
    let shapes = shapes.into_iter().collect();
    Ok(Found { shapes, exact: before.is_none() })
}

/// The shapes that took the most time altogether first, at most `limit`.
pub fn tell(found: Found, range: Range, limit: usize) -> Value {
    let mut shapes = found.shapes;
    for (_, ran) in &mut shapes {
        ran.micros.sort_unstable();
    }
    shapes.sort_by_key(|(_, ran)| std::cmp::Reverse(ran.micros.iter().sum::<u64>()));
    let left_out = shapes.len().saturating_sub(limit);
    shapes.truncate(limit);
    json!({
        "from_ms": as_json::millis(range.from),
        "until_ms": as_json::millis(range.until),
        "exact": found.exact,
        "left_out": left_out,
        "queries": shapes.iter().map(|(shape, ran)| json!({
            "system": shape.system,
            "operation": shape.operation,
            "collection": shape.collection,
            "fingerprint": &*shape.fingerprint,
            "count": ran.micros.len(),
            "failed": ran.failed,
            "p50_us": percentile(&ran.micros, 50),
            "p95_us": percentile(&ran.micros, 95),
            "max_us": ran.micros.last(),
            "sum_us": ran.micros.iter().sum::<u64>(),
            "trace_id": format!("{:032x}", ran.trace_id),
        })).collect::<Vec<_>>(),
    })
}

/// The smallest value that leaves at least so many of a hundred at or below it.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 95), Some(7));
        assert_eq!(percentile(&[1, 2, 3, 4], 50), Some(2));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 95), percentile(&hundred, 100)), (Some(95), Some(100)));
    }
}
