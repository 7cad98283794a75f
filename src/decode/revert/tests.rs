//! Error objects as nodes give them, and hostile ones.

use super::*;

const HARDHAT: &str = include_str!("../../../tests/fixtures/nodes/hardhat2.json");
const ANVIL: &str = include_str!("../../../tests/fixtures/nodes/anvil.json");

fn info(node: &str, case: &str) -> RevertInfo {
    let cases: Value = serde_json::from_str(node).unwrap();
    RevertInfo::parse(cases[case].to_string().as_bytes())
}

#[test]
fn what_real_nodes_answer_is_classified() {
    use RefusalKind as Kind;
    for (node, case, kind) in [
        (HARDHAT, "send-revert-custom", Kind::Reverted),
        (HARDHAT, "send-revert-args", Kind::Reverted),
        (HARDHAT, "send-revert-nodata", Kind::UnknownFunction),
        (HARDHAT, "send-oog", Kind::OutOfGas),
        (HARDHAT, "send-intrinsic", Kind::GasTooLow),
        (HARDHAT, "send-gaslimit", Kind::GasTooHigh),
        (HARDHAT, "raw-nonce-low", Kind::NonceTooLow),
        (HARDHAT, "raw-nonce-gap", Kind::NonceTooHigh),
        (HARDHAT, "raw-funds", Kind::InsufficientFunds),
        (HARDHAT, "raw-fee-low", Kind::FeeTooLow),
        (HARDHAT, "raw-chain", Kind::WrongChain),
        (HARDHAT, "raw-garbage", Kind::Malformed),
        (HARDHAT, "raw-underpriced", Kind::Underpriced),
        (HARDHAT, "call-revert", Kind::Reverted),
        (ANVIL, "call-revert", Kind::Reverted),
        (ANVIL, "estimate-revert", Kind::Reverted),
        (ANVIL, "send-intrinsic", Kind::GasTooLow),
        (ANVIL, "send-gaslimit", Kind::GasTooHigh),
        (ANVIL, "raw-nonce-low", Kind::NonceTooLow),
        (ANVIL, "raw-funds", Kind::InsufficientFunds),
        (ANVIL, "raw-fee-low", Kind::FeeTooLow),
        (ANVIL, "raw-chain", Kind::WrongChain),
        (ANVIL, "raw-garbage", Kind::Malformed),
    ] {
        assert_eq!(info(node, case).kind, kind, "{case}");
    }
}

#[test]
fn a_mined_but_reverted_transaction_tells_its_hash_and_data() {
    let args = info(HARDHAT, "send-revert-args");
    assert!(args.transaction.is_some());
    assert_eq!(args.data.unwrap().len(), 68);
    let empty = info(HARDHAT, "send-revert-nodata");
    assert!(empty.transaction.is_some());
    assert_eq!(empty.data, Some(Bytes::new()));
    let refused = info(HARDHAT, "raw-nonce-low");
    assert_eq!((refused.transaction, refused.data), (None, None));
}

#[test]
fn a_call_that_reverts_names_no_transaction() {
    for node in [HARDHAT, ANVIL] {
        let call = info(node, "call-revert");
        assert_eq!(call.transaction, None);
        assert_eq!(call.data, Some(Bytes::from_static(&[0xd0, 0x7b, 0x00, 0xd6])));
    }
}

#[test]
fn the_deepest_data_is_the_one_that_counts() {
    let hardhat = br#"{"code":-32603,"message":"Internal JSON-RPC error.","data":{"data":
        {"message":"reverted","data":{"data":"0xd07b00d6","x":"0xff"}}}}"#;
    assert_eq!(RevertInfo::parse(hardhat).data.unwrap()[..], [0xd0, 0x7b, 0x00, 0xd6]);
    assert_eq!(RevertInfo::parse(hardhat).kind, RefusalKind::Reverted);
    let hash = format!("0x{}", "ab".repeat(32));
    let ganache = format!(
        r#"{{"code":-32000,"message":"VM Exception while processing transaction: revert","data":
        {{"{hash}":{{"error":"revert","return":"0x08c379a0","reason":"x"}},"name":"c"}}}}"#
    );
    let info = RevertInfo::parse(ganache.as_bytes());
    assert_eq!(info.transaction, Some(hash.parse().unwrap()));
    assert_eq!(info.data.unwrap()[..], REVERT);
}

#[test]
fn a_contracts_own_words_do_not_pass_for_the_nodes() {
    for message in [
        "Error: VM Exception while processing transaction: reverted with reason string 'nonce too low'",
        "execution reverted: insufficient funds",
    ] {
        let error = serde_json::json!({"code": -32603, "message": message}).to_string();
        assert_eq!(RevertInfo::parse(error.as_bytes()).kind, RefusalKind::Reverted, "{message}");
    }
}

