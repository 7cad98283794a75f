//! Who a node is and where its head is.

use alloy::primitives::{B256, U64};
use serde_json::json;

use super::follow::DEEPEST_REORGANISATION;
use super::json::{Header, Metadata};
use super::meter::Purpose;
use super::node::{Answer, Node, NodeError, read};

/// What a node says of itself.
pub struct Greeting {
    pub identity: Identity,
    pub client: String,
    pub head: Header,
}

/// What tells one chain from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub chain_id: u64,
    pub genesis: Option<B256>,
    /// Hardhat and Anvil tell; it changes with every start.
    pub instance: Option<B256>,
}

impl Identity {
    /// Whether this is another chain than `before`, when the head went `back` by so many blocks.
    pub fn differs(&self, before: &Self, back: u64) -> bool {
        if self.chain_id != before.chain_id {
            return true;
        }
        let changed = |a: Option<B256>, b: Option<B256>| a.is_some() && b.is_some() && a != b;
        if changed(self.instance, before.instance) || changed(self.genesis, before.genesis) {
            return true;
        }
        // The same instance with a lower head was set back with `evm_revert`.
        let same_instance = self.instance.is_some() && self.instance == before.instance;
        !same_instance && back > DEEPEST_REORGANISATION
    }
}

/// Asks a node who it is and where its head is.
pub async fn greet(node: &Node) -> Result<Greeting, NodeError> {
    let chain_id: U64 =
        node.call(Purpose::Greeting, "a chain id", ("eth_chainId", json!([]))).await?;
    let asks = vec![
        ("web3_clientVersion", json!([])),
        ("hardhat_metadata", json!([])),
        ("eth_getBlockByNumber", json!(["0x0", false])),
    ];
    let mut answers = node.batch(Purpose::Greeting, asks).await?.into_iter().map(Answer::ok);
    let mut next = || answers.next().flatten();
    let client = next().and_then(|c| read("a name", &c).ok()).unwrap_or_default();
    let metadata = next().and_then(|m| read::<Metadata>("metadata", &m).ok());
    let genesis = next().and_then(|b| read::<Header>("a block", &b).ok());
    let identity = Identity {
        chain_id: chain_id.to(),
        genesis: genesis.map(|genesis| genesis.hash),
        instance: metadata.map(|metadata| metadata.instance_id),
    };
    Ok(Greeting { identity, client, head: head(node).await? })
}

/// Asks which instance of the node this is; none where it does not tell.
pub async fn instance(node: &Node) -> Result<Option<B256>, NodeError> {
    let answers = node.batch(Purpose::Greeting, vec![("hardhat_metadata", json!([]))]).await?;
    let metadata = answers.into_iter().next().and_then(Answer::ok);
    Ok(metadata.and_then(|m| read::<Metadata>("metadata", &m).ok()).map(|m| m.instance_id))
}

/// Asks where the head is.
pub async fn head(node: &Node) -> Result<Header, NodeError> {
    node.call(Purpose::Blocks, "a block", ("eth_getBlockByNumber", json!(["latest", false]))).await
}

#[cfg(test)]
mod tests {
    use alloy::primitives::U256;

    use super::*;

    fn hash(number: u64) -> B256 {
        U256::from(number).into()
    }

    #[test]
    fn a_chain_set_back_is_the_same_one_and_a_restarted_node_is_not() {
        let identity = |instance: u64| Identity {
            chain_id: 31_337,
            genesis: Some(hash(0)),
            instance: (instance > 0).then(|| hash(instance)),
        };
        assert!(!identity(1).differs(&identity(1), 500), "evm_revert");
        assert!(identity(2).differs(&identity(1), 0), "restarted");
        assert!(!identity(0).differs(&identity(0), 3), "reorganised");
        assert!(identity(0).differs(&identity(0), 500), "gone back");
        let other = Identity { genesis: Some(hash(9)), ..identity(0) };
        assert!(other.differs(&identity(0), 0));
        assert!(!Identity { genesis: None, ..identity(0) }.differs(&identity(0), 0));
    }
}
