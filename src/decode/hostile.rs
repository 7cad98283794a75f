//! Entry points for bytes that mean harm: what the fuzz targets in `fuzz/` call, and a property test.
//! Each ends, panics never, and gives nothing back.

use std::sync::LazyLock;

use alloy::primitives::{Address, B256};

use super::artifact::Artifact;
use super::build_info;
use super::contracts::Contracts;
use super::layout::Layout;
use super::multicall;
use super::otlp;
use super::revert::RevertInfo;
use super::sql::Statement;
use crate::model::{CustomKind, CustomMetric, CustomMetrics, Span};

/// An error of each kind of parameter, for [`revert`].
const ERRORS: &str = r#"{"contractName":"Errors","bytecode":"0x","deployedBytecode":"0x","abi":[
    {"type":"error","name":"A","inputs":[{"name":"a","type":"uint256"},{"name":"b","type":"bytes"}]},
    {"type":"error","name":"B","inputs":[{"name":"a","type":"string[]"},{"name":"b","type":"int8"}]},
    {"type":"error","name":"C","inputs":[{"name":"a","type":"tuple[]","components":[
        {"name":"b","type":"address"},{"name":"c","type":"bool[]"},{"name":"d","type":"bytes4"}]}]},
    {"type":"error","name":"D","inputs":[{"name":"a","type":"uint8[][][]"}]}]}"#;

/// An artifact, a build info or a storage layout; a sound artifact is also used.
pub fn artifact(bytes: &[u8]) {
    if let Ok(artifact) = Artifact::parse(bytes, "Hostile") {
        let selectors: Vec<_> = artifact.abi.errors().map(|error| error.selector()).collect();
        let mut contracts = Contracts::new();
        contracts.add(artifact);
        contracts.created(Address::ZERO, bytes);
        contracts.learn_code(Address::ZERO, bytes, Some(Address::ZERO));
        contracts.slot_name(Address::ZERO, B256::ZERO);
        for selector in selectors.into_iter().take(16) {
            let end = bytes.len().min(1 << 10);
            contracts.revert_message(None, &[&selector[..], &bytes[..end]].concat());
        }
    }
    let layouts = build_info::layouts(bytes).unwrap_or_default();
    let layouts = layouts.into_iter().map(|built| built.layout);
    let alone = std::str::from_utf8(bytes).ok().and_then(Layout::parse).map(Into::into);
    for layout in layouts.chain(alone).take(16) {
        for slot in [B256::ZERO, B256::with_last_byte(1), B256::repeat_byte(0xff)] {
            layout.name(slot, &[slot]);
        }
    }
}

/// A node's error object, and what a reverted call returned.
pub fn revert(bytes: &[u8]) {
    static ERROR: LazyLock<Option<Artifact>> =
        LazyLock::new(|| Artifact::parse(ERRORS.as_bytes(), "").ok());
    let told = RevertInfo::parse(bytes);
    let mut contracts = Contracts::new();
    let mut selectors = Vec::new();
    if let Some(errors) = &*ERROR {
        selectors.extend(errors.abi.errors().map(|error| error.selector()));
        contracts.add(errors.clone());
    }
    let returned = told.data.unwrap_or_default();
    for data in [&returned[..], bytes] {
        contracts.reason(None, data);
        contracts.revert_message(None, data);
    }
    for selector in selectors {
        let message = contracts.revert_message(None, &[&selector[..], bytes].concat());
        assert!(message.is_some_and(|message| message.chars().count() <= 300));
    }
}

/// The input of a multicall, and what it returned.
pub fn multicall(bytes: &[u8]) {
    multicall::open(bytes);
    let Some((selector, returned)) = bytes.split_first_chunk() else { return };
    multicall::results(*selector, returned);
    for selector in multicall::selectors() {
        multicall::open(&[&selector[..], bytes].concat());
        multicall::results(selector, bytes);
    }
}

/// An export of spans in either encoding, and a query's text.
pub fn otlp(bytes: &[u8]) {
    let listed = ["a", "b"].map(|name| CustomMetric {
        name: name.into(),
        kind: CustomKind::Gauge,
        unit: None,
    });
    let listed = CustomMetrics::new(listed.into());
    let read = [otlp::protobuf(bytes, &listed), otlp::json(bytes, &listed)];
    for told in read.into_iter().flatten() {
        assert!(told.spans.len() <= otlp::MOST_SPANS);
        assert!(told.spans.iter().all(|span| span.numbers.len() <= Span::MOST_NUMBERS));
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(Span::LONGEST_QUERY)]);
    for system in ["sqlite", "mysql", "postgresql", "mssql", ""] {
        let shape = Statement::read(system, &text).fingerprint;
        assert!(shape.len() <= Statement::LONGEST_FINGERPRINT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>, words in proptest::collection::vec(0u8..=64, 0..16)) {
            let words: Vec<u8> = words.iter().flat_map(|low| [&[0; 31][..], &[*low]].concat()).collect();
            for bytes in [bytes, words] {
                artifact(&bytes);
                revert(&bytes);
                multicall(&bytes);
                otlp(&bytes);
            }
        }
    }

    #[test]
    fn what_is_sound_is_used() {
        artifact(ERRORS.as_bytes());
        artifact(include_bytes!("../../tests/fixtures/artifacts/MarketNFT.json"));
        revert(br#"{"code":3,"message":"execution reverted","data":"0x4e487b71"}"#);
    }
}
