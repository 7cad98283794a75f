//! Where submitted transactions are.

use alloy::primitives::{Address, B256, U64};
use serde::Deserialize;
use serde_json::json;

use super::meter::Purpose;
use super::node::{Ask, Node, NodeError, read};
use crate::model::{ChainEvent, Observation, Observer, Sight};

/// A transaction, as far as it tells where it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whereabouts {
    from: Address,
    block_number: Option<U64>,
}

/// Tells where these transactions are. What the node refuses is left unanswered.
pub(super) async fn tell(
    node: &Node,
    hashes: &[B256],
    observer: &Observer,
) -> Result<(), NodeError> {
    let ask = |hash| -> Ask { ("eth_getTransactionByHash", json!([hash])) };
    let answers = node.batch(Purpose::Pending, hashes.iter().map(ask).collect()).await?;
    for (hash, answer) in hashes.iter().zip(answers) {
        let Some(found) = answer.ok().and_then(|answer| read("a transaction", &answer).ok()) else {
            continue;
        };
        let sight = match found {
            None => Sight::Gone,
            Some(Whereabouts { from, block_number: None }) => Sight::Pending { from },
            Some(Whereabouts { block_number: Some(_), .. }) => Sight::Mined,
        };
        observer.tell(Observation::Chain(ChainEvent::Sighted { hash: *hash, sight }));
    }
    Ok(())
}
