//! Whose end of a connection an address is: the process, and what it is to the dapp.
//!
//! Owns the memory of who was found lately, so that a client that opens another connection is found
//! again without looking at everybody. What a process holds is read by `listen`; how often there is
//! time to look is for the recorder to say.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::listen::{connected_sockets, holds_any, listening_sockets, named, parent, pids, tables};
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

    /// The process that has this address as its own end of a TCP connection. None when nobody has,
    /// when the process is another machine's or another user's, and on systems other than Linux.
    pub fn find(&mut self, end: SocketAddr, among: Among) -> Option<Owner> {
        let tables: Vec<String> = tables().collect();
        let sockets = connected_sockets(&tables, end);
        if sockets.is_empty() {
            return None;
        }
        let pid = self.holder(&sockets, among)?;
        let (_, name) = named(pid)?;
        Some(Owner { name: format!("{name} ({pid})").into(), role: self.role(pid, &tables) })
    }

    fn holder(&mut self, sockets: &[PathBuf], among: Among) -> Option<u32> {
        if let Some(at) = self.known.iter().position(|pid| holds_any(*pid, sockets)) {
            self.known[..=at].rotate_right(1);
            return self.known.first().copied();
        }
        if among == Among::Known {
            return None;
        }
        let mut others: Vec<u32> = pids().filter(|pid| !self.known.contains(pid)).collect();
        // Of several the one started last, for it does the work; most clients are young, too. This
        // process itself has many descriptors, and is hardly ever it.
        let own = std::process::id();
        others.sort_unstable_by_key(|pid| (*pid == own, std::cmp::Reverse(*pid)));
        let found = others.into_iter().find(|pid| holds_any(*pid, sockets))?;
        self.known.truncate(MOST_KNOWN - 1);
        self.known.insert(0, found);
        Some(found)
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

    #[test]
    fn this_process_is_found_at_its_end_of_a_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let end = client.local_addr().unwrap();
            let found = Owners::new(Vec::new()).find(end, Among::All).expect(address);
            assert!(found.name.ends_with(&format!("({})", std::process::id())), "{found:?}");
            assert_eq!(found.role, None);
            drop(client);
            assert_eq!(Owners::new(Vec::new()).find(end, Among::All), None);
        }
    }

    #[test]
    fn who_was_found_is_found_again_without_looking_at_everybody() {
        let (relay, port) = listener();
        let client = Client::start(port);
        let (_served, end) = relay.accept().unwrap();
        let mut owners = Owners::new(Vec::new());
        assert_eq!(owners.find(end, Among::Known), None, "nobody is known yet");
        let found = owners.find(end, Among::All).unwrap();
        assert!(found.name.starts_with("python3"), "{found:?}");
        assert_eq!(owners.find(end, Among::Known), Some(found));
        drop(client);
        assert_eq!(owners.find(end, Among::Known), None, "it is gone");
    }

    #[test]
    fn those_who_are_known_are_as_few_as_they_are_recent() {
        let (relay, port) = listener();
        let mut owners = Owners::new(Vec::new());
        let clients: Vec<_> = (0..=MOST_KNOWN)
            .map(|_| {
                let client = Client::start(port);
                let (served, end) = relay.accept().unwrap();
                assert!(owners.find(end, Among::All).is_some());
                (client, served, end)
            })
            .collect();
        assert_eq!(owners.known.len(), MOST_KNOWN);
        assert_eq!(owners.find(clients[0].2, Among::Known), None);
        assert!(owners.find(clients[1].2, Among::Known).is_some());
        let first = owners.known[0];
        assert!(owners.find(clients[2].2, Among::Known).is_some());
        assert_eq!(owners.known[1], first);
    }

    #[test]
    fn who_was_started_by_one_that_listens_has_its_role() {
        let (relay, port) = listener();
        let (api, role) = (listener(), Role::known("flask"));
        let _client = Client::start(port);
        let (_served, end) = relay.accept().unwrap();
        let mut owners = Owners::new(vec![(role, api.1)]);
        assert_eq!(owners.find(end, Among::All).unwrap().role, Some(role));
        assert_eq!(owners.find(end, Among::Known).unwrap().role, Some(role));
        drop(api);
        assert_eq!(owners.find(end, Among::Known).unwrap().role, None, "nobody listens any more");
    }
}
