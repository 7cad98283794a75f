//! A compiler's artifact file: one contract's name, ABI and code, as Hardhat 2, Hardhat 3 and Foundry
//! write it, of Solidity or Vyper.
//!
//! Reads bytes that somebody handed over; finding the files is `chain::artifacts`' business, and
//! telling deployed contracts apart is [`super::contracts`]'.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use alloy::json_abi::JsonAbi;
use alloy::primitives::hex;
use serde::Deserialize;

use super::bytecode::Bytecode;
use super::layout::Layout;

/// The largest artifact that is read, in bytes. Foundry's hold the syntax tree and reach a few MiB.
pub const LARGEST: usize = 16 << 20;
/// The most code a contract may have, in bytes: the limit for creation code (EIP-3860) is 48 KiB,
/// development nodes lift it.
const MOST_CODE: usize = 1 << 20;
/// The most entries of an ABI.
const MOST_ENTRIES: usize = 10_000;
/// Hex digits of a link placeholder, which stands for a 20-byte address.
const PLACEHOLDER: usize = 40;

/// A compiled contract, library or interface.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// `MarketNFT`
    pub contract: String,
    /// The source file by the compiler's name, `contracts/MarketNFT.sol`; empty when not told.
    pub source: String,
    pub abi: JsonAbi,
    /// The code that creates it, constructor arguments left out; empty for an interface.
    pub creation: Bytecode,
    /// The code it has on the chain; empty for an interface.
    pub deployed: Bytecode,
    /// Hardhat 3's name for the source file in its build info, where that is another one than `source`.
    pub built_from: Option<String>,
    /// Its storage: in Foundry's file where the compiler was asked for it, else in the build info.
    pub layout: Option<Arc<Layout>>,
}

/// What the scans of the artifacts' folders bring.
#[derive(Debug)]
pub enum Compiled {
    Artifact(Box<Artifact>),
    /// A scan is over: everything that is there now was sent.
    Scanned,
}

