//! Blocks with their transactions, asked for so that no answer is large.
//!
//! An answer with all transactions keeps Anvil busy for 0.2 ms for each of them, Hardhat for 0.05 ms.
//! A block that may hold many is first asked for with hashes alone, which is cheap everywhere; the
//! transactions of one that does are then asked for in small batches.

use std::collections::HashMap;

use alloy::primitives::{B256, U64};
use serde_json::json;

use super::json::{FullBlock, FullTransaction, HashedBlock, Header};
use super::meter::Purpose;
use super::node::{Answer, Ask, Node, NodeError, read};
use super::pace::{READ_GAS, TRANSACTION_GAS};

/// Transactions of the largest block that is asked for with one call.
const MOST_AT_ONCE: u64 = READ_GAS / TRANSACTION_GAS;

/// The blocks with these headers, in the same order, but for those that the node has no more.
pub async fn of_headers(
    node: &Node,
    purpose: Purpose,
    headers: &[&Header],
) -> Result<Vec<FullBlock>, NodeError> {
    let is_small = |header: &Header| header.gas_used.to::<u64>() <= READ_GAS;
    let (small, large): (Vec<&Header>, Vec<&Header>) =
        headers.iter().copied().partition(|header| is_small(header));
    let asks = small.iter().map(|it| (full(it.hash), it.gas_used.to()));
    let mut found = by_hash(node.batch_by_gas(purpose, asks.collect(), READ_GAS).await?);
    let asks = large.iter().map(|it| -> Ask { ("eth_getBlockByHash", json!([it.hash, false])) });
    let hashed = node.batch(purpose, asks.collect()).await?;
    found.extend(complete(node, purpose, hashed).await?.into_iter().map(with_hash));
    Ok(headers.iter().filter_map(|header| found.remove(&header.hash)).collect())
}

/// The blocks with these numbers, in the same order, but for those that there are not.
pub async fn of_numbers(
    node: &Node,
    purpose: Purpose,
    numbers: impl Iterator<Item = u64>,
) -> Result<Vec<FullBlock>, NodeError> {
    let ask = |it| -> Ask { ("eth_getBlockByNumber", json!([U64::from(it), false])) };
    let hashed = node.batch(purpose, numbers.map(ask).collect()).await?;
    complete(node, purpose, hashed).await
}

/// The block with this hash, where the node has it.
pub async fn of_hash(
    node: &Node,
    purpose: Purpose,
    hash: B256,
) -> Result<Option<FullBlock>, NodeError> {
    let hashed = node.batch(purpose, vec![("eth_getBlockByHash", json!([hash, false]))]).await?;
    Ok(complete(node, purpose, hashed).await?.pop())
}

/// Completes blocks that came with the hashes of their transactions; those that are not there are
/// left out.
async fn complete(
    node: &Node,
    purpose: Purpose,
    hashed: Vec<Answer>,
) -> Result<Vec<FullBlock>, NodeError> {
    let blocks: Vec<HashedBlock> = hashed.into_iter().filter_map(block).collect();
    let count = |block: &HashedBlock| block.transactions.len() as u64;
    let small = blocks.iter().filter(|block| (1..=MOST_AT_ONCE).contains(&count(block)));
    let asks = small.map(|block| (full(block.header.hash), count(block) * TRANSACTION_GAS));
    let mut found = by_hash(node.batch_by_gas(purpose, asks.collect(), READ_GAS).await?);
    let mut complete = Vec::with_capacity(blocks.len());
    for block in blocks {
        let header = block.header;
        match block.transactions.len() as u64 {
            0 => complete.push(FullBlock { header, transactions: Vec::new(), absent: 0 }),
            1..=MOST_AT_ONCE => complete.extend(found.remove(&header.hash)),
            _ => {
                let transactions = transactions(node, purpose, &block.transactions).await?;
                let absent = block.transactions.len() - transactions.len();
                let absent = u32::try_from(absent).unwrap_or(u32::MAX);
                complete.push(FullBlock { header, transactions, absent });
            }
        }
    }
    Ok(complete)
}

/// The transactions with these hashes, in the same order, but for those that there are not.
async fn transactions(
    node: &Node,
    purpose: Purpose,
    hashes: &[B256],
) -> Result<Vec<FullTransaction>, NodeError> {
    let ask = |hash| -> Ask { ("eth_getTransactionByHash", json!([hash])) };
    let answers = node.batch(purpose, hashes.iter().map(ask).collect()).await?;
    let transaction =
        |answer: Answer| read::<Option<_>>("a transaction", &answer.ok()?).ok().flatten();
    Ok(answers.into_iter().filter_map(transaction).collect())
}

fn full(hash: B256) -> Ask {
    ("eth_getBlockByHash", json!([hash, true]))
}

fn block<T: serde::de::DeserializeOwned>(answer: Answer) -> Option<T> {
    read::<Option<T>>("a block", &answer.ok()?).ok()?
}

fn by_hash(answers: Vec<Answer>) -> HashMap<B256, FullBlock> {
    answers.into_iter().filter_map(block).map(with_hash).collect()
}

const fn with_hash(block: FullBlock) -> (B256, FullBlock) {
    (block.header.hash, block)
}
