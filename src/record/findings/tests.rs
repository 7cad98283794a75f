//! Calls in, findings out.

use super::*;
use crate::model::{ConnectionId, Ends, Owner, UnixMicros};

fn ms(ms: u64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

fn caller(connection: u64) -> Caller {
    Caller {
        connection: ConnectionId(connection),
        peer: Some(([127, 0, 0, 1], 4_000).into()),
        agent: Some("page/1.0".into()),
    }
}

/// The finders, and somebody at every end.
struct Bench {
    findings: Findings,
    peers: PeerProcesses,
}

impl Bench {
    fn new() -> Self {
        let owner = |ends: &Ends| {
            Ok(Owner { name: format!("firefox ({})", ends.peer.port()).into(), role: None })
        };
        let lookup = move |ends: &[Ends], _| ends.iter().map(owner).collect();
        Self { findings: Findings::default(), peers: PeerProcesses::new(Box::new(lookup)) }
    }

    fn repeated(&mut self, call: &Ended<'_>, first: Stamp) {
        self.seen(call);
        self.findings.repeated(call, first, &mut self.peers);
    }

    fn called(&mut self, call: &Ended<'_>) {
        self.seen(call);
        self.findings.called(call, &mut self.peers);
    }

    fn polled(&mut self, transaction: B256, there: bool, call: &Ended<'_>) {
        self.seen(call);
        self.findings.polled(transaction, there, call, &mut self.peers);
    }

    fn seen(&mut self, call: &Ended<'_>) {
        self.peers.connection_seen(call.caller.connection, call.caller.peer.unwrap());
    }

    /// Everything that was found so far.
    fn take_all(&mut self) -> Vec<Found> {
        self.findings.take_due(Stamp::from_nanos(u64::MAX))
    }
}

fn ended(question: u64, at: u64, caller: &Caller) -> Ended<'_> {
    Ended {
        method: Method::known("eth_call"),
        question: Question::of(question),
        subject: Some(Subject::Function(Address::ZERO, Some([1, 2, 3, 4]))),
        started: ms(at),
        caller,
    }
}

/// Kind and count of what is over at a moment.
fn due(bench: &mut Bench, at: u64) -> Vec<(FindingKind, u32)> {
    bench.findings.take_due(ms(at)).iter().map(|found| (found.kind, found.count)).collect()
}

#[test]
fn a_call_repeated_often_enough_within_a_block_is_told_with_who_made_it() {
    let (mut bench, page) = (Bench::new(), caller(7));
    for at in 1..9 {
        bench.repeated(&ended(1, 1_000 + at, &page), ms(1_000));
    }
    bench.findings.changed();
    assert_eq!(due(&mut bench, 1_010), [], "nine are nothing to speak of");
    for at in 1..20 {
        bench.repeated(&ended(1, 2_000 + at, &page), ms(2_000));
        bench.repeated(&ended(2, 2_000 + at, &page), ms(2_000));
    }
    assert_eq!(due(&mut bench, 2_100), [], "not over yet");
    bench.findings.changed();
    let found = bench.findings.take_due(ms(2_101));
    assert_eq!(found.len(), 2, "one for each question");
    let clock = Clock::fixed(ms(0), UnixMicros(0));
    let target = Some(ContractCall {
        contract: crate::model::ContractName::known("Market"),
        function: crate::model::FunctionName::known("listings"),
    });
    let finding = found.into_iter().next().unwrap().named(target, &clock);
    assert_eq!(finding.kind, FindingKind::RepeatedCalls);
    assert_eq!((finding.count, finding.span), (20, Duration::from_millis(19)));
    assert_eq!((finding.at, finding.target), (UnixMicros(2_019_000), target));
    assert_eq!(finding.connection, ConnectionId(7));
    assert_eq!(finding.client.agent.as_deref(), Some("page/1.0"));
    assert_eq!(finding.client.process.as_deref(), Some("firefox (4000)"));
}

