//! Finds the processes that have one end of a connection, and their roles in the dapp.
//!
//! A connection's socket is asked for by its two addresses (`sock_diag`), and then looked for among
//! the descriptors of processes: first the descriptors at which those found lately had such sockets,
//! then all descriptors of those processes, then everything. A client that is known costs three
//! system calls for each new connection. How often there is time to look is for the recorder to say.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::descriptors;
use super::listen::{connected_sockets, listening_inodes, named, parent, pids, tables};
use super::sock_diag::{SockDiag, TcpSocket};
use crate::model::{Among, Ends, Owner, Role, UnknownPeer};

/// Processes that are remembered.
const MAX_KNOWN: usize = 8;
/// Descriptors that are remembered of each.
const MAX_DESCRIPTORS: usize = 4;
/// Processes one above the other that are looked at for a role.
const MAX_ANCESTORS: usize = 32;
/// For how long a process's name and role are believed.
const DESCRIPTION_AGE: Duration = Duration::from_millis(500);

/// Finds the processes at the other ends of connections.
#[derive(Debug)]
pub struct Owners {
    /// Roles, and the ports of this machine on which those in them listen.
    roles: Vec<(Role, u16)>,
    /// `None` where the kernel does not answer for single sockets.
    diag: Option<SockDiag>,
    /// Those found lately, the last one first.
    known: Vec<KnownProcess>,
    user: User,
    description_age: Duration,
    cost: Cost,
}

/// The user that this process acts for.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    can_read_other_users: bool,
}

/// A process that was found. May be gone, and its number another's by now: a process is found by the
/// sockets that it has.
#[derive(Debug)]
struct KnownProcess {
    pid: u32,
    /// Descriptors at which it had the sockets of connections, the last one first.
    descriptors: Vec<u32>,
    /// Its name and role, and when they were read.
    description: Option<(Instant, Owner)>,
}

/// What looking has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    /// Descriptors followed.
    links: usize,
    /// Times that all TCP sockets were read.
    tables: usize,
    /// Times that all processes were looked into.
    full_searches: usize,
}

/// A connection's end on this machine.
#[derive(Clone, Copy)]
enum Located {
    Open(TcpSocket),
    /// Read from a table that does not say whose it is.
    OpenInTable(u64),
    Absent,
    Unsupported,
}

impl Owners {
    /// Roles come with the ports of this machine on which the processes in them listen.
    pub fn new(roles: Vec<(Role, u16)>) -> Self {
        let diag = SockDiag::open()
            .inspect_err(|error| {
                tracing::debug!(%error, "sockets are read from /proc/net/tcp: netlink fails");
            })
            .ok();
        Self {
            roles,
            diag,
            known: Vec::new(),
            user: User::current(),
            description_age: DESCRIPTION_AGE,
            cost: Cost::default(),
        }
    }

    /// The processes at the clients' ends of these connections, in this order, or why each is not
    /// known. Many at once take hardly longer than one.
    pub fn find(&mut self, ends: &[Ends], among: Among) -> Vec<Result<Owner, UnknownPeer>> {
        let mut search = Search::new(&self.locate(ends), ends, self.user);
        self.search_likely(&mut search);
        if !search.is_over() {
            // Asking once more costs less than looking everywhere for a socket that was just closed.
            search.drop_closed(&self.locate(ends), ends);
            self.search_known(&mut search);
        }
        if among == Among::All && !search.is_over() {
            self.search_all(&mut search);
            search.drop_closed(&self.locate(ends), ends);
            search.give_up();
        }
        let owners: HashMap<u32, Owner> = search
            .found
            .iter()
            .filter_map(|(pid, descriptor)| Some((*pid, self.remember(*pid, *descriptor)?)))
            .collect();
        let owner = |found: Result<u32, UnknownPeer>| {
            // It ended between two steps.
            owners.get(&found?).cloned().ok_or(UnknownPeer::ConnectionClosed)
        };
        search.outcomes.into_iter().map(owner).collect()
    }

