//! The JSON that nodes answer with, as far as it matters here.

use alloy::eips::eip7702;
use alloy::primitives::{Address, B256, Bytes, U64, U128, U256, b256};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::model::Head;

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
    /// Since Cancun.
    pub excess_blob_gas: Option<U64>,
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
    #[serde(default)]
    pub authorization_list: Authorizations,
    #[serde(default)]
    pub blob_versioned_hashes: Count,
}

/// The delegations that a transaction sets (EIP-7702).
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Authorizations(Vec<Authorization>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    chain_id: U256,
    address: Address,
    nonce: U64,
    /// Older nodes call it `v`.
    #[serde(alias = "v")]
    y_parity: U64,
    r: U256,
    s: U256,
}

impl Authorizations {
    /// Signers that are recovered of one transaction: each takes some 100 µs.
    const MOST: usize = 256;

    /// Who signed: the accounts that delegate.
    pub fn authorities(&self) -> Box<[Address]> {
        let signer = |it: &Authorization| {
            let (chain_id, address, nonce) = (it.chain_id, it.address, it.nonce.to());
            let unsigned = eip7702::Authorization { chain_id, address, nonce };
            let parity = u8::try_from(it.y_parity.to::<u64>()).ok()?;
            let signed = eip7702::SignedAuthorization::new_unchecked(unsigned, parity, it.r, it.s);
            signed.recover_authority().ok()
        };
        self.0.iter().take(Self::MOST).filter_map(signer).collect()
    }
}

/// How many items a list has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count(pub u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Option::<Vec<IgnoredAny>>::deserialize(deserializer)?;
        Ok(Self(items.map_or(0, |items| items.len() as u64)))
    }
}

/// What `hardhat_metadata` tells; Anvil has it too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub instance_id: B256,
}
