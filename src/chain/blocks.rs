//! Tells blocks: those announced, those between them and what was told, and those missed.

use std::collections::HashMap;

use super::follow::{DEEPEST_REORGANISATION, GROUP, Place};
use super::full_blocks;
use super::json::{FullBlock, Header};
use super::meter::Purpose;
use super::node::NodeError;
use super::receipts::Contents;
use super::watcher::{Following, Seen, Watcher};
use crate::model::{ChainEvent, MinedBlock, Stamp};

impl Watcher {
    /// Works on heads that were announced.
    pub(super) async fn heads(
        &mut self,
        following: &mut Following,
        heads: Vec<Seen>,
    ) -> Result<(), NodeError> {
        let mut next: Vec<Seen> = Vec::new();
        for seen in heads {
            // Those before it first, so that `told` says what it follows.
            let follows = next.last().is_some_and(|last| {
                last.header.hash == seen.header.parent_hash
                    && last.header.number() + 1 == seen.header.number()
            });
            if !follows {
                self.tell_heads(following, std::mem::take(&mut next)).await?;
                match self.told.place(&seen.header) {
                    Place::Known if following.polling => {
                        self.set_back(seen.header.number());
                        continue;
                    }
                    Place::Known if seen.at <= following.met => continue,
                    // Announced a second time: the chain was set back, and mined the very same block.
                    Place::Known => self.set_back(seen.header.number().saturating_sub(1)),
                    Place::Next => {}
                    Place::Gap { from } => {
                        let (to, live) = (seen.header.number(), following.polling);
                        self.catch_up(following, from, to, seen.at, live).await?;
                    }
                    Place::Back { by } => {
                        self.went_back(following, &seen, by).await?;
                        // Set back to before the first block that was told, and asked for then.
                        if following.polling && self.told.predates(&seen.header) {
                            self.set_back(seen.header.number());
                            self.told.add(seen.header.number(), seen.header.hash);
                        }
                    }
                }
                if self.told.contains(seen.header.hash) {
                    continue;
                }
            }
            next.push(seen);
        }
        self.tell_heads(following, next).await
    }

    /// Tells the blocks with these numbers, `to` left out; of too many the newest.
    pub(super) async fn catch_up(
        &mut self,
        following: &mut Following,
        from: u64,
        to: u64,
        at: Stamp,
        live: bool,
    ) -> Result<(), NodeError> {
        let oldest = to.saturating_sub(self.settings.largest_gap);
        // Where blocks are left out, the first one connects to nothing that was told.
        let mut whole = from >= oldest;
        let mut from = from.max(oldest);
        while from < to {
            let end = to.min(from + GROUP as u64);
            let blocks =
                full_blocks::of_numbers(&following.node, Purpose::Blocks, from..end).await?;
            if let (Some(first), true) = (blocks.first(), whole) {
                let header = first.header.clone();
                self.connect_to(following, &header, at).await?;
            }
            self.tell_blocks(following, blocks, |_| (at, live)).await?;
            (from, whole) = (end, true);
        }
        Ok(())
    }

    /// Tells heads that follow each other.
    async fn tell_heads(
        &mut self,
        following: &mut Following,
        heads: Vec<Seen>,
    ) -> Result<(), NodeError> {
        if let Some(first) = heads.first() {
            self.connect_to(following, &first.header, first.at).await?;
        }
        let filled: Vec<&Header> =
            heads.iter().map(|seen| &seen.header).filter(|header| !header.is_empty()).collect();
        let node = &following.node;
        let mut filled = full_blocks::of_headers(node, Purpose::Blocks, &filled).await?;
        let mut at = HashMap::new();
        let blocks = heads
            .into_iter()
            .filter_map(|Seen { header, at: seen }| {
                at.insert(header.hash, seen);
                if header.is_empty() {
                    return Some(FullBlock { header, transactions: Vec::new(), absent: 0 });
                }
                // Not there: gone in a reorganisation since it was announced.
                let place = filled.iter().position(|block| block.header.hash == header.hash)?;
                Some(filled.swap_remove(place))
            })
            .collect();
        self.tell_blocks(following, blocks, |header| {
            (at.get(&header.hash).copied().unwrap_or_default(), true)
        })
        .await
    }

    /// Tells the blocks between what was told and this one, where a reorganisation replaced them,
    /// and before them how far the chain went back.
    async fn connect_to(
        &mut self,
        following: &mut Following,
        header: &Header,
        at: Stamp,
    ) -> Result<(), NodeError> {
        let mut between: Vec<FullBlock> = Vec::new();
        let mut youngest = header.clone();
        for _ in 0..DEEPEST_REORGANISATION {
            if youngest.number() == 0 || self.told.connects(&youngest) {
                break;
            }
            let (node, parent) = (&following.node, youngest.parent_hash);
            let Some(block) = full_blocks::of_hash(node, Purpose::Blocks, parent).await? else {
                break;
            };
            youngest = block.header.clone();
            between.push(block);
        }
        between.reverse();
        // Told before the blocks that took the place of those that are gone.
        self.set_back(youngest.number().saturating_sub(1));
        self.tell_blocks(following, between, |_| (at, false)).await
    }

    /// Completes blocks and tells them, with when they were seen and whether they were live.
    async fn tell_blocks(
        &mut self,
        following: &mut Following,
        blocks: Vec<FullBlock>,
        seen: impl Fn(&Header) -> (Stamp, bool),
    ) -> Result<(), NodeError> {
        if blocks.is_empty() {
            return Ok(());
        }
        for (FullBlock { header, .. }, contents) in
            following.receipts.complete(&following.node, blocks).await?
        {
            let Contents { transactions, missing } = contents;
            let (seen, live) = seen(&header);
            self.told.add(header.number(), header.hash);
            self.tell(ChainEvent::Block(Box::new(MinedBlock {
                seen,
                number: header.number(),
                hash: header.hash,
                parent: header.parent_hash,
                timestamp: header.timestamp.to(),
                gas_used: header.gas_used.to(),
                gas_limit: header.gas_limit.to(),
                base_fee: header.base_fee_per_gas.map(|fee| fee.to()),
                transactions,
                missing,
                live,
            })));
        }
        Ok(())
    }
}
