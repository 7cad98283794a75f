//! Which account a read of the chain's state looks at, from its raw parameters.

use std::borrow::Cow;

use alloy::primitives::Address;
use serde::Deserialize;

use super::submission::First;

/// Parameters that are looked into, at most: a filter of logs may list many topics.
const LARGEST: usize = 64 << 10;

/// The account that `eth_getBalance`, `eth_getCode`, `eth_getStorageAt`, `eth_getProof` (their first
/// parameter) or `eth_getLogs` (the filter's only address) reads. None when they name none, or more
/// than one.
pub fn account(params: &[u8]) -> Option<Address> {
    if params.len() > LARGEST {
        return None;
    }
    let First(what) = serde_json::from_slice(params).ok()?;
    match what {
        What::Address(text) => text.parse().ok(),
        What::Filter { address: Some(OneOrMore::One(text)) } => text.parse().ok(),
        What::Filter { address: Some(OneOrMore::More(texts)) } => match &texts[..] {
            [text] => text.parse().ok(),
            _ => None,
        },
        What::Filter { address: None } => None,
    }
}

/// What is read.
#[derive(Deserialize)]
#[serde(untagged)]
enum What<'a> {
    Address(#[serde(borrow)] Cow<'a, str>),
    Filter {
        #[serde(borrow)]
        address: Option<OneOrMore<'a>>,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    More(#[serde(borrow)] Vec<Cow<'a, str>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

    #[test]
    fn the_account_is_the_first_parameter_or_the_filters_only_address() {
        let here: Address = HERE.parse().unwrap();
        for params in [
            format!(r#"["{HERE}","latest"]"#),
            format!(r#"["{HERE}","0x0","latest"]"#),
            format!(r#"[{{"fromBlock":"0x0","address":"{HERE}","topics":[null,["0x1"]]}}]"#),
            format!(r#"[{{"address":["{HERE}"]}}]"#),
        ] {
            assert_eq!(account(params.as_bytes()), Some(here), "{params}");
        }
    }

    #[test]
    fn none_is_named_or_more_than_one() {
        let two = format!(r#"[{{"address":["{HERE}","{HERE}"]}}]"#);
        for params in ["", "{}", "[]", "[7]", r#"["0x12"]"#, "[{}]", r#"[{"address":null}]"#, &two]
        {
            assert_eq!(account(params.as_bytes()), None, "{params}");
        }
        assert_eq!(account(&vec![b'['; 1 << 20]), None);
    }
}