/// Why a file is not a usable artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    #[error("expected an artifact of at most {LARGEST} bytes, found {0}")]
    TooLarge(usize),
    /// Sound JSON, but no artifact: to be passed over in silence.
    #[error("not an artifact: no `abi` list in it")]
    NotAnArtifact,
    #[error("expected a Hardhat or Foundry artifact: {0}")]
    Json(#[source] serde_json::Error),
    #[error("expected an ABI: {0}")]
    Abi(#[source] serde_json::Error),
    #[error("expected at most {MOST_ENTRIES} entries in the ABI, found {0}")]
    TooManyEntries(usize),
    #[error("expected hex in `{field}`, found something else at digit {digit}")]
    NotHex { field: &'static str, digit: usize },
    #[error("expected at most {MOST_CODE} bytes of code in `{field}`, found {bytes}")]
    TooMuchCode { field: &'static str, bytes: usize },
    #[error("no contract name in it, and none in its file name")]
    Nameless,
}

/// The parts of all three formats that matter here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(rename = "_format")]
    format: Option<String>,
    contract_name: Option<String>,
    source_name: Option<String>,
    input_source_name: Option<String>,
    #[serde(borrow)]
    storage_layout: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    abi: Option<&'a serde_json::value::RawValue>,
    bytecode: Option<Code>,
    deployed_bytecode: Option<Code>,
    #[serde(default)]
    immutable_references: Option<References>,
    /// Foundry's; an object in current versions, a string of JSON in old ones.
    #[serde(borrow)]
    metadata: Option<&'a serde_json::value::RawValue>,
}

/// By the number of a syntax node, where its value is filled in.
type References = HashMap<String, Vec<Place>>;

#[derive(Deserialize)]
struct Place {
    start: usize,
    length: usize,
}

/// Hardhat writes a string, Foundry an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Code {
    Text(String),
    Object {
        object: Option<String>,
        #[serde(rename = "immutableReferences")]
        immutables: Option<References>,
    },
}

#[derive(Deserialize)]
struct Metadata {
    settings: Settings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    compilation_target: HashMap<String, String>,
}

impl Artifact {
    /// Reads an artifact. `file_stem` (`MarketNFT` of `MarketNFT.json`) names the contract where the
    /// file does not.
    pub fn parse(json: &[u8], file_stem: &str) -> Result<Self, ArtifactError> {
        if json.len() > LARGEST {
            return Err(ArtifactError::TooLarge(json.len()));
        }
        let file: File<'_> = serde_json::from_slice(json).map_err(|error| {
            // A list, a number, `bytecode: 7`: sound JSON of something else, when no ABI is there.
            if is_foreign(json) { ArtifactError::NotAnArtifact } else { ArtifactError::Json(error) }
        })?;
        let abi = file.abi.map(|abi| abi.get()).filter(|abi| abi.starts_with('['));
        let abi: JsonAbi = serde_json::from_str(abi.ok_or(ArtifactError::NotAnArtifact)?)
            .map_err(ArtifactError::Abi)?;
        if abi.len() > MOST_ENTRIES {
            return Err(ArtifactError::TooManyEntries(abi.len()));
        }
        let (source, contract) = match (file.contract_name, file.source_name) {
            (Some(contract), source) => (source.unwrap_or_default(), contract),
            (None, _) => file
                .metadata
                .and_then(|metadata| compilation_target(metadata.get()))
                .unwrap_or_else(|| (String::new(), file_stem.to_owned())),
        };
        if contract.is_empty() {
            return Err(ArtifactError::Nameless);
        }
        let (creation, creation_holes, _) = code(file.bytecode, "bytecode")?;
        let (deployed, mut holes, immutables) = code(file.deployed_bytecode, "deployedBytecode")?;
        for references in [immutables, file.immutable_references].into_iter().flatten() {
            let places = references.into_values().flatten();
            holes.extend(places.map(|p| p.start..p.start.saturating_add(p.length)));
        }
        let is_vyper = source.ends_with(".vy")
            || file.format.is_some_and(|format| format.starts_with("hh-vyper"));
        let mut deployed = Bytecode::deployed(deployed, holes);
        if is_vyper {
            deployed = deployed.with_any_immutables();
        }
        Ok(Self {
            contract,
            source,
            abi,
            deployed: deployed.with_immutables_of(&creation),
            creation: Bytecode::new(creation, creation_holes),
            built_from: file.input_source_name,
            // A contract is of use without it.
            layout: file
                .storage_layout
                .and_then(|layout| Layout::parse(layout.get()))
                .map(Arc::new),
        })
    }
}

/// Whether `json` is sound JSON without an ABI.
fn is_foreign(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        abi: Option<serde::de::IgnoredAny>,
    }
    match serde_json::from_slice::<Probe>(json) {
        Ok(probe) => probe.abi.is_none(),
        Err(_) => serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok(),
    }
}

/// The source and the contract's name from Foundry's metadata.
fn compilation_target(metadata: &str) -> Option<(String, String)> {
    let parsed: Metadata = serde_json::from_str(metadata)
        .or_else(|_| serde_json::from_str(&serde_json::from_str::<String>(metadata)?))
        .ok()?;
    parsed.settings.compilation_target.into_iter().next()
}

type Decoded = (Vec<u8>, Vec<Range<usize>>, Option<References>);

