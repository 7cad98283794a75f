//! Why a node refused: what a JSON-RPC error object tells of a transaction or call.
//!
//! Reads the `error` member that the envelope decoder found. Naming custom errors takes ABIs and is
//! [`super::contracts`]' business.

use alloy::primitives::{B256, Bytes, U256, hex};
use serde::Deserialize;
use serde_json::Value;

use crate::model::Reason;

/// Selector of `Error(string)`.
pub const REVERT: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// Selector of `Panic(uint256)`.
pub const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

/// The largest error object that is looked into, in bytes.
const LARGEST: usize = 1 << 20;
/// The longest words of a node that are kept, in characters.
const MOST_WORDS: usize = 300;
/// How far nested `data` is followed.
const DEEPEST: usize = 16;
/// The longest revert data that is kept, in bytes.
const MOST_DATA: usize = 64 << 10;

/// Under which keys nodes put what the call returned.
const DATA_KEYS: [&str; 5] = ["data", "return", "result", "output", "returnData"];
/// Under which keys nodes nest one error in another.
const NESTING_KEYS: [&str; 5] = ["data", "error", "originalError", "cause", "info"];
/// Under which keys nodes put the hash of the transaction that failed.
const HASH_KEYS: [&str; 3] = ["txHash", "transactionHash", "hash"];

/// What an error object tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevertInfo {
    /// The transaction's hash, when the node gave one: it was mined although the call failed.
    pub transaction: Option<B256>,
    /// What the reverted call returned; empty when it returned nothing, none when nothing is told.
    pub data: Option<Bytes>,
    pub kind: RefusalKind,
    /// The node's own words, for people; at most 300 characters.
    pub words: Box<str>,
}

