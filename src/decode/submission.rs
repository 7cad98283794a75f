//! What a call submits or asks of a contract, from its raw parameters.
//!
//! A signed transaction is decoded and dropped at once; its signature is kept until it is mined, for
//! its sender. Neither is told in an error. Which method a call has is the envelope decoder's to say.

use std::borrow::Cow;
use std::fmt;

use alloy::consensus::{Transaction as _, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Bytes, Signature, U64, U256, hex};
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::multicall::is_multicall;

/// The largest parameters that are decoded, in bytes: a blob takes 262,144 hex digits, and a
/// transaction of six, the most that Ethereum allows, 1.65 MB with its cell proofs. Nodes for
/// development may allow more.
const LARGEST: usize = 16 << 20;
/// Of a call to a contract, as much of the input as names its function.
const SELECTOR: usize = 4;
/// Authorisations of one transaction whose signers are recovered: each takes some 100 µs.
const MOST_AUTHORITIES: usize = 32;
/// Of a multicall, as much of the input as is looked into, in bytes.
const MOST_INPUT: usize = 1 << 20;

/// A transaction as it was sent off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Known before the node answers for signed transactions only.
    pub hash: Option<B256>,
    /// None for signed ones: the receipt tells it without the work of recovering a key.
    pub from: Option<Address>,
    /// Of signed ones, what the sender can be recovered from.
    pub signed: Option<Box<Signed>>,
    pub to: Option<Address>,
    pub input: Bytes,
    pub nonce: Option<u64>,
    /// In wei.
    pub value: U256,
    pub gas_limit: Option<u64>,
    /// Of signed ones, the accounts whose delegation they set (EIP-7702).
    pub authorities: Box<[Address]>,
}

/// A signature and what was signed, as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    prehash: B256,
    signature: Signature,
}

impl Signed {
    /// Who signed. Takes some 100 µs: for the few that have to be known before they are mined.
    pub fn signer(&self) -> Option<Address> {
        self.signature.recover_address_from_prehash(&self.prehash).ok()
    }
}

/// What an `eth_call` or `eth_estimateGas` touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallTarget {
    pub to: Option<Address>,
    /// At most the selector of a call to an address, or 1 MiB of a multicall's input; all of the code
    /// to create a contract.
    pub input: Vec<u8>,
}

/// Why parameters are no submission. Holds nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmissionError {
    #[error("expected parameters of at most {LARGEST} bytes, found {0}")]
    TooLarge(usize),
    #[error("expected a list of parameters that begins with a {0}")]
    Shape(&'static str),
    #[error("expected hex digits after 0x")]
    NotHex,
    #[error("expected a signed transaction of a known type")]
    NotATransaction,
}

impl Submission {
    /// What a call of `method` submits; none for a method that submits nothing.
    pub fn parse(method: &str, params: &[u8]) -> Option<Result<Self, SubmissionError>> {
        match method {
            "eth_sendRawTransaction" | "eth_sendRawTransactionSync" => Some(Self::signed(params)),
            "eth_sendTransaction" | "eth_sendTransactionSync" => Some(Self::unsigned(params)),
            _ => None,
        }
    }

    /// From the parameters of `eth_sendRawTransaction`.
    pub fn signed(params: &[u8]) -> Result<Self, SubmissionError> {
        let First(Text(text)) = first(params, "string of hex")?;
        let raw = text.strip_prefix("0x").ok_or(SubmissionError::NotHex)?;
        let raw = hex::decode(raw).map_err(|_| SubmissionError::NotHex)?;
        let envelope =
            TxEnvelope::decode_2718_exact(&raw).map_err(|_| SubmissionError::NotATransaction)?;
        Ok(Self {
            hash: Some(*envelope.tx_hash()),
            from: None,
            signed: Some(Box::new(Signed {
                prehash: envelope.signature_hash(),
                signature: *envelope.signature(),
            })),
            to: envelope.to(),
            input: envelope.input().clone(),
            nonce: Some(envelope.nonce()),
            value: envelope.value(),
            gas_limit: Some(envelope.gas_limit()),
            authorities: envelope
                .authorization_list()
                .unwrap_or_default()
                .iter()
                .take(MOST_AUTHORITIES)
                .filter_map(|authorization| authorization.recover_authority().ok())
                .collect(),
        })
    }

