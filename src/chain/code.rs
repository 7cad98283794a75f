//! The code at addresses, and of a proxy the contract behind it.

use alloy::primitives::{Address, B256, Bytes, hex};
use serde_json::json;
use serde_json::value::RawValue;

use super::follow::GROUP;
use super::full_blocks;
use super::meter::Purpose;
use super::node::{Answer, Ask, Node, NodeError, read};
use crate::decode::contracts::{BEACON_SLOT, IMPLEMENTATION_SLOT};
use crate::model::{ChainEvent, ContractCode, Interval, Observation, Observer, Stamp};

/// A beacon's `implementation()`.
const IMPLEMENTATION: &str = "0x5c60da1b";
/// Bytes of code that are looked into. Ethereum has at most 24,576, and nodes that were told to allow
/// more have contracts somewhat larger.
const LARGEST_CODE: usize = 1 << 20;
/// Calls for one address.
const CALLS: usize = 3;
/// Deployments before the start that are looked up.
const MOST_DEPLOYED: usize = 200;

/// Tells the code at these addresses. What the node refuses is left unanswered.
pub(super) async fn tell(
    node: &Node,
    addresses: &[Address],
    observer: &Observer,
) -> Result<(), NodeError> {
    for code in look_up(node, addresses).await? {
        observer.tell(Observation::Chain(ChainEvent::Code(code)));
    }
    Ok(())
}

/// Tells the code of what was deployed in the blocks up to this one, so that the first call to such
/// a contract has a name already. Contracts that were created by contracts are not found.
pub(super) async fn tell_deployed(
    node: &Node,
    head: u64,
    observer: &Observer,
) -> Result<(), NodeError> {
    let mut deployed = Vec::new();
    for first in (1..=head).step_by(GROUP) {
        let numbers = first..=head.min(first + GROUP as u64 - 1);
        for block in full_blocks::of_numbers(node, Purpose::Code, numbers).await? {
            let created = block.transactions.iter().filter(|t| t.to.is_none());
            deployed.extend(created.map(|t| t.from.create(t.nonce.to())));
        }
    }
    deployed.truncate(MOST_DEPLOYED);
    let mut codes = look_up(node, &deployed).await?;
    // Reverted, or destroyed since.
    codes.retain(|code| !code.code.is_empty());
    for code in codes {
        observer.tell(Observation::Chain(ChainEvent::Code(code)));
    }
    Ok(())
}

async fn look_up(node: &Node, addresses: &[Address]) -> Result<Vec<ContractCode>, NodeError> {
    let asks = addresses.iter().flat_map(|address| -> [Ask; CALLS] {
        [
            ("eth_getCode", json!([address, "latest"])),
            ("eth_getStorageAt", json!([address, IMPLEMENTATION_SLOT, "latest"])),
            ("eth_getStorageAt", json!([address, BEACON_SLOT, "latest"])),
        ]
    });
    let start = Stamp::now();
    let mut answers = node.batch(Purpose::Code, asks.collect()).await?.into_iter();
    let asked = Interval { start, end: Stamp::now() };
    let mut found = Vec::with_capacity(addresses.len());
    let mut beacons = Vec::new();
    for address in addresses {
        let mut next = || answers.next().and_then(Answer::ok);
        let (code, implementation, beacon) = (next(), next(), next());
        let Some(code) = code.as_deref().and_then(code_in) else { continue };
        let pointer =
            |word: Option<_>| word.as_deref().and_then(address_in).filter(|_| !code.is_empty());
        let (implementation, beacon) = (pointer(implementation), pointer(beacon));
        if let (None, Some(beacon)) = (implementation, beacon) {
            beacons.push((found.len(), beacon));
        }
        found.push(ContractCode { address: *address, code, implementation, asked });
    }
    let ask = |(_, beacon): &(usize, Address)| -> Ask {
        ("eth_call", json!([{"to": beacon, "data": IMPLEMENTATION}, "latest"]))
    };
    let answers = node.batch(Purpose::Code, beacons.iter().map(ask).collect()).await?;
    for ((place, _), answer) in beacons.into_iter().zip(answers) {
        found[place].implementation = answer.ok().as_deref().and_then(address_in);
        found[place].asked.end = Stamp::now();
    }
    Ok(found)
}

/// Code; of what is too large to be any, the beginning, so that it is not asked for again.
fn code_in(answer: &RawValue) -> Option<Bytes> {
    // With the quotation marks and `0x`.
    let most = 2 * LARGEST_CODE + 4;
    if answer.get().len() <= most {
        return read("code", answer).ok();
    }
    let beginning = answer.get().get(3..most - 1)?;
    hex::decode(beginning).ok().map(Bytes::from)
}

/// The address in a word; none for zero and for what is no address. Some nodes leave leading zeros
/// out.
fn address_in(answer: &RawValue) -> Option<Address> {
    let word: alloy::primitives::U256 = read("a word", answer).ok()?;
    let word = B256::from(word);
    let address = Address::from_word(word);
    (address.into_word() == word && !address.is_zero()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_code_that_is_too_large_the_beginning_is_told() {
        let code = |bytes: usize| {
            let json = format!("\"0x{}\"", "fe".repeat(bytes));
            code_in(&RawValue::from_string(json).unwrap()).map(|code| code.len())
        };
        assert_eq!(code(0), Some(0));
        assert_eq!(code(LARGEST_CODE), Some(LARGEST_CODE));
        assert_eq!(code(8 * LARGEST_CODE), Some(LARGEST_CODE));
        let no_hex = format!("\"0x{}\"", "\u{e9}".repeat(4 * LARGEST_CODE));
        assert_eq!(code_in(&RawValue::from_string(no_hex).unwrap()), None);
    }
}
