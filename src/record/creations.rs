//! Contracts that transactions of the relay's clients create: what each creates is known from its
//! submission, where from the answers that pass.

use alloy::primitives::{Address, B256, U64};
use serde::Deserialize;

use super::recent::Recent;
use crate::decode::contracts::Contracts;
use crate::decode::submission::Submission;
use crate::model::Interval;

/// Creations that are remembered.
const MOST: usize = 1_024;
/// A longer answer is not looked into, in bytes: constructors seldom emit thousands of logs.
const LARGEST_ANSWER: usize = 1 << 20;

/// Submitted creations by transaction hash.
pub(super) struct Creations {
    by_hash: Recent<B256, Creation>,
    is_any: bool,
}

/// A creation: which contract it is, where an artifact is known for its code, and when it ran.
#[derive(Clone, Copy)]
struct Creation {
    contract: Option<usize>,
    sent: Interval,
}

/// Where a contract was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Created {
    pub(super) address: Address,
    pub(super) contract: Option<usize>,
    /// From the submission on, until it was there for sure.
    pub(super) since: Interval,
    /// A receipt says that it succeeded; else the code is still to be looked at.
    pub(super) is_certain: bool,
}

impl Default for Creations {
    fn default() -> Self {
        Self { by_hash: Recent::holding(MOST), is_any: false }
    }
}

impl Creations {
    /// Whether answers about transactions can say anything new.
    pub(super) const fn is_any(&self) -> bool {
        self.is_any
    }

    /// A creation was accepted by the node. Where its sender and nonce are known, so is its address.
    pub(super) fn accepted(
        &mut self,
        submission: &Submission,
        hash: B256,
        contracts: &Contracts,
        sent: Interval,
    ) -> Option<Created> {
        let contract = contracts.by_creation(&submission.input);
        self.by_hash.put(hash, Creation { contract, sent });
        self.is_any = true;
        let nonce = submission.nonce?;
        let signer = || submission.signed.as_ref().and_then(|signed| signed.signer());
        let address = submission.from.or_else(signer)?.create(nonce);
        Some(Created { address, contract, since: sent, is_certain: false })
    }

    /// The node answered about a transaction, by its receipt or itself: says where a creation put its
    /// contract, once it is mined. `at` is when that passed.
    pub(super) fn answered(&self, hash: B256, result: &[u8], at: Interval) -> Option<Created> {
        let Creation { contract, sent } = *self.by_hash.get(&hash)?;
        if result.len() > LARGEST_ANSWER {
            return None;
        }
        let mined: Mined = serde_json::from_slice(result).ok()?;
        mined.block_number?;
        let (address, is_certain) = match mined {
            Mined { contract_address: Some(address), status, .. } => {
                if status.is_some_and(|status| status.is_zero()) {
                    return None;
                }
                (address, true)
            }
            Mined { from, nonce: Some(nonce), .. } => (from?.create(nonce.to()), false),
            _ => return None,
        };
        let since = Interval { start: sent.start, end: at.end };
        Some(Created { address, contract, since, is_certain })
    }
}

/// What matters of a receipt, or of a transaction.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mined {
    block_number: Option<U64>,
    contract_address: Option<Address>,
    status: Option<U64>,
    from: Option<Address>,
    nonce: Option<U64>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Stamp;

    fn interval(start: u64, end: u64) -> Interval {
        Interval { start: Stamp::from_nanos(start), end: Stamp::from_nanos(end) }
    }

    fn submission(nonce: Option<u64>) -> Submission {
        let params = json!([{"from": Address::repeat_byte(1), "data": "0x6001",
            "nonce": nonce.map(|nonce| format!("{nonce:#x}"))}]);
        Submission::unsigned(params.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_address_is_in_the_receipt_or_follows_from_the_nonce() {
        let (contracts, mut creations) = (Contracts::new(), Creations::default());
        let (hash, from) = (B256::repeat_byte(9), Address::repeat_byte(1));
        let accepted = |creations: &mut Creations, nonce| {
            creations.accepted(&submission(nonce), hash, &contracts, interval(1, 2))
        };
        assert_eq!(accepted(&mut creations, None), None);
        let created = accepted(&mut creations, Some(7)).unwrap();
        assert_eq!((created.address, created.is_certain), (from.create(7), false));
        let answered = |result: serde_json::Value| {
            let found = creations.answered(hash, result.to_string().as_bytes(), interval(5, 6));
            found.map(|created| (created.address, created.is_certain, created.since))
        };
        let place = Address::repeat_byte(3);
        let receipt = |status| {
            json!({"blockNumber": "0x1", "contractAddress": place,
            "status": status, "from": from, "logs": [{}]})
        };
        assert_eq!(answered(receipt("0x1")), Some((place, true, interval(1, 6))));
        assert_eq!(answered(receipt("0x0")), None);
        let transaction = |block| json!({"blockNumber": block, "from": from, "nonce": "0x2"});
        let by_nonce = Some((from.create(2), false, interval(1, 6)));
        assert_eq!(answered(transaction(json!("0x1"))), by_nonce);
        assert_eq!(answered(transaction(json!(null))), None, "it waits");
        assert_eq!(answered(json!(null)), None);
        assert_eq!(creations.answered(B256::ZERO, b"{}", interval(5, 6)), None);
    }
}
