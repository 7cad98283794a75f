//! Who is at the other end of the relay's connections: the process, and what it is to the dapp.
//!
//! Owns the memory of who was found, by connection while it is open, and the time that looking may
//! take: the recorder waits meanwhile. Looks early, when a connection is first heard of, and makes up
//! later for what there was no time for. How a process is found is for [`Who`] to know.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::passage::Caller;
use crate::model::{Among, ConnectionId, Owner, Role, Stamp};

/// Connections of which is remembered who is there. Beyond that all are forgotten, and met again.
const MOST: usize = 10_000;
/// Connections that are looked for together: the newest, which are there most likely.
const AT_ONCE: usize = 256;
/// For how long it is believed of a process that it has no role: it may be about to take one.
const WITHOUT_ROLE: Duration = Duration::from_secs(1);

/// Tells whose ends of connections have these addresses, in their order.
pub type Who = Box<dyn FnMut(&[SocketAddr], Among) -> Vec<Option<Owner>> + Send>;

/// Knows nobody.
pub(super) fn nobody() -> Who {
    Box::new(|ends, _| vec![None; ends.len()])
}

/// Finds out who calls.
pub(super) struct People {
    who: Who,
    open: HashMap<ConnectionId, Person>,
    /// The open connections of which nothing is known yet.
    unknown: BTreeSet<ConnectionId>,
    /// For looking among those who are known, and among all. Together they take a twentieth of the
    /// recorder's time at most.
    nearby: Share,
    everywhere: Share,
}

/// Somebody at the other end of an open connection.
struct Person {
    peer: SocketAddr,
    process: Option<Arc<str>>,
    role: Option<Role>,
    /// Since when that is known; none before there was time to look.
    known: Option<Stamp>,
}

/// Who called, for good.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) caller: Caller,
    pub(super) process: Option<Arc<str>>,
}

/// A share of time: after each use it rests so many times as long as that took.
struct Share {
    rest: u32,
    /// When it has rested.
    ready: Stamp,
    /// When it has rested twice as long.
    idle: Stamp,
}

/// How much it matters to know now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// Somebody is to be named.
    Wanted,
    /// It may be of use later: what is wanted goes before it.
    Early,
}

impl People {
    pub(super) fn new(who: Who) -> Self {
        let (nearby, everywhere) = (Share::new(49), Share::new(32));
        Self { who, open: HashMap::new(), unknown: BTreeSet::new(), nearby, everywhere }
    }

    /// Something was heard of an open connection.
    pub(super) fn met(&mut self, connection: ConnectionId, peer: SocketAddr) {
        if self.open.contains_key(&connection) {
            return;
        }
        if self.open.len() >= MOST {
            self.open.clear();
            self.unknown.clear();
        }
        self.open.insert(connection, Person::new(peer));
        self.unknown.insert(connection);
        self.look(Some(connection), Urgency::Early);
    }

    /// Looks for those whom there was no time to look for. To be called a few times a second.
    pub(super) fn tick(&mut self) {
        if !self.unknown.is_empty() {
            self.look(None, Urgency::Early);
        }
    }

