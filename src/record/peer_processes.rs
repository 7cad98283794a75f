//! Which processes are at the other ends of the relay's connections, and their roles in the dapp.
//!
//! Owns what was found, by connection, and the CPU time that looking may take: the recorder waits
//! meanwhile. A connection is looked up when it is opened, for its client may close it soon; what
//! there was no time for is looked up later, while it is open. Every call whose process is not known
//! has a reason. How a process is found is for [`PeerLookup`] to know.

mod cpu_budget;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::cpu_budget::thread_cpu_time;
use self::cpu_budget::{CpuBudget, Urgency};
use super::passage::Caller;
use crate::model::{Among, ConnectionId, Ends, Owner, Role, Stamp, UnknownPeer};

/// Open connections whose processes are remembered. Beyond that the oldest is forgotten.
const MAX_OPEN: usize = 10_000;
/// Closed connections whose processes are remembered, for calls that are judged late.
const MAX_CLOSED: usize = 1_000;
/// Connections that are looked up together: the newest, which are open most likely.
const MAX_AT_ONCE: usize = 256;
/// For how long it is believed of a process that it has no role: it may be about to take one.
const WITHOUT_ROLE: Duration = Duration::from_secs(1);

/// Finds the processes at the clients' ends of connections, in their order.
pub type PeerLookup = Box<dyn FnMut(&[Ends], Among) -> Vec<Result<Owner, UnknownPeer>> + Send>;

/// Finds no process.
pub(super) fn no_lookup() -> PeerLookup {
    Box::new(|ends, _| vec![Err(UnknownPeer::Unsupported); ends.len()])
}

/// The processes at the other ends of connections.
pub(super) struct PeerProcesses {
    lookup: PeerLookup,
    /// The time, and the CPU time that this thread has used.
    time: Box<dyn Fn() -> (Stamp, Duration) + Send>,
    open: BTreeMap<ConnectionId, Peer>,
    /// The open connections that are still to be looked up.
    pending: BTreeSet<ConnectionId>,
    /// What was known of the newest closed connections.
    closed: BTreeMap<ConnectionId, Result<Arc<str>, UnknownPeer>>,
    /// For looking among the known processes, and among all. Together they take a twentieth of the
    /// recorder's time at most.
    known_budget: CpuBudget,
    full_budget: CpuBudget,
}

/// The other end of an open connection.
struct Peer {
    ends: Ends,
    process: Result<Arc<str>, UnknownPeer>,
    role: Option<Role>,
    /// When that was looked up.
    since: Stamp,
}

/// A caller and its process, kept beyond the end of its connection.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) caller: Caller,
    pub(super) process: Result<Arc<str>, UnknownPeer>,
}

impl PeerProcesses {
    pub(super) fn new(lookup: PeerLookup) -> Self {
        Self {
            lookup,
            time: Box::new(|| (Stamp::now(), thread_cpu_time())),
            open: BTreeMap::new(),
            pending: BTreeSet::new(),
            closed: BTreeMap::new(),
            known_budget: CpuBudget::new(0.02),
            full_budget: CpuBudget::new(0.03),
        }
    }

    /// A connection was opened.
    pub(super) fn connection_opened(&mut self, connection: ConnectionId, ends: Ends) {
        if self.open.len() >= MAX_OPEN
            && let Some((oldest, _)) = self.open.pop_first()
        {
            self.pending.remove(&oldest);
        }
        self.open.insert(connection, Peer::new(ends));
        self.pending.insert(connection);
        self.look_up(Some(connection), Urgency::Early);
    }

    /// A call came on an open connection. One that was forgotten is looked up again.
    pub(super) fn connection_seen(&mut self, connection: ConnectionId, peer: SocketAddr) {
        if !self.open.contains_key(&connection) {
            self.connection_opened(connection, Ends { peer, local: None });
        }
    }

    /// Looks up the connections that there was no time for. To be called a few times a second.
    pub(super) fn tick(&mut self) {
        if !self.pending.is_empty() {
            self.look_up(None, Urgency::Early);
        }
    }

    /// The connection is closed, and its client's process cannot be found any more.
    pub(super) fn connection_closed(&mut self, connection: ConnectionId) {
        self.pending.remove(&connection);
        let Some(peer) = self.open.remove(&connection) else { return };
        if self.closed.len() >= MAX_CLOSED {
            self.closed.pop_first();
        }
        self.closed.insert(connection, peer.process);
    }

