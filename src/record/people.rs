//! Who is at the other end of the relay's connections: the process, and what it is to the dapp.
//!
//! Owns the memory of who was found, by connection while it is open, and the time that looking may
//! take: the recorder waits meanwhile. Looks early, when a connection is first heard of, and makes up
//! later for what there was no time for. How a process is found is for [`Who`] to know.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::passage::Caller;
use crate::model::{Among, ConnectionId, Owner, Role, Stamp};

/// Connections of which is remembered who is there. Beyond that all are forgotten, and met again.
const MOST: usize = 10_000;
/// For how long it is believed of a process that it has no role: it may be about to take one.
const WITHOUT_ROLE: Duration = Duration::from_secs(1);

/// Tells whose end of a connection has this address.
pub type Who = Box<dyn FnMut(SocketAddr, Among) -> Option<Owner> + Send>;

/// Finds out who calls.
pub(super) struct People {
    who: Who,
    open: HashMap<ConnectionId, Person>,
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
        Self { who, open: HashMap::new(), nearby, everywhere }
    }

    /// Something was heard of an open connection.
    pub(super) fn met(&mut self, connection: ConnectionId, peer: SocketAddr) {
        if self.open.contains_key(&connection) {
            return;
        }
        if self.open.len() >= MOST {
            self.open.clear();
        }
        self.open.insert(connection, Person::new(peer));
        self.look(connection, Urgency::Early);
    }

    /// The connection is gone, and who was there cannot be found any more.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
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
        if self.open.get(&connection).is_some_and(|person| person.known.is_none()) {
            self.look(connection, Urgency::Wanted);
        }
        identity.process = self.open.get(&connection).and_then(|person| person.process.clone());
    }

    /// Keeps knowing who made the calls of something that goes on: the first caller of it.
    pub(super) fn attend(&mut self, who: &mut Option<Identity>, caller: &Caller) {
        match who {
            Some(identity) => self.make_up(identity),
            None => *who = Some(self.identify(caller)),
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
            None => self.look(connection, Urgency::Wanted),
            // It listens after it has made its first calls, perhaps.
            Some(since) if person.process.is_some() && person.role.is_none() => {
                if Stamp::now().since(since) >= WITHOUT_ROLE {
                    self.look(connection, Urgency::Early);
                }
            }
            Some(_) => {}
        }
        self.open.get(&connection)?.role
    }

    /// Whether it is not known yet who made a call, for there was no time to look.
    pub(super) fn is_unmet(&self, caller: &Caller) -> bool {
        self.open.get(&caller.connection).is_some_and(|person| person.known.is_none())
    }

    /// Looks who is at an open connection, if there is time.
    fn look(&mut self, connection: ConnectionId, urgency: Urgency) {
        let Some(person) = self.open.get_mut(&connection) else { return };
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
        let owner = (self.who)(person.peer, among);
        let ended = Stamp::now();
        share.used(begun, ended);
        match owner {
            Some(owner) => {
                person.process = Some(owner.name.into());
                person.role = owner.role;
                person.known = Some(ended);
            }
            // Nobody; or it was found before, and has closed since.
            None if among == Among::All => person.known = Some(ended),
            None => {}
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

    fn used(&mut self, begun: Stamp, ended: Stamp) {
        let rest = ended.since(begun).saturating_mul(self.rest);
        self.ready = ended.after(rest);
        self.idle = self.ready.after(rest);
    }
}

#[cfg(test)]
mod tests;
