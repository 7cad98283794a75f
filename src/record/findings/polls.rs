//! Receipts that were asked for before there were any.

use std::collections::HashMap;
use std::time::Duration;

use alloy::primitives::B256;

use super::{Ended, Found, Identity, PeerProcesses, Span};
use crate::model::{FindingKind, Method, Stamp};

/// How many vain questions are worth a word.
const ENOUGH: u32 = 5;
/// After how long without a question nobody waits for a receipt any more.
const SILENCE: Duration = Duration::from_secs(5);
/// Transactions whose polling is followed at a time.
const MOST: usize = 4_096;

#[derive(Default)]
pub(super) struct Polls {
    open: HashMap<B256, Polled>,
    ended: Vec<Found>,
}

struct Polled {
    /// The vain questions.
    span: Span,
    method: Method,
    who: Option<Identity>,
}

impl Polls {
    pub(super) fn poll(
        &mut self,
        transaction: B256,
        there: bool,
        call: &Ended<'_>,
        peers: &mut PeerProcesses,
    ) {
        if there {
            // The one question that was answered belongs to them: without the others it was enough.
            if let Some(mut polled) = self.open.remove(&transaction) {
                polled.span.add(call.started);
                self.ended.extend(polled.found(transaction));
            }
            return;
        }
        if let Some(polled) = self.open.get_mut(&transaction) {
            polled.span.add(call.started);
            if polled.span.count >= ENOUGH {
                peers.track(&mut polled.who, call.caller);
            }
        } else if self.open.len() < MOST {
            let span = Span::begin(call.started);
            self.open.insert(transaction, Polled { span, method: call.method, who: None });
        }
    }

    pub(super) fn take_due(&mut self, now: Stamp, found: &mut Vec<Found>) {
        found.append(&mut self.ended);
        let over = self.open.extract_if(|_, polled| {
            polled.span.is_over(now) || now.since(polled.span.last) >= SILENCE
        });
        found.extend(over.filter_map(|(hash, polled)| polled.found(hash)));
    }
}

impl Polled {
    fn found(self, transaction: B256) -> Option<Found> {
        Some(Found {
            kind: FindingKind::ReceiptPolling,
            count: self.span.count,
            first: self.span.first,
            last: self.span.last,
            method: Some(self.method),
            subject: None,
            transaction: Some(transaction),
            account: None,
            block: None,
            who: self.who?,
        })
    }
}