    /// From the parameters of `eth_sendTransaction`.
    pub fn unsigned(params: &[u8]) -> Result<Self, SubmissionError> {
        let First(object): First<TransactionObject<'_>> = first(params, "transaction object")?;
        Ok(Self {
            hash: None,
            from: object.from,
            signed: None,
            to: object.to,
            input: object.bytes(usize::MAX).ok_or(SubmissionError::NotHex)?.into(),
            nonce: object.nonce.map(|nonce| nonce.to()),
            value: object.value.unwrap_or_default(),
            gas_limit: object.gas.map(|gas| gas.to()),
            authorities: Box::default(),
        })
    }
}

/// What the parameters of `eth_call` or `eth_estimateGas` touch; none when they are malformed.
pub fn call_target(params: &[u8]) -> Option<CallTarget> {
    let First(object): First<TransactionObject<'_>> = first(params, "").ok()?;
    let mut input = object.bytes(if object.to.is_some() { SELECTOR } else { usize::MAX })?;
    if object.to.is_some() && input.first_chunk().is_some_and(|selector| is_multicall(*selector)) {
        // What cannot be read is not opened.
        input = object.bytes(MOST_INPUT).unwrap_or(input);
    }
    Some(CallTarget { to: object.to, input })
}

/// The members that matter of a transaction to be sent or called.
#[derive(serde::Deserialize)]
pub(super) struct TransactionObject<'a> {
    from: Option<Address>,
    pub(super) to: Option<Address>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<Text<'a>>,
    nonce: Option<U64>,
    value: Option<U256>,
    gas: Option<U64>,
}

impl TransactionObject<'_> {
    /// The first four bytes of the input, or all of a shorter one; none where that is no hex.
    pub(super) fn selector(&self) -> Option<Vec<u8>> {
        self.bytes(SELECTOR)
    }

    /// The first `most` bytes of the input: of `input`, the newer name, when both are there.
    fn bytes(&self, most: usize) -> Option<Vec<u8>> {
        let Some(Text(text)) = self.input.as_ref().or(self.data.as_ref()) else {
            return Some(Vec::new());
        };
        let digits = text.strip_prefix("0x")?.as_bytes();
        let end = digits.len().min(most.saturating_mul(2));
        hex::decode(&digits[..end]).ok()
    }
}

fn first<'a, T: Deserialize<'a>>(
    params: &'a [u8],
    expected: &'static str,
) -> Result<First<T>, SubmissionError> {
    if params.len() > LARGEST {
        return Err(SubmissionError::TooLarge(params.len()));
    }
    serde_json::from_slice(params).map_err(|_| SubmissionError::Shape(expected))
}

