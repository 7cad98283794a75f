//! A receipt as it passes the relay: the answer to `eth_getTransactionReceipt`.
//!
//! Reads what a transaction's record takes from it. The watcher reads the receipts that it asks for
//! itself in `chain`.

use alloy::primitives::{Address, B256, U64, U128};
use serde::Deserialize;

/// The largest receipt that is read, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// Logs that are kept.
const MAX_LOGS: usize = 4_096;

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayedReceipt {
    pub hash: B256,
    /// The receipt's status; true where the node gives none (before Byzantium).
    pub success: bool,
    /// In gas units.
    pub gas_used: u64,
    /// The effective gas price, in wei.
    pub gas_price: Option<u128>,
    pub block_hash: Option<B256>,
    pub block_number: Option<u64>,
    pub from: Option<Address>,
    /// The created contract.
    pub created: Option<Address>,
    /// The transaction's type.
    pub envelope: Option<u8>,
    /// The emitter and the first topic of the first [`MAX_LOGS`] logs.
    pub logs: Vec<(Address, Option<B256>)>,
}

impl RelayedReceipt {
    /// Reads a result's JSON; none for `null` and for what is no receipt.
    pub fn parse(result: &[u8]) -> Option<Self> {
        if result.len() > MAX_BYTES {
            return None;
        }
        let receipt: Receipt = serde_json::from_slice::<Option<Receipt>>(result).ok()??;
        Some(Self {
            hash: receipt.transaction_hash,
            success: receipt.status.is_none_or(|status| !status.is_zero()),
            gas_used: receipt.gas_used.to(),
            gas_price: receipt.effective_gas_price.map(|price| price.to()),
            block_hash: receipt.block_hash,
            block_number: receipt.block_number.map(|number| number.to()),
            from: receipt.from,
            created: receipt.contract_address,
            envelope: receipt.envelope.and_then(|envelope| envelope.try_into().ok()),
            logs: receipt
                .logs
                .into_iter()
                .take(MAX_LOGS)
                .map(|log| (log.address, log.topics.first().copied()))
                .collect(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    transaction_hash: B256,
    status: Option<U64>,
    gas_used: U64,
    effective_gas_price: Option<U128>,
    block_hash: Option<B256>,
    block_number: Option<U64>,
    from: Option<Address>,
    contract_address: Option<Address>,
    #[serde(rename = "type")]
    envelope: Option<U64>,
    #[serde(default)]
    logs: Vec<Log>,
}

#[derive(Deserialize)]
struct Log {
    address: Address,
    #[serde(default)]
    topics: Vec<B256>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_receipt_is_read_and_null_is_none() {
        let hash = B256::repeat_byte(7);
        let receipt = json!({"transactionHash": hash, "status": "0x0", "gasUsed": "0x5208",
            "effectiveGasPrice": "0x7", "blockHash": hash, "blockNumber": "0x3", "type": "0x2",
            "contractAddress": null, "logs": [{"address": Address::ZERO, "topics": [hash]}]});
        let read = RelayedReceipt::parse(receipt.to_string().as_bytes()).unwrap();
        assert_eq!((read.success, read.gas_used, read.block_number), (false, 21_000, Some(3)));
        assert_eq!(read.logs, [(Address::ZERO, Some(hash))]);
        assert_eq!(RelayedReceipt::parse(b"null"), None);
        assert_eq!(RelayedReceipt::parse(b"{\"status\":\"0x1\"}"), None);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            RelayedReceipt::parse(&bytes);
        }
    }
}
