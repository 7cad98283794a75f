//! The watcher's loop: connect, greet, follow, and start over when the node goes away.

use std::time::{Duration, Instant};

use alloy::primitives::U64;
use jsonrpsee::core::client::Subscription;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::code;
use super::follow::{DEEPEST_REORGANISATION, Place, Told};
use super::greet::{Greeting, Identity, greet, head, instance};
use super::json::{FullBlock, Header};
use super::node::{Answer, Ask, Node, NodeError, read};
use super::receipts::{Contents, Receipts, Replay};
use crate::model::{ChainEvent, ChainQuestion, MinedBlock, Observation, Observer, Stamp};

/// After how long a node that is away is called again, at first and at most.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];
/// How long a node may take to announce what it has mined.
const ANNOUNCED_WITHIN: Duration = Duration::from_millis(500);
/// Heads that are worked on together, when they come faster than that.
const GROUP: usize = 32;
/// Heads read and not yet worked on. More are left to be found as a gap.
const MOST_HEADS: usize = 4_096;
/// For how long after a subscription was renewed a head may come that the one before brought.
const OVERLAP: Duration = Duration::from_millis(250);

/// What to watch, and how.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// The node's `host:port`, the real one, not the relay's.
    pub node: String,
    /// How often a node without subscriptions is asked for its head.
    pub poll_every: Duration,
    /// Blocks before the head to begin with, when the watcher first meets the node.
    pub backfill: u64,
    /// The most blocks that are caught up on after a gap; of a larger one only the newest.
    pub largest_gap: u64,
    /// Whether reverted transactions may be run again with `eth_call` to learn why.
    pub explain_reverts: bool,
    /// After how long the subscription to heads is renewed: Hardhat ends one after five minutes,
    /// without a word.
    pub renew_every: Duration,
    /// After how long without a new head the node is asked whether there is one: `hardhat_reset`
    /// ends subscriptions without a word. Short times show up in the node's log.
    pub silence: Duration,
}

impl WatchSettings {
    /// The usual settings for a node at `host:port`.
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            poll_every: Duration::from_millis(200),
            backfill: 0,
            largest_gap: 256,
            explain_reverts: true,
            renew_every: Duration::from_secs(120),
            silence: Duration::from_secs(5),
        }
    }
}

