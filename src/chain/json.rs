//! The JSON that nodes answer with, as far as it matters here.

use std::fmt;

use alloy::primitives::{Address, B256, Bytes, U64, U128, U256, b256};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::{EmittedLog, Head};

/// The root of the trie without a transaction in it.
const NO_TRANSACTIONS: B256 =
    b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

/// A block's header, from `newHeads` or a block.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    pub number: U64,
    pub hash: B256,
    pub parent_hash: B256,
    #[serde(default)]
    pub timestamp: U64,
    #[serde(default)]
    pub gas_used: U64,
    #[serde(default)]
    pub gas_limit: U64,
    pub base_fee_per_gas: Option<U64>,
    transactions_root: Option<B256>,
}

impl Header {
    pub fn number(&self) -> u64 {
        self.number.to()
    }

    /// Whether the block is known to hold no transaction, so that it need not be asked for.
    pub fn is_empty(&self) -> bool {
        self.transactions_root == Some(NO_TRANSACTIONS)
    }
}

impl From<&Header> for Head {
    fn from(header: &Header) -> Self {
        Self {
            number: header.number(),
            timestamp: header.timestamp.to(),
            gas_limit: header.gas_limit.to(),
            base_fee: header.base_fee_per_gas.map(|fee| fee.to()),
        }
    }
}

/// A block with its transactions.
#[derive(Debug, Deserialize)]
pub struct FullBlock {
    #[serde(flatten)]
    pub header: Header,
    #[serde(default)]
    pub transactions: Vec<FullTransaction>,
    /// Transactions of it that the node did not return.
    #[serde(skip)]
    pub absent: u32,
}

/// A block with the hashes of its transactions.
#[derive(Debug, Deserialize)]
pub struct HashedBlock {
    #[serde(flatten)]
    pub header: Header,
    #[serde(default)]
    pub transactions: Vec<B256>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FullTransaction {
    pub hash: B256,
    pub from: Address,
    pub to: Option<Address>,
    #[serde(default)]
    pub input: Bytes,
    #[serde(default)]
    pub nonce: U64,
    #[serde(default)]
    pub value: U256,
    #[serde(default)]
    pub gas: U64,
    #[serde(default)]
    pub gas_price: U128,
    /// Nodes of before EIP-2718 have none.
    #[serde(rename = "type")]
    pub envelope: Option<U64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    pub transaction_hash: B256,
    /// Before Byzantium there was none.
    pub status: Option<U64>,
    pub gas_used: U64,
    pub effective_gas_price: Option<U128>,
    pub contract_address: Option<Address>,
    #[serde(default)]
    pub logs: Logs,
}

/// The first [`Logs::MOST`] logs of a receipt, as far as they name themselves.
#[derive(Debug, Default)]
pub struct Logs(pub Box<[EmittedLog]>);

impl Logs {
    /// Logs that are kept of one transaction: a block's gas pays for a hundred thousand.
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
        let mut logs = Vec::new();
        while logs.len() < Logs::MOST
            && let Some(Log { address, topics }) = seq.next_element()?
        {
            logs.push(EmittedLog { address, topic: topics.first().copied() });
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Logs(logs.into()))
    }
}

/// What `hardhat_metadata` tells; Anvil has it too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub instance_id: B256,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn logs_are_named_by_their_first_topic_and_bounded() {
        let receipt = |logs| {
            let receipt = json!({"transactionHash": B256::ZERO, "gasUsed": "0x1", "logs": logs});
            serde_json::from_value::<Receipt>(receipt).unwrap().logs.0
        };
        let topic = B256::repeat_byte(7);
        let named = json!({"address": Address::ZERO, "topics": [topic, B256::ZERO], "data": "0x"});
        let anonymous = json!({"address": Address::ZERO, "topics": []});
        let logs = receipt(vec![named.clone(), anonymous]);
        assert_eq!(logs.iter().map(|log| log.topic).collect::<Vec<_>>(), [Some(topic), None]);
        assert_eq!(receipt(vec![named; Logs::MOST + 9]).len(), Logs::MOST);
        assert!(receipt(Vec::new()).is_empty());
    }
}
