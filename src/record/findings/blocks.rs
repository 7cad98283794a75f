//! Blocks asked for that the chain does not have: a wallet goes on from the chain before.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Ended, Found, Identity, PeerProcesses, Span};
use crate::model::{FindingKind, Method, Stamp};

/// After how long without a call the finding is over.
const SILENCE: Duration = Duration::from_millis(500);
/// Clients that are followed at a time.
const MOST_CLIENTS: usize = 256;

/// One client's connections: a wallet opens several.
type Client = (Option<Arc<str>>, Option<IpAddr>);

#[derive(Default)]
pub(super) struct Blocks {
    open: HashMap<Client, Asked>,
}

struct Asked {
    span: Span,
    method: Method,
    block: Option<u64>,
    who: Option<Identity>,
}

impl Blocks {
    pub(super) fn asked(
        &mut self,
        block: Option<u64>,
        call: &Ended<'_>,
        peers: &mut PeerProcesses,
    ) {
        let client = (call.caller.agent.clone(), call.caller.peer.map(|peer| peer.ip()));
        if !self.open.contains_key(&client) && self.open.len() >= MOST_CLIENTS {
            return;
        }
        let asked = self.open.entry(client).or_insert_with(|| Asked {
            span: Span::empty(call.started),
            method: call.method,
            block: None,
            who: None,
        });
        asked.span.add(call.started);
        asked.block = asked.block.max(block);
        peers.track(&mut asked.who, call.caller);
    }

    pub(super) fn take_due(&mut self, now: Stamp, found: &mut Vec<Found>) {
        let over = self.open.extract_if(|_, asked| {
            asked.span.is_over(now) || now.since(asked.span.last) >= SILENCE
        });
        found.extend(over.filter_map(|(_, asked)| asked.found()));
    }
}

impl Asked {
    fn found(self) -> Option<Found> {
        Some(Found {
            kind: FindingKind::BlockAhead,
            count: self.span.count,
            first: self.span.first,
            last: self.span.last,
            method: Some(self.method),
            subject: None,
            transaction: None,
            account: None,
            block: self.block,
            who: self.who?,
        })
    }
}
