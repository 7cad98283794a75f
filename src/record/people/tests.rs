//! Callers in, processes and roles out, whatever looking takes.

use std::sync::Mutex;
use std::thread;

use super::*;

/// Keeps this thread working for so long.
pub(in crate::record) fn work(time: Duration) {
    let begun = worked();
    while worked().saturating_sub(begun) < time {
        std::hint::spin_loop();
    }
}

/// A machine on which each look takes a while, and which is told whom it has.
#[derive(Clone)]
struct Machine(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    everywhere: Duration,
    nearby: Duration,
    role: Option<Role>,
    /// By their ports, those found lately.
    known: Vec<u16>,
    absent: bool,
    looks: Vec<(Vec<u16>, Among)>,
}

impl Machine {
    fn new(everywhere_ms: u64) -> Self {
        let everywhere = Duration::from_millis(everywhere_ms);
        Self(Arc::new(Mutex::new(Inner { everywhere, ..Inner::default() })))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn people(&self) -> People {
        let machine = self.clone();
        People::new(Box::new(move |ends, among| machine.with(|inner| inner.find(ends, among))))
    }

    fn looks(&self) -> Vec<(Vec<u16>, Among)> {
        self.with(|inner| std::mem::take(&mut inner.looks))
    }
}

impl Inner {
    fn find(&mut self, ends: &[SocketAddr], among: Among) -> Vec<Option<Owner>> {
        let ports: Vec<u16> = ends.iter().map(SocketAddr::port).collect();
        let known = |port: &u16| self.known.contains(port);
        work(if ports.iter().all(known) { self.nearby } else { self.everywhere });
        let found = |port: &u16| !self.absent && (among == Among::All || known(port));
        let owner = |port: &u16| Owner { name: format!("node ({port})").into(), role: self.role };
        let owners = ports.iter().map(|port| found(port).then(|| owner(port))).collect();
        if among == Among::All {
            self.known.extend(&ports);
        }
        self.looks.push((ports, among));
        owners
    }
}

fn caller(connection: u64, port: u16) -> Caller {
    let peer = Some(([127, 0, 0, 1], port).into());
    Caller { connection: ConnectionId(connection), peer, agent: None }
}

fn met(people: &mut People, caller: &Caller) {
    people.met(caller.connection, caller.peer.unwrap());
}

/// Has something done again until it comes to something, which it must within seconds.
fn again<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(done) = what() {
            return done;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it never came");
        thread::yield_now();
    }
}

#[test]
fn who_calls_is_looked_up_when_it_is_first_heard_of_and_never_again() {
    let machine = Machine::new(0);
    let (mut people, page) = (machine.people(), caller(1, 4_000));
    met(&mut people, &page);
    assert_eq!(machine.looks(), [(vec![4_000], Among::All)]);
    for _ in 0..10 {
        met(&mut people, &page);
        assert_eq!(people.identify(&page).process.as_deref(), Some("node (4000)"));
    }
    assert_eq!(machine.looks(), []);
}

#[test]
fn a_look_that_was_skipped_is_made_up_for_while_the_calls_go_on() {
    let machine = Machine::new(30);
    let (mut people, first, second) = (machine.people(), caller(1, 1), caller(2, 2));
    met(&mut people, &first);
    met(&mut people, &second);
    assert_eq!(machine.looks(), [(vec![1], Among::All), (vec![2], Among::Known)], "resting");
    let mut who = None;
    people.attend(&mut who, &second);
    assert_eq!(who.as_ref().unwrap().process, None);
    let process = again(|| {
        people.attend(&mut who, &second);
        who.as_ref()?.process.clone()
    });
    assert_eq!(&*process, "node (2)");
}

#[test]
fn a_look_that_was_skipped_is_made_up_for_when_it_is_told() {
    let machine = Machine::new(30);
    let (mut people, first, second) = (machine.people(), caller(1, 1), caller(2, 2));
    met(&mut people, &first);
    met(&mut people, &second);
    let mut identity = people.identify(&second);
    assert_eq!(identity.process, None);
    again(|| {
        people.make_up(&mut identity);
        identity.process.clone()
    });
}

#[test]
fn one_who_is_known_is_found_while_looking_among_all_rests() {
    let machine = Machine::new(100);
    let (mut people, first, second) = (machine.people(), caller(1, 7), caller(2, 7));
    met(&mut people, &first);
    met(&mut people, &second);
    assert_eq!(people.identify(&second).process.as_deref(), Some("node (7)"));
    assert_eq!(machine.looks(), [(vec![7], Among::All), (vec![7], Among::Known)]);
}

