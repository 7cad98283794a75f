//! What the dapp does that it could leave out: the same call again and again, bursts that one
//! multicall would serve, receipts that are polled; and wallets whose nonce is ahead.
//!
//! Calls are told here when they have ended. A finding is told once it is over, and after
//! [`WINDOW`] at the latest; it then begins anew. What the calls touch is named by the ledger when
//! the finding is told.

mod bursts;
mod polls;
mod repeats;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::passage::Caller;
use super::recorder::Who;
use super::repeats::Question;
use crate::model::{
    Client, Clock, ConnectionId, ContractCall, Finding, FindingKind, Method, Stamp,
};

use bursts::Bursts;
use polls::Polls;
use repeats::Repeated;

/// The longest that calls are gathered into one finding.
const WINDOW: Duration = Duration::from_secs(3);
/// Connections whose process is remembered.
const MOST_PROCESSES: usize = 256;
/// Looking a process up reads every process's descriptors: not more often than this, and resting so
/// many times as long as it took, for the recorder waits meanwhile.
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);
const REST: u32 = 20;
/// The longest `User-Agent` that is kept, in bytes.
const LONGEST_AGENT: usize = 200;

/// What a call asks, as far as it has to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A function by its selector, or what an input without one means.
    Function(Address, Option<[u8; 4]>),
    State(Address),
}

/// A call that has ended, as the finders see it.
pub(super) struct Ended<'a> {
    pub(super) method: Method,
    pub(super) question: Question,
    pub(super) subject: Option<Subject>,
    pub(super) started: Stamp,
    pub(super) caller: &'a Caller,
}

/// A finding before its names.
pub(super) struct Found {
    kind: FindingKind,
    count: u32,
    first: Stamp,
    last: Stamp,
    method: Option<Method>,
    subject: Option<Subject>,
    transaction: Option<B256>,
    account: Option<Address>,
    who: Identity,
}

/// Who called, for good.
#[derive(Clone, Debug)]
struct Identity {
    connection: ConnectionId,
    agent: Option<Arc<str>>,
    process: Option<Arc<str>>,
}

/// A span of calls that belong together.
#[derive(Clone, Copy)]
struct Span {
    first: Stamp,
    last: Stamp,
    count: u32,
}

pub(super) struct Findings {
    repeated: Repeated,
    bursts: Bursts,
    polls: Polls,
    nonces: Vec<Found>,
    people: People,
}

/// Names processes.
struct People {
    who: Who,
    known: HashMap<ConnectionId, Option<Arc<str>>>,
    /// When the next look-up may be.
    rested: Stamp,
}

impl Findings {
    pub(super) fn new(who: Who) -> Self {
        Self {
            repeated: Repeated::default(),
            bursts: Bursts::default(),
            polls: Polls::default(),
            nonces: Vec::new(),
            people: People { who, known: HashMap::new(), rested: Stamp::default() },
        }
    }

    /// A read was answered, which had been already since the last block, first at `first`.
    pub(super) fn repeated(&mut self, call: &Ended<'_>, first: Stamp) {
        self.repeated.again(call, first, &mut self.people);
    }

    /// A contract was called, by itself and not in a batch.
    pub(super) fn called(&mut self, call: &Ended<'_>) {
        self.bursts.call(call, &mut self.people);
    }

    /// A receipt was asked for; `there` when the node had one.
    pub(super) fn polled(&mut self, transaction: B256, there: bool, call: &Ended<'_>) {
        self.polls.poll(transaction, there, call, &mut self.people);
    }

    /// A transaction of a nonce was sent that the chain has not come to.
    pub(super) fn ahead(&mut self, hash: Option<B256>, account: Option<Address>, by: &Caller) {
        let now = Stamp::now();
        self.nonces.push(Found {
            kind: FindingKind::NonceAhead,
            count: 1,
            first: now,
            last: now,
            method: None,
            subject: None,
            transaction: hash,
            account,
            who: self.people.identify(by),
        });
    }

    /// The state changed: what is asked from here on is no repetition.
    pub(super) fn changed(&mut self) {
        self.repeated.end();
    }

    /// Takes out what is over. To be called a few times a second.
    pub(super) fn take_due(&mut self, now: Stamp) -> Vec<Found> {
        let mut found = std::mem::take(&mut self.nonces);
        self.repeated.take_due(now, &mut found);
        self.bursts.take_due(now, &mut found);
        self.polls.take_due(now, &mut found);
        found
    }

    /// Takes out everything that was found so far.
    pub(super) fn take_all(&mut self) -> Vec<Found> {
        self.take_due(Stamp::from_nanos(u64::MAX))
    }
}

impl Found {
    /// What its calls touch, to be named.
    pub(super) const fn subject(&self) -> Option<Subject> {
        self.subject
    }

    /// The finding, with the name of what its calls touch.
    pub(super) fn named(self, target: Option<ContractCall>, clock: &Clock) -> Finding {
        let agent = self.who.agent.as_deref().map(|agent| {
            let end = agent.floor_char_boundary(LONGEST_AGENT);
            agent[..end].into()
        });
        Finding {
            at: clock.wall(self.last),
            kind: self.kind,
            count: self.count,
            span: self.last.since(self.first),
            method: self.method,
            target,
            transaction: self.transaction,
            account: self.account,
            connection: self.who.connection,
            client: Client { agent, process: self.who.process.as_deref().map(Into::into) },
            request: None,
            query: None,
        }
    }
}

impl Span {
    const fn begin(at: Stamp) -> Self {
        Self { first: at, last: at, count: 1 }
    }

    /// One that nothing belongs to yet.
    const fn empty(at: Stamp) -> Self {
        Self { first: at, last: at, count: 0 }
    }

    /// Another call belongs to it; calls may be told out of order.
    fn add(&mut self, at: Stamp) {
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        self.count = self.count.saturating_add(1);
    }

    /// Whether it was gathered long enough.
    fn is_over(&self, now: Stamp) -> bool {
        now.since(self.first) >= WINDOW
    }
}

impl People {
    fn identify(&mut self, caller: &Caller) -> Identity {
        let Caller { connection, peer, agent } = caller;
        let process = match self.known.get(connection) {
            Some(known) => known.clone(),
            None => {
                // Not the time of the call: of calls that wait in the queue, those of a second are
                // told in an instant.
                let begun = Stamp::now();
                match peer.filter(|_| begun >= self.rested) {
                    Some(peer) => {
                        if self.known.len() >= MOST_PROCESSES {
                            self.known.clear();
                        }
                        let process: Option<Arc<str>> = (self.who)(peer).map(Into::into);
                        let ended = Stamp::now();
                        let rest = ended.since(begun).saturating_mul(REST);
                        self.rested = ended.after(rest.max(LOOK_UP_EVERY));
                        self.known.insert(*connection, process.clone());
                        process
                    }
                    None => None,
                }
            }
        };
        Identity { connection: *connection, agent: agent.clone(), process }
    }
}

#[cfg(test)]
mod tests;
