//! A compiler's build info: from Hardhat's file on a whole compilation, the storage layouts.
//!
//! The files hold every source and syntax tree and reach hundreds of MiB, so they are read as they
//! come, and all but the layouts is skipped. Hardhat 3 writes what is wanted to `<id>.output.json`.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::layout::{self, Layout};

/// The largest file that is read, in bytes.
pub const LARGEST: u64 = 256 << 20;
/// Layouts that are taken from one file.
const MOST_LAYOUTS: usize = 10_000;
/// What they may take up together, in bytes of JSON.
const MOST_BYTES: usize = 64 << 20;

/// The layout of one contract.
#[derive(Debug)]
pub struct BuiltLayout {
    /// The source file by the compiler's name.
    pub source: String,
    pub contract: String,
    pub layout: Arc<Layout>,
}

/// Why a file is no build info.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildInfoError {
    #[error(
        "expected a build info of at most {LARGEST} bytes, found {0}; its storage layouts are not used"
    )]
    TooLarge(u64),
    #[error("expected a build info: {0}; its storage layouts are not used")]
    Json(#[source] serde_json::Error),
}

/// The layouts in a build info; none where the compiler was not asked for them. Reads as it goes:
/// give it something buffered.
pub fn layouts(json: impl Read) -> Result<Vec<BuiltLayout>, BuildInfoError> {
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_reader(json);
    Level::File(&mut found).deserialize(&mut json).map_err(BuildInfoError::Json)?;
    json.end().map_err(BuildInfoError::Json)?;
    Ok(found.layouts)
}

#[derive(Default)]
struct Found {
    layouts: Vec<BuiltLayout>,
    bytes: usize,
}

impl Found {
    fn take(&mut self, source: &str, contract: &str, json: &str) {
        if json.len() > layout::LARGEST
            || self.bytes + json.len() > MOST_BYTES
            || self.layouts.len() >= MOST_LAYOUTS
        {
            return;
        }
        if let Some(layout) = Layout::parse(json) {
            self.bytes += json.len();
            let (source, contract) = (source.to_owned(), contract.to_owned());
            self.layouts.push(BuiltLayout { source, contract, layout: Arc::new(layout) });
        }
    }
}

/// How far the way down to a layout has been gone. Whatever else is met is skipped.
enum Level<'a> {
    File(&'a mut Found),
    Output(&'a mut Found),
    Sources(&'a mut Found),
    Contracts(&'a mut Found, String),
    Contract(&'a mut Found, &'a str, String),
}

impl<'a> Level<'a> {
    /// Where a member of this name leads; none when nothing below it matters.
    fn below(&mut self, member: &str) -> Option<Level<'_>> {
        match self {
            Self::File(found) => (member == "output").then_some(Level::Output(found)),
            Self::Output(found) => (member == "contracts").then_some(Level::Sources(found)),
            Self::Sources(found) => Some(Level::Contracts(found, member.to_owned())),
            Self::Contracts(found, source) => {
                Some(Level::Contract(found, source, member.to_owned()))
            }
            Self::Contract(..) => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_key::<String>()? {
            match &mut self {
                Self::Contract(found, source, contract) if member == "storageLayout" => {
                    let layout = members.next_value::<Box<RawValue>>()?;
                    found.take(source, contract, layout.get());
                }
                level => match level.below(&member) {
                    Some(below) => members.next_value_seed(below)?,
                    None => drop(members.next_value::<IgnoredAny>()?),
                },
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn build_info(contracts: &Value) -> String {
        json!({"_format": "hh-sol-build-info-1", "id": "x", "input": {"sources": {"A.sol": {}}},
            "output": {"sources": {"A.sol": {"ast": {"nodes": [1, {"contracts": {}}]}}},
            "contracts": contracts}})
        .to_string()
    }

    fn layout() -> Value {
        json!({"storage": [{"astId": 1, "contract": "A.sol:A", "label": "owner", "offset": 0,
            "slot": "0", "type": "t_address"}], "types": {"t_address": {"encoding": "inplace",
            "label": "address", "numberOfBytes": "20"}}})
    }

    fn names(json: &str) -> Vec<String> {
        let found = layouts(json.as_bytes()).unwrap();
        found.iter().map(|l| format!("{}:{}", l.source, l.contract)).collect()
    }

    #[test]
    fn layouts_are_found_in_the_compilers_output() {
        let contracts = json!({"contracts/A.sol": {
            "A": {"abi": [], "storageLayout": layout(), "evm": {"storageLayout": 7}},
            "B": {"abi": []}, "C": {"storageLayout": {"storage": [], "types": null}}},
            "b.sol": {"D": {"storageLayout": layout()}, "E": {"storageLayout": 7}, "F": 7}, "c": []});
        assert_eq!(names(&build_info(&contracts)), ["b.sol:D", "contracts/A.sol:A"]);
    }

    #[test]
    fn other_json_holds_no_layouts_and_what_is_no_json_is_told() {
        for other in [
            "{}",
            "[]",
            "7",
            "null",
            "\"x\"",
            "1.5",
            r#"{"output":[1,{}]}"#,
            r#"{"output":{"contracts":{"a":null,"b":"c"}}}"#,
        ] {
            assert_eq!(names(other), [""; 0], "{other}");
        }
        let whole = build_info(&json!({"a.sol": {"A": {"storageLayout": layout()}}}));
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            let error = layouts(&whole.as_bytes()[..cut]).unwrap_err().to_string();
            assert!(error.starts_with("expected a build info: EOF"), "{error}");
        }
        assert!(layouts(format!("{whole}x").as_bytes()).is_err());
        assert!(layouts(&[0xff, 0xfe][..]).is_err());
        let deep = r#"{"output":"#.repeat(100_000);
        assert!(layouts(deep.as_bytes()).is_err());
        let deep = format!(
            r#"{{"output":{{"contracts":{{"a":{{"A":{{"storageLayout":{}"#,
            "[".repeat(1_000_000)
        );
        assert!(layouts(deep.as_bytes()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_changed_build_info_never_panics(at: proptest::sample::Index, to: u8) {
            let mut json = build_info(&json!({"a.sol": {"A": {"storageLayout": layout()}}})).into_bytes();
            let at = at.index(json.len());
            json[at] = to;
            for found in layouts(&json[..]).unwrap_or_default() {
                found.layout.name(alloy::primitives::B256::ZERO, &[]);
            }
        }
    }
}