    /// A caller's process, looked up now if there is time and it was not before.
    pub(super) fn identify(&mut self, caller: &Caller) -> Identity {
        let process = Err(UnknownPeer::NoTime);
        let mut identity = Identity { caller: caller.clone(), process };
        self.retry_lookup(&mut identity);
        identity
    }

    /// Looks again for a process that is not known yet.
    pub(super) fn retry_lookup(&mut self, identity: &mut Identity) {
        if identity.process.is_ok() {
            return;
        }
        let connection = identity.caller.connection;
        if self.pending.contains(&connection) {
            self.look_up(Some(connection), Urgency::Wanted);
        }
        if let Some(peer) = self.open.get(&connection) {
            identity.process = peer.process.clone();
        } else if let Some(process) = self.closed.get(&connection) {
            identity.process = process.clone();
        } else if identity.process == Err(UnknownPeer::NoTime) {
            identity.process = Err(UnknownPeer::ConnectionClosed);
        }
    }

    /// Keeps track of who makes a series of calls: the first caller, or the first whose process is
    /// known.
    pub(super) fn track(&mut self, who: &mut Option<Identity>, caller: &Caller) {
        if let Some(identity) = who {
            self.retry_lookup(identity);
        }
        if who.as_ref().is_some_and(|identity| identity.process.is_ok()) {
            return;
        }
        let this = self.identify(caller);
        if who.is_none() || this.process.is_ok() {
            *who = Some(this);
        }
    }

    /// The role in the dapp of the process that made a call, looked up now if there is time. To be
    /// asked while the call is recorded: its connection may be open.
    pub(super) fn role(&mut self, caller: &Caller) -> Option<Role> {
        let Caller { connection, peer, .. } = *caller;
        if let Some(peer) = peer {
            self.connection_seen(connection, peer);
        }
        let peer = self.open.get(&connection)?;
        if self.pending.contains(&connection) {
            self.look_up(Some(connection), Urgency::Wanted);
        } else if peer.process.is_ok()
            && peer.role.is_none()
            && (self.time)().0.since(peer.since) >= WITHOUT_ROLE
        {
            // It listens after it has made its first calls, perhaps.
            self.look_up(Some(connection), Urgency::Early);
        }
        self.open.get(&connection)?.role
    }

    /// Whether the process that made a call is not known.
    pub(super) fn is_unidentified(&self, caller: &Caller) -> bool {
        let open = self.open.get(&caller.connection).map(|peer| &peer.process);
        open.is_none_or(Result::is_err)
    }

    /// Looks up, if there is time, one open connection and others that are pending.
    fn look_up(&mut self, wanted: Option<ConnectionId>, urgency: Urgency) {
        // Not the time of a call: of calls that wait in the queue, those of a second are recorded in
        // an instant.
        let (begun, cpu_before) = (self.time)();
        let (budget, among) = if self.full_budget.allows(begun, urgency) {
            (&mut self.full_budget, Among::All)
        } else if self.known_budget.allows(begun, urgency) {
            (&mut self.known_budget, Among::Known)
        } else {
            return;
        };
        let others = self.pending.iter().rev().copied().filter(|other| Some(*other) != wanted);
        let (connections, ends): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .chain(others)
            .filter_map(|connection| Some((connection, self.open.get(&connection)?.ends)))
            .take(MAX_AT_ONCE)
            .unzip();
        let owners = (self.lookup)(&ends, among);
        let (ended, cpu) = (self.time)();
        budget.spend(cpu.saturating_sub(cpu_before));
        for (connection, owner) in connections.into_iter().zip(owners) {
            let Some(peer) = self.open.get_mut(&connection) else { continue };
            match owner {
                Ok(owner) => {
                    peer.process = Ok(owner.name.into());
                    peer.role = owner.role;
                }
                Err(UnknownPeer::NoTime) => continue,
                // One that was found before has closed the connection since.
                Err(_) if peer.process.is_ok() => {}
                Err(reason) => peer.process = Err(reason),
            }
            peer.since = ended;
            self.pending.remove(&connection);
        }
    }
}

impl Peer {
    fn new(ends: Ends) -> Self {
        let process = Err(UnknownPeer::NoTime);
        Self { ends, process, role: None, since: Stamp::default() }
    }
}

#[cfg(test)]
pub(super) mod tests;
