//! Against answers that nodes gave, recorded in `tests/fixtures/nodes`: the same session on each,
//! with the same addresses. Of the struct logs only the steps that matter are kept.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CASES: [&str; 10] = [
    "mintFirst",
    "mintSecond",
    "mintEmpty",
    "list",
    "buy",
    "cancel",
    "nastyDeploy",
    "nastyGo",
    "nastyGoAgain",
    "nastyFails",
];

fn recorded(node: &str) -> Value {
    let path = format!("{}/tests/fixtures/nodes/traces-{node}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn by_struct_logs(case: &Value) -> Vec<WrittenSlot> {
    let created = !case["created"].is_null();
    let address = if created { &case["created"] } else { &case["to"] };
    let address = serde_json::from_value(address.clone()).unwrap();
    struct_logs(&case["struct"].to_string(), address, created).unwrap()
}

/// What was not read is taken from the diff: the node would be asked for it.
fn agree(diff: &[TracedSlot], written: &[WrittenSlot], case: &str) {
    let found = written.iter().filter_map(|written| {
        let WrittenSlot { address, slot, before, after } = *written;
        let known = diff.iter().find(|d| (d.address, d.slot) == (address, slot));
        // Not in the diff: it is unchanged.
        let before = before.or(Some(known?.before))?;
        Some(TracedSlot { address, slot, before, after })
    });
    assert_eq!(found.collect::<Vec<_>>(), diff, "{case}");
}

#[test]
fn both_tracers_agree_slot_by_slot() {
    let (hardhat2, hardhat3) = (recorded("hardhat2"), recorded("hardhat3"));
    let anvil = recorded("anvil");
    for case in CASES {
        let of = |node: &Value| prestate_diff(&node[case]["prestate"].to_string()).unwrap();
        let (diff, accounts) = of(&hardhat3);
        assert_eq!(of(&anvil), (diff.clone(), accounts), "{case}");
        agree(&diff, &by_struct_logs(&hardhat3[case]), case);
        agree(&diff, &by_struct_logs(&hardhat2[case]), case);
    }
}

#[test]
fn a_mint_creates_slots_and_a_cancelled_listing_clears_them() {
    let node = recorded("hardhat3");
    let fates = |case: &str| {
        let (slots, accounts) = prestate_diff(&node[case]["prestate"].to_string()).unwrap();
        let count = |f: fn(&TracedSlot) -> bool| slots.iter().filter(|slot| f(slot)).count();
        let created = count(|s| s.before.is_zero());
        let cleared = count(|s| s.after.is_zero());
        (created, slots.len() - created - cleared, cleared, accounts)
    };
    // The counter, the owner's balance, the owner of the token, and the URI's length and words;
    // accounts are the contract, the sender and the fee's receiver.
    assert_eq!(fates("mintFirst"), (7, 0, 0, 3));
    assert_eq!(fates("mintSecond"), (2, 2, 0, 3));
    assert_eq!(fates("list"), (2, 0, 0, 3));
    assert_eq!(fates("cancel"), (0, 0, 2, 3));
    assert_eq!(fates("mintEmpty"), (0, 0, 0, 2), "a reverted transaction changes no slot");
}

#[test]
fn what_is_on_one_side_only_was_created_or_cleared_and_unchanged_accounts_do_not_count() {
    let [one, two, three, four] = [1, 2, 3, 4].map(|n| Address::repeat_byte(n).to_string());
    let diff = json!({
        "pre": {
            one.as_str(): {"balance": "0x1", "nonce": 1, "storage": {"0x1": "0x5", "0x2": "0x6", "0x3": "0x7"}},
            two.as_str(): {"balance": "0x1", "nonce": 1},
            three: {"balance": "0x1"},
        },
        "post": {
            one.as_str(): {"storage": {"0x1": "0x9", "0x3": "0x7", "0x4": "0x8"}},
            two.as_str(): {"balance": "0x1"},
            four: {"balance": "0x1"},
        },
    });
    let (slots, accounts) = prestate_diff(&diff.to_string()).unwrap();
    let word = |number: u64| B256::from(U256::from(number));
    let slot = |slot, before, after| TracedSlot {
        address: Address::repeat_byte(1),
        slot: word(slot),
        before: word(before),
        after: word(after),
    };
    assert_eq!(slots, [slot(1, 5, 9), slot(2, 6, 0), slot(4, 0, 8)]);
    assert_eq!(accounts, 3, "one, three destroyed and four created");
}

/// The last byte of an address, slot, value before and after.
type Short = (u8, u64, Option<u64>, u64);

fn run(steps: &[(&str, usize, &[u64])]) -> Result<Vec<Short>, String> {
    let step = |(op, depth, stack): &(&str, usize, &[u64])| {
        let stack: Vec<String> = stack.iter().map(|word| format!("{word:x}")).collect();
        json!({"op": op, "depth": depth, "stack": stack})
    };
    let logs: Vec<Value> = steps.iter().map(step).collect();
    let logs = json!({"failed": false, "structLogs": logs}).to_string();
    let number = |word: B256| U256::from_be_bytes(word.0).to::<u64>();
    let root = Address::with_last_byte(1);
    let written = struct_logs(&logs, root, false).map_err(|error| error.to_string())?;
    let short =
        |w: WrittenSlot| (w.address[19], number(w.slot), w.before.map(number), number(w.after));
    Ok(written.into_iter().map(short).collect())
}

#[test]
fn the_writes_of_a_call_that_failed_do_not_count_and_those_around_it_do() {
    let steps: &[(&str, usize, &[u64])] = &[
        ("SSTORE", 1, &[10, 7]),
        ("CALL", 1, &[2, 0]),
        ("SSTORE", 2, &[11, 7]),
        ("CALL", 2, &[1, 0]),
        ("SSTORE", 3, &[12, 8]),
        ("STOP", 3, &[]),
        ("REVERT", 2, &[1]),
        ("POP", 1, &[0]),
        ("SLOAD", 1, &[8]),
        ("POP", 1, &[3]),
        ("SSTORE", 1, &[13, 8]),
    ];
    assert_eq!(run(steps).unwrap(), [(1, 7, None, 10), (1, 8, Some(3), 13)]);
}

#[test]
fn a_delegate_call_writes_its_callers_storage_and_what_ends_as_it_began_is_left_out() {
    let steps: &[(&str, usize, &[u64])] = &[
        ("DELEGATECALL", 1, &[2, 0]),
        ("SLOAD", 2, &[7]),
        ("PUSH1", 2, &[5]),
        ("SSTORE", 2, &[6, 7]),
        ("SLOAD", 2, &[7]),
        ("POP", 2, &[6]),
        ("SSTORE", 2, &[1, 9]),
        ("SSTORE", 1, &[1, 5, 7]),
    ];
    assert_eq!(
        run(&[&steps[..7], &[("STOP", 1, &[1])]].concat()).unwrap(),
        [(1, 7, Some(5), 6), (1, 9, None, 1)]
    );
    assert_eq!(run(steps).unwrap(), [(1, 9, None, 1)]);
}

#[test]
fn what_a_constructor_wrote_belongs_to_the_address_that_its_creation_gave() {
    let steps: &[(&str, usize, &[u64])] = &[
        ("CREATE", 1, &[0]),
        ("SSTORE", 2, &[5, 7]),
        // Its delegate call returns 1, which is no address.
        ("DELEGATECALL", 2, &[3, 0]),
        ("SSTORE", 3, &[6, 8]),
        ("POP", 2, &[1]),
        // Called back by its address, before that was told.
        ("CALL", 2, &[1, 9, 0]),
        ("SLOAD", 3, &[7]),
        ("SSTORE", 3, &[5, 4, 7]),
        ("STOP", 2, &[1]),
        ("CREATE2", 1, &[9]),
        ("SSTORE", 2, &[5, 7]),
        ("STOP", 1, &[0]),
    ];
    assert_eq!(run(steps).unwrap(), [(9, 7, Some(0), 4), (9, 8, Some(0), 6)]);
}

#[test]
fn steps_that_no_machine_takes_are_an_error() {
    for steps in [
        &[("SSTORE", 1, &[1][..])][..],
        &[("SLOAD", 1, &[])],
        &[("STOP", 0, &[1])],
        &[("STOP", 2, &[1])],
        &[("CALL", 1, &[1, 1]), ("STOP", 3, &[1])],
    ] {
        assert!(run(steps).is_err(), "{steps:?}");
    }
    assert!(struct_logs("{}", Address::ZERO, false).is_err(), "no struct logs");
    assert!(prestate_diff("{}").is_err());
}

proptest! {
    #[test]
    fn anything_is_read_without_a_panic(text in ".{0,200}") {
        let _ = prestate_diff(&text);
        let _ = struct_logs(&text, Address::ZERO, false);
    }

    #[test]
    fn any_steps_are_followed_without_a_panic(
        steps in proptest::collection::vec(
            (
                prop::sample::select(vec![
                    "SSTORE", "SLOAD", "CALL", "DELEGATECALL", "CREATE", "CREATE2", "STOP",
                ]),
                0_usize..5,
                proptest::collection::vec(0_u64..3, 0..4),
            ),
            0..40,
        ),
    ) {
        let steps: Vec<_> = steps.iter().map(|(op, depth, stack)| (*op, *depth, &stack[..])).collect();
        let _ = run(&steps);
    }
}