#[test]
fn without_blocks_repetitions_are_told_after_the_window() {
    let (mut bench, page) = (Bench::new(), caller(7));
    for at in 1..12 {
        bench.repeated(&ended(1, 1_000 + at * 100, &page), ms(1_000));
    }
    assert_eq!(due(&mut bench, 3_900), []);
    assert_eq!(due(&mut bench, 4_000), [(FindingKind::RepeatedCalls, 12)]);
    assert_eq!(due(&mut bench, 9_000), [], "told once");
}

#[test]
fn repetitions_go_on_being_told_however_long_no_block_comes() {
    let (mut bench, page) = (Bench::new(), caller(7));
    let mut told = 0;
    for at in 1..=400_u64 {
        bench.repeated(&ended(1, 1_000 + at * 50, &page), ms(1_000));
        told += due(&mut bench, 1_000 + at * 50).iter().map(|(_, count)| count).sum::<u32>();
    }
    bench.findings.changed();
    told += due(&mut bench, 21_001).iter().map(|(_, count)| count).sum::<u32>();
    assert_eq!(told, 401, "the first one and all that repeat it");
}

#[test]
fn different_calls_without_a_pause_are_a_burst_whatever_connection_carries_them() {
    let mut bench = Bench::new();
    let pages = [caller(1), caller(2), caller(3)];
    for (i, page) in (0..12_u64).zip(pages.iter().cycle()) {
        // Told in another order than begun.
        bench.called(&ended(i, 1_000 + (i ^ 3), page));
    }
    assert_eq!(due(&mut bench, 1_300), []);
    assert_eq!(due(&mut bench, 1_600), [(FindingKind::MulticallBurst, 12)]);
    // Seven, a pause, and seven more; and many of the same one.
    for i in 0..7_u64 {
        bench.called(&ended(i, 2_000 + i, &pages[0]));
        bench.called(&ended(i, 2_200 + i, &pages[0]));
    }
    for i in 0..50_u64 {
        bench.called(&ended(1, 5_000 + i, &pages[0]));
    }
    assert_eq!(due(&mut bench, 9_000), []);
}

#[test]
fn receipts_asked_for_in_vain_are_told_with_their_transaction() {
    let (mut bench, page) = (Bench::new(), caller(1));
    let (often, seldom) = (B256::repeat_byte(1), B256::repeat_byte(2));
    for at in 0..30 {
        bench.polled(often, false, &ended(1, 1_000 + at * 10, &page));
    }
    bench.polled(seldom, false, &ended(2, 1_000, &page));
    bench.polled(often, true, &ended(1, 1_300, &page));
    bench.polled(seldom, true, &ended(2, 1_300, &page));
    let found = bench.findings.take_due(ms(1_301));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].count, found[0].transaction), (31, Some(often)));
    // One that never comes.
    for at in 0..6 {
        bench.polled(seldom, false, &ended(2, 2_000 + at, &page));
    }
    assert_eq!(due(&mut bench, 4_000), []);
    assert_eq!(due(&mut bench, 8_000), [(FindingKind::ReceiptPolling, 6)]);
}

#[test]
fn what_is_followed_is_bounded() {
    let (mut bench, page) = (Bench::new(), caller(1));
    for i in 0..10_000_u64 {
        let hash = B256::left_padding_from(&i.to_be_bytes());
        for _ in 0..12 {
            bench.repeated(&ended(i, 1_000, &page), ms(1_000));
            bench.polled(hash, false, &ended(i, 1_000, &page));
        }
    }
    let found = bench.take_all();
    assert_eq!(found.len(), 1_024 + 4_096);
}

#[test]
fn an_agent_of_any_length_and_any_characters_is_kept_short() {
    let mut bench = Bench::new();
    let agent = format!("<script>\u{1}{}", "\u{e9}".repeat(4_000));
    let evil = Caller { agent: Some(agent.into()), ..caller(1) };
    for at in 1..12 {
        bench.repeated(&ended(1, 1_000 + at, &evil), ms(1_000));
    }
    let clock = Clock::fixed(ms(0), UnixMicros(0));
    let finding = bench.take_all().remove(0).named(None, &clock);
    let agent = finding.client.agent.expect("an agent");
    assert!(agent.len() <= LONGEST_AGENT && agent.starts_with("<script>"), "{agent}");
}
