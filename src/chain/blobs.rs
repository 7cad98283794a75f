//! What a transaction pays for its blobs.
//!
//! Anvil and Geth put it into the receipt. Hardhat 2 and 3 leave it out, and of the block's header
//! `excessBlobGas` alone determines the price; by a constant of the hardfork, which no node reports.

use alloy::eips::eip4844::DATA_GAS_PER_BLOB;
use alloy::eips::eip7840::BlobParams;

use super::json::{FullTransaction, Header};
use crate::decode::receipt::Receipt;
use crate::model::BlobGas;

/// The blob gas of a mined transaction; none of one without blobs.
pub fn blob_gas(
    header: &Header,
    transaction: &FullTransaction,
    receipt: &Receipt,
) -> Option<BlobGas> {
    let blobs = transaction.blob_versioned_hashes.0;
    let used = receipt.blob_gas_used.map_or(blobs * DATA_GAS_PER_BLOB, |used| used.to());
    let price = receipt.blob_gas_price.map(|price| price.to());
    let by_header = || price_at(header.excess_blob_gas?.to());
    (used > 0).then(|| BlobGas { used, price: price.or_else(by_header) })
}

/// The price of a unit of blob gas in wei, where it is the same in every hardfork.
fn price_at(excess: u64) -> Option<u128> {
    let prices = [
        BlobParams::cancun(),
        BlobParams::prague(),
        BlobParams::osaka(),
        BlobParams::bpo1(),
        BlobParams::bpo2(),
    ]
    .map(|fork| fork.calc_blob_fee(excess));
    prices.iter().all(|price| *price == prices[0]).then_some(prices[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_known_where_all_hardforks_agree() {
        assert_eq!(price_at(0), Some(1));
        assert_eq!(price_at(2_000_000), Some(1));
        // Two wei by Cancun's constant, one by Prague's.
        assert_eq!(price_at(3_000_000), None);
    }
}
