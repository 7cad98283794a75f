//! What is happening now: fresh samples for subscribers, and the last that was heard of the node,
//! the upstreams and the machine.
//!
//! The sink runs in the recorder's thread: it never waits, and under load it passes on only so many
//! samples a second. What a subscriber does not get it is told the number of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::restarts::Restarts;
use crate::model::{
    Block, Event, HostReading, Proxy, Sample, SampleKind, Sink, Unanswered, UnixMicros,
};

/// Batches that a subscriber may lag behind.
const BATCHES: usize = 128;
/// Calls and requests that are passed on in a [`WINDOW`]; a page cannot show more, and copying
/// more would cost the recorder. Transactions, blocks and readings are few and always passed on.
const BUDGET: usize = 100;
const WINDOW: Duration = Duration::from_millis(100);

const KINDS: usize = SampleKind::ALL.len();

/// How many samples of each kind there have been.
pub type Counts = [u64; KINDS];

/// Samples that came together.
#[derive(Debug)]
pub struct Batch {
    pub samples: Vec<Sample>,
    /// Samples of each kind up to and with this batch, whether passed on or not.
    pub after: Counts,
}

/// The node as the chain watcher last told.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub up: bool,
    /// When it was last seen to come up; none when it never was.
    pub since: Option<UnixMicros>,
    pub chain_id: Option<u64>,
    pub client: Box<str>,
    /// Number of the newest block that was heard of; none before the node was met.
    pub head: Option<u64>,
    pub restarts: u64,
    /// What dappscope itself had asked, and the node had not answered when it fell.
    pub unanswered: Option<Unanswered>,
}

/// The last that was heard.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// None before the watcher has told anything.
    pub node: Option<Node>,
    /// Whether the node answers, by what the watcher or the relay told last; none before either did.
    pub rpc: Option<Reach>,
    /// Whether the API could be reached when the reverse proxy last tried; none before it did.
    pub api: Option<Reach>,
    pub block: Option<Block>,
    pub reading: Option<HostReading>,
    pub restarts: Restarts,
    /// When spans came last; none before any did.
    pub spans_at: Option<UnixMicros>,
    /// Exports of spans that were refused, by reason.
    pub refused_exports: BTreeMap<&'static str, u64>,
    /// Transactions submitted and not mined, and how long the oldest has waited.
    pub pending: u64,
    pub oldest_pending: Option<Duration>,
}

/// Whether an upstream answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    pub up: bool,
    /// When this was first told.
    pub since: Instant,
}

impl Reach {
    /// Takes over what was told; the moment stays when it is nothing new.
    fn told(known: &mut Option<Self>, up: bool) {
        if known.is_none_or(|known| known.up != up) {
            *known = Some(Self { up, since: Instant::now() });
        }
    }
}

/// What both ends share. Batches are sent and subscribed to under its lock, so that a subscriber
/// knows from which count on it is owed samples.
#[derive(Default)]
struct Heard {
    now: Now,
    counts: Counts,
}

/// The readers' end.
#[derive(Clone)]
pub struct Live {
    batches: broadcast::Sender<Arc<Batch>>,
    heard: Arc<Mutex<Heard>>,
}

/// The recorder's end.
pub struct LiveSink {
    batches: broadcast::Sender<Arc<Batch>>,
    heard: Arc<Mutex<Heard>>,
    window: Instant,
    left: usize,
}

/// Both ends.
pub fn live() -> (LiveSink, Live) {
    let (batches, _) = broadcast::channel(BATCHES);
    let heard = Arc::new(Mutex::new(Heard::default()));
    let sink = LiveSink {
        batches: batches.clone(),
        heard: Arc::clone(&heard),
        window: Instant::now(),
        left: BUDGET,
    };
    (sink, Live { batches, heard })
}

