//! Names at the times of calls: what was at an address before and after changes.

use super::*;
use crate::model::{ContractCode, Stamp};

fn at(start: u64, end: u64) -> Interval {
    Interval { start: Stamp::from_nanos(start), end: Stamp::from_nanos(end) }
}

/// Contracts A and B, whose code is a byte of their own.
fn two() -> Contracts {
    let mut contracts = Contracts::new();
    for (name, byte) in [("A", 0xaa), ("B", 0xbb)] {
        contracts.add(artifact(name, "", &json!([]), &format!("0x{byte:02x}01")));
    }
    contracts
}

/// The creation code of the contract with this byte.
fn creation(byte: u8) -> Vec<u8> {
    vec![0x60, byte, 0x01]
}

impl Contracts {
    fn answer(&mut self, byte: Option<u8>, asked: Interval) -> bool {
        let code = byte.map_or(Vec::new(), |byte| vec![byte, 0x01]);
        self.learn(&ContractCode { address: HERE, code: code.into(), implementation: None, asked })
    }

    fn name_at(&mut self, start: u64, end: u64) -> &'static str {
        self.contract_at(HERE, Some(at(start, end))).as_str()
    }
}

#[test]
fn a_rollback_brings_back_what_was_there_at_the_snapshot() {
    let mut contracts = two();
    contracts.created(HERE, &creation(0xaa), at(10, 12));
    // A snapshot at 20; the code is set to B's; back again.
    contracts.set_code(HERE, &[0xbb, 0x01], at(30, 31));
    assert_eq!(contracts.name_at(40, 41), "B");
    contracts.roll_back(Some(Stamp::from_nanos(20)), at(50, 52));
    assert_eq!(contracts.name_at(60, 61), "A");
    assert_eq!((contracts.name_at(40, 41), contracts.name_at(15, 16)), ("B", "A"));
    assert_eq!(contracts.name_at(29, 31), "_unknown", "while it changed");
    assert!(contracts.knows(HERE));
}

#[test]
fn what_came_after_the_snapshot_is_gone_and_names_the_calls_of_then() {
    let mut contracts = two();
    for (round, byte) in [(100, 0xaa), (200, 0xbb)] {
        contracts.created(HERE, &creation(byte), at(round, round + 2));
        contracts.roll_back(Some(Stamp::from_nanos(50)), at(round + 20, round + 22));
        assert!(!contracts.knows(HERE));
        assert_eq!(contracts.name_at(round + 30, round + 31), "_unknown");
    }
    assert_eq!(contracts.name_at(110, 111), "A", "recorded late");
    assert_eq!(contracts.name_at(210, 211), "B");
    assert_eq!(contracts.missing_at(HERE, true, Some(at(210, 211))), None, "too late to ask");
}

#[test]
fn an_answer_that_a_change_overlaps_says_nothing() {
    let mut contracts = two();
    contracts.roll_back(None, at(50, 60));
    assert!(!contracts.answer(Some(0xaa), at(45, 55)));
    assert!(!contracts.answer(Some(0xaa), at(55, 65)));
    assert_eq!(contracts.missing(HERE), Some(HERE));
    assert!(contracts.answer(Some(0xaa), at(40, 50)), "it names what was called before");
    assert_eq!((contracts.name_at(30, 31), contracts.name_at(70, 71)), ("A", "_unknown"));
    assert!(contracts.answer(Some(0xbb), at(60, 70)));
    assert_eq!((contracts.name_at(30, 31), contracts.name_at(61, 62)), ("A", "B"));
    contracts.set_code(HERE, &[0xaa, 0x01], at(80, 85));
    assert!(!contracts.answer(Some(0xbb), at(79, 81)));
    assert!(!contracts.answer(Some(0xbb), at(70, 75)), "asked for before");
    assert_eq!(contracts.name_at(90, 91), "A");
}

#[test]
fn an_answer_recorded_before_the_rollback_that_it_saw_is_void() {
    let mut contracts = two();
    assert!(contracts.answer(Some(0xbb), at(70, 80)));
    contracts.roll_back(None, at(50, 60));
    assert_eq!(contracts.name_at(40, 41), "_unknown");
    assert!(!contracts.knows(HERE));
}

#[test]
fn an_account_that_is_called_after_the_state_changed_is_asked_about_again() {
    let mut contracts = two();
    assert!(contracts.answer(None, at(10, 11)));
    let call = Some(at(30, 31));
    assert_eq!(contracts.missing_at(HERE, true, call), None);
    contracts.state_changed(Stamp::from_nanos(20));
    assert_eq!(contracts.missing_at(HERE, true, call), Some(HERE));
    assert_eq!(contracts.missing_at(HERE, false, call), None, "a transfer runs no code");
    assert_eq!(label(contracts.target_at(Some(HERE), &[1, 2, 3, 4], call)), "_unknown._unknown");
    assert_eq!(label(contracts.target_at(Some(HERE), &[], call)), "_account.receive");
    assert!(contracts.answer(Some(0xaa), at(32, 33)));
    assert_eq!(contracts.name_at(30, 31), "A", "it may have come before the call");
}

#[test]
fn an_event_shows_that_there_is_code() {
    let mut contracts = two();
    contracts.answer(None, at(10, 11));
    assert!(contracts.knows(HERE));
    contracts.event(HERE, None);
    assert!(!contracts.knows(HERE));
}

#[test]
fn a_block_of_a_chain_that_is_gone_changes_nothing() {
    let mut contracts = two();
    let stamp = Stamp::from_nanos;
    contracts.roll_back(None, at(50, 60));
    contracts.created(HERE, &creation(0xbb), at(70, 72));
    contracts.mined_creation(HERE, &creation(0xaa), Some(stamp(40)), stamp(75));
    assert_eq!(contracts.name_at(80, 81), "B");
    contracts.mined_creation(HERE, &creation(0xbb), Some(stamp(70)), stamp(75));
    assert_eq!(contracts.name_at(80, 81), "B");
    // Of a transaction past the relay, just after a rollback: of which chain is not known.
    contracts.mined_creation(HERE, &creation(0xaa), None, stamp(90));
    assert_eq!(contracts.name_at(95, 96), "_unknown");
}
