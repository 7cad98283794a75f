//! Calls in, findings out.

use super::*;
use crate::model::UnixMicros;

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

fn findings() -> Findings {
    Findings::new(Box::new(|end| Some(format!("firefox ({})", end.port()).into())))
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
fn due(findings: &mut Findings, at: u64) -> Vec<(FindingKind, u32)> {
    findings.take_due(ms(at)).iter().map(|found| (found.kind, found.count)).collect()
}

#[test]
fn a_call_repeated_often_enough_within_a_block_is_told_with_who_made_it() {
    let (mut findings, page) = (findings(), caller(7));
    for at in 1..9 {
        findings.repeated(&ended(1, 1_000 + at, &page), ms(1_000));
    }
    findings.changed();
    assert_eq!(due(&mut findings, 1_010), [], "nine are nothing to speak of");
    for at in 1..20 {
        findings.repeated(&ended(1, 2_000 + at, &page), ms(2_000));
        findings.repeated(&ended(2, 2_000 + at, &page), ms(2_000));
    }
    assert_eq!(due(&mut findings, 2_100), [], "not over yet");
    findings.changed();
    let found = findings.take_due(ms(2_101));
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
    let (mut findings, page) = (findings(), caller(7));
    for at in 1..12 {
        findings.repeated(&ended(1, 1_000 + at * 100, &page), ms(1_000));
    }
    assert_eq!(due(&mut findings, 3_900), []);
    assert_eq!(due(&mut findings, 4_000), [(FindingKind::RepeatedCalls, 12)]);
    assert_eq!(due(&mut findings, 9_000), [], "told once");
}

#[test]
fn repetitions_go_on_being_told_however_long_no_block_comes() {
    let (mut findings, page) = (findings(), caller(7));
    let mut told = 0;
    for at in 1..=400_u64 {
        findings.repeated(&ended(1, 1_000 + at * 50, &page), ms(1_000));
        told += due(&mut findings, 1_000 + at * 50).iter().map(|(_, count)| count).sum::<u32>();
    }
    findings.changed();
    told += due(&mut findings, 21_001).iter().map(|(_, count)| count).sum::<u32>();
    assert_eq!(told, 401, "the first one and all that repeat it");
}

#[test]
fn different_calls_without_a_pause_are_a_burst_whatever_connection_carries_them() {
    let mut findings = findings();
    let pages = [caller(1), caller(2), caller(3)];
    for (i, page) in (0..12_u64).zip(pages.iter().cycle()) {
        // Told in another order than begun.
        findings.called(&ended(i, 1_000 + (i ^ 3), page));
    }
    assert_eq!(due(&mut findings, 1_300), []);
    assert_eq!(due(&mut findings, 1_600), [(FindingKind::MulticallBurst, 12)]);
    // Seven, a pause, and seven more; and many of the same one.
    for i in 0..7_u64 {
        findings.called(&ended(i, 2_000 + i, &pages[0]));
        findings.called(&ended(i, 2_200 + i, &pages[0]));
    }
    for i in 0..50_u64 {
        findings.called(&ended(1, 5_000 + i, &pages[0]));
    }
    assert_eq!(due(&mut findings, 9_000), []);
}

#[test]
fn receipts_asked_for_in_vain_are_told_with_their_transaction() {
    let (mut findings, page) = (findings(), caller(1));
    let (often, seldom) = (B256::repeat_byte(1), B256::repeat_byte(2));
    for at in 0..30 {
        findings.polled(often, false, &ended(1, 1_000 + at * 10, &page));
    }
    findings.polled(seldom, false, &ended(2, 1_000, &page));
    findings.polled(often, true, &ended(1, 1_300, &page));
    findings.polled(seldom, true, &ended(2, 1_300, &page));
    let found = findings.take_due(ms(1_301));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].count, found[0].transaction), (31, Some(often)));
    // One that never comes.
    for at in 0..6 {
        findings.polled(seldom, false, &ended(2, 2_000 + at, &page));
    }
    assert_eq!(due(&mut findings, 4_000), []);
    assert_eq!(due(&mut findings, 8_000), [(FindingKind::ReceiptPolling, 6)]);
}

#[test]
fn what_is_followed_is_bounded() {
    let (mut findings, page) = (findings(), caller(1));
    for i in 0..10_000_u64 {
        let hash = B256::left_padding_from(&i.to_be_bytes());
        for _ in 0..12 {
            findings.repeated(&ended(i, 1_000, &page), ms(1_000));
            findings.polled(hash, false, &ended(i, 1_000, &page));
        }
    }
    let found = findings.take_all();
    assert_eq!(found.len(), 1_024 + 4_096);
}

#[test]
fn looking_up_processes_takes_a_small_part_of_the_recorders_time() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let looked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&looked);
    let mut findings = Findings::new(Box::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        // As slow as a machine with very many descriptors.
        std::thread::sleep(Duration::from_millis(60));
        None
    }));
    let begun = std::time::Instant::now();
    for connection in 0..2_000 {
        findings.ahead(None, None, &caller(connection));
    }
    let most = 1 + begun.elapsed().as_millis() / (60 * u128::from(REST));
    assert!(u128::from(looked.load(Ordering::Relaxed)) <= most);
    assert_eq!(findings.take_all().len(), 2_000);
}

#[test]
fn an_agent_of_any_length_and_any_characters_is_kept_short() {
    let mut findings = findings();
    let agent = format!("<script>\u{1}{}", "\u{e9}".repeat(4_000));
    let evil = Caller { agent: Some(agent.into()), ..caller(1) };
    for at in 1..12 {
        findings.repeated(&ended(1, 1_000 + at, &evil), ms(1_000));
    }
    let clock = Clock::fixed(ms(0), UnixMicros(0));
    let finding = findings.take_all().remove(0).named(None, &clock);
    let agent = finding.client.agent.expect("an agent");
    assert!(agent.len() <= LONGEST_AGENT && agent.starts_with("<script>"), "{agent}");
}
