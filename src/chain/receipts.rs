//! Blocks with all that is in them: transactions, receipts, and why those that reverted did.

use std::collections::HashMap;
use std::time::Duration;

use alloy::primitives::{B256, Bytes, U64};
use serde_json::{Value, json};

use super::json::{FullBlock, FullTransaction, Receipt};
use super::meter::Purpose;
use super::node::{Answer, Ask, Node, NodeError, read};
use super::pace::READ_GAS;
use crate::decode::revert::RevertInfo;
use crate::model::MinedTransaction;

/// How long receipts that are not there yet are waited for, once.
const RECEIPTS_LATE: Duration = Duration::from_millis(50);
/// Transactions of the largest block whose receipts are asked for with one call. Anvil's time for it
/// grows with their square: 64 take 3 ms, 256 take 20 ms, 2,000 longer than any answer is waited for.
/// The receipts of larger blocks are asked for in batches.
const LARGEST_WHOLE: usize = 64;
/// Reverted transactions that are run again, of a group of blocks.
const MOST_REPLAYS: usize = 32;

/// Gets receipts in the way that this node has.
pub struct Receipts {
    /// The node does not know `eth_getBlockReceipts`.
    one_by_one: bool,
    /// Whether reverted transactions are run again with `eth_call` to learn what they returned.
    replay: Replay,
    /// Gas units of the largest transaction that is run again.
    replay_gas: u64,
}

/// Which reverted transactions are run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    Never,
    /// All but those alone in a block that Hardhat mined at once: its answer to the submission tells
    /// why they reverted, and it logs a failed `eth_call` at length.
    NotAtOnce,
    All,
}

/// A block's transactions with their receipts.
pub struct Contents {
    pub transactions: Vec<MinedTransaction>,
    /// Transactions without a receipt.
    pub missing: u32,
}

impl Receipts {
    pub fn new(replay: Replay, replay_gas: u64) -> Self {
        Self { one_by_one: false, replay, replay_gas }
    }

    /// Completes blocks: as many contents, in the same order.
    pub async fn complete(
        &mut self,
        node: &Node,
        blocks: Vec<FullBlock>,
    ) -> Result<Vec<(FullBlock, Contents)>, NodeError> {
        let mut receipts = HashMap::new();
        self.of_whole_blocks(node, &blocks, &mut receipts).await?;
        if !of_transactions(node, &blocks, &mut receipts).await? {
            tokio::time::sleep(RECEIPTS_LATE).await;
            of_transactions(node, &blocks, &mut receipts).await?;
        }
        let mut reverts = self.reverts(node, &blocks, &receipts).await?;
        let complete = |mut block: FullBlock| {
            let transactions = std::mem::take(&mut block.transactions);
            let count = transactions.len() + block.absent as usize;
            let mined: Vec<_> = transactions
                .into_iter()
                .filter_map(|transaction| {
                    let receipt = receipts.remove(&transaction.hash)?;
                    let revert = reverts.remove(&transaction.hash);
                    Some(mined(transaction, receipt, revert))
                })
                .collect();
            let missing = u32::try_from(count - mined.len()).unwrap_or(u32::MAX);
            (block, Contents { transactions: mined, missing })
        };
        Ok(blocks.into_iter().map(complete).collect())
    }

    /// With one call for a block, where that is fewer calls and the node knows how.
    async fn of_whole_blocks(
        &mut self,
        node: &Node,
        blocks: &[FullBlock],
        receipts: &mut HashMap<B256, Receipt>,
    ) -> Result<(), NodeError> {
        let is_whole = |block: &&FullBlock| {
            (2..=LARGEST_WHOLE).contains(&block.transactions.len())
                && block.header.gas_used.to::<u64>() <= READ_GAS
        };
        for block in blocks.iter().filter(is_whole) {
            if self.one_by_one {
                return Ok(());
            }
            let ask = ("eth_getBlockReceipts", json!([block.header.hash]));
            match node
                .call::<Option<Vec<Receipt>>>(Purpose::Blocks, "a block's receipts", ask)
                .await
            {
                Ok(some) => {
                    receipts.extend(some.into_iter().flatten().map(|r| (r.transaction_hash, r)));
                }
                Err(NodeError::Gone(why)) => return Err(NodeError::Gone(why)),
                Err(_) => self.one_by_one = true,
            }
        }
        Ok(())
    }

