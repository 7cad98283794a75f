//! Which account a read of the chain's state looks at, and at which block, from its raw parameters.

use std::borrow::Cow;

use alloy::primitives::Address;
use serde::Deserialize;

use super::submission::First;

/// Parameters that are looked into, at most: a filter of logs may list many topics.
const LARGEST: usize = 64 << 10;
/// Bytes at the end of the parameters in which a block is looked for.
const LONGEST_BLOCK: usize = 256;

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

/// The number of the block at which a read looks: its last parameter, a number or an object with one,
/// or the highest of a filter. None where a tag or a hash names it, or nothing does. Only the end of
/// the parameters is looked at, for they may be long.
pub fn block(params: &[u8]) -> Option<u64> {
    let params = params.trim_ascii().strip_suffix(b"]")?.trim_ascii_end();
    let tail = &params[params.len().saturating_sub(LONGEST_BLOCK)..];
    match tail.last()? {
        b'"' => {
            let start = memchr::memrchr(b'"', &tail[..tail.len() - 1])?;
            number(std::str::from_utf8(&tail[start + 1..tail.len() - 1]).ok()?)
        }
        b'}' => {
            let start = memchr::memrchr(b'{', tail)?;
            let place: Place<'_> = serde_json::from_slice(&tail[start..]).ok()?;
            let numbers = [place.block_number, place.from_block, place.to_block];
            numbers.into_iter().flatten().filter_map(|text| number(&text)).max()
        }
        _ => None,
    }
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// What names a block.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    #[serde(borrow)]
    block_number: Option<Cow<'a, str>>,
    #[serde(borrow)]
    from_block: Option<Cow<'a, str>>,
    #[serde(borrow)]
    to_block: Option<Cow<'a, str>>,
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
    fn the_block_is_the_last_parameter_or_in_it() {
        for (params, number) in [
            (format!(r#"[{{"to":"{HERE}","data":"0x12"}}, "0x1f4" ]"#), Some(500)),
            (format!(r#"["{HERE}",{{"blockNumber":"0x1f4"}}]"#), Some(500)),
            (format!(r#"["{HERE}",{{"requireCanonical":true,"blockNumber":"0x1f4"}}]"#), Some(500)),
            (r#"[{"fromBlock":"0x1","toBlock":"0x1f4","address":[]}]"#.to_owned(), Some(500)),
            (format!(r#"["{HERE}",{{"blockHash":"0x{}"}}]"#, "ab".repeat(32)), None),
            (format!(r#"["{HERE}","latest"]"#), None),
            (format!(r#"["{HERE}"]"#), None),
            (r#"["0xffffffffffffffffff"]"#.to_owned(), None),
            (format!(r#"[{{"to":"{HERE}"}},"0x1f4",{{"{HERE}":{{}}}}]"#), None),
            ("[]".to_owned(), None),
            ("\"]".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(block(params.as_bytes()), number, "{params}");
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

    proptest::proptest! {
        #[test]
        fn the_end_of_any_parameters_can_be_looked_at(bytes: Vec<u8>, text: String) {
            block(&bytes);
            block(&[&bytes[..], b"]"].concat());
            block(format!("[\"{text}\"]").as_bytes());
            block(format!("[{{\"blockNumber\":\"{text}\"}}]").as_bytes());
        }
    }
}
