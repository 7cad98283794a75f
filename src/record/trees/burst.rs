//! Different calls of contracts by one request, each by itself, with no pause between them: what one
//! multicall would serve.

use std::collections::HashSet;
use std::time::Duration;

use super::part::{CallPart, Shape};
use crate::model::Stamp;
use crate::record::findings::bursts::{ENOUGH, PAUSE};
use crate::record::repeats::Question;

/// A burst of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Burst {
    /// How many different calls.
    pub(super) count: u32,
    /// From the first one's beginning to the last one's.
    pub(super) span: Duration,
    /// Without a function where they call different ones.
    pub(super) shape: Shape,
}

/// The bursts among these calls.
pub(super) fn bursts<'a>(calls: impl Iterator<Item = &'a CallPart>) -> Vec<Burst> {
    let read = |call: &CallPart| Some((call.started, call.shape?, call.question?));
    let mut reads: Vec<_> = calls.filter(|call| call.gathers).filter_map(read).collect();
    reads.sort_by_key(|(started, ..)| *started);
    let goes_on = |before: &Read, next: &Read| next.0.since(before.0) <= PAUSE;
    reads.chunk_by(goes_on).filter_map(burst).collect()
}

/// When a call began, and what it asks.
type Read = (Stamp, Shape, Question);

/// What calls without a pause come to.
fn burst(reads: &[Read]) -> Option<Burst> {
    let (first, last) = (reads.first()?, reads.last()?);
    let different: HashSet<_> = reads.iter().map(|(.., question)| *question).collect();
    let function = first.1.function.filter(|_| reads.iter().all(|read| read.1 == first.1));
    let count = u32::try_from(different.len()).unwrap_or(u32::MAX);
    (different.len() >= ENOUGH).then_some(Burst {
        count,
        span: last.0.since(first.0),
        shape: Shape { function, ..first.1 },
    })
}
