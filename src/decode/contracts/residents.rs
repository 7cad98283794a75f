//! What is at which address, since when, and which contract stands behind a proxy. Knows contracts by
//! their index only.
//!
//! Code at an address holds for an [`Interval`] of the monotonic clock: a creation, a call that sets
//! code or a rollback of the chain ends it. Calls and transactions are recorded after they ran, so a
//! name is looked up for the interval in which the node ran the call; for one that overlaps with a
//! change there is none.

use std::collections::{HashMap, VecDeque};

use alloy::primitives::{Address, B256};

use super::interfaces::Interface;
use super::proxies::is_upgrade;
use crate::model::{Interval, Stamp};

/// Addresses that are remembered; the oldest are forgotten first, and looked up again when met.
pub(super) const MOST_ADDRESSES: usize = 100_000;
/// How many proxies are followed one behind the other: also what ends a circle.
const MOST_BEHIND: usize = 4;
/// What was at one address before: so many are kept.
const MOST_PAST: usize = 4;
/// Rollbacks whose times are kept, to see whether an answer of the node came before or after one.
const MOST_ROLLBACKS: usize = 64;

/// What an address's own code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The contract of this index.
    Contract(usize),
    /// Code that fits no artifact and has the functions of a well-known interface.
    Interface(Interface),
    /// Code that fits nothing.
    Stranger,
    /// A delegation to other code (EIP-7702), which is what is behind it.
    Delegated,
    /// No code.
    Account,
}