    /// Asks the system for the clients' sockets.
    fn locate(&mut self, ends: &[Ends]) -> Vec<Located> {
        let mut located: Vec<Option<Located>> = ends
            .iter()
            .map(|ends| match self.diag.as_mut()?.connected(ends.peer, ends.local?) {
                Ok(Some(socket)) => Some(Located::Open(socket)),
                Ok(None) => Some(Located::Absent),
                Err(_) => None,
            })
            .collect();
        if located.iter().any(Option::is_none) {
            self.cost.tables += 1;
            let tables: Vec<String> = tables().collect();
            let absent = if tables.is_empty() { Located::Unsupported } else { Located::Absent };
            let peers = ends.iter().map(|ends| ends.peer).collect::<Vec<_>>();
            let inodes = connected_sockets(&tables, &peers);
            for (located, inode) in located.iter_mut().zip(inodes) {
                located.get_or_insert(inode.map_or(absent, Located::OpenInTable));
            }
        }
        located.into_iter().map(|located| located.unwrap_or(Located::Unsupported)).collect()
    }

    /// Looks at the descriptors at which those found lately had such sockets.
    fn search_likely(&mut self, search: &mut Search) {
        for process in &self.known {
            let Some((last, earlier)) = process.descriptors.split_first() else { continue };
            // One connection after the other has the same descriptor each time; connections that
            // stay open have descriptors in a row.
            let likely = [*last, last.saturating_add(1)].into_iter().chain(earlier.iter().copied());
            for descriptor in likely {
                if search.is_over() {
                    return;
                }
                self.cost.links += 1;
                search.look_at(process.pid, descriptor);
            }
        }
    }

    /// Looks at all descriptors of those found lately.
    fn search_known(&mut self, search: &mut Search) {
        for process in &self.known {
            if search.is_over() {
                return;
            }
            self.cost.links += search.look_into(process.pid);
        }
    }

    /// Looks into all others.
    fn search_all(&mut self, search: &mut Search) {
        self.cost.full_searches += 1;
        let is_known = |pid: &u32| self.known.iter().any(|process| process.pid == *pid);
        let mut others: Vec<u32> = pids().filter(|pid| !is_known(pid)).collect();
        // Of several the one started last, for it does the work; most clients are young, too.
        // This process itself has many descriptors, and is hardly ever it.
        let own = std::process::id();
        others.sort_unstable_by_key(|pid| (*pid == own, std::cmp::Reverse(*pid)));
        for pid in others {
            if search.is_over() {
                return;
            }
            self.cost.links += search.look_into(pid);
        }
    }

    /// Puts a process first among the known ones; its name and role. `None` when it is gone.
    fn remember(&mut self, pid: u32, descriptor: u32) -> Option<Owner> {
        let place = self.known.iter().position(|process| process.pid == pid);
        let mut process = match place {
            Some(place) => self.known.remove(place),
            None => KnownProcess { pid, descriptors: Vec::new(), description: None },
        };
        process.descriptors.retain(|known| *known != descriptor);
        process.descriptors.insert(0, descriptor);
        process.descriptors.truncate(MAX_DESCRIPTORS);
        let is_fresh = |(since, _): &(Instant, Owner)| since.elapsed() < self.description_age;
        if !process.description.as_ref().is_some_and(is_fresh) {
            process.description = self.describe(pid).map(|owner| (Instant::now(), owner));
        }
        let owner = process.description.as_ref().map(|(_, owner)| owner.clone());
        if owner.is_some() {
            self.known.insert(0, process);
            self.known.truncate(MAX_KNOWN);
        }
        owner
    }

    fn describe(&mut self, pid: u32) -> Option<Owner> {
        let (_, name) = named(pid)?;
        Some(Owner { name: format!("{name} ({pid})").into(), role: self.role(pid) })
    }

    /// The role of the process or of the nearest one above it that has one.
    fn role(&mut self, pid: u32) -> Option<Role> {
        let mut listening: Vec<(Role, Vec<u64>)> = Vec::new();
        for at in 0..self.roles.len() {
            let (role, port) = self.roles[at];
            let inodes = self.listening_on(port);
            if !inodes.is_empty() {
                listening.push((role, inodes));
            }
        }
        if listening.is_empty() {
            return None;
        }
        let above = std::iter::successors(Some(pid), |pid| parent(*pid).filter(|pid| *pid > 1));
        above.take(MAX_ANCESTORS).find_map(|pid| {
            // A listener is among the oldest of a process's descriptors.
            descriptors::all(pid).into_iter().rev().find_map(|descriptor| {
                self.cost.links += 1;
                let inode = descriptors::socket(pid, descriptor)?;
                let (role, _) = listening.iter().find(|(_, inodes)| inodes.contains(&inode))?;
                Some(*role)
            })
        })
    }

