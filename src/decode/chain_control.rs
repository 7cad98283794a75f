//! Calls by which a client changes a development node's chain beside transactions, as far as they
//! change what code is at which address.

use std::borrow::Cow;

use alloy::primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;

/// Parameters that are looked into, at most: the code that a call sets may be large.
const LARGEST: usize = 4 << 20;

/// What such a call does when it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainControl {
    /// The state is remembered, under the number that the node answers.
    Snapshot,
    /// The state is what it was at a snapshot; none when its number cannot be read.
    Revert(Option<U256>),
    /// The chain begins anew, or another state is loaded.
    Reset,
    /// The newest blocks are taken back, or replaced.
    Rewind,
    /// An account's code is set.
    SetCode { address: Address, code: Bytes },
    /// A storage slot is set.
    SetStorage { address: Address, slot: B256 },
}

impl ChainControl {
    /// What a call of `method` with these parameters does; none for one that leaves code alone, or
    /// whose parameters cannot be read.
    pub fn parse(method: &str, params: &[u8]) -> Option<Self> {
        let params = if params.len() <= LARGEST { params } else { &[] };
        Some(match method {
            "evm_snapshot" | "anvil_snapshot" => Self::Snapshot,
            "evm_revert" | "anvil_revert" => {
                let id = serde_json::from_slice::<(Cow<'_, str>,)>(params).map(|(id,)| id);
                let number = serde_json::from_slice::<(u64,)>(params).ok();
                let id = id.ok().and_then(|id| id.parse().ok());
                Self::Revert(id.or(number.map(|(number,)| U256::from(number))))
            }
            "hardhat_reset" | "anvil_reset" | "anvil_loadState" | "hardhat_loadState" => {
                Self::Reset
            }
            "anvil_rollback" | "anvil_reorg" => Self::Rewind,
            "hardhat_setCode" | "anvil_setCode" | "tenderly_setCode" | "evm_setAccountCode" => {
                let (address, code) = serde_json::from_slice(params).ok()?;
                Self::SetCode { address, code }
            }
            "hardhat_setStorageAt"
            | "anvil_setStorageAt"
            | "tenderly_setStorageAt"
            | "evm_setAccountStorageAt" => {
                let Slot(address, slot, _) = serde_json::from_slice(params).ok()?;
                Self::SetStorage { address, slot: slot.into() }
            }
            _ => return None,
        })
    }
}

/// The number that the node answered to a snapshot, from the result's JSON.
pub fn snapshot_id(result: &[u8]) -> Option<U256> {
    serde_json::from_slice(result).ok()
}

#[derive(Deserialize)]
struct Slot(Address, U256, #[allow(dead_code)] serde::de::IgnoredAny);

#[cfg(test)]
mod tests {
    use alloy::primitives::bytes;

    use super::*;

    const HERE: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";

    #[test]
    fn snapshots_are_known_by_their_numbers() {
        for params in [r#"["0x1f"]"#, "[31]", r#"["31"]"#] {
            let revert = ChainControl::parse("evm_revert", params.as_bytes());
            assert_eq!(revert, Some(ChainControl::Revert(Some(U256::from(31)))), "{params}");
        }
        assert_eq!(ChainControl::parse("evm_revert", b"[]"), Some(ChainControl::Revert(None)));
        assert_eq!(snapshot_id(br#""0x1f""#), Some(U256::from(31)));
        assert_eq!(snapshot_id(b"null"), None);
    }

    #[test]
    fn code_and_storage_are_read_from_the_parameters() {
        let address: Address = HERE.parse().unwrap();
        let params = format!(r#"["{HERE}","0x6001"]"#);
        let set = ChainControl::parse("anvil_setCode", params.as_bytes());
        assert_eq!(set, Some(ChainControl::SetCode { address, code: bytes!("6001") }));
        let params = format!(r#"["{HERE}","0x1","0x{:064x}"]"#, 9);
        let set = ChainControl::parse("hardhat_setStorageAt", params.as_bytes());
        let slot = B256::with_last_byte(1);
        assert_eq!(set, Some(ChainControl::SetStorage { address, slot }));
        assert_eq!(ChainControl::parse("hardhat_setCode", b"[7]"), None);
        assert_eq!(ChainControl::parse("hardhat_setBalance", params.as_bytes()), None);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text: String) {
            for method in ["evm_revert", "hardhat_setCode", "anvil_setStorageAt"] {
                ChainControl::parse(method, &bytes);
                ChainControl::parse(method, serde_json::json!([text, text]).to_string().as_bytes());
            }
            snapshot_id(&bytes);
        }
    }
}
