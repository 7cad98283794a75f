//! A receipt: what a node answers to `eth_getTransactionReceipt`, whether the watcher asked or a
//! client through the relay.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use alloy::primitives::{Address, B256, U64, U128};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::EmittedLog;

/// The largest receipt that is read from the relay, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// A transaction's receipt.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    pub transaction_hash: B256,
    /// Before Byzantium there was none.
    pub status: Option<U64>,
    /// In gas units.
    pub gas_used: U64,
    /// In wei.
    pub effective_gas_price: Option<U128>,
    pub block_hash: Option<B256>,
    pub block_number: Option<U64>,
    pub from: Option<Address>,
    pub contract_address: Option<Address>,
    #[serde(rename = "type")]
    pub envelope: Option<U64>,
    /// Hardhat leaves both out.
    pub blob_gas_used: Option<U64>,
    pub blob_gas_price: Option<U128>,
    #[serde(default)]
    pub logs: Logs,
}

/// A receipt's logs as far as they name themselves, those that are alike counted together.
#[derive(Debug, Default)]
pub struct Logs {
    pub different: Box<[EmittedLog]>,
    /// Logs beyond [`Logs::MOST`] different ones.
    pub omitted: u32,
}

impl Logs {
    /// Different logs that are kept of one transaction: a block's gas pays for a hundred thousand.
    pub const MOST: usize = 4_096;
}

impl<'de> Deserialize<'de> for Logs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(LogsVisitor)
    }
}

struct LogsVisitor;

impl<'de> Visitor<'de> for LogsVisitor {
    type Value = Logs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a receipt's logs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Logs, A::Error> {
        #[derive(Deserialize)]
        struct Log {
            address: Address,
            #[serde(default)]
            topics: Vec<B256>,
        }
        let mut different: Vec<EmittedLog> = Vec::new();
        let mut places = HashMap::new();
        let mut omitted = 0_u32;
        while let Some(Log { address, topics }) = seq.next_element()? {
            let topic = topics.first().copied();
            match places.entry((address, topic)) {
                Entry::Occupied(place) => {
                    let log: &mut EmittedLog = &mut different[*place.get()];
                    log.count = log.count.saturating_add(1);
                }
                Entry::Vacant(place) if different.len() < Logs::MOST => {
                    place.insert(different.len());
                    different.push(EmittedLog { address, topic, count: 1 });
                }
                Entry::Vacant(_) => omitted = omitted.saturating_add(1),
            }
        }
        Ok(Logs { different: different.into(), omitted })
    }
}

impl Receipt {
    /// Reads a result's JSON; none for `null`, for what is no receipt, and for one of more than
    /// [`MAX_BYTES`].
    pub fn parse(result: &[u8]) -> Option<Self> {
        if result.len() > MAX_BYTES {
            return None;
        }
        serde_json::from_slice::<Option<Self>>(result).ok()?
    }

    /// Its status; true where the node gives none.
    pub fn success(&self) -> bool {
        self.status.is_none_or(|status| !status.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::U256;
    use serde_json::json;

    use super::*;

    #[test]
    fn logs_are_counted_by_their_first_topic_and_those_beyond_the_bound_as_well() {
        let receipt = |logs| {
            let receipt = json!({"transactionHash": B256::ZERO, "gasUsed": "0x1", "logs": logs});
            let Logs { different, omitted } =
                serde_json::from_value::<Receipt>(receipt).unwrap().logs;
            (different, omitted)
        };
        let topic = B256::repeat_byte(7);
        let named = json!({"address": Address::ZERO, "topics": [topic, B256::ZERO], "data": "0x"});
        let anonymous = json!({"address": Address::ZERO, "topics": []});
        let (logs, omitted) = receipt(vec![named.clone(), anonymous, named.clone()]);
        let counted: Vec<_> = logs.iter().map(|log| (log.topic, log.count)).collect();
        assert_eq!((&counted[..], omitted), (&[(Some(topic), 2), (None, 1)][..], 0));
        let (same, omitted) = receipt(vec![named; Logs::MOST + 9]);
        assert_eq!((same.len(), same[0].count, omitted), (1, 4_105, 0));
        let each =
            |i: usize| json!({"address": Address::ZERO, "topics": [B256::from(U256::from(i))]});
        let (different, omitted) = receipt((0..6_000).map(each).collect());
        assert_eq!((different.len(), omitted), (Logs::MOST, 1_904));
        assert_eq!(receipt(Vec::new()), (Box::default(), 0));
    }

    #[test]
    fn a_receipt_is_read_and_null_is_none() {
        let hash = B256::repeat_byte(7);
        let receipt = json!({"transactionHash": hash, "status": "0x0", "gasUsed": "0x5208",
            "effectiveGasPrice": "0x7", "blockHash": hash, "blockNumber": "0x3", "type": "0x2",
            "contractAddress": null, "logs": [{"address": Address::ZERO, "topics": [hash]}]});
        let read = Receipt::parse(receipt.to_string().as_bytes()).unwrap();
        assert!(!read.success());
        assert_eq!((read.gas_used, read.block_number), (U64::from(21_000), Some(U64::from(3))));
        assert!(Receipt::parse(b"null").is_none());
        assert!(Receipt::parse(b"{\"status\":\"0x1\"}").is_none());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Receipt::parse(&bytes);
        }
    }
}