#[test]
fn those_whom_there_was_no_time_for_are_looked_for_together_by_and_by() {
    let machine = Machine::new(5);
    let mut people = machine.people();
    for connection in 1..=20 {
        met(&mut people, &caller(connection, 7));
    }
    assert_eq!(machine.looks().len(), 2, "resting");
    assert_eq!(people.unknown.len(), 18);
    again(|| {
        people.tick();
        people.unknown.is_empty().then_some(())
    });
    assert_eq!(machine.looks()[0].0.len(), 18);
    assert_eq!(people.identify(&caller(20, 7)).process.as_deref(), Some("node (7)"));
}

#[test]
fn of_several_callers_the_first_is_named_whose_process_is_known() {
    let machine = Machine::new(100);
    let (mut people, known, stranger) = (machine.people(), caller(1, 1), caller(2, 2));
    met(&mut people, &known);
    met(&mut people, &stranger);
    let mut who = None;
    people.attend(&mut who, &stranger);
    assert_eq!(who.as_ref().unwrap().process, None);
    people.attend(&mut who, &known);
    let who = who.unwrap();
    assert_eq!(
        (who.caller.connection, who.process.as_deref()),
        (ConnectionId(1), Some("node (1)"))
    );
}

#[test]
fn nobody_is_an_answer_too() {
    let machine = Machine::new(0);
    machine.with(|inner| inner.absent = true);
    let (mut people, remote) = (machine.people(), caller(1, 1));
    met(&mut people, &remote);
    machine.looks();
    for _ in 0..10 {
        assert_eq!(people.identify(&remote).process, None);
        assert_eq!(people.role(&remote), None);
    }
    assert_eq!(machine.looks(), []);
}

#[test]
fn a_connection_that_is_gone_is_forgotten_and_its_address_belongs_to_nobody() {
    let machine = Machine::new(0);
    let (mut people, page) = (machine.people(), caller(1, 1));
    met(&mut people, &page);
    let mut known = people.identify(&page);
    people.closed(page.connection);
    machine.looks();
    let mut late = people.identify(&page);
    people.make_up(&mut late);
    people.make_up(&mut known);
    assert_eq!((late.process, known.process.as_deref()), (None, Some("node (1)")));
    assert_eq!((machine.looks(), people.open.len()), (vec![], 0));
}

#[test]
fn a_role_is_told_from_memory_and_one_that_is_taken_later_is_noticed() {
    let machine = Machine::new(0);
    let (mut people, api) = (machine.people(), caller(1, 1));
    assert_eq!(people.role(&api), None);
    assert_eq!(people.role(&api), None);
    assert_eq!(machine.looks().len(), 1);
    let flask = Role::known("flask");
    machine.with(|inner| inner.role = Some(flask));
    again(|| people.role(&api).filter(|role| *role == flask));
    machine.looks();
    for _ in 0..1_000 {
        assert_eq!(people.role(&api), Some(flask));
    }
    assert_eq!(machine.looks(), []);
    people.closed(api.connection);
    assert_eq!(people.role(&Caller::gone(api.connection)), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let machine = Machine::new(0);
    let mut people = machine.people();
    for connection in 0..3 * MOST as u64 {
        met(&mut people, &caller(connection, 1));
    }
    assert!(people.open.len() <= MOST && people.unknown.len() <= MOST);
}

#[test]
fn looking_takes_a_twentieth_of_the_recorders_time_at_most() {
    // As slow as a machine with very many descriptors, on which nobody is known.
    let slow = Duration::from_millis(5);
    let mut spent = Duration::ZERO;
    let machine = Machine::new(5);
    machine.with(|inner| (inner.absent, inner.nearby) = (true, slow));
    let mut people = machine.people();
    let begun = std::time::Instant::now();
    let mut connection = 0;
    while begun.elapsed() < Duration::from_secs(1) {
        connection += 1;
        let somebody = caller(connection, 1);
        met(&mut people, &somebody);
        people.identify(&somebody);
        people.role(&somebody);
        let looks = u32::try_from(machine.looks().len()).unwrap();
        spent += slow * looks;
    }
    // One of each kind is free, for nothing was spent before it.
    let share = spent.saturating_sub(2 * slow).as_secs_f64() / begun.elapsed().as_secs_f64();
    assert!(connection > 1_000 && share <= 0.05, "{share} of the time, {connection} connections");
}
