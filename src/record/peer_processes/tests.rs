//! Connections in, processes and roles out, whatever looking takes. Time passes only where a test says.

use std::sync::Mutex;

use super::*;

const NODE_7: Option<&str> = Some("node (7)");

/// Keeps this thread working for so long.
pub(in crate::record) fn work(time: Duration) {
    let begun = thread_cpu_time();
    while thread_cpu_time().saturating_sub(begun) < time {
        std::hint::spin_loop();
    }
}

/// A machine with a clock of its own, on which each look takes a while.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    now: Duration,
    cpu: Duration,
    /// What a look among all takes, and one that finds all among the known.
    full: Duration,
    known_only: Duration,
    role: Option<Role>,
    /// By their ports, those found lately.
    known: Vec<u16>,
    /// Why no process is found.
    absent: Option<UnknownPeer>,
    looks: Vec<(Vec<u16>, Among)>,
}

impl Machine {
    fn new(full_ms: u64) -> Self {
        let machine = Self::default();
        machine.with(|inner| inner.full = Duration::from_millis(full_ms));
        machine
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn peers(&self) -> PeerProcesses {
        let machine = self.clone();
        let mut peers = PeerProcesses::new(Box::new(move |ends, among| {
            machine.with(|inner| inner.find(ends, among))
        }));
        let machine = self.clone();
        peers.time =
            Box::new(move || machine.with(|inner| (Stamp::default().after(inner.now), inner.cpu)));
        peers
    }

    fn pass(&self, time: Duration) {
        self.with(|inner| inner.now += time);
    }

    fn looks(&self) -> Vec<(Vec<u16>, Among)> {
        self.with(|inner| std::mem::take(&mut inner.looks))
    }
}

impl Inner {
    fn find(&mut self, ends: &[Ends], among: Among) -> Vec<Result<Owner, UnknownPeer>> {
        let ports: Vec<u16> = ends.iter().map(|ends| ends.peer.port()).collect();
        let known = |port: &u16| self.known.contains(port);
        let took = if ports.iter().all(known) { self.known_only } else { self.full };
        let owner = |port: &u16| match self.absent {
            Some(reason) => Err(reason),
            None if among == Among::All || known(port) => {
                Ok(Owner { name: format!("node ({port})").into(), role: self.role })
            }
            None => Err(UnknownPeer::NoTime),
        };
        let owners = ports.iter().map(owner).collect();
        if among == Among::All {
            self.known.extend(&ports);
        }
        self.now += took;
        self.cpu += took;
        self.looks.push((ports, among));
        owners
    }
}

fn caller(connection: u64, port: u16) -> Caller {
    let peer = Some(([127, 0, 0, 1], port).into());
    Caller { connection: ConnectionId(connection), peer, agent: None }
}

fn open(peers: &mut PeerProcesses, caller: &Caller) {
    let ends = Ends { peer: caller.peer.unwrap(), local: None };
    peers.connection_opened(caller.connection, ends);
}

/// A machine on which looks take so long, with the connections of one known and one other process.
fn two_connections(full_ms: u64) -> (Machine, PeerProcesses, Caller, Caller) {
    let machine = Machine::new(full_ms);
    let (mut peers, first, second) = (machine.peers(), caller(1, 1), caller(2, 2));
    open(&mut peers, &first);
    open(&mut peers, &second);
    (machine, peers, first, second)
}

#[test]
fn a_connection_is_looked_up_when_it_opens_and_never_again() {
    let machine = Machine::new(0);
    let (mut peers, page) = (machine.peers(), caller(1, 7));
    open(&mut peers, &page);
    assert_eq!(machine.looks(), [(vec![7], Among::All)]);
    for _ in 0..10 {
        peers.connection_seen(page.connection, page.peer.unwrap());
        assert_eq!(peers.identify(&page).process.as_deref().ok(), NODE_7);
    }
    assert_eq!(machine.looks(), []);
}

#[test]
fn a_call_on_a_forgotten_connection_has_it_looked_up() {
    let machine = Machine::new(0);
    let (mut peers, page) = (machine.peers(), caller(1, 7));
    peers.connection_seen(page.connection, page.peer.unwrap());
    assert_eq!(peers.identify(&page).process.as_deref().ok(), NODE_7);
}

#[test]
fn a_look_that_was_skipped_is_made_while_the_calls_go_on() {
    let (machine, mut peers, _, second) = two_connections(60);
    assert_eq!(machine.looks(), [(vec![1], Among::All), (vec![2], Among::Known)], "no time");
    let mut who = None;
    peers.track(&mut who, &second);
    assert_eq!(who.as_ref().unwrap().process, Err(UnknownPeer::NoTime));
    machine.pass(Duration::from_secs(2));
    peers.track(&mut who, &second);
    assert_eq!(who.unwrap().process.as_deref().ok(), Some("node (2)"));
}

#[test]
fn a_look_that_was_skipped_is_made_when_a_finding_is_emitted() {
    let (machine, mut peers, _, second) = two_connections(60);
    let mut identity = peers.identify(&second);
    assert_eq!(identity.process, Err(UnknownPeer::NoTime));
    machine.pass(Duration::from_secs(2));
    peers.retry_lookup(&mut identity);
    assert_eq!(identity.process.as_deref().ok(), Some("node (2)"));
}

#[test]
fn a_known_process_is_found_while_there_is_no_time_for_all() {
    let machine = Machine::new(100);
    let (mut peers, first, second) = (machine.peers(), caller(1, 7), caller(2, 7));
    open(&mut peers, &first);
    open(&mut peers, &second);
    assert_eq!(peers.identify(&second).process.as_deref().ok(), NODE_7);
    assert_eq!(machine.looks(), [(vec![7], Among::All), (vec![7], Among::Known)]);
}

#[test]
fn a_thousand_connections_at_once_of_a_known_process_are_all_found() {
    let machine = Machine::new(5);
    machine.with(|inner| inner.known_only = Duration::from_micros(10));
    let mut peers = machine.peers();
    for connection in 1..=1_000 {
        open(&mut peers, &caller(connection, 7));
    }
    let found = |at| peers.open[&ConnectionId(at)].process.as_deref() == Ok("node (7)");
    assert!((1..=1_000).all(found));
}

#[test]
fn those_that_there_was_no_time_for_are_looked_up_together_on_a_tick() {
    let machine = Machine::new(100);
    let mut peers = machine.peers();
    for connection in 1..=20 {
        open(&mut peers, &caller(connection, u16::try_from(connection).unwrap()));
    }
    assert_eq!(machine.looks().len(), 2);
    assert_eq!(peers.pending.len(), 19);
    machine.pass(Duration::from_secs(4));
    peers.tick();
    assert_eq!(machine.looks()[0].0.len(), 19);
    assert!(peers.pending.is_empty());
    peers.tick();
    assert_eq!(machine.looks(), []);
}

#[test]
fn of_several_callers_the_first_is_named_whose_process_is_known() {
    let (_, mut peers, known, stranger) = two_connections(100);
    let mut who = None;
    peers.track(&mut who, &stranger);
    assert_eq!(who.as_ref().unwrap().process, Err(UnknownPeer::NoTime));
    peers.track(&mut who, &known);
    let who = who.unwrap();
    assert_eq!(
        (who.caller.connection, who.process.as_deref().ok()),
        (ConnectionId(1), Some("node (1)"))
    );
}

#[test]
fn a_reason_is_final_and_is_kept_when_the_connection_closes() {
    for reason in UnknownPeer::ALL.into_iter().filter(|reason| *reason != UnknownPeer::NoTime) {
        let machine = Machine::new(0);
        machine.with(|inner| inner.absent = Some(reason));
        let (mut peers, remote) = (machine.peers(), caller(1, 1));
        open(&mut peers, &remote);
        machine.looks();
        for _ in 0..10 {
            assert_eq!(peers.identify(&remote).process, Err(reason));
            assert_eq!(peers.role(&remote), None);
            assert!(peers.is_unidentified(&remote));
        }
        peers.connection_closed(remote.connection);
        assert_eq!(peers.identify(&remote).process, Err(reason));
        assert_eq!(machine.looks(), []);
    }
}

#[test]
fn a_process_is_remembered_beyond_its_connection_but_not_looked_up() {
    let (machine, mut peers, known, stranger) = two_connections(100);
    peers.connection_closed(known.connection);
    peers.connection_closed(stranger.connection);
    machine.looks();
    machine.pass(Duration::from_secs(10));
    assert_eq!(peers.identify(&known).process.as_deref().ok(), Some("node (1)"));
    assert_eq!(peers.identify(&stranger).process, Err(UnknownPeer::NoTime));
    let long_gone = peers.identify(&caller(3, 3)).process;
    assert_eq!(long_gone, Err(UnknownPeer::ConnectionClosed));
    assert_eq!((machine.looks(), peers.open.len()), (vec![], 0));
}

#[test]
fn a_role_is_remembered_and_one_that_is_taken_later_is_noticed() {
    let machine = Machine::new(0);
    let (mut peers, api) = (machine.peers(), caller(1, 1));
    assert_eq!(peers.role(&api), None);
    assert_eq!(peers.role(&api), None);
    assert_eq!(machine.looks().len(), 1);
    let flask = Role::known("flask");
    machine.with(|inner| inner.role = Some(flask));
    machine.pass(WITHOUT_ROLE);
    assert_eq!(peers.role(&api), Some(flask));
    machine.looks();
    machine.pass(WITHOUT_ROLE);
    assert_eq!(peers.role(&api), Some(flask));
    assert_eq!(machine.looks(), []);
    peers.connection_closed(api.connection);
    assert_eq!(peers.role(&Caller::gone(api.connection)), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let machine = Machine::new(0);
    let mut peers = machine.peers();
    for connection in 0..2 * MAX_OPEN as u64 {
        open(&mut peers, &caller(connection, 1));
    }
    assert_eq!(peers.open.len(), MAX_OPEN);
    assert!(peers.pending.is_empty());
    for connection in 0..2 * MAX_OPEN as u64 {
        peers.connection_closed(ConnectionId(connection));
    }
    assert_eq!((peers.open.len(), peers.closed.len()), (0, MAX_CLOSED));
    let newest = caller(2 * MAX_OPEN as u64 - 1, 1);
    assert_eq!(peers.identify(&newest).process.as_deref().ok(), Some("node (1)"));
}

#[test]
fn looking_takes_a_twentieth_of_the_recorders_time_at_most() {
    // As slow as a machine with very many descriptors, on which no process is known.
    let slow = Duration::from_millis(5);
    let machine = Machine::new(5);
    machine.with(|inner| {
        (inner.absent, inner.known_only) = (Some(UnknownPeer::NotPermitted), slow);
    });
    let mut peers = machine.peers();
    for connection in 0..10_000 {
        let other = caller(connection, 1);
        open(&mut peers, &other);
        peers.identify(&other);
        peers.role(&other);
        machine.pass(Duration::from_millis(1));
    }
    let (spent, passed) = machine.with(|inner| (inner.cpu, inner.now));
    // What was saved up before, and one look of each kind that overdraws.
    let share = (spent - Duration::from_millis(50) - 2 * slow).as_secs_f64() / passed.as_secs_f64();
    assert!((0.04..=0.05).contains(&share), "{share} of {passed:?}");
}