/// Watches the node until `shutdown` becomes true or its sender is dropped.
///
/// `seen` stamps are taken when a head is read, by this future's runtime: it should not share its
/// thread with work that keeps it waiting. A node that is not there is called again, quietly.
pub async fn watch(
    settings: WatchSettings,
    observer: Observer,
    mut wanted: mpsc::Receiver<ChainQuestion>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut watcher = Watcher::new(settings, observer);
    tokio::select! {
        () = watcher.run(&mut wanted) => {}
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
}

struct Watcher {
    settings: WatchSettings,
    observer: Observer,
    told: Told,
    identity: Option<Identity>,
    /// Whether the node was told to be up; none before the first word on it.
    up: Option<bool>,
}

/// A head, and when it was read.
struct Seen {
    header: Header,
    at: Stamp,
}

/// New heads, on a connection of their own: a long answer on the same one would hold them up.
struct Announcements {
    heads: Subscription<Header>,
    /// Its end would end the subscription.
    _node: Node,
}

/// A connection that is being followed.
struct Following {
    node: Node,
    receipts: Receipts,
    /// Heads are asked for, so those between two answers came just now as well.
    polling: bool,
    /// When it was known where the head is: announcements up to then may be of blocks told already.
    met: Stamp,
}

/// Why a connection is followed no longer.
enum End {
    Error(NodeError),
    /// The node answers, but announces nothing any more.
    Silent,
    /// The node answers, with another chain.
    Replaced,
}

/// What was found when nothing was announced for a while.
enum Found {
    /// There was nothing to announce.
    Nothing,
    /// A block; it may be announced in a moment.
    Block,
    /// Another chain.
    Replacement,
}

impl From<NodeError> for End {
    fn from(error: NodeError) -> Self {
        Self::Error(error)
    }
}

impl Watcher {
    fn new(settings: WatchSettings, observer: Observer) -> Self {
        Self { settings, observer, told: Told::default(), identity: None, up: None }
    }

    async fn run(&mut self, wanted: &mut mpsc::Receiver<ChainQuestion>) {
        let mut pause = BACK_OFF[0];
        loop {
            let started = Instant::now();
            let Err(end) = self.connection(wanted).await;
            // A node that comes and goes is called as rarely as one that is away.
            if started.elapsed() > BACK_OFF[1] {
                pause = BACK_OFF[0];
            }
            match end {
                End::Error(error) => self.down(&error),
                End::Silent => tracing::debug!("heads come no more; subscribing anew"),
                // What the new chain mines until it is watched has no time of its own. Nobody is
                // called too often by this: it takes a call that replaced the chain, or a silence.
                End::Replaced => continue,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF[1]);
        }
    }

    /// Follows the node for as long as one connection lasts.
    async fn connection(
        &mut self,
        wanted: &mut mpsc::Receiver<ChainQuestion>,
    ) -> Result<std::convert::Infallible, End> {
        let node = Node::connect(&self.settings.node).await?;
        // Subscribed before the head is asked for: a block between the two is met twice, not never.
        let announced = self.announcements().await?;
        let polling = announced.is_none();
        let (sender, mut receiver) = mpsc::channel(MOST_HEADS);
        // Ends with this connection: a JoinSet aborts what is in it.
        let mut reader = JoinSet::new();
        if let Some(announced) = announced {
            reader.spawn(announced.read(sender.clone()));
        }
        let greeting = greet(&node).await?;
        let replay = match &*greeting.client {
            _ if !self.settings.explain_reverts => Replay::Never,
            client if client.starts_with("HardhatNetwork") => Replay::Shared,
            _ => Replay::All,
        };
        let (receipts, met) = (Receipts::new(replay), Stamp::now());
        let mut following = Following { node, receipts, polling, met };
        self.meet(&mut following, greeting).await?;
        let mut renewal = tokio::time::interval(self.settings.renew_every);
        renewal.reset();
        let mut poll = tokio::time::interval(self.settings.poll_every);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut group, mut questions) = (Vec::new(), Vec::new());
        let silence = self.settings.silence;
        let (mut look, mut doubt) = (tokio::time::Instant::now() + silence, false);
        loop {
            tokio::select! {
                count = receiver.recv_many(&mut group, GROUP), if !polling => {
                    debug_assert!(count > 0, "a sender is held here");
                    self.heads(&mut following, std::mem::take(&mut group)).await?;
                    (look, doubt) = (tokio::time::Instant::now() + silence, false);
                }
                () = tokio::time::sleep_until(look), if !polling => {
                    // A block that was mined just now is announced in a moment.
                    doubt = match (self.look(&following.node).await?, doubt) {
                        (Found::Nothing, _) => false,
                        (Found::Block, false) => true,
                        (Found::Block, true) => return Err(End::Silent),
                        (Found::Replacement, _) => return Err(End::Replaced),
                    };
                    let pause = if doubt { silence.min(ANNOUNCED_WITHIN) } else { silence };
                    look = tokio::time::Instant::now() + pause;
                }
                Some(ended) = reader.join_next() => {
                    let why = ended.unwrap_or_else(|error| error.to_string());
                    return Err(NodeError::Gone(why).into());
                }
                _ = renewal.tick(), if !polling => {
                    let Some(fresh) = self.announcements().await? else {
                        return Err(End::Silent);
                    };
                    // What both bring is told once; between the two nothing is missed.
                    reader = JoinSet::new();
                    reader.spawn(fresh.read(sender.clone()));
                    following.met = Stamp::now().after(OVERLAP);
                }
                _ = poll.tick(), if polling => {
                    let header = head(&following.node).await?;
                    let seen = Seen { header, at: Stamp::now() };
                    self.heads(&mut following, vec![seen]).await?;
                }
                _ = wanted.recv_many(&mut questions, GROUP), if !wanted.is_closed() => {
                    if questions.contains(&ChainQuestion::Look) {
                        look = tokio::time::Instant::now();
                        poll.reset_immediately();
                    }
                    code::tell(&following.node, &mut questions, &self.observer).await?;
                }
            }
        }
    }

    /// Subscribes to heads; none where the node has no subscriptions.
    async fn announcements(&self) -> Result<Option<Announcements>, NodeError> {
        let node = Node::connect(&self.settings.node).await?;
        let heads = node.heads().await?;
        Ok(heads.map(|heads| Announcements { heads, _node: node }))
    }

    /// Tells who answers, whether it is another chain, and what happened meanwhile.
    async fn meet(
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
            (number + 1).saturating_sub(self.settings.backfill).max(1)
        } else {
            match self.told.place(&head) {
                Place::Known => {
                    self.told.cut_after(&head);
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

    /// Works on heads that were announced.
    async fn heads(
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
                        self.told.cut_after(&seen.header);
                        continue;
                    }
                    Place::Known if seen.at <= following.met => continue,
                    // Announced a second time: the chain was set back, and mined the very same block.
                    Place::Known => self.told.cut_before(seen.header.number()),
                    Place::Next => {}
                    Place::Gap { from } => {
                        let (to, live) = (seen.header.number(), following.polling);
                        self.catch_up(following, from, to, seen.at, live).await?;
                    }
                    Place::Back { by } => self.went_back(following, &seen, by).await?,
                }
                if self.told.contains(seen.header.hash) {
                    continue;
                }
            }
            next.push(seen);
        }
        self.tell_heads(following, next).await
    }

    /// Looks whether the head is the one that was announced last.
    async fn look(&mut self, node: &Node) -> Result<Found, NodeError> {
        let header = head(node).await?;
        // A node that was reset keeps the socket open, and can reach the same head again.
        if let Some(before) = self.identity.as_ref().and_then(|identity| identity.instance)
            && instance(node).await?.is_some_and(|instance| instance != before)
        {
            return Ok(Found::Replacement);
        }
        if self.told.place(&header) != Place::Known {
            return Ok(Found::Block);
        }
        if self.told.last().is_some_and(|(last, _)| header.number() < last) {
            // Set back; or reset, which makes the very same first blocks again.
            let Greeting { identity, .. } = greet(node).await?;
            if self.identity.as_ref().is_some_and(|before| identity.differs(before, 0)) {
                return Ok(Found::Replacement);
            }
            self.told.cut_after(&header);
        }
        Ok(Found::Nothing)
    }

    /// The head went back: finds out whether this is another chain.
    async fn went_back(
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

    /// Tells the blocks with these numbers, `to` left out; of too many the newest.
    async fn catch_up(
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
            let asks = (from..end).map(|number| -> Ask {
                ("eth_getBlockByNumber", json!([U64::from(number), true]))
            });
            let blocks = blocks(following.node.batch(asks.collect()).await?);
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
        let filled = heads.iter().filter(|seen| !seen.header.is_empty());
        let asks: Vec<Ask> = filled
            .map(|seen| -> Ask { ("eth_getBlockByHash", json!([seen.header.hash, true])) })
            .collect();
        let mut filled = blocks(following.node.batch(asks).await?);
        let mut at = std::collections::HashMap::new();
        let blocks = heads
            .into_iter()
            .filter_map(|Seen { header, at: seen }| {
                at.insert(header.hash, seen);
                if header.is_empty() {
                    return Some(FullBlock { header, transactions: Vec::new() });
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

    /// Tells the blocks between what was told and this one, where a reorganisation replaced them.
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
            let ask = ("eth_getBlockByHash", json!([youngest.parent_hash, true]));
            let Some(block) = following.node.call::<Option<FullBlock>>("a block", ask).await?
            else {
                break;
            };
            youngest = block.header.clone();
            between.push(block);
        }
        between.reverse();
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

    fn restarted(&mut self) {
        self.told.clear();
        tracing::info!(node = %self.settings.node, "the node's chain is another one than before");
        self.tell(ChainEvent::NodeRestarted);
    }

    fn down(&mut self, error: &NodeError) {
        tracing::debug!(node = %self.settings.node, %error, "the node does not answer");
        if self.up != Some(false) {
            self.tell(ChainEvent::NodeDown { error: error.to_string() });
        }
        self.up = Some(false);
    }

    fn tell(&self, event: ChainEvent) {
        self.observer.tell(Observation::Chain(event));
    }
}

impl Announcements {
    /// Stamps heads as they come and passes them on; returns why it ended.
    async fn read(mut self, sender: mpsc::Sender<Seen>) -> String {
        while let Some(header) = self.heads.next().await {
            let at = Stamp::now();
            match header {
                // Full: the block is found missing when the next one comes.
                Ok(header) => drop(sender.try_send(Seen { header, at })),
                Err(error) => {
                    return format!("expected a block header, found something else: {error}");
                }
            }
        }
        "the subscription to new heads ended".to_owned()
    }
}

/// The blocks that are there, in the order in which they were asked for.
fn blocks(answers: Vec<Answer>) -> Vec<FullBlock> {
    let block = |answer: Answer| read::<Option<FullBlock>>("a block", &answer.ok()?).ok()?;
    answers.into_iter().filter_map(block).collect()
}
