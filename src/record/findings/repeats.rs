//! The same call with the same parameters, while no block came.

use std::collections::HashMap;

use super::{Ended, Found, Identity, PeerProcesses, Question, Span, Subject, WINDOW};
use crate::model::{FindingKind, Method, Stamp};

/// How often a call has to be repeated to be worth a word.
const ENOUGH: u32 = 10;
/// Calls that are being counted at a time.
const MOST: usize = 1_024;

#[derive(Default)]
pub(super) struct Repeated {
    open: HashMap<Question, Open>,
    /// Those that a block ended.
    ended: Vec<Found>,
}

struct Open {
    span: Span,
    method: Method,
    subject: Option<Subject>,
    /// Since there are enough of them.
    who: Option<Identity>,
}

impl Repeated {
    /// The call was made again; `first` is when it was made first. Answers whether another one comes
    /// before it in what is being counted.
    pub(super) fn again(
        &mut self,
        call: &Ended<'_>,
        first: Stamp,
        peers: &mut PeerProcesses,
    ) -> bool {
        if self.open.len() >= MOST && !self.open.contains_key(&call.question) {
            return false;
        }
        // What was asked first belongs to the first span only.
        let is_first = call.started.since(first) < WINDOW;
        let open = self.open.entry(call.question).or_insert_with(|| Open {
            span: if is_first { Span::begin(first) } else { Span::empty(call.started) },
            method: call.method,
            subject: call.subject,
            who: None,
        });
        open.span.add(call.started);
        if open.span.count >= ENOUGH {
            peers.track(&mut open.who, call.caller);
        }
        open.span.count > 1
    }

    /// A block came.
    pub(super) fn end(&mut self) {
        self.ended.extend(self.open.drain().filter_map(|(_, open)| open.found()));
    }

    pub(super) fn take_due(&mut self, now: Stamp, found: &mut Vec<Found>) {
        found.append(&mut self.ended);
        let over = self.open.extract_if(|_, open| open.span.is_over(now));
        found.extend(over.filter_map(|(_, open)| open.found()));
    }
}

impl Open {
    fn found(self) -> Option<Found> {
        Some(Found {
            kind: FindingKind::RepeatedCalls,
            count: self.span.count,
            first: self.span.first,
            last: self.span.last,
            method: Some(self.method),
            subject: self.subject,
            transaction: None,
            account: None,
            block: None,
            who: self.who?,
        })
    }
}