    fn listening_on(&mut self, port: u16) -> Vec<u64> {
        let asked = self.diag.as_mut().and_then(|diag| diag.listening_on(port).ok());
        asked.unwrap_or_else(|| {
            self.cost.tables += 1;
            tables().flat_map(|table| listening_inodes(&table, port).collect::<Vec<_>>()).collect()
        })
    }
}

/// A search for the processes that have sockets.
struct Search {
    /// The inodes whose processes were not found yet, with their places.
    wanted: HashMap<u64, usize>,
    /// By place.
    outcomes: Vec<Result<u32, UnknownPeer>>,
    /// Processes that were found, each with the descriptor of the last socket found at it.
    found: Vec<(u32, u32)>,
}

impl Search {
    fn new(located: &[Located], ends: &[Ends], user: User) -> Self {
        let mut wanted = HashMap::new();
        let outcomes = located.iter().zip(ends).enumerate().map(|(at, (located, ends))| {
            let inode = match *located {
                Located::Open(socket) if !user.may_look_into(socket.uid) => {
                    return Err(UnknownPeer::NotPermitted);
                }
                Located::Open(socket) => socket.inode,
                Located::OpenInTable(inode) => inode,
                Located::Absent => return Err(absent(ends)),
                Located::Unsupported => return Err(UnknownPeer::Unsupported),
            };
            wanted.insert(inode, at);
            Err(UnknownPeer::NoTime)
        });
        Self { outcomes: outcomes.collect(), wanted, found: Vec::new() }
    }

    fn is_over(&self) -> bool {
        self.wanted.is_empty()
    }

    fn look_at(&mut self, pid: u32, descriptor: u32) {
        let inode = descriptors::socket(pid, descriptor);
        if let Some(place) = inode.and_then(|inode| self.wanted.remove(&inode)) {
            self.outcomes[place] = Ok(pid);
            self.found.retain(|(other, _)| *other != pid);
            self.found.push((pid, descriptor));
        }
    }

    /// Looks at all that a process has open; answers how many descriptors it followed.
    fn look_into(&mut self, pid: u32) -> usize {
        let mut links = 0;
        for descriptor in descriptors::all(pid) {
            if self.is_over() {
                break;
            }
            links += 1;
            self.look_at(pid, descriptor);
        }
        links
    }

    /// Leaves out the sockets that are closed by now, as `located` anew says.
    fn drop_closed(&mut self, located: &[Located], ends: &[Ends]) {
        let Self { wanted, outcomes, .. } = self;
        wanted.retain(|_, place| {
            let is_closed = matches!(located[*place], Located::Absent);
            if is_closed {
                outcomes[*place] = Err(absent(&ends[*place]));
            }
            !is_closed
        });
    }

    /// All processes that may be looked into were: what was not found belongs to one that may not.
    fn give_up(&mut self) {
        for (_, place) in self.wanted.drain() {
            self.outcomes[place] = Err(UnknownPeer::NotPermitted);
        }
    }
}

/// Why the client's end of a connection is not on this machine.
fn absent(ends: &Ends) -> UnknownPeer {
    let peer = ends.peer.ip().to_canonical();
    let is_own = ends.local.is_some_and(|local| local.ip().to_canonical() == peer);
    if peer.is_loopback() || is_own {
        UnknownPeer::ConnectionClosed
    } else {
        UnknownPeer::OtherMachine
    }
}

impl User {
    fn current() -> Self {
        #[cfg(unix)]
        let uid = rustix::process::geteuid().as_raw();
        #[cfg(not(unix))]
        let uid = 0;
        Self { uid, can_read_other_users: descriptors::can_read_other_users() }
    }

    const fn may_look_into(self, uid: u32) -> bool {
        uid == self.uid || self.can_read_other_users
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