impl Code {
    /// Whether it has a name to go by.
    pub(super) fn is_named(self) -> bool {
        matches!(self, Self::Contract(_) | Self::Interface(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resident {
    pub code: Code,
    /// The contract that it passes calls on to.
    pub behind: Option<Address>,
    /// Whether the node was asked: a proxy that was learnt by its creation, or was upgraded since,
    /// stands in front of an unknown contract.
    pub is_settled: bool,
}

/// A resident and the times at which it is known to have been there.
#[derive(Clone, Copy, Debug)]
struct Stay {
    resident: Resident,
    /// The earliest call that may be named by it.
    from: Stamp,
    /// When it was surely there, at first and at last.
    first_seen: Stamp,
    last_seen: Stamp,
}

/// All that is known of one address.
#[derive(Default)]
struct Found {
    current: Option<Stay>,
    /// What was there before, each with its end, the latest last.
    past: VecDeque<(Stay, Stamp)>,
    /// The latest change of this address alone that was seen. An answer of the node that overlaps with
    /// it may be of before or after.
    changed: Interval,
}

/// By address what is there.
#[derive(Default)]
pub(super) struct Residents {
    found: HashMap<Address, Found>,
    /// The addresses in `found`, oldest first.
    order: VecDeque<Address>,
    /// Whether a contract stands in front of another. A transaction can emit thousands of upgrades, and
    /// only the first one is to look through all addresses.
    has_proxies: bool,
    /// The latest rollbacks of the whole chain.
    rollbacks: VecDeque<Interval>,
    /// When the state of the chain last changed, by a block or a call.
    state_changed: Stamp,
}

impl Residents {
    /// A resident that came to an address: from `since.start` on calls go by it, and at `since.end` it
    /// was surely there.
    pub(super) fn put(&mut self, address: Address, resident: Resident, since: Interval) {
        let rollback = self.last_rollback();
        if since.end < rollback.end {
            // It is of a chain that is gone.
            return;
        }
        let found = self.entry(address);
        let from = since.start.max(rollback.end);
        found.changed = found.changed.latest(Interval { start: from, end: since.end });
        match &mut found.current {
            // The same creation, known in two ways.
            Some(stay) if stay.resident.code == resident.code && stay.from <= since.end => {
                stay.from = stay.from.min(from);
                stay.first_seen = stay.first_seen.min(since.end);
                stay.last_seen = stay.last_seen.max(since.end);
            }
            _ => found.replace(resident, from, since.end),
        }
        self.bound();
    }

    /// What the node answered about an address, asked and answered in `asked`. False when that says
    /// nothing about any time: something changed meanwhile.
    pub(super) fn learn(&mut self, address: Address, resident: Resident, asked: Interval) -> bool {
        let overlaps = self.rollbacks.iter().any(|rollback| rollback.overlaps(asked));
        let before = self.rollbacks.iter().rfind(|rollback| rollback.end <= asked.start);
        let before = before.map_or(Stamp::default(), |rollback| rollback.end);
        let after = self.rollbacks.iter().find(|rollback| rollback.start >= asked.end).copied();
        let found = self.entry(address);
        if overlaps || found.changed.overlaps(asked) || found.changed.start > asked.end {
            return false;
        }
        if let Some(after) = after {
            // The chain was rolled back since: it names the calls of then.
            let known = |(stay, until): &(Stay, Stamp)| stay.from < after.start && *until > before;
            if !found.past.iter().any(known) {
                let from = before.max(found.changed.end);
                let (first_seen, last_seen) = (asked.start, asked.start);
                let stay = Stay { resident, from, first_seen, last_seen };
                found.remember(stay, after.start);
            }
            return true;
        }
        match &mut found.current {
            Some(stay) if stay.resident.code == resident.code => {
                stay.last_seen = stay.last_seen.max(asked.start);
                stay.resident = resident;
            }
            // It came at some time since the last look, by a call that did not say so.
            Some(stay) => {
                let from = stay.last_seen;
                found.replace(resident, from, asked.start);
            }
            None => {
                let from = before.max(found.changed.end);
                found.replace(resident, from, asked.start);
            }
        }
        self.has_proxies |= resident.behind.is_some();
        self.bound();
        true
    }

    /// Something may have changed the code at an address in this interval: what is there now is to be
    /// asked for.
    pub(super) fn forget(&mut self, address: Address, changed: Interval) {
        if let Some(found) = self.found.get_mut(&address) {
            found.end(changed.start);
            found.changed = found.changed.latest(changed);
        }
    }

    /// The chain was put back to its state of `to`, or to an unknown earlier one.
    pub(super) fn roll_back(&mut self, to: Option<Stamp>, rollback: Interval) {
        for found in self.found.values_mut() {
            if let Some(stay) = found.current
                && to.is_none_or(|to| stay.first_seen > to)
            {
                found.end(rollback.start);
                found.restore(to, rollback.end);
            }
        }
        self.found.retain(|_, found| found.current.is_some() || !found.past.is_empty());
        let found = &self.found;
        self.order.retain(|address| found.contains_key(address));
        self.rollbacks.push_back(rollback);
        if self.rollbacks.len() > MOST_ROLLBACKS {
            self.rollbacks.pop_front();
        }
    }

    /// The latest rollback; at time zero before any.
    pub(super) fn last_rollback(&self) -> Interval {
        self.rollbacks.back().copied().unwrap_or_default()
    }

    /// The state of the chain changed, and code may have come to any address without it.
    pub(super) fn state_changed(&mut self, at: Stamp) {
        self.state_changed = self.state_changed.max(at);
    }

    fn stay(&self, address: Address, at: Option<Interval>) -> Option<&Stay> {
        let found = self.found.get(&address)?;
        match at {
            None => found.current.as_ref(),
            Some(at) => found.during(at),
        }
    }

    /// The code that is at an address, the code behind that, and so on, as far as it is known: now, or
    /// in an interval.
    pub(super) fn chain(
        &self,
        address: Address,
        at: Option<Interval>,
    ) -> impl Iterator<Item = Code> {
        let first = self.stay(address, at);
        std::iter::successors(first, move |stay| self.stay(stay.resident.behind?, at))
            .take(1 + MOST_BEHIND)
            .map(|stay| stay.resident.code)
    }

    /// The code that gives an address its name: the last of the chain that has one, else its own.
    pub(super) fn face(&self, address: Address, at: Option<Interval>) -> Option<Code> {
        let named = self.chain(address, at).filter(|code| code.is_named()).last();
        match named.or_else(|| self.chain(address, at).next()) {
            // A delegation to an address without code runs nothing.
            Some(Code::Delegated) => match self.chain(address, at).nth(1) {
                Some(Code::Account) => Some(Code::Account),
                _ => Some(Code::Stranger),
            },
            face => face,
        }
    }

    /// Where an account's delegation leads (EIP-7702).
    pub(super) fn delegate(&self, address: Address, at: Option<Interval>) -> Option<Address> {
        let resident = self.stay(address, at)?.resident;
        resident.behind.filter(|_| resident.code == Code::Delegated)
    }

    /// The first address of the chain that the node has to be asked about.
    pub(super) fn missing(&self, address: Address) -> Option<Address> {
        let mut at = address;
        for _ in 0..=MOST_BEHIND {
            match self.stay(at, None) {
                Some(Stay { resident, .. }) if resident.is_settled => at = resident.behind?,
                _ => return Some(at),
            }
        }
        None
    }

    /// Whether an address was last seen without code, and the state of the chain has changed since,
    /// before a call at this time.
    pub(super) fn may_have_code(&self, address: Address, at: Option<Interval>) -> bool {
        self.stay(address, at).is_some_and(|stay| {
            let before = at.map_or(self.state_changed, |at| at.start.min(self.state_changed));
            stay.resident.code == Code::Account && stay.last_seen < before
        })
    }

    /// An event was emitted at `address`: code is there, and an upgrade makes what is behind it unknown.
    pub(super) fn emitted(&mut self, address: Address, topic: Option<B256>) {
        let Some(found) = self.found.get_mut(&address) else { return };
        let Some(stay) = &mut found.current else { return };
        match stay.resident {
            Resident { code: Code::Account, .. } => found.current = None,
            _ if !topic.is_some_and(is_upgrade) => {}
            Resident { behind: None, is_settled: true, .. } => self.unsettle_proxies(),
            _ => stay.resident.unsettle(),
        }
    }

    /// A proxy's storage was written: what is behind it is to be asked for.
    pub(super) fn unsettle(&mut self, address: Address) {
        if let Some(stay) = self.found.get_mut(&address).and_then(|found| found.current.as_mut()) {
            stay.resident.unsettle();
        }
    }

    /// A beacon changed, and which proxies ask it is unknown.
    pub(super) fn unsettle_proxies(&mut self) {
        if std::mem::take(&mut self.has_proxies) {
            let all = self.found.values_mut().filter_map(|found| found.current.as_mut());
            let proxies = all.filter(|stay| stay.resident.behind.is_some());
            proxies.for_each(|stay| stay.resident.unsettle());
        }
    }

    /// Forgets the addresses that an artifact may give a name.
    pub(super) fn forget_unnamed(&mut self) {
        let is_named = |r: &Resident| {
            // A proxy goes by the name of what is behind it.
            matches!(r.code, Code::Contract(_) | Code::Account) || r.behind.is_some()
        };
        for found in self.found.values_mut() {
            found.current = found.current.filter(|stay| is_named(&stay.resident));
        }
    }

    pub(super) fn clear(&mut self) {
        self.found.clear();
        self.order.clear();
    }

    fn entry(&mut self, address: Address) -> &mut Found {
        self.found.entry(address).or_insert_with(|| {
            self.order.push_back(address);
            Found::default()
        })
    }

    fn bound(&mut self) {
        while self.order.len() > MOST_ADDRESSES {
            if let Some(oldest) = self.order.pop_front() {
                self.found.remove(&oldest);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }
}

impl Found {
    fn replace(&mut self, resident: Resident, from: Stamp, seen: Stamp) {
        self.end(from);
        let (first_seen, last_seen) = (seen, seen);
        self.current = Some(Stay { resident, from, first_seen, last_seen });
    }

    fn end(&mut self, until: Stamp) {
        // What was seen after its end was there at no time that is known.
        if let Some(stay) = self.current.take().filter(|stay| stay.first_seen <= until) {
            self.remember(stay, until);
        }
    }

    fn remember(&mut self, stay: Stay, until: Stamp) {
        self.past.push_back((stay, until));
        if self.past.len() > MOST_PAST {
            self.past.pop_front();
        }
    }

    /// Brings back what was there at `to`, for calls from `from` on.
    fn restore(&mut self, to: Option<Stamp>, from: Stamp) {
        let there = |(stay, until): &&(Stay, Stamp)| {
            to.is_some_and(|to| stay.first_seen <= to && to < *until)
        };
        let restored = self.past.iter().rfind(there).map(|(stay, _)| Stay { from, ..*stay });
        self.current = restored;
    }

    /// What was there all through an interval.
    fn during(&self, at: Interval) -> Option<&Stay> {
        let past =
            self.past.iter().filter(|(stay, until)| stay.from <= at.end && *until > at.start);
        let current = self.current.iter().filter(|stay| stay.from <= at.end);
        let mut there = past.map(|(stay, _)| stay).chain(current);
        let first = there.next()?;
        there.all(|other| other.resident.code == first.resident.code).then_some(first)
    }
}

impl Resident {
    fn unsettle(&mut self) {
        self.behind = None;
        self.is_settled = false;
    }
}