/// Text that is borrowed where JSON holds it without escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The first item of a list, whatever follows it.
pub(super) struct First<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = First<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of parameters")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<First<T>, A::Error> {
                let first = items.next_element()?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                first.map(First).ok_or_else(|| serde::de::Error::invalid_length(0, &self))
            }
        }
        deserializer.deserialize_seq(Items(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use alloy::consensus::{SignableTransaction as _, TxEip4844, TxEip4844WithSidecar};
    use alloy::eips::eip2718::Encodable2718 as _;
    use alloy::eips::eip4844::{Blob, BlobTransactionSidecar, Bytes48};
    use alloy::eips::eip7594::{BlobTransactionSidecarEip7594, BlobTransactionSidecarVariant};
    use alloy::primitives::keccak256;
    use serde_json::{Value, json};

    use super::*;

    fn signed(case: &str) -> (String, B256) {
        let cases: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/nodes/hardhat2.json")).unwrap();
        let case = &cases["signed"][case];
        (
            case["raw"].as_str().unwrap().to_owned(),
            serde_json::from_value(case["hash"].clone()).unwrap(),
        )
    }

    fn parse(method: &str, params: &Value) -> Result<Submission, SubmissionError> {
        Submission::parse(method, params.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn every_type_of_signed_transaction_has_the_hash_the_node_gave_it() {
        let sender: Address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap();
        for (case, to, selector) in [
            ("legacy", true, Some([0xd0, 0xde, 0xf5, 0x21])),
            ("eip2930", true, Some([0xd0, 0xde, 0xf5, 0x21])),
            ("eip1559", true, Some([0xd0, 0xde, 0xf5, 0x21])),
            ("deploy", false, Some([0x60, 0x80, 0x60, 0x40])),
            ("transfer", true, None),
        ] {
            let (raw, hash) = signed(case);
            let submission = parse("eth_sendRawTransaction", &json!([raw])).unwrap();
            assert_eq!(submission.hash, Some(hash), "{case}");
            assert_eq!(submission.to.is_some(), to, "{case}");
            assert_eq!(submission.input.first_chunk().copied(), selector, "{case}");
            assert!(submission.nonce >= Some(9) && submission.gas_limit >= Some(21_000), "{case}");
            assert_eq!(keccak256(hex::decode(&raw).unwrap()), hash);
            assert_eq!(submission.signed.unwrap().signer(), Some(sender), "{case}");
        }
        let (raw, _) = signed("transfer");
        let transfer = parse("eth_sendRawTransaction", &json!([raw, "more"])).unwrap();
        assert_eq!(transfer.value, U256::from(12_345));
    }

    /// A blob transaction with `blobs` blobs of zeros, as it is sent: its text, and its hash. Of a
    /// polynomial that is zero, commitment and proofs are the point at infinity.
    fn with_blobs(blobs: usize, has_cell_proofs: bool) -> (String, B256) {
        let infinity = Bytes48::from_slice(&[&[0xc0][..], &[0; 47]].concat());
        let all = vec![Blob::ZERO; blobs];
        let commitments = vec![infinity; blobs];
        let sidecar = match has_cell_proofs {
            true => BlobTransactionSidecarVariant::Eip7594(BlobTransactionSidecarEip7594::new(
                all,
                commitments,
                vec![infinity; blobs * 128],
            )),
            false => BlobTransactionSidecarVariant::Eip4844(BlobTransactionSidecar {
                blobs: all,
                commitments,
                proofs: vec![infinity; blobs],
            }),
        };
        let transaction = TxEip4844 {
            chain_id: 31_337,
            gas_limit: 30_000,
            to: Address::repeat_byte(7),
            value: U256::from(5),
            blob_versioned_hashes: vec![B256::repeat_byte(1); blobs],
            nonce: 3,
            ..TxEip4844::default()
        };
        let signature = Signature::test_signature();
        let hash = *transaction.clone().into_signed(signature).hash();
        let sent = TxEip4844WithSidecar { tx: transaction, sidecar }.into_signed(signature);
        let sent = TxEnvelope::from(sent);
        (hex::encode_prefixed(sent.encoded_2718()), hash)
    }

    #[test]
    fn blob_transactions_are_read_with_their_sidecars_in_both_forms() {
        for blobs in [1, 2, 4, 6, 9, 21] {
            for has_cell_proofs in [false, true] {
                let (raw, hash) = with_blobs(blobs, has_cell_proofs);
                assert!(raw.len() > blobs * 2 * 131_072);
                let params = json!([raw]).to_string();
                let submission = Submission::parse("eth_sendRawTransaction", params.as_bytes())
                    .unwrap()
                    .unwrap();
                assert_eq!(submission.hash, Some(hash), "{blobs} blobs");
                assert_eq!((submission.nonce, submission.value), (Some(3), U256::from(5)));
                assert_eq!(submission.to, Some(Address::repeat_byte(7)));
            }
        }
    }

    #[test]
    fn a_call_with_six_blobs_fits_what_is_inspected_by_default() {
        for has_cell_proofs in [false, true] {
            let (raw, _) = with_blobs(6, has_cell_proofs);
            let method = "eth_sendRawTransaction";
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": [raw]});
            let size = call.to_string().len() as u64;
            assert!((1_573_000..1_700_000).contains(&size), "{size}");
            assert!(size < crate::model::INSPECTED_BYTES as u64);
        }
    }

    #[test]
    fn a_signed_transaction_that_is_not_one_is_refused_without_a_word_of_it() {
        let (raw, _) = signed("eip1559");
        let cases = [
            (json!([raw[..raw.len() - 2]]), SubmissionError::NotATransaction),
            (json!([format!("{raw}00")]), SubmissionError::NotATransaction),
            (json!([raw[..raw.len() - 1]]), SubmissionError::NotHex),
            (json!([raw[2..]]), SubmissionError::NotHex),
            (json!(["0x"]), SubmissionError::NotATransaction),
            (json!([]), SubmissionError::Shape("string of hex")),
            (json!([7]), SubmissionError::Shape("string of hex")),
            (json!({"raw": raw}), SubmissionError::Shape("string of hex")),
        ];
        for (params, expected) in cases {
            assert_eq!(parse("eth_sendRawTransaction", &params), Err(expected));
        }
    }

    #[test]
    fn an_unsigned_transaction_may_say_data_or_input() {
        let address = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
        for member in ["data", "input"] {
            let params = json!([{"from": address, "to": address, "gas": "0x5208", "value": "0x1",
                "nonce": "0x07", member: "0x0102030405", "chainId": "0x1"}]);
            let submission = parse("eth_sendTransaction", &params).unwrap();
            assert_eq!(submission.from, submission.to);
            assert_eq!(submission.input[..], [1, 2, 3, 4, 5]);
            assert_eq!((submission.nonce, submission.gas_limit), (Some(7), Some(21_000)));
            assert_eq!(submission.value, U256::from(1));
        }
        let bare = parse("eth_sendTransaction", &json!([{"to": null}])).unwrap();
        assert_eq!((bare.to, bare.input.len(), bare.hash), (None, 0, None));
        assert!(Submission::parse("eth_call", b"[]").is_none());
    }

    #[test]
    fn a_calls_target_needs_its_selector_only() {
        let address = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
        let params = json!([{"to": address, "data": "0xd0def521zzzz"}, "latest"]).to_string();
        let target = call_target(params.as_bytes()).unwrap();
        assert_eq!(target.to, Some(address.parse().unwrap()));
        assert_eq!(target.input, [0xd0, 0xde, 0xf5, 0x21]);
        let create = json!([{"data": "0x608060405234"}]).to_string();
        assert_eq!(call_target(create.as_bytes()).unwrap().input.len(), 6);
        for (data, length) in [
            ("0x82ad56cb0102".to_owned(), 6),
            ("0x82ad56cbzz".to_owned(), 4),
            (format!("0x82ad56cb{}", "00".repeat(MOST_INPUT + 9)), MOST_INPUT),
        ] {
            let multicall = json!([{"to": address, "data": data}]).to_string();
            assert_eq!(call_target(multicall.as_bytes()).unwrap().input.len(), length);
        }
        assert_eq!(call_target(br#"[{"to":"0x12"}]"#), None);
        assert_eq!(call_target(b"{}"), None);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text: String) {
            let hex = hex::encode_prefixed(&bytes);
            for params in [bytes, json!([text]).to_string().into_bytes(),
                json!([hex]).to_string().into_bytes(),
                json!([{"to": text, "data": hex}]).to_string().into_bytes()] {
                let _ = Submission::signed(&params);
                let _ = Submission::unsigned(&params);
                call_target(&params);
            }
        }

        #[test]
        fn a_signed_transaction_with_any_byte_changed_never_panics(at in 0usize..2_000, to: u8) {
            let (raw, _) = signed("eip2930");
            let mut raw = hex::decode(raw).unwrap();
            let at = at % raw.len();
            raw[at] = to;
            let _ = Submission::signed(json!([hex::encode_prefixed(&raw)]).to_string().as_bytes());
        }
    }
}