/// Code and its link placeholders, zeros in their place.
fn code(code: Option<Code>, field: &'static str) -> Result<Decoded, ArtifactError> {
    let (text, immutables) = match code {
        None => return Ok(Decoded::default()),
        Some(Code::Text(text)) => (text, None),
        Some(Code::Object { object, immutables }) => (object.unwrap_or_default(), immutables),
    };
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    if digits.len() / 2 > MOST_CODE {
        return Err(ArtifactError::TooMuchCode { field, bytes: digits.len() / 2 });
    }
    let mut digits = digits.as_bytes().to_vec();
    let mut holes = Vec::new();
    // `__$53aea86b7d70b31448b230b20ae141a537$__`, or in old compilers `__Library_____…`.
    for at in memchr::memmem::find_iter(&digits.clone(), b"__") {
        let end = at + PLACEHOLDER;
        let inside = holes.last().is_some_and(|hole: &Range<usize>| at / 2 < hole.end);
        if inside || at % 2 == 1 || end > digits.len() {
            continue;
        }
        digits[at..end].fill(b'0');
        holes.push(at / 2..end / 2);
    }
    let bytes = hex::decode(&digits).map_err(|_| {
        let wrong = digits.iter().position(|digit| !digit.is_ascii_hexdigit());
        ArtifactError::NotHex { field, digit: wrong.unwrap_or(digits.len()) }
    })?;
    Ok((bytes, holes, immutables))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NFT: &str = include_str!("../../tests/fixtures/artifacts/MarketNFT.json");

    /// The fixture as Foundry would have written it.
    fn foundry(metadata: &Value) -> String {
        let hardhat: Value = serde_json::from_str(NFT).unwrap();
        json!({
            "abi": hardhat["abi"],
            "bytecode": {"object": hardhat["bytecode"], "sourceMap": "", "linkReferences": {}},
            "deployedBytecode": {"object": hardhat["deployedBytecode"], "linkReferences": {},
                "immutableReferences": {"7": [{"start": 100, "length": 32}]}},
            "methodIdentifiers": {}, "rawMetadata": "{}", "metadata": metadata, "id": 3
        })
        .to_string()
    }

    #[test]
    fn a_hardhat_artifact_is_read_whole() {
        let artifact = Artifact::parse(NFT.as_bytes(), "Other").unwrap();
        assert_eq!(artifact.contract, "MarketNFT");
        assert_eq!(artifact.source, "contracts/MarketNFT.sol");
        assert!(artifact.abi.functions.contains_key("mint"));
        assert!(artifact.creation.len() > artifact.deployed.len());
    }

    #[test]
    fn a_foundry_artifact_is_named_by_its_metadata_or_its_file() {
        let target = json!({"settings": {"compilationTarget": {"src/A.sol": "MarketNFT"}}});
        for (metadata, stem, contract, source) in [
            (target.clone(), "x", "MarketNFT", "src/A.sol"),
            (json!(target.to_string()), "x", "MarketNFT", "src/A.sol"),
            (Value::Null, "MarketNFT.0.8.30", "MarketNFT.0.8.30", ""),
        ] {
            let artifact = Artifact::parse(foundry(&metadata).as_bytes(), stem).unwrap();
            assert_eq!((&*artifact.contract, &*artifact.source), (contract, source));
            let hardhat = Artifact::parse(NFT.as_bytes(), "").unwrap();
            assert_eq!(artifact.creation, hardhat.creation);
            assert_ne!(artifact.deployed, hardhat.deployed, "an immutable more");
        }
    }

    #[test]
    fn a_storage_layout_is_read_where_there_is_one() {
        let all: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/artifacts/openzeppelin.json"))
                .unwrap();
        let mut ledger = all["ledger"].clone();
        let parse = |json: &Value| Artifact::parse(json.to_string().as_bytes(), "").unwrap().layout;
        assert!(parse(&ledger).is_some());
        for wrong in [Value::Null, json!(7), json!({"storage": 7}), json!([])] {
            ledger["storageLayout"] = wrong;
            assert!(parse(&ledger).is_none());
        }
    }

    #[test]
    fn link_placeholders_become_holes() {
        let linked = |library: &str| format!("0x73{library}6001");
        let artifact = json!({"contractName": "L", "abi": [],
            "bytecode": linked("__$53aea86b7d70b31448b230b20ae141a537$__"),
            "deployedBytecode": linked("__contracts/Lib.sol:Lib_________________")});
        let artifact = Artifact::parse(artifact.to_string().as_bytes(), "").unwrap();
        let on_chain = hex::decode(linked(&"ab".repeat(20))).unwrap();
        assert!(artifact.creation.begins(&on_chain).is_some());
        assert!(artifact.deployed.matches(&on_chain).is_some());
        assert!(artifact.deployed.matches(&on_chain[1..]).is_none());
    }

    #[test]
    fn an_interface_is_kept_for_its_abi() {
        let artifact = json!({"_format": "hh3-artifact-1", "contractName": "IThing",
            "sourceName": "contracts/IThing.sol", "abi": [{"type": "function", "name": "f",
            "inputs": [], "outputs": [], "stateMutability": "view"}], "bytecode": "0x",
            "deployedBytecode": "0x", "linkReferences": {}, "deployedLinkReferences": {},
            "immutableReferences": {}, "inputSourceName": "project/contracts/IThing.sol",
            "buildInfoId": "solc-0_8_30-1"});
        let artifact = Artifact::parse(artifact.to_string().as_bytes(), "").unwrap();
        assert!(artifact.creation.is_empty() && artifact.deployed.is_empty());
        assert_eq!(artifact.abi.functions.len(), 1);
    }

    #[test]
    fn other_json_is_told_from_a_broken_artifact() {
        let parse = |json: &str| Artifact::parse(json.as_bytes(), "X").map(|a| a.contract);
        for other in ["{}", "[]", "7", r#"{"_format":"hh-sol-dbg-1"}"#, r#"{"abi":{}}"#, "null"] {
            assert!(matches!(parse(other), Err(ArtifactError::NotAnArtifact)), "{other}");
        }
        for broken in ["", "{", &NFT[..NFT.len() / 2], r#"{"abi":[],"bytecode":7}"#] {
            assert!(matches!(parse(broken), Err(ArtifactError::Json(_))), "{broken:.20}");
        }
        assert!(matches!(parse(r#"{"abi":[7]}"#), Err(ArtifactError::Abi(_))));
        let not_hex = parse(r#"{"abi":[],"bytecode":"0x12zz"}"#);
        assert!(matches!(not_hex, Err(ArtifactError::NotHex { field: "bytecode", digit: 2 })));
        let odd = parse(r#"{"abi":[],"bytecode":"0x123"}"#);
        assert!(matches!(odd, Err(ArtifactError::NotHex { digit: 3, .. })));
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let large = vec![b' '; LARGEST + 1];
        assert!(matches!(Artifact::parse(&large, "X"), Err(ArtifactError::TooLarge(_))));
        let code = format!(r#"{{"abi":[],"bytecode":"0x{}"}}"#, "00".repeat(MOST_CODE + 1));
        let too_much = Artifact::parse(code.as_bytes(), "X");
        assert!(matches!(too_much, Err(ArtifactError::TooMuchCode { .. })));
        let nested = r#"{"components":["#.repeat(100_000);
        let deep = format!(r#"{{"abi":[{{"type":"error","name":"E","inputs":[{nested}"#);
        assert!(Artifact::parse(deep.as_bytes(), "X").is_err());
        let million = format!(r#"{{"abi":{}"#, "[".repeat(1_000_000));
        assert!(Artifact::parse(million.as_bytes(), "X").is_err());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text: String, hex in "[0-9a-f_$]{0,200}") {
            let _ = Artifact::parse(&bytes, &text);
            let artifact = json!({"abi": [{"type": "error", "name": text, "inputs":
                [{"name": text, "type": text}]}], "bytecode": hex, "deployedBytecode": hex,
                "immutableReferences": {"1": [{"start": bytes.len(), "length": usize::MAX}]}});
            if let Ok(artifact) = Artifact::parse(artifact.to_string().as_bytes(), "X") {
                artifact.creation.begins(&bytes);
                artifact.deployed.matches(&bytes);
            }
        }

        #[test]
        fn a_changed_artifact_never_panics(at in 0..NFT.len(), to: u8, cut in 0..NFT.len()) {
            let mut bytes = NFT.as_bytes().to_vec();
            bytes[at] = to;
            let _ = Artifact::parse(&bytes, "X");
            bytes.truncate(cut);
            let _ = Artifact::parse(&bytes, "X");
        }
    }
}
