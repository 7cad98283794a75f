//! Connections of real processes in, the processes out.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::*;

/// A program that connects to the port that it is given, as often as there are lines of its input.
const CLIENT: &str = "import socket, sys
held = []
for _ in iter(sys.stdin.readline, ''):
    held.append(socket.create_connection(('127.0.0.1', int(sys.argv[1]))))";

/// A process that ends when this goes out of scope.
struct Client(Child);

impl Client {
    /// Started by a shell that this process starts: a grandchild of it.
    fn start(port: u16) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "python3 -c \"$0\" \"$1\"; exit", CLIENT, &port.to_string()]);
        Self::run(shell)
    }

    fn run(mut command: Command) -> Self {
        let mut client = Self(command.stdin(Stdio::piped()).spawn().unwrap());
        client.connect();
        client
    }

    /// Opens another connection.
    fn connect(&mut self) {
        std::io::Write::write_all(self.0.stdin.as_mut().unwrap(), b"\n").unwrap();
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

/// The next connection, as a proxy sees it.
fn accept(listener: &TcpListener) -> (TcpStream, Ends) {
    let (served, peer) = listener.accept().unwrap();
    let local = served.local_addr().ok();
    (served, Ends { peer, local })
}

impl Owners {
    fn find_one(&mut self, ends: Ends, among: Among) -> Result<Owner, UnknownPeer> {
        self.find(&[ends], among).pop().unwrap()
    }

    /// What it costs to find one.
    fn cost_of(&mut self, ends: Ends, among: Among) -> Cost {
        let before = self.cost;
        self.find_one(ends, among).unwrap();
        Cost {
            links: self.cost.links - before.links,
            tables: self.cost.tables - before.tables,
            full_searches: self.cost.full_searches - before.full_searches,
        }
    }
}

/// With netlink, and as where the kernel does not answer it.
fn both_ways(roles: &[(Role, u16)]) -> [Owners; 2] {
    let by_table = Owners { diag: None, ..Owners::new(roles.to_vec()) };
    let by_netlink = Owners::new(roles.to_vec());
    assert!(by_netlink.diag.is_some());
    [by_netlink, by_table]
}

#[test]
fn this_process_is_found_at_its_end_of_a_connection() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_served, ends) = accept(&listener);
        for mut owners in both_ways(&[]) {
            let found = owners.find_one(ends, Among::All).expect(address);
            assert!(found.name.ends_with(&format!("({})", std::process::id())), "{found:?}");
            assert_eq!(found.role, None);
            let peer_only = Ends { local: None, ..ends };
            assert_eq!(owners.find_one(peer_only, Among::All), Ok(found), "from the table");
        }
        drop(client);
        for mut owners in both_ways(&[]) {
            let found = owners.find_one(ends, Among::All);
            assert_eq!(found, Err(UnknownPeer::ConnectionClosed));
            assert_eq!(owners.cost.full_searches, 0, "nothing to look for");
        }
    }
}

#[test]
fn a_process_that_was_found_is_found_again_without_a_full_search() {
    for mut owners in both_ways(&[]) {
        let (relay, port) = listener();
        let client = Client::start(port);
        let (_served, ends) = accept(&relay);
        assert_eq!(owners.find_one(ends, Among::Known), Err(UnknownPeer::NoTime));
        let found = owners.find_one(ends, Among::All).unwrap();
        assert!(found.name.starts_with("python3"), "{found:?}");
        assert_eq!(owners.find_one(ends, Among::Known), Ok(found));
        assert_eq!(owners.cost.full_searches, 1);
        drop(client);
        let gone = owners.find_one(ends, Among::Known);
        assert_eq!(gone, Err(UnknownPeer::ConnectionClosed));
    }
}

#[test]
fn the_next_connection_of_a_known_process_costs_a_link_or_two() {
    let (relay, port) = listener();
    let mut client = Client::start(port);
    let mut owners = Owners::new(Vec::new());
    let (_first, ends) = accept(&relay);
    assert_eq!(owners.cost_of(ends, Among::All).full_searches, 1);
    let mut held = Vec::new();
    let mut costs = Vec::new();
    for _ in 0..20 {
        client.connect();
        let (served, ends) = accept(&relay);
        held.push(served);
        let cost = owners.cost_of(ends, Among::All);
        assert_eq!((cost.tables, cost.full_searches), (0, 0));
        costs.push(cost.links);
    }
    // Once in a while the client has another file open for a moment.
    costs.sort_unstable();
    assert!(costs[15] <= 2, "{costs:?}");
}

