//! Whose end of a connection an address is: the process, and what it is to the dapp.
//!
//! Owns the memory of who was found lately, so that a client that opens another connection is found
//! again without looking at everybody. What a process holds is read by `listen`; how often there is
//! time to look is for the recorder to say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::listen::{
    connected_sockets, held, holds_any, listening_sockets, named, parent, pids, tables,
};
use crate::model::{Among, Owner, Role};

/// Processes that are remembered.
const MOST_KNOWN: usize = 8;
/// Processes one above the other that are looked at for a role.
const MOST_ANCESTORS: usize = 32;

/// Finds the processes at the other ends of connections.
#[derive(Debug)]
pub struct Owners {
    /// Roles, and the ports of this machine on which those in them listen.
    roles: Vec<(Role, u16)>,
    /// Who was found lately, the last one first. May be gone, and the number another's by now: who
    /// is found is found by what it holds.
    known: Vec<u32>,
}

impl Owners {
    pub const fn new(roles: Vec<(Role, u16)>) -> Self {
        Self { roles, known: Vec::new() }
    }

    /// The processes that have these addresses as their own ends of TCP connections, in this order.
    /// None when nobody has, when the process is another machine's or another user's, and on systems
    /// other than Linux. Many at once take hardly longer than one.
    pub fn find(&mut self, ends: &[SocketAddr], among: Among) -> Vec<Option<Owner>> {
        let tables: Vec<String> = tables().collect();
        let mut search =
            Search { sockets: connected_sockets(&tables, ends), holders: vec![None; ends.len()] };
        let mut found = search.look_into(self.known.iter().copied());
        if among == Among::All && !search.is_over() {
            let mut others: Vec<u32> = pids().filter(|pid| !self.known.contains(pid)).collect();
            // Of several the one started last, for it does the work; most clients are young, too.
            // This process itself has many descriptors, and is hardly ever it.
            let own = std::process::id();
            others.sort_unstable_by_key(|pid| (*pid == own, std::cmp::Reverse(*pid)));
            found.extend(search.look_into(others));
        }
        self.known.retain(|pid| !found.contains(pid));
        self.known.splice(..0, found.iter().copied());
        self.known.truncate(MOST_KNOWN);
        let owners: HashMap<u32, Owner> = found
            .into_iter()
            .filter_map(|pid| {
                let (_, name) = named(pid)?;
                let role = self.role(pid, &tables);
                Some((pid, Owner { name: format!("{name} ({pid})").into(), role }))
            })
            .collect();
        search.holders.into_iter().map(|pid| owners.get(&pid?).cloned()).collect()
    }

    /// The role of the process or of the nearest one above it that has one.
    fn role(&self, pid: u32, tables: &[String]) -> Option<Role> {
        let listening: Vec<(Role, Vec<PathBuf>)> = self
            .roles
            .iter()
            .map(|(role, port)| (*role, listening_sockets(tables, *port)))
            .filter(|(_, sockets)| !sockets.is_empty())
            .collect();
        if listening.is_empty() {
            return None;
        }
        let above = std::iter::successors(Some(pid), |pid| parent(*pid).filter(|pid| *pid > 1));
        above.take(MOST_ANCESTORS).find_map(|pid| {
            let mut roles = listening.iter();
            roles.find(|(_, sockets)| holds_any(pid, sockets)).map(|(role, _)| *role)
        })
    }
}

/// A search for those who hold sockets.
struct Search {
    /// Those whose holders were not found yet, with their places.
    sockets: HashMap<PathBuf, usize>,
    /// By place.
    holders: Vec<Option<u32>>,
}

impl Search {
    /// Looks into processes until all holders are found; answers those that hold something.
    fn look_into(&mut self, pids: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut found = Vec::new();
        for pid in pids {
            if self.is_over() {
                break;
            }
            let mut is_holder = false;
            for socket in held(pid) {
                if let Some(place) = self.sockets.remove(&socket) {
                    self.holders[place] = Some(pid);
                    is_holder = true;
                }
            }
            if is_holder {
                found.push(pid);
            }
        }
        found
    }

