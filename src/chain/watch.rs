//! The watcher's loop: connect, greet, follow, and start over when the node goes away.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonrpsee::core::client::Subscription;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::code;
use super::follow::{GROUP, Told};
use super::greet::{greet, head};
use super::json::Header;
use super::meet::Found;
use super::meter::Meter;
use super::node::{Node, NodeError};
use super::questions::Questions;
use super::receipts::{Receipts, Replay};
use super::settings::WatchSettings;
use super::sight;
use super::traces::Traces;
use super::watcher::{Following, Seen, Watcher};
use crate::model::{ChainEvent, ChainQuestion, Observation, Observer, Stamp};

/// After how long a node that is away is called again, at first and at most.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];
/// How long a node may take to announce what it has mined.
const ANNOUNCED_WITHIN: Duration = Duration::from_millis(500);
/// Heads read and not yet worked on. More are left to be found as a gap.
const MOST_HEADS: usize = 4_096;
/// For how long after a subscription was renewed a head may come that the one before brought.
const OVERLAP: Duration = Duration::from_millis(250);

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
    let meter = Arc::<Meter>::default();
    let mut watcher = Watcher {
        traces: Traces::new(&settings, &observer, &meter, shutdown.clone()),
        meter: Arc::clone(&meter),
        observer: observer.clone(),
        settings,
        told: Told::default(),
        identity: None,
        up: None,
    };
    tokio::select! {
        never = watcher.run(&mut wanted) => match never {},
        never = meter.run(&observer) => match never {},
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    meter.report(&observer);
}

/// New heads, on a connection of their own: a long answer on the same one would hold them up.
struct Announcements {
    heads: Subscription<Header>,
    /// Its end would end the subscription.
    _node: Node,
}

/// Why a connection is followed no longer.
enum End {
    Error(NodeError),
    /// The node answers, but announces nothing any more.
    Silent,
    /// The node answers, with another chain.
    Replaced,
}

impl From<NodeError> for End {
    fn from(error: NodeError) -> Self {
        Self::Error(error)
    }
}

impl Watcher {
    async fn run(&mut self, wanted: &mut mpsc::Receiver<ChainQuestion>) -> Infallible {
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
    ) -> Result<Infallible, End> {
        let node = Node::connect(&self.settings.node, &self.meter).await?;
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
            client if client.starts_with("HardhatNetwork") => Replay::NotAtOnce,
            _ => Replay::All,
        };
        let (receipts, met) = (Receipts::new(replay, self.settings.replay_gas), Stamp::now());
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
                    let Questions { looks, codes, sights, traces } =
                        questions.drain(..).collect();
                    if looks {
                        look = tokio::time::Instant::now();
                        poll.reset_immediately();
                    }
                    for request in traces {
                        self.traces.ask(request);
                    }
                    code::tell(&following.node, &codes, &self.observer).await?;
                    sight::tell(&following.node, &sights, &self.observer).await?;
                }
            }
        }
    }

    /// Subscribes to heads; none where the node has no subscriptions.
    async fn announcements(&self) -> Result<Option<Announcements>, NodeError> {
        let node = Node::connect(&self.settings.node, &self.meter).await?;
        let heads = node.heads().await?;
        Ok(heads.map(|heads| Announcements { heads, _node: node }))
    }

    fn down(&mut self, error: &NodeError) {
        tracing::debug!(node = %self.settings.node, %error, "the node does not answer");
        if self.up != Some(false) {
            let unanswered = self.meter.unanswered();
            self.tell(ChainEvent::NodeDown { error: error.to_string(), unanswered });
        }
        self.up = Some(false);
    }

    pub(super) fn tell(&self, event: ChainEvent) {
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
