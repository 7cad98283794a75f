//! Different calls of contracts by one client, each by itself, with no pause between them.
//!
//! What repeats another call of the burst is not of it: that is a finding of its own, and what it
//! wastes is counted there.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Ended, Found, Identity, PeerProcesses, Question, Span, Subject, WINDOW};
use crate::model::{FindingKind, Method, Stamp};

/// A longer pause ends a burst.
pub(in crate::record) const PAUSE: Duration = Duration::from_millis(100);
/// After how long without a call it is taken for over: calls are told when they have ended.
const SILENCE: Duration = Duration::from_millis(500);
/// How many different calls are worth a word.
pub(in crate::record) const ENOUGH: usize = 8;
/// Different calls of a burst that are told apart.
const MOST_DIFFERENT: usize = 512;
/// Clients that are followed at a time.
const MOST_CLIENTS: usize = 256;

/// One client's connections: pages open several.
type Client = (Option<Arc<str>>, Option<IpAddr>);

#[derive(Default)]
pub(super) struct Bursts {
    open: HashMap<Client, Burst>,
    ended: Vec<Found>,
}

struct Burst {
    span: Span,
    different: HashSet<Question>,
    method: Method,
    /// None when its calls touch different things.
    subject: Option<Subject>,
    who: Option<Identity>,
}

impl Bursts {
    pub(super) fn call(&mut self, call: &Ended<'_>, peers: &mut PeerProcesses) {
        let client = (call.caller.agent.clone(), call.caller.peer.map(|peer| peer.ip()));
        if let Some(burst) = self.open.get(&client)
            && !burst.goes_on_with(call.started)
        {
            let over = self.open.remove(&client);
            self.ended.extend(over.and_then(Burst::found));
        }
        if let Some(burst) = self.open.get_mut(&client) {
            if burst.different.contains(&call.question) {
                return;
            }
            burst.span.add(call.started);
            burst.subject = burst.subject.filter(|subject| Some(*subject) == call.subject);
            if burst.different.len() < MOST_DIFFERENT {
                burst.different.insert(call.question);
            }
            if burst.different.len() >= ENOUGH {
                peers.track(&mut burst.who, call.caller);
            }
        } else if self.open.len() < MOST_CLIENTS {
            let burst = Burst {
                span: Span::begin(call.started),
                different: HashSet::from([call.question]),
                method: call.method,
                subject: call.subject,
                who: None,
            };
            self.open.insert(client, burst);
        }
    }

    pub(super) fn take_due(&mut self, now: Stamp, found: &mut Vec<Found>) {
        found.append(&mut self.ended);
        let over = self.open.extract_if(|_, burst| now.since(burst.span.last) >= SILENCE);
        found.extend(over.filter_map(|(_, burst)| burst.found()));
    }
}

impl Burst {
    /// Whether a call that began then belongs to it. One may be told later than one that began
    /// after it.
    fn goes_on_with(&self, started: Stamp) -> bool {
        started.since(self.span.last) <= PAUSE
            && self.span.first.since(started) <= PAUSE
            && started.since(self.span.first) < WINDOW
    }

    fn found(self) -> Option<Found> {
        Some(Found {
            kind: FindingKind::MulticallBurst,
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