    fn is_over(&self) -> bool {
        self.sockets.is_empty()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A program that connects to the port that it is given, and waits for its input to end.
    const CLIENT: &str = "import socket, sys; \
        held = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()";

    /// A process that ends when this goes out of scope.
    struct Client(Child);

    impl Client {
        /// Started by a shell that this process starts: a grandchild of it.
        fn start(port: u16) -> Self {
            let mut shell = Command::new("sh");
            shell.args(["-c", "python3 -c \"$0\" \"$1\"; exit", CLIENT, &port.to_string()]);
            Self(shell.stdin(Stdio::piped()).spawn().unwrap())
        }
    }

    impl Drop for Client {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    impl Owners {
        fn find_one(&mut self, end: SocketAddr, among: Among) -> Option<Owner> {
            self.find(&[end], among).pop().unwrap()
        }
    }

    #[test]
    fn this_process_is_found_at_its_end_of_a_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let end = client.local_addr().unwrap();
            let found = Owners::new(Vec::new()).find_one(end, Among::All).expect(address);
            assert!(found.name.ends_with(&format!("({})", std::process::id())), "{found:?}");
            assert_eq!(found.role, None);
            drop(client);
            assert_eq!(Owners::new(Vec::new()).find_one(end, Among::All), None);
        }
    }

    #[test]
    fn who_was_found_is_found_again_without_looking_at_everybody() {
        let (relay, port) = listener();
        let client = Client::start(port);
        let (_served, end) = relay.accept().unwrap();
        let mut owners = Owners::new(Vec::new());
        assert_eq!(owners.find_one(end, Among::Known), None, "nobody is known yet");
        let found = owners.find_one(end, Among::All).unwrap();
        assert!(found.name.starts_with("python3"), "{found:?}");
        assert_eq!(owners.find_one(end, Among::Known), Some(found));
        drop(client);
        assert_eq!(owners.find_one(end, Among::Known), None, "it is gone");
    }

    #[test]
    fn several_are_found_at_once_each_in_its_place() {
        let (relay, port) = listener();
        let _clients = [Client::start(port), Client::start(port)];
        let (_one, first) = relay.accept().unwrap();
        let (_other, second) = relay.accept().unwrap();
        let own = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let nobody = SocketAddr::from(([127, 0, 0, 9], 9));
        let ends = [first, nobody, own.local_addr().unwrap(), second];
        let mut owners = Owners::new(Vec::new());
        let found = owners.find(&ends, Among::All);
        assert_eq!(found[1], None);
        assert!(found[2].as_ref().unwrap().name.contains(&std::process::id().to_string()));
        assert_ne!(found[0].as_ref().unwrap().name, found[3].as_ref().unwrap().name);
        assert_eq!(owners.find(&ends, Among::Known), found);
    }

    #[test]
    fn those_who_are_known_are_as_few_as_they_are_recent() {
        let (relay, port) = listener();
        let mut owners = Owners::new(Vec::new());
        let clients: Vec<_> = (0..=MOST_KNOWN)
            .map(|_| {
                let client = Client::start(port);
                let (served, end) = relay.accept().unwrap();
                assert!(owners.find_one(end, Among::All).is_some());
                (client, served, end)
            })
            .collect();
        assert_eq!(owners.known.len(), MOST_KNOWN);
        assert_eq!(owners.find_one(clients[0].2, Among::Known), None);
        assert!(owners.find_one(clients[1].2, Among::Known).is_some());
        let first = owners.known[0];
        assert!(owners.find_one(clients[2].2, Among::Known).is_some());
        assert_eq!(owners.known[1], first);
    }

    #[test]
    fn who_was_started_by_one_that_listens_has_its_role() {
        let (relay, port) = listener();
        let (api, role) = (listener(), Role::known("flask"));
        let _client = Client::start(port);
        let (_served, end) = relay.accept().unwrap();
        let mut owners = Owners::new(vec![(role, api.1)]);
        assert_eq!(owners.find_one(end, Among::All).unwrap().role, Some(role));
        assert_eq!(owners.find_one(end, Among::Known).unwrap().role, Some(role));
        drop(api);
        assert_eq!(owners.find_one(end, Among::Known).unwrap().role, None, "nobody listens now");
    }
}
