//! The watcher at work, and what it is expected to tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dappscope::chain::{WatchSettings, watch};
use dappscope::model::{
    ChainEvent, ChainQuestion, MinedBlock, Observation, Observer, Queue, Tally, Traced, Unanswered,
};
use tokio::sync::{mpsc, watch as watch_channel};

use crate::fake::word;

pub const PATIENCE: Duration = Duration::from_secs(120);

/// The watcher, and what it tells.
pub struct Watching {
    pub queue: Arc<Queue>,
    pub wanted: mpsc::Sender<ChainQuestion>,
    pub stop: watch_channel::Sender<bool>,
    pub task: tokio::task::JoinHandle<()>,
}

impl Watching {
    pub fn start(address: SocketAddr) -> Self {
        Self::start_with(WatchSettings::new(address.to_string()))
    }

    pub fn start_with(settings: WatchSettings) -> Self {
        let queue = Queue::new(10_000, 1 << 26, Arc::new(Tally::default()));
        let (wanted, receiver) = mpsc::channel(16);
        let (stop, stopped) = watch_channel::channel(false);
        let task = tokio::spawn(watch(settings, Observer::new(&queue), receiver, stopped));
        Self { queue, wanted, stop, task }
    }

    pub async fn next(&self) -> ChainEvent {
        let event = async {
            loop {
                match self.queue.take() {
                    // Told at any time.
                    Some(Observation::Chain(ChainEvent::Asked(_))) => {}
                    Some(Observation::Chain(event)) => return event,
                    Some(other) => panic!("the watcher told {other:?}"),
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, event).await.expect("the watcher tells something")
    }

    pub async fn block(&self) -> MinedBlock {
        match self.next().await {
            ChainEvent::Block(block) => *block,
            other => panic!("expected a block, found {other:?}"),
        }
    }

    pub async fn up(&self) {
        self.up_as("fake/1").await;
    }

    pub async fn up_as(&self, name: &str) {
        match self.next().await {
            ChainEvent::NodeUp { chain_id: 31_337, client, .. } if client == name => {}
            other => panic!("expected the node to be up, found {other:?}"),
        }
    }

    pub async fn down(&self) -> Option<Unanswered> {
        loop {
            match self.next().await {
                ChainEvent::NodeDown { unanswered, .. } => return unanswered,
                // The connection of the traces may notice it first.
                ChainEvent::Untraced { .. } => {}
                other => panic!("expected the node to be down, found {other:?}"),
            }
        }
    }

    pub async fn restarted(&self) {
        match self.next().await {
            ChainEvent::NodeRestarted => {}
            other => panic!("expected a restart, found {other:?}"),
        }
    }

    pub async fn went_back(&self, from: u64, to: u64) {
        match self.next().await {
            ChainEvent::WentBack { from: f, to: t, .. } if (f, t) == (from, to) => {}
            other => panic!("expected the chain to go from {from} back to {to}, found {other:?}"),
        }
    }

    pub async fn finish(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").unwrap();
        while let Some(observation) = self.queue.take() {
            let Observation::Chain(ChainEvent::Asked(_)) = observation else {
                panic!("nothing more was to be told, found {observation:?}");
            };
        }
    }

    pub async fn traced(&self, number: u64) -> Traced {
        let question = ChainQuestion::Trace { hash: word(number), block: 2, gas: 21_000 };
        self.wanted.send(question).await.unwrap();
        match self.next().await {
            ChainEvent::Traced(traced) if traced.hash == word(number) => *traced,
            other => panic!("expected a trace of {number}, found {other:?}"),
        }
    }
}
