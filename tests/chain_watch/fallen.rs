//! A node that falls while it answers the watcher.

use std::net::SocketAddr;

use dappscope::model::ChainQuestion;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::fake::{Chain, FakeNode, word};
use crate::watching::Watching;

/// A way to a node that can be cut.
struct Way {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Way {
    async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut passing = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                passing.spawn(async move {
                    let mut upstream = TcpStream::connect(node).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut upstream).await
                });
            }
        });
        Self { address, task }
    }
}

async fn wait_until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(crate::watching::PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn a_node_that_falls_over_a_question_is_reported_with_it() {
    let node = FakeNode::start(Chain { holds_traces: true, ..Chain::new(1) }).await;
    let way = Way::to(node.address).await;
    let watching = Watching::start(way.address);
    watching.up().await;
    let question = ChainQuestion::Trace { hash: word(4), block: 1, gas: 21_000 };
    watching.wanted.send(question).await.unwrap();
    wait_until(|| node.messages.of("debug_traceTransaction").len() == 1).await;
    // Long enough to be no refusal of a closed port.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    way.task.abort();
    let unanswered = watching.down().await.expect("a trace was not answered");
    assert_eq!((unanswered.purpose, unanswered.method), ("traces", "debug_traceTransaction"));
    assert_eq!(unanswered.calls, 1);
    assert!(unanswered.waited >= std::time::Duration::from_millis(20));
    node.chain.lock().unwrap().holds_traces = false;
    watching.stop.send(true).unwrap();
    watching.task.await.unwrap();
}

#[tokio::test]
async fn a_node_that_falls_with_all_answered_is_reported_without_a_question() {
    let node = FakeNode::start(Chain::new(1)).await;
    let way = Way::to(node.address).await;
    let watching = Watching::start(way.address);
    watching.up().await;
    node.mine(&[2, 4]);
    watching.block().await;
    way.task.abort();
    assert_eq!(watching.down().await, None);
    watching.finish().await;
}
