//! What the dapp does that it could leave out: the same call again and again, bursts that one
//! multicall would serve, receipts that are polled; and wallets whose nonce or block is ahead.
//!
//! Calls are told here when they have ended. A finding is told once it is over, and after
//! [`WINDOW`] at the latest; it then begins anew. What the calls touch is named by the ledger when
//! the finding is told.

mod blocks;
pub(super) mod bursts;
mod polls;
mod repeats;

use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::passage::Caller;
use super::peer_processes::{Identity, PeerProcesses};
use super::repeats::Question;
use crate::model::{Client, Clock, ContractCall, Finding, FindingKind, Method, Stamp};

use blocks::Blocks;
use bursts::Bursts;
use polls::Polls;
use repeats::Repeated;

/// The longest that calls are gathered into one finding.
const WINDOW: Duration = Duration::from_secs(3);
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
    /// The highest block that was asked for.
    block: Option<u64>,
}

/// A span of calls that belong together.
#[derive(Clone, Copy)]
struct Span {
    first: Stamp,
    last: Stamp,
    count: u32,
}

#[derive(Default)]
pub(super) struct Findings {
    repeated: Repeated,
    bursts: Bursts,
    polls: Polls,
    nonces: Vec<Found>,
    blocks: Blocks,
}

impl Findings {
    /// A read was answered, which had been already since the last block, first at `first`. Answers
    /// whether it is counted as the repetition of one a moment ago.
    pub(super) fn repeated(
        &mut self,
        call: &Ended<'_>,
        first: Stamp,
        peers: &mut PeerProcesses,
    ) -> bool {
        self.repeated.again(call, first, peers)
    }

    /// A contract was called, by itself and not in a batch, nor as a repetition. Not by a request to
    /// the API: what one of them calls at once, its tree tells.
    pub(super) fn called(&mut self, call: &Ended<'_>, peers: &mut PeerProcesses) {
        self.bursts.call(call, peers);
    }

    /// A receipt was asked for; `there` when the node had one.
    pub(super) fn polled(
        &mut self,
        transaction: B256,
        there: bool,
        call: &Ended<'_>,
        peers: &mut PeerProcesses,
    ) {
        self.polls.poll(transaction, there, call, peers);
    }

    /// A transaction of a nonce was sent that the chain has not come to.
    pub(super) fn ahead(&mut self, hash: Option<B256>, account: Option<Address>, who: Identity) {
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
            who,
            block: None,
        });
    }

    /// A block was asked for that the chain does not have, and one before it may have had.
    pub(super) fn block_ahead(
        &mut self,
        block: Option<u64>,
        call: &Ended<'_>,
        peers: &mut PeerProcesses,
    ) {
        self.blocks.asked(block, call, peers);
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
        self.blocks.take_due(now, &mut found);
        found
    }
}

impl Found {
    /// Who made its calls.
    pub(super) const fn who(&mut self) -> &mut Identity {
        &mut self.who
    }

    /// What its calls touch, to be named.
    pub(super) const fn subject(&self) -> Option<Subject> {
        self.subject
    }

    /// The finding, with the name of what its calls touch.
    pub(super) fn named(self, target: Option<ContractCall>, clock: &Clock) -> Finding {
        let Identity { caller, process } = self.who;
        let agent = caller.agent.as_deref().map(|agent| {
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
            connection: caller.connection,
            client: Client {
                agent,
                process_unknown: process.as_ref().err().copied(),
                process: process.ok().as_deref().map(Into::into),
            },
            request: None,
            query: None,
            block: self.block,
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

#[cfg(test)]
mod tests;