#[test]
fn depth_does_not_exhaust_the_stack() {
    let deep = format!(
        r#"{{"code":1,"message":"m","data":{}1{}}}"#,
        r#"{"data":"#.repeat(100_000),
        "}".repeat(100_000)
    );
    assert_eq!(RevertInfo::parse(deep.as_bytes()).kind, RefusalKind::Rejected);
    let message = format!(r#"{{"code":1,"message":"{}"}}"#, "é".repeat(400));
    assert_eq!(RevertInfo::parse(message.as_bytes()).kind, RefusalKind::Rejected);
}

/// Words at which an offset or a length goes wrong, and a few that fit.
fn hostile_word() -> impl proptest::strategy::Strategy<Value = U256> {
    let edge = |bits: usize| (U256::from(1) << bits) - U256::from(1);
    proptest::sample::select(vec![
        U256::ZERO,
        U256::from(1),
        U256::from(31),
        U256::from(32),
        U256::from(33),
        U256::from(64),
        edge(32),
        edge(63),
        edge(64) - U256::from(31),
        edge(64),
        edge(255),
        U256::MAX,
    ])
}

proptest::proptest! {
    #[test]
    fn hostile_offsets_and_lengths_reach_nothing_beyond_the_data(
        words in proptest::collection::vec(hostile_word(), 0..6), tail: Vec<u8>,
    ) {
        let words: Vec<u8> = words.iter().flat_map(U256::to_be_bytes::<32>).collect();
        let data = [&[0x08, 0xc3, 0x79, 0xa0][..], &words, &tail].concat();
        // A byte that is no UTF-8 is shown as three.
        let text = revert_text(&data).unwrap_or_default();
        proptest::prop_assert!(text.len() <= 3 * data.len());
        panic_code(&data);
        let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
        let error = serde_json::json!({"code": 3, "message": "m", "data": format!("0x{hex}")});
        RevertInfo::parse(error.to_string().as_bytes());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text: String) {
        RevertInfo::parse(&bytes);
        let error = serde_json::json!({"code": 1, "message": text, "data": {"data": text}});
        RevertInfo::parse(error.to_string().as_bytes());
        revert_text(&bytes);
        panic_code(&bytes);
        revert_text(&[&[0xff; 36][..], &bytes[..]].concat());
    }
}

const HALTS: [(&str, &str); 3] = [
    ("Hardhat 2", include_str!("../../../tests/fixtures/nodes/halts-hardhat2.json")),
    ("Hardhat 3", include_str!("../../../tests/fixtures/nodes/halts-hardhat3.json")),
    ("Anvil", include_str!("../../../tests/fixtures/nodes/halts-anvil.json")),
];

#[test]
fn every_halt_of_the_three_nodes_has_its_kind() {
    use RefusalKind as Kind;
    // Hardhat has the same words for these and for a plain revert.
    let silent = |node: &str, kind| if node == "Anvil" { kind } else { Kind::NoData };
    for (node, text) in HALTS {
        let cases: Value = serde_json::from_str(text).unwrap();
        let mut seen = 0;
        for (case, kind) in [
            ("invalid", Kind::InvalidOpcode),
            ("undefined", Kind::InvalidOpcode),
            ("underflow", silent(node, Kind::StackUnderflow)),
            ("overflow", silent(node, Kind::StackOverflow)),
            ("jump", silent(node, Kind::InvalidJump)),
            ("loop", Kind::OutOfGas),
            ("memory", Kind::OutOfGas),
            ("returndata", silent(node, Kind::ReturnDataOutOfBounds)),
            ("sentry", Kind::OutOfGas),
            ("revert", Kind::NoData),
            ("create-invalid", Kind::InvalidOpcode),
            ("create-ef", if node == "Hardhat 2" { Kind::NoData } else { Kind::InvalidCode }),
            ("create-large", Kind::CodeTooLarge),
            ("create-store-oog", Kind::OutOfGas),
            ("create-initcode", Kind::InitcodeTooLarge),
            ("create-collision", silent(node, Kind::AddressCollision)),
            (
                "precompile-error",
                if node == "Hardhat 3" { Kind::NoData } else { Kind::PrecompileFailed },
            ),
            ("precompile-oog", Kind::OutOfGas),
            ("block-number", Kind::UnknownBlock),
            ("block-number-object", Kind::UnknownBlock),
            ("block-hash", Kind::UnknownBlock),
            ("logs-hash", Kind::UnknownBlock),
        ] {
            let answers = cases[case].as_object().unwrap();
            for (by, error) in answers.iter().filter(|(_, answer)| answer.is_object()) {
                let info = RevertInfo::parse(error.to_string().as_bytes());
                assert_eq!(info.kind, kind, "{node}: {case} by {by}: {error}");
                seen += 1;
            }
        }
        assert!(seen >= 40, "{node}: {seen}");
    }
}