impl Live {
    pub fn now(&self) -> Now {
        lock(&self.heard).now.clone()
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LiveSink {
    fn affords(&mut self, sample: &Sample) -> bool {
        match sample {
            Sample::Call(_) | Sample::Request(_) | Sample::Operation(_) | Sample::Breakdown(_)
                if self.left == 0 =>
            {
                false
            }
            Sample::Call(_) | Sample::Request(_) | Sample::Operation(_) | Sample::Breakdown(_) => {
                self.left -= 1;
                true
            }
            Sample::Transaction(_)
            | Sample::Block(_)
            | Sample::Host(_)
            | Sample::State(_)
            | Sample::Finding(_)
            | Sample::Route(_)
            | Sample::Rollback(_) => true,
        }
    }
}

impl Sink for LiveSink {
    fn accept(&mut self, samples: &[Sample]) {
        if self.window.elapsed() >= WINDOW {
            self.window = Instant::now();
            self.left = BUDGET;
        }
        let listened = self.batches.receiver_count() > 0;
        // The newest are worth the most.
        let mut kept: Vec<_> = samples
            .iter()
            .rev()
            .filter(|sample| listened && self.affords(sample))
            .cloned()
            .collect();
        kept.reverse();
        let mut heard = lock(&self.heard);
        for sample in samples {
            heard.counts[sample.kind() as usize] += 1;
            match sample {
                Sample::Block(block) => {
                    if let Some(node) = &mut heard.now.node {
                        node.head = Some(block.number);
                    }
                    heard.now.block = Some(Block::clone(block));
                }
                Sample::Host(reading) => {
                    heard.now.restarts.note(reading);
                    heard.now.reading = Some(HostReading::clone(reading));
                }
                Sample::Call(_)
                | Sample::Request(_)
                | Sample::Transaction(_)
                | Sample::State(_)
                | Sample::Finding(_)
                | Sample::Operation(_)
                | Sample::Breakdown(_)
                | Sample::Route(_)
                | Sample::Rollback(_) => {}
            }
        }
        let after = heard.counts;
        if kept.is_empty() {
            // What was left out is told with the next batch; an empty one would push out a full one.
            return;
        }
        // An error means that nobody listens.
        let _ = self.batches.send(Arc::new(Batch { samples: kept, after }));
    }

    fn event(&mut self, event: &Event) {
        // Most events change nothing here; the lock is for those that do.
        if !matches!(
            event,
            Event::NodeUp { .. }
                | Event::NodeDown { .. }
                | Event::NodeRestarted
                | Event::WentBack { .. }
                | Event::Upstream { .. }
                | Event::Pending { .. }
                | Event::Spans { .. }
                | Event::ExportRefused(_)
        ) {
            return;
        }
        let now = &mut lock(&self.heard).now;
        match event {
            Event::NodeUp { at, chain_id, client, head } => {
                let node = now.node.get_or_insert_with(Node::unknown);
                if !node.up {
                    node.since = Some(*at);
                }
                node.up = true;
                node.unanswered = None;
                node.chain_id = Some(*chain_id);
                node.client = client.clone();
                node.head = Some(head.number);
                Reach::told(&mut now.rpc, true);
            }
            Event::NodeDown { unanswered } => {
                let node = now.node.get_or_insert_with(Node::unknown);
                node.up = false;
                node.unanswered = *unanswered;
                Reach::told(&mut now.rpc, false);
            }
            Event::NodeRestarted => {
                let node = now.node.get_or_insert_with(Node::unknown);
                node.restarts += 1;
                // What was known of the chain before is no longer true.
                now.block = None;
            }
            Event::WentBack { blocks, .. } => {
                if let Some(Node { head: Some(head), .. }) = &mut now.node {
                    *head = head.saturating_sub(*blocks);
                }
            }
            Event::Upstream { proxy: Proxy::Rpc, reachable } => {
                Reach::told(&mut now.rpc, *reachable);
            }
            Event::Upstream { proxy: Proxy::Api, reachable } => {
                Reach::told(&mut now.api, *reachable);
            }
            Event::Spans { .. } => now.spans_at = Some(UnixMicros::now()),
            Event::ExportRefused(reason) => {
                *now.refused_exports.entry(reason).or_default() += 1;
            }
            Event::Pending { transactions, oldest } => {
                now.pending = *transactions;
                now.oldest_pending = *oldest;
            }
            _ => {}
        }
    }
}

impl Node {
    pub fn unknown() -> Self {
        Self {
            up: false,
            since: None,
            chain_id: None,
            client: "".into(),
            head: None,
            restarts: 0,
            unanswered: None,
        }
    }
}

/// Follows the batches for one subscriber and tells what it did not get.
pub struct Follower {
    batches: broadcast::Receiver<Arc<Batch>>,
    kinds: Vec<SampleKind>,
    /// Samples of each kind that were told or counted as missed.
    expected: Counts,
}

/// What a subscriber gets at once.
#[derive(Debug, Default, PartialEq)]
pub struct Delivery {
    /// In the order in which they came to be.
    pub samples: Vec<Sample>,
    /// Samples of the wanted kinds that were passed over since the delivery before.
    pub missed: u64,
}

impl Follower {
    pub fn new(live: &Live, kinds: Vec<SampleKind>) -> Self {
        let heard = lock(&live.heard);
        Self { batches: live.batches.subscribe(), kinds, expected: heard.counts }
    }

    /// The next samples of the wanted kinds, with whatever else has arrived up to `most` of them.
    /// None when there will be no more.
    pub async fn next(&mut self, most: usize) -> Option<Delivery> {
        let mut delivery = Delivery::default();
        while delivery == Delivery::default() {
            match self.batches.recv().await {
                Ok(batch) => self.add(&batch, &mut delivery),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
        while delivery.samples.len() < most {
            match self.batches.try_recv() {
                Ok(batch) => self.add(&batch, &mut delivery),
                // How many samples were in the batches that are gone shows in the next one's counts.
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => break,
            }
        }
        Some(delivery)
    }

    fn add(&mut self, batch: &Batch, delivery: &mut Delivery) {
        let expected = std::mem::replace(&mut self.expected, batch.after);
        let wanted = |sample: &&Sample| self.kinds.contains(&sample.kind());
        let had = delivery.samples.len();
        delivery.samples.extend(batch.samples.iter().filter(wanted).cloned());
        let got = (delivery.samples.len() - had) as u64;
        let due: u64 = self
            .kinds
            .iter()
            .map(|&kind| batch.after[kind as usize] - expected[kind as usize])
            .sum();
        delivery.missed += due - got;
    }
}
