//! Who the node is, and whether its chain is still the one that was told.

use super::code;
use super::follow::Place;
use super::greet::{Greeting, greet, head, instance};
use super::node::{Node, NodeError};
use super::watcher::{Following, Seen, Watcher};
use crate::model::{ChainEvent, Stamp};

/// What was found when nothing was announced for a while.
pub(super) enum Found {
    /// There was nothing to announce.
    Nothing,
    /// A block; it may be announced in a moment.
    Block,
    /// Another chain.
    Replacement,
}

impl Watcher {
    /// Tells who answers, whether it is another chain, and what happened meanwhile.
    pub(super) async fn meet(
        &mut self,
        following: &mut Following,
        greeting: Greeting,
    ) -> Result<(), NodeError> {
        let Greeting { identity, client, head } = greeting;
        let number = head.number();
        let back = self.told.last().map_or(0, |(last, _)| last.saturating_sub(number));
        let was_down = self.up == Some(false);
        let other = self.identity.as_ref().is_some_and(|before| identity.differs(before, back));
        let first = self.identity.is_none();
        if other {
            self.restarted();
        }
        let (chain_id, instance) = (identity.chain_id, identity.instance);
        self.identity = Some(identity);
        if other || self.up != Some(true) {
            self.up = Some(true);
            self.tell(ChainEvent::NodeUp { chain_id, instance, client, head: (&head).into() });
        }
        let from = if other || (first && was_down) {
            // A young chain is told from its beginning: it holds the deployments that were made
            // before it was noticed. On an old one, or a fork, they are history.
            if number <= self.settings.largest_gap { 1 } else { number + 1 }
        } else if first {
            let from = (number + 1).saturating_sub(self.settings.backfill).max(1);
            if number <= self.settings.largest_gap {
                code::tell_deployed(&following.node, from - 1, &self.observer).await?;
            }
            from
        } else {
            match self.told.place(&head) {
                Place::Known => {
                    self.set_back(number);
                    return Ok(());
                }
                Place::Back { .. } if self.told.predates(&head) => {
                    self.set_back(number);
                    self.told.add(number, head.hash);
                    return Ok(());
                }
                Place::Gap { from } => from,
                Place::Next | Place::Back { .. } => number,
            }
        };
        let seen = Seen { header: head, at: Stamp::now() };
        if from > number {
            self.told.add(number, seen.header.hash);
            return Ok(());
        }
        self.catch_up(following, from, number + 1, seen.at, false).await
    }

    /// Looks whether the head is the one that was announced last.
    pub(super) async fn look(&mut self, node: &Node) -> Result<Found, NodeError> {
        let header = head(node).await?;
        // A node that was reset keeps the socket open, and can reach the same head again.
        if let Some(before) = self.identity.as_ref().and_then(|identity| identity.instance)
            && instance(node).await?.is_some_and(|instance| instance != before)
        {
            return Ok(Found::Replacement);
        }
        if self.told.place(&header) != Place::Known && !self.told.predates(&header) {
            return Ok(Found::Block);
        }
        if self.told.last().is_some_and(|(last, _)| header.number() < last) {
            // Set back; or reset, which makes the very same first blocks again.
            let Greeting { identity, .. } = greet(node).await?;
            if self.identity.as_ref().is_some_and(|before| identity.differs(before, 0)) {
                return Ok(Found::Replacement);
            }
            self.set_back(header.number());
            self.told.add(header.number(), header.hash);
        }
        Ok(Found::Nothing)
    }

    /// The head went back: finds out whether this is another chain.
    pub(super) async fn went_back(
        &mut self,
        following: &mut Following,
        seen: &Seen,
        by: u64,
    ) -> Result<(), NodeError> {
        let Greeting { identity, client, .. } = greet(&following.node).await?;
        let other = self.identity.as_ref().is_some_and(|before| identity.differs(before, by));
        if !other {
            return Ok(());
        }
        self.restarted();
        let (chain_id, instance) = (identity.chain_id, identity.instance);
        self.identity = Some(identity);
        let head = (&seen.header).into();
        self.tell(ChainEvent::NodeUp { chain_id, instance, client, head });
        let number = seen.header.number();
        if number <= self.settings.largest_gap {
            self.catch_up(following, 1, number, seen.at, false).await?;
        }
        Ok(())
    }

    fn restarted(&mut self) {
        self.told.clear();
        tracing::info!(node = %self.settings.node, "the node's chain is another one than before");
        self.tell(ChainEvent::NodeRestarted);
    }

    /// Forgets what was told after this number, and tells that it is gone.
    pub(super) fn set_back(&mut self, to: u64) {
        if let Some((from, _)) = self.told.last()
            && from > to
        {
            let blocks = self.told.cut_before(to + 1);
            self.tell(ChainEvent::WentBack { from, to, blocks });
        }
    }
}
