//! The code at the addresses that the recorder asks about.

use alloy::primitives::{Address, Bytes};
use serde_json::json;

use super::node::{Ask, Node, NodeError, read};
use crate::model::{ChainEvent, ChainQuestion, ContractCode, Observation, Observer};

/// Takes the questions and tells the code that was asked for. What the node refuses is left
/// unanswered.
pub(super) async fn tell(
    node: &Node,
    questions: &mut Vec<ChainQuestion>,
    observer: &Observer,
) -> Result<(), NodeError> {
    let addresses: Vec<Address> = questions
        .drain(..)
        .filter_map(|question| match question {
            ChainQuestion::Code(address) => Some(address),
            ChainQuestion::Look | ChainQuestion::Trace { .. } | ChainQuestion::Sight(_) => None,
        })
        .collect();
    if addresses.is_empty() {
        return Ok(());
    }
    let ask = |address| -> Ask { ("eth_getCode", json!([address, "latest"])) };
    let answers = node.batch(addresses.iter().map(ask).collect()).await?;
    for (address, answer) in addresses.into_iter().zip(answers) {
        let code = answer.ok().and_then(|answer| read::<Bytes>("code", &answer).ok());
        if let Some(code) = code {
            let code = ContractCode { address, code, implementation: None };
            observer.tell(Observation::Chain(ChainEvent::Code(code)));
        }
    }
    Ok(())
}