    /// What reverted transactions returned, by running them again on the state before their block.
    /// Not exact where an earlier transaction of the same block changed that state; a transaction
    /// that then does not revert is left unexplained.
    async fn reverts(
        &self,
        node: &Node,
        blocks: &[FullBlock],
        receipts: &HashMap<B256, Receipt>,
    ) -> Result<HashMap<B256, Bytes>, NodeError> {
        let reverted = |t: &FullTransaction| receipts.get(&t.hash).is_some_and(|r| !success(r));
        let is_any = blocks.iter().flat_map(|block| &block.transactions).any(reverted);
        let fewest = match self.replay {
            _ if !is_any => return Ok(HashMap::new()),
            Replay::Never => return Ok(HashMap::new()),
            Replay::NotAtOnce if mines_at_once(node).await? => 2,
            Replay::NotAtOnce | Replay::All => 1,
        };
        let gas = |t: &FullTransaction| receipts.get(&t.hash).map_or(0, |r| r.gas_used.to());
        let (small, large): (Vec<_>, Vec<_>) = blocks
            .iter()
            .filter(|block| block.transactions.len() >= fewest)
            .flat_map(|block| block.transactions.iter().map(move |t| (block, t)))
            .filter(|(_, transaction)| reverted(transaction))
            .partition(|(_, transaction)| gas(transaction) <= self.replay_gas);
        node.skip(Purpose::Reverts, "eth_call", large.len());
        let (hashes, asks): (Vec<B256>, Vec<(Ask, u64)>) = small
            .into_iter()
            .take(MOST_REPLAYS)
            .map(|(block, t)| (t.hash, (replay(block, t, self.replay_gas), gas(t))))
            .unzip();
        if asks.is_empty() {
            return Ok(HashMap::new());
        }
        let explain = |(hash, answer): (B256, Answer)| {
            let error = serde_json::to_vec(&answer.err()?).ok()?;
            Some((hash, RevertInfo::parse(&error).data?))
        };
        let answers = node.batch_by_gas(Purpose::Reverts, asks, self.replay_gas).await?;
        Ok(hashes.into_iter().zip(answers).filter_map(explain).collect())
    }
}

/// Whether a Hardhat node mines each transaction when it comes; held to be so when it does not tell.
async fn mines_at_once(node: &Node) -> Result<bool, NodeError> {
    let ask = ("hardhat_getAutomine", json!([]));
    match node.call::<bool>(Purpose::Reverts, "whether it mines at once", ask).await {
        Ok(mines) => Ok(mines),
        Err(NodeError::Gone(why)) => Err(NodeError::Gone(why)),
        Err(_) => Ok(true),
    }
}

/// Gets the receipts that are not there yet, each with a call. False when some are still missing.
async fn of_transactions(
    node: &Node,
    blocks: &[FullBlock],
    receipts: &mut HashMap<B256, Receipt>,
) -> Result<bool, NodeError> {
    let mut asks: Vec<(Ask, u64)> = Vec::new();
    for block in blocks {
        // A receipt is as large as its logs, which the transaction's gas paid for.
        let count = block.transactions.len() as u64;
        let gas = block.header.gas_used.to::<u64>().checked_div(count).unwrap_or_default();
        let missing = block.transactions.iter().filter(|t| !receipts.contains_key(&t.hash));
        asks.extend(missing.map(|t| (("eth_getTransactionReceipt", json!([t.hash])), gas)));
    }
    let mut all = true;
    for answer in node.batch_by_gas(Purpose::Blocks, asks, READ_GAS).await? {
        let receipt = answer.ok().and_then(|a| read::<Option<Receipt>>("a receipt", &a).ok());
        match receipt.flatten() {
            Some(receipt) => {
                receipts.insert(receipt.transaction_hash, receipt);
            }
            None => all = false,
        }
    }
    Ok(all)
}

/// On another state a transaction may take another way, and more gas: twice the bound at most.
fn replay(block: &FullBlock, transaction: &FullTransaction, replay_gas: u64) -> Ask {
    let before = U64::from(block.header.number().saturating_sub(1));
    let mut call = json!({
        "from": transaction.from,
        "data": transaction.input,
        "value": transaction.value,
        "gas": transaction.gas.min(U64::from(replay_gas.saturating_mul(2))),
    });
    if let (Some(to), Value::Object(call)) = (transaction.to, &mut call) {
        call.insert("to".to_owned(), json!(to));
    }
    ("eth_call", json!([call, before]))
}

fn success(receipt: &Receipt) -> bool {
    receipt.status.is_none_or(|status| !status.is_zero())
}

fn mined(
    transaction: FullTransaction,
    receipt: Receipt,
    revert: Option<Bytes>,
) -> MinedTransaction {
    MinedTransaction {
        hash: transaction.hash,
        from: transaction.from,
        to: transaction.to,
        input: transaction.input,
        nonce: transaction.nonce.to(),
        value: transaction.value,
        gas_limit: transaction.gas.to(),
        gas_used: receipt.gas_used.to(),
        gas_price: receipt.effective_gas_price.unwrap_or(transaction.gas_price).to(),
        success: success(&receipt),
        created: receipt.contract_address,
        revert,
        envelope: transaction.envelope.and_then(|envelope| envelope.try_into().ok()),
        logs: receipt.logs.0,
    }
}