macro_rules! refusal_kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a node refused, told from its error's code and words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RefusalKind {
            $($(#[$doc])* $variant,)*
        }

        impl RefusalKind {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

refusal_kinds! {
    /// The code reverted; the revert data says why.
    Reverted = "reverted",
    /// The code reverted and returned nothing.
    NoData = "no_data",
    /// It ran and used up its gas.
    OutOfGas = "out_of_gas",
    /// The contract has no such function and no fallback.
    UnknownFunction = "unknown_function",
    /// A contract was called where none is.
    NoContract = "no_contract",
    /// Ether was sent to a function that takes none.
    NotPayable = "not_payable",
    /// An instruction that does not exist was met.
    InvalidOpcode = "invalid_opcode",
    NonceTooLow = "nonce_too_low",
    NonceTooHigh = "nonce_too_high",
    InsufficientFunds = "insufficient_funds",
    /// Less gas than the transaction needs before it runs.
    GasTooLow = "gas_too_low",
    /// More gas than a block or a transaction may use.
    GasTooHigh = "gas_too_high",
    /// Below the base fee, or an impossible combination of fees.
    FeeTooLow = "fee_too_low",
    /// There is one of the same nonce, and this one pays too little to take its place.
    Underpriced = "underpriced",
    AlreadyKnown = "already_known",
    /// Signed for another chain.
    WrongChain = "wrong_chain",
    /// The node holds no key for the sender.
    UnknownAccount = "unknown_account",
    /// The code to deploy is larger than allowed.
    CodeTooLarge = "code_too_large",
    /// Not a transaction.
    Malformed = "malformed",
    /// The node does not know the method.
    MethodNotFound = "method_not_found",
    /// None of these.
    Rejected = "rejected",
}

impl RefusalKind {
    pub const fn reason(self) -> Reason {
        Reason::known(self.as_str())
    }

    /// Whether the code ran, so that the transaction may be mined although the call failed.
    pub const fn ran(self) -> bool {
        matches!(
            self,
            Self::Reverted
                | Self::NoData
                | Self::OutOfGas
                | Self::UnknownFunction
                | Self::NoContract
                | Self::NotPayable
                | Self::InvalidOpcode
        )
    }
}

/// How the nodes say that code reverted and returned nothing.
const NO_DATA: [&str; 2] = ["execution reverted", "reverted without a reason string"];

/// The words of the nodes, lower case, in the order in which they are looked for: the first that is
/// in the message decides.
const WORDS: &[(&str, RefusalKind)] = {
    use RefusalKind as Kind;
    &[
        ("replacement transaction", Kind::Underpriced),
        ("underpriced", Kind::Underpriced),
        ("already known", Kind::AlreadyKnown),
        ("known transaction", Kind::AlreadyKnown),
        ("already imported", Kind::AlreadyKnown),
        ("nonce too low", Kind::NonceTooLow),
        ("nonce is too low", Kind::NonceTooLow),
        ("nonce too high", Kind::NonceTooHigh),
        ("nonce is too high", Kind::NonceTooHigh),
        ("nonce gap", Kind::NonceTooHigh),
        ("insufficient funds", Kind::InsufficientFunds),
        ("enough funds", Kind::InsufficientFunds),
        ("insufficient balance", Kind::InsufficientFunds),
        ("out of gas", Kind::OutOfGas),
        ("outofgas", Kind::OutOfGas),
        ("intrinsic gas too high", Kind::GasTooHigh),
        ("gas limit reached", Kind::GasTooHigh),
        ("exceeds block gas limit", Kind::GasTooHigh),
        ("exceeds transaction gas cap", Kind::GasTooHigh),
        ("gas limit is", Kind::GasTooHigh),
        ("intrinsic gas", Kind::GasTooLow),
        ("requires at least", Kind::GasTooLow),
        ("gas required exceeds allowance", Kind::OutOfGas),
        ("maxfeepergas", Kind::FeeTooLow),
        ("max fee per gas", Kind::FeeTooLow),
        ("max priority fee", Kind::FeeTooLow),
        ("gasprice", Kind::FeeTooLow),
        ("base fee", Kind::FeeTooLow),
        ("chain id", Kind::WrongChain),
        ("chainid", Kind::WrongChain),
        ("unknown account", Kind::UnknownAccount),
        ("no signer available", Kind::UnknownAccount),
        ("code size", Kind::CodeTooLarge),
        ("code is too large", Kind::CodeTooLarge),
        ("initcode", Kind::CodeTooLarge),
        ("selector was not recognized", Kind::UnknownFunction),
        ("unrecognized-selector", Kind::UnknownFunction),
        ("non-contract account", Kind::NoContract),
        ("non-payable", Kind::NotPayable),
        ("invalid opcode", Kind::InvalidOpcode),
        ("opcode not found", Kind::InvalidOpcode),
        ("revert", Kind::Reverted),
        ("vm exception", Kind::Reverted),
        ("failed to decode", Kind::Malformed),
        ("invalid transaction", Kind::Malformed),
        ("rlp", Kind::Malformed),
    ]
};

#[derive(Deserialize)]
struct ErrorObject {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

impl RevertInfo {
    /// Reads an error object's JSON. One that cannot be read is [`RefusalKind::Rejected`].
    pub fn parse(error: &[u8]) -> Self {
        let parsed = (error.len() <= LARGEST).then(|| serde_json::from_slice::<ErrorObject>(error));
        let Some(Ok(ErrorObject { code, message, data })) = parsed else {
            return Self {
                transaction: None,
                data: None,
                kind: RefusalKind::Rejected,
                words: Box::default(),
            };
        };
        let mut found = Found::default();
        found.look(&data, DEEPEST);
        let mut kind = classify(code, &message);
        if kind == RefusalKind::Rejected && found.data.as_ref().is_some_and(|d| !d.is_empty()) {
            // Whatever the words, only code that ran returns something.
            kind = RefusalKind::Reverted;
        }
        if kind == RefusalKind::Reverted
            && found.data.as_ref().is_none_or(|data| data.is_empty())
            && NO_DATA.iter().any(|words| message.ends_with(words))
        {
            kind = RefusalKind::NoData;
        }
        // A hash in a refusal's words may be one that the node knew before; in a revert's it is the
        // transaction that was mined.
        if found.hash.is_none()
            && matches!(kind, RefusalKind::Reverted | RefusalKind::NoData | RefusalKind::OutOfGas)
        {
            found.hash = hash_in_words(&message);
        }
        let words = message.chars().take(MOST_WORDS).collect::<String>().into();
        Self { transaction: found.hash, data: found.data, kind, words }
    }
}

/// The kind that a code and a message tell.
fn classify(code: i64, message: &str) -> RefusalKind {
    // The quoted part is the contract's own text: its words are no node's.
    let own_words = message.split(" '").next().unwrap_or_default();
    let own_words = own_words.get(..300).unwrap_or(own_words).to_lowercase();
    let by_words = WORDS.iter().find(|(words, _)| own_words.contains(words));
    match (by_words, code) {
        // "execution reverted: nonce too low" is what a contract says.
        _ if code == 3 || own_words.starts_with("execution reverted") => RefusalKind::Reverted,
        (Some((_, kind)), _) => *kind,
        (None, -32601 | -32004) => RefusalKind::MethodNotFound,
        (None, -32602 | -32700) => RefusalKind::Malformed,
        (None, _) => RefusalKind::Rejected,
    }
}

#[derive(Default)]
struct Found {
    hash: Option<B256>,
    data: Option<Bytes>,
}

impl Found {
    /// Walks nested `data`: what is found deeper takes the place of what was found before.
    fn look(&mut self, value: &Value, depth: usize) {
        match value {
            Value::String(text) => self.take_data(text),
            Value::Object(members) if depth > 0 => {
                for (key, member) in members {
                    match member {
                        Value::String(text) if HASH_KEYS.contains(&key.as_str()) => {
                            self.hash = self.hash.or_else(|| text.parse().ok());
                        }
                        Value::String(text) if DATA_KEYS.contains(&key.as_str()) => {
                            self.take_data(text);
                        }
                        // Ganache: the details lie under the transaction's hash.
                        Value::Object(_) if is_hash(key) => {
                            self.hash = self.hash.or_else(|| key.parse().ok());
                            self.look(member, depth - 1);
                        }
                        Value::Object(_) if NESTING_KEYS.contains(&key.as_str()) => {
                            self.look(member, depth - 1);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn take_data(&mut self, text: &str) {
        // OpenEthereum's way: `Reverted 0x08c379a0…`.
        let text = text.trim().trim_start_matches("Reverted ");
        if text.len() > 2 * MOST_DATA + 2 || !text.starts_with("0x") {
            return;
        }
        let Ok(bytes) = hex::decode(text) else { return };
        // An empty one deeper down says less than what was found above.
        if self.data.is_none() || !bytes.is_empty() {
            self.data = Some(bytes.into());
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 66 && text.starts_with("0x") && text[2..].bytes().all(|b| b.is_ascii_hexdigit())
}

/// The only transaction hash in a message, if it holds exactly one.
fn hash_in_words(message: &str) -> Option<B256> {
    let words = message.split(|c: char| !c.is_ascii_alphanumeric());
    let mut hashes = words.filter(|word| is_hash(word));
    let hash = hashes.next()?;
    hashes.next().is_none().then(|| hash.parse().ok()).flatten()
}

/// The code of a `Panic(uint256)`, when it is one byte, as all that exist are.
pub fn panic_code(revert_data: &[u8]) -> Option<u8> {
    let word = revert_data.get(4..36)?;
    word[..31].iter().all(|byte| *byte == 0).then_some(word[31])
}

/// The text of an `Error(string)`.
pub fn revert_text(revert_data: &[u8]) -> Option<String> {
    let body = revert_data.get(4..)?;
    let word = |at: usize| -> Option<usize> {
        let word = U256::from_be_slice(body.get(at..at.checked_add(32)?)?);
        usize::try_from(word).ok()
    };
    let start = word(0)?;
    let from = start.checked_add(32)?;
    let text = body.get(from..from.checked_add(word(start)?)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARDHAT: &str = include_str!("../../tests/fixtures/nodes/hardhat2.json");
    const ANVIL: &str = include_str!("../../tests/fixtures/nodes/anvil.json");

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
            assert_eq!(
                RevertInfo::parse(error.as_bytes()).kind,
                RefusalKind::Reverted,
                "{message}"
            );
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
}