#[test]
fn several_are_found_at_once_each_in_its_place() {
    for mut owners in both_ways(&[]) {
        let (relay, port) = listener();
        let _clients = [Client::start(port), Client::start(port)];
        let ((_one, first), (_other, second)) = (accept(&relay), accept(&relay));
        let _own = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_third, own) = accept(&relay);
        let unused = Ends { peer: ([127, 0, 0, 9], 9).into(), ..first };
        let ends = [first, unused, own, second];
        let found = owners.find(&ends, Among::All);
        assert_eq!(found[1], Err(UnknownPeer::ConnectionClosed));
        let name = |at: usize| &found[at].as_ref().unwrap().name;
        assert!(name(2).contains(&std::process::id().to_string()));
        assert_ne!(name(0), name(3));
        assert_eq!(owners.find(&ends, Among::Known), found);
    }
}

#[test]
fn known_processes_are_as_few_as_they_are_recent() {
    let (relay, port) = listener();
    let mut owners = Owners::new(Vec::new());
    let clients: Vec<_> = (0..=MAX_KNOWN)
        .map(|_| {
            let client = Client::start(port);
            let (served, ends) = accept(&relay);
            assert!(owners.find_one(ends, Among::All).is_ok());
            (client, served, ends)
        })
        .collect();
    assert_eq!(owners.known.len(), MAX_KNOWN);
    assert_eq!(owners.find_one(clients[0].2, Among::Known), Err(UnknownPeer::NoTime));
    assert!(owners.find_one(clients[1].2, Among::Known).is_ok());
    let first = owners.known[0].pid;
    assert!(owners.find_one(clients[2].2, Among::Known).is_ok());
    assert_eq!(owners.known[1].pid, first);
}

#[test]
fn a_process_started_by_one_that_listens_has_its_role() {
    for at in 0..2 {
        let (relay, port) = listener();
        let (api, role) = (listener(), Role::known("flask"));
        let _client = Client::start(port);
        let (_served, ends) = accept(&relay);
        let [by_netlink, by_table] = both_ways(&[(role, api.1)]);
        let mut owners = if at == 0 { by_netlink } else { by_table };
        owners.description_age = Duration::ZERO;
        assert_eq!(owners.find_one(ends, Among::All).unwrap().role, Some(role));
        assert_eq!(owners.find_one(ends, Among::Known).unwrap().role, Some(role));
        drop(api);
        let role = owners.find_one(ends, Among::Known).unwrap().role;
        assert_eq!(role, None, "nothing listens now");
    }
}

#[test]
fn a_name_and_a_role_are_not_read_again_for_each_connection() {
    let (relay, port) = listener();
    let (api, role) = (listener(), Role::known("flask"));
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (_served, ends) = accept(&relay);
    let mut owners = Owners::new(vec![(role, api.1)]);
    owners.description_age = Duration::from_hours(1);
    assert_eq!(owners.find_one(ends, Among::All).unwrap().role, Some(role));
    let cost = owners.cost_of(ends, Among::Known);
    assert_eq!(cost, Cost { links: 1, tables: 0, full_searches: 0 });
}

#[test]
fn a_socket_that_closes_during_the_search_is_not_searched_for_further() {
    let (peer, local) = (([127, 0, 0, 1], 9).into(), Some(([127, 0, 0, 1], 8_546).into()));
    let ends = [Ends { peer, local }; 2];
    let user = User::current();
    let open = |inode| Located::Open(TcpSocket { inode, uid: user.uid });
    let mut search = Search::new(&[open(1), open(2)], &ends, user);
    search.drop_closed(&[Located::Absent, open(2)], &ends);
    assert_eq!(search.outcomes, [Err(UnknownPeer::ConnectionClosed), Err(UnknownPeer::NoTime)]);
    assert!(!search.is_over());
    search.drop_closed(&[Located::Absent, Located::Absent], &ends);
    assert!(search.is_over());
}

#[test]
fn another_machine_s_process_is_not_looked_for() {
    for mut owners in both_ways(&[]) {
        let (peer, local) = (([192, 0, 2, 1], 9).into(), Some(([192, 0, 2, 2], 8_546).into()));
        let found = owners.find_one(Ends { peer, local }, Among::All);
        assert_eq!(found, Err(UnknownPeer::OtherMachine));
        let own: SocketAddr = ([192, 0, 2, 2], 9).into();
        let found = owners.find_one(Ends { peer: own, local }, Among::All);
        assert_eq!(found, Err(UnknownPeer::ConnectionClosed), "this machine's own address");
        assert_eq!(owners.cost.full_searches, 0);
    }
}

#[test]
fn another_user_s_process_is_not_looked_for_without_permission() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root may start one.
    }
    let (relay, port) = listener();
    let mut python = Command::new("/usr/bin/env");
    python.args(["python3", "-c", CLIENT, &port.to_string()]).uid(65_534);
    let _client = Client::run(python);
    let (_served, ends) = accept(&relay);
    let mut owners = Owners::new(Vec::new());
    owners.user.can_read_other_users = false;
    assert_eq!(owners.find_one(ends, Among::All), Err(UnknownPeer::NotPermitted));
    assert_eq!(owners.cost.full_searches, 0);
    owners.user = User::current();
    assert!(owners.find_one(ends, Among::All).is_ok());
}