    /// The connection is gone, and who was there cannot be found any more.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
        self.unknown.remove(&connection);
    }

    /// Who called, as far as it is known or there is time to look. The caller may be gone.
    pub(super) fn identify(&mut self, caller: &Caller) -> Identity {
        let mut identity = Identity { caller: caller.clone(), process: None };
        self.make_up(&mut identity);
        identity
    }

    /// Looks again for a process that there was no time to look for.
    pub(super) fn make_up(&mut self, identity: &mut Identity) {
        if identity.process.is_some() {
            return;
        }
        let connection = identity.caller.connection;
        if self.unknown.contains(&connection) {
            self.look(Some(connection), Urgency::Wanted);
        }
        identity.process = self.open.get(&connection).and_then(|person| person.process.clone());
    }

    /// Keeps knowing who makes the calls of something that goes on: the first caller of it, or the
    /// first whose process is known.
    pub(super) fn attend(&mut self, who: &mut Option<Identity>, caller: &Caller) {
        if let Some(identity) = who {
            self.make_up(identity);
        }
        if who.as_ref().is_some_and(|identity| identity.process.is_some()) {
            return;
        }
        let this = self.identify(caller);
        if who.is_none() || this.process.is_some() {
            *who = Some(this);
        }
    }

    /// What the process that made a call is to the dapp, as far as it is known or there is time to
    /// look. To be asked while the call is told: its connection may be open.
    pub(super) fn role(&mut self, caller: &Caller) -> Option<Role> {
        let Caller { connection, peer, .. } = *caller;
        if let Some(peer) = peer {
            self.met(connection, peer);
        }
        let person = self.open.get(&connection)?;
        match person.known {
            None => self.look(Some(connection), Urgency::Wanted),
            // It listens after it has made its first calls, perhaps.
            Some(since) if person.process.is_some() && person.role.is_none() => {
                if Stamp::now().since(since) >= WITHOUT_ROLE {
                    self.look(Some(connection), Urgency::Early);
                }
            }
            Some(_) => {}
        }
        self.open.get(&connection)?.role
    }

    /// Whether nobody knows who made a call: there was no time to look, it had closed its connection
    /// before, or the system does not tell.
    pub(super) fn is_unmet(&self, caller: &Caller) -> bool {
        self.open.get(&caller.connection).is_none_or(|person| person.process.is_none())
    }

    /// Looks, if there is time, who is at an open connection, and at others of which nothing is known.
    fn look(&mut self, wanted: Option<ConnectionId>, urgency: Urgency) {
        // Not the time of a call: of calls that wait in the queue, those of a second are told in an
        // instant.
        let begun = Stamp::now();
        let (share, among) = if self.everywhere.allows(begun, urgency) {
            (&mut self.everywhere, Among::All)
        } else if self.nearby.allows(begun, urgency) {
            (&mut self.nearby, Among::Known)
        } else {
            return;
        };
        let others = self.unknown.iter().rev().copied().filter(|other| Some(*other) != wanted);
        let (connections, ends): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .chain(others)
            .filter_map(|connection| Some((connection, self.open.get(&connection)?.peer)))
            .take(AT_ONCE)
            .unzip();
        let before = worked();
        let owners = (self.who)(&ends, among);
        let ended = Stamp::now();
        share.used(ended, worked().saturating_sub(before));
        for (connection, owner) in connections.into_iter().zip(owners) {
            let Some(person) = self.open.get_mut(&connection) else { continue };
            match owner {
                Some(owner) => {
                    person.process = Some(owner.name.into());
                    person.role = owner.role;
                }
                // Nobody; or who was found before has closed since.
                None if among == Among::All => {}
                None => continue,
            }
            person.known = Some(ended);
            self.unknown.remove(&connection);
        }
    }
}

impl Person {
    const fn new(peer: SocketAddr) -> Self {
        Self { peer, process: None, role: None, known: None }
    }
}

impl Share {
    fn new(rest: u32) -> Self {
        Self { rest, ready: Stamp::default(), idle: Stamp::default() }
    }

    fn allows(&self, now: Stamp, urgency: Urgency) -> bool {
        now >= match urgency {
            Urgency::Wanted => self.ready,
            Urgency::Early => self.idle,
        }
    }

    fn used(&mut self, ended: Stamp, took: Duration) {
        let rest = took.saturating_mul(self.rest);
        self.ready = ended.after(rest);
        self.idle = self.ready.after(rest);
    }
}

/// How long this thread has worked so far. On a machine that is busy a look takes long because others
/// work meanwhile, which is no reason to look less often.
#[cfg(unix)]
pub(super) fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The same, where only the clock tells.
#[cfg(not(unix))]
pub(super) fn worked() -> Duration {
    Stamp::now().since(Stamp::default())
}

#[cfg(test)]
pub(super) mod tests;
