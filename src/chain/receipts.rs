//! Blocks with all that is in them: transactions, receipts, and why those that reverted did.

use std::collections::HashMap;
use std::time::Duration;

use alloy::primitives::{B256, U64};
use serde_json::{Value, json};

use super::blobs::blob_gas;
use super::json::{FullBlock, FullTransaction, Header};
use super::meter::Purpose;
use super::node::{Answer, Ask, Node, NodeError, read};
use super::pace::READ_GAS;
use crate::decode::receipt::Receipt;
use crate::decode::revert::RevertInfo;
use crate::model::{MinedTransaction, ReplayedRevert, RevertCause, Unexplained};

/// How long receipts that are not there yet are waited for, once.
const RECEIPTS_LATE: Duration = Duration::from_millis(50);
/// Transactions of the largest block whose receipts are asked for with one call. Anvil's time for it
/// grows with their square: 64 take 3 ms, 256 take 20 ms, 2,000 longer than any answer is waited for.
/// The receipts of larger blocks are asked for in batches.
const LARGEST_WHOLE: usize = 64;
/// The transaction types that are whole in an `eth_call`: without blobs and authorisations.
const PLAIN_TYPES: u64 = 2;
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
                    Some(mined(&block.header, transaction, receipt, revert))
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

    /// Why reverted transactions did: the first of its block is run again, on the state before the
    /// block, which it met. What the others met is not known, so their reasons are not.
    async fn reverts(
        &self,
        node: &Node,
        blocks: &[FullBlock],
        receipts: &HashMap<B256, Receipt>,
    ) -> Result<HashMap<B256, RevertCause>, NodeError> {
        let reverted = |t: &FullTransaction| receipts.get(&t.hash).is_some_and(|r| !r.success());
        let is_any = blocks.iter().flat_map(|block| &block.transactions).any(reverted);
        if !is_any {
            return Ok(HashMap::new());
        }
        let at_once = self.replay == Replay::NotAtOnce && mines_at_once(node).await?;
        let mut causes = HashMap::new();
        let (mut replayed, mut asks) = (Vec::new(), Vec::new());
        let mut too_large = 0;
        for block in blocks {
            for (index, transaction) in block.transactions.iter().enumerate() {
                if !reverted(transaction) {
                    continue;
                }
                let gas = receipts.get(&transaction.hash).map_or(0, |r| r.gas_used.to());
                let too_much_gas = (gas > self.replay_gas).then_some(Unexplained::TooMuchGas);
                let obstacle = self.obstacle(block, index, at_once).or(too_much_gas);
                too_large += usize::from(obstacle == Some(Unexplained::TooMuchGas));
                let crowded = (asks.len() >= MOST_REPLAYS).then_some(Unexplained::TooMany);
                if let Some(why) = obstacle.or(crowded) {
                    causes.insert(transaction.hash, RevertCause::Unexplained(why));
                } else {
                    replayed.push(transaction);
                    asks.push((replay(block, transaction, self.replay_gas), gas));
                }
            }
        }
        node.skip(Purpose::Reverts, "eth_call", too_large);
        if !asks.is_empty() {
            let answers = node.batch_by_gas(Purpose::Reverts, asks, self.replay_gas).await?;
            for (transaction, answer) in replayed.into_iter().zip(answers) {
                let all_gas =
                    receipts.get(&transaction.hash).is_some_and(|r| r.gas_used == transaction.gas);
                causes.insert(transaction.hash, cause(&answer, all_gas));
            }
        }
        Ok(causes)
    }

    /// Why a reverted transaction is not run again; none where it is.
    fn obstacle(&self, block: &FullBlock, index: usize, at_once: bool) -> Option<Unexplained> {
        let is_plain =
            |envelope: Option<U64>| envelope.is_none_or(|it| it.to::<u64>() <= PLAIN_TYPES);
        match self.replay {
            Replay::Never => Some(Unexplained::SwitchedOff),
            _ if index > 0 => Some(Unexplained::NotFirstInBlock),
            _ if !is_plain(block.transactions[index].envelope) => {
                Some(Unexplained::TransactionType)
            }
            _ if at_once && block.transactions.len() == 1 => Some(Unexplained::AnsweredElsewhere),
            Replay::NotAtOnce | Replay::All => None,
        }
    }
}

/// What a replay's answer says of the transaction. `all_gas`: it used all of its gas, which a halt
/// takes and a revert gives back.
fn cause(answer: &Answer, all_gas: bool) -> RevertCause {
    let Err(error) = answer else { return RevertCause::Unexplained(Unexplained::EndedOtherwise) };
    let info = RevertInfo::parse(&serde_json::to_vec(error).unwrap_or_default());
    let data = info.data.unwrap_or_default();
    if !info.kind.ran() {
        return RevertCause::Unexplained(Unexplained::NodeRefused);
    }
    if (info.kind.halted() && !all_gas) || (all_gas && !data.is_empty()) {
        return RevertCause::Unexplained(Unexplained::EndedOtherwise);
    }
    RevertCause::Replayed(ReplayedRevert { data, reason: info.kind.reason() })
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
    // By its hash: after a rollback another block has the number.
    let before = json!({"blockHash": block.header.parent_hash});
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

fn mined(
    header: &Header,
    transaction: FullTransaction,
    receipt: Receipt,
    revert: Option<RevertCause>,
) -> MinedTransaction {
    MinedTransaction {
        blob: blob_gas(header, &transaction, &receipt),
        hash: transaction.hash,
        from: transaction.from,
        to: transaction.to,
        input: transaction.input,
        nonce: transaction.nonce.to(),
        value: transaction.value,
        gas_limit: transaction.gas.to(),
        gas_used: receipt.gas_used.to(),
        gas_price: receipt.effective_gas_price.unwrap_or(transaction.gas_price).to(),
        success: receipt.success(),
        created: receipt.contract_address,
        revert,
        envelope: transaction.envelope.and_then(|envelope| envelope.try_into().ok()),
        authorities: transaction.authorization_list.authorities(),
        logs: receipt.logs.different,
        logs_omitted: receipt.logs.omitted,
    }
}
