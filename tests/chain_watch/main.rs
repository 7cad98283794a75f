//! The chain watcher against a node that misbehaves in the ways nodes do: a tiny node written here,
//! which restarts, leaves gaps, reorganises, refuses methods and drops its connections.

#![allow(clippy::unwrap_used)] // clippy allows it in test functions only

mod asked;
mod fake;
mod fallen;
mod questions;
mod recording;
mod watching;

use std::time::Duration;

use alloy::primitives::Address;
use dappscope::chain::WatchSettings;
use dappscope::model::{ChainQuestion, EmittedLog, RevertCause, Unexplained};

use crate::fake::{Chain, FakeNode, word};
use crate::watching::{PATIENCE, Watching};

#[tokio::test]
async fn new_blocks_come_with_their_receipts_and_reverts() {
    let node = FakeNode::start(Chain::new(1)).await;
    node.mine_quietly(&[2]);
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[4, 5]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live, block.missing), (2, true, 0), "history is not replayed");
    let [fine, reverted] = &block.transactions[..] else { panic!("{block:?}") };
    assert!(fine.success && fine.revert.is_none());
    assert_eq!((fine.gas_used, fine.nonce, fine.gas_price), (21_000, 4, 8));
    let log = EmittedLog { address: Address::repeat_byte(9), topic: Some(word(4)), count: 1 };
    assert_eq!((fine.envelope, &*fine.logs), (Some(2), &[log][..]));
    assert!(!reverted.success);
    // What the one before it did, a call on the state before the block would not meet.
    let not_first = RevertCause::Unexplained(Unexplained::NotFirstInBlock);
    assert_eq!(reverted.revert, Some(not_first));
    assert_eq!(node.calls("eth_call"), 0);
    assert_eq!(
        (node.calls("eth_getBlockReceipts"), node.calls("eth_getTransactionReceipt")),
        (1, 0)
    );
    node.mine(&[7]);
    let block = watching.block().await;
    let Some(RevertCause::Replayed(revert)) = &block.transactions[0].revert else {
        panic!("{block:?}")
    };
    assert_eq!(revert.data[..], [0xd0, 0x7b, 0x00, 0xd6]);
    watching.finish().await;
}

#[tokio::test]
async fn a_refusal_of_block_receipts_is_remembered() {
    let node = FakeNode::start(Chain { refuses_block_receipts: true, ..Chain::new(1) }).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for base in [10, 20, 30] {
        node.mine(&[base, base + 2, base + 4]);
        assert_eq!(watching.block().await.transactions.len(), 3);
    }
    assert_eq!(
        (node.calls("eth_getBlockReceipts"), node.calls("eth_getTransactionReceipt")),
        (1, 9)
    );
    watching.finish().await;
}

#[tokio::test]
async fn the_receipts_of_a_block_with_very_many_transactions_are_asked_for_in_small_lots() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let many: Vec<u64> = (1..=300).map(|n| 2 * n).collect();
    node.mine(&many);
    assert_eq!(watching.block().await.transactions.len(), 300);
    assert_eq!(
        (node.calls("eth_getBlockReceipts"), node.calls("eth_getTransactionReceipt")),
        (0, 300)
    );
    watching.finish().await;
}

#[tokio::test]
async fn a_receipt_that_is_not_there_is_counted_as_missing() {
    let node = FakeNode::start(Chain { refuses_block_receipts: true, ..Chain::new(1) }).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let block = node.mine_quietly(&[2, 4]);
    node.chain.lock().unwrap().receipts.remove(&word(4));
    node.announce(block);
    let block = watching.block().await;
    assert_eq!((block.transactions.len(), block.missing), (1, 1));
    watching.finish().await;
}

#[tokio::test]
async fn a_gap_is_caught_up_on() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[2]);
    assert_eq!(watching.block().await.number, 1);
    for n in 2..=70 {
        node.mine_quietly(&[n * 2]);
    }
    node.mine(&[500]);
    for expected in 2..=71 {
        let block = watching.block().await;
        assert_eq!((block.number, block.live), (expected, expected == 71));
        assert_eq!(block.transactions.len(), 1);
    }
    watching.finish().await;
}

#[tokio::test]
async fn of_a_gap_too_large_the_newest_blocks_are_told() {
    let node = FakeNode::start(Chain::new(1)).await;
    let settings = WatchSettings { largest_gap: 5, ..WatchSettings::new(node.address.to_string()) };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.mine(&[2]);
    watching.block().await;
    for n in 2..=70 {
        node.mine_quietly(&[n * 2]);
    }
    node.mine(&[]);
    for expected in 66..=71 {
        assert_eq!(watching.block().await.number, expected);
    }
    watching.finish().await;
}

#[tokio::test]
async fn a_dropped_socket_is_taken_up_again() {
    let mut node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[2]);
    watching.block().await;
    node.close().await;
    watching.down().await;
    node.mine_quietly(&[4]);
    node.open().await;
    watching.up().await;
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (2, false));
    node.mine(&[6]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    watching.finish().await;
}

#[tokio::test]
async fn a_restarted_node_is_another_chain() {
    let mut node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[2]);
    watching.block().await;
    node.close().await;
    watching.down().await;
    *node.chain.lock().unwrap() = Chain::new(2);
    node.mine_quietly(&[4]);
    node.mine_quietly(&[6]);
    node.open().await;
    watching.restarted().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1, "what it did before it was noticed");
    assert_eq!(watching.block().await.number, 2);
    node.mine(&[8]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    watching.finish().await;
}

#[tokio::test]
async fn a_chain_reset_without_a_drop_is_noticed_at_its_next_block() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for n in 1..=3 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    let fresh = Chain::new(2);
    *node.chain.lock().unwrap() = fresh;
    node.mine(&[4]);
    watching.restarted().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1);
    watching.finish().await;
}

#[tokio::test]
async fn a_chain_set_back_is_the_same_chain() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for n in 1..=5 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    node.chain.lock().unwrap().blocks.truncate(3);
    node.chain.lock().unwrap().salt = 9;
    node.mine(&[4]);
    watching.went_back(5, 2).await;
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    watching.finish().await;
}

#[tokio::test]
async fn while_subscriptions_are_renewed_every_block_is_told_once_and_live() {
    let node = FakeNode::start(Chain { repeats_head: true, ..Chain::new(1) }).await;
    let settings = WatchSettings {
        renew_every: Duration::from_millis(20),
        ..WatchSettings::new(node.address.to_string())
    };
    let watching = Watching::start_with(settings);
    watching.up().await;
    let mut number = 0;
    while node.calls("eth_subscribe") < 10 {
        number += 1;
        node.mine(&[number * 2]);
        let block = watching.block().await;
        assert_eq!((block.number, block.live), (number, true));
    }
    // Blocks that come together with a renewal.
    for _ in 0..100 {
        number += 2;
        node.mine(&[number * 2 - 2]);
        node.mine(&[number * 2]);
        for expected in [number - 1, number] {
            let block = watching.block().await;
            assert_eq!((block.number, block.live), (expected, true));
        }
    }
    watching.finish().await;
}

#[tokio::test]
async fn the_very_same_block_mined_again_is_told_again() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for n in 1..=5 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    node.chain.lock().unwrap().blocks.truncate(3);
    node.mine(&[6]);
    watching.went_back(5, 2).await;
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    node.mine(&[40]);
    assert_eq!(watching.block().await.number, 4);
    watching.finish().await;
}

#[tokio::test]
async fn a_subscription_that_died_without_a_word_is_noticed() {
    let node = FakeNode::start(Chain::new(1)).await;
    let settings = WatchSettings {
        silence: Duration::from_millis(100),
        ..WatchSettings::new(node.address.to_string())
    };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.mine(&[2]);
    watching.block().await;
    // The same chain: nobody is told that the node was away, because it was not.
    node.fall_silent();
    node.mine_quietly(&[4]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (2, false));
    // Another chain.
    node.fall_silent();
    let mut fresh = Chain::new(2);
    fresh.append(&[6]);
    *node.chain.lock().unwrap() = fresh;
    watching.restarted().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1);
    watching.finish().await;
}

#[tokio::test]
async fn a_chain_that_was_replaced_without_a_word_is_noticed_at_once_by_who_is_told_to_look() {
    let node = FakeNode::start(Chain::new(1)).await;
    // Longer than a test waits: nothing is noticed by itself.
    let settings =
        WatchSettings { silence: PATIENCE * 2, ..WatchSettings::new(node.address.to_string()) };
    let watching = Watching::start_with(settings);
    watching.up().await;
    for n in 1..=3 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    // Set back: the same chain, which mines the same block again and has its time.
    node.chain.lock().unwrap().blocks.truncate(3);
    watching.wanted.send(ChainQuestion::Look).await.unwrap();
    watching.went_back(3, 2).await;
    node.mine(&[6]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (3, true));
    // Another chain, on the same socket.
    node.fall_silent();
    *node.chain.lock().unwrap() = Chain::new(2);
    watching.wanted.send(ChainQuestion::Look).await.unwrap();
    watching.restarted().await;
    watching.up().await;
    node.mine(&[8]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live), (1, true));
    watching.finish().await;
}

#[tokio::test]
async fn a_reset_that_makes_the_same_first_blocks_again_is_noticed() {
    let node = FakeNode::start(Chain::new(1)).await;
    let settings = WatchSettings {
        silence: Duration::from_millis(100),
        ..WatchSettings::new(node.address.to_string())
    };
    let watching = Watching::start_with(settings);
    watching.up().await;
    for n in 1..=3 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    node.fall_silent();
    {
        let mut chain = node.chain.lock().unwrap();
        chain.blocks.truncate(2);
        chain.instance = 2;
    }
    watching.restarted().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1);
    watching.finish().await;
}

#[tokio::test]
async fn a_reorganisation_tells_the_blocks_that_took_the_others_place() {
    let node = FakeNode::start(Chain { refuses_metadata: true, ..Chain::new(1) }).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for n in 1..=5 {
        node.mine(&[n * 2]);
        watching.block().await;
    }
    node.chain.lock().unwrap().blocks.truncate(4);
    node.chain.lock().unwrap().salt = 9;
    node.mine_quietly(&[30]);
    node.mine_quietly(&[32]);
    node.mine(&[34]);
    watching.went_back(5, 3).await;
    for (number, live) in [(4, false), (5, false), (6, true)] {
        let block = watching.block().await;
        assert_eq!((block.number, block.live), (number, live));
    }
    watching.finish().await;
}

#[tokio::test]
async fn a_node_without_websocket_is_polled() {
    let node = FakeNode::start_with(Chain::new(1), true).await;
    let settings = WatchSettings {
        poll_every: Duration::from_millis(5),
        ..WatchSettings::new(node.address.to_string())
    };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.mine_quietly(&[2]);
    let block = watching.block().await;
    assert_eq!((block.number, block.live, block.transactions.len()), (1, true, 1));
    {
        // Both between two answers.
        let mut chain = node.chain.lock().unwrap();
        chain.append(&[4]);
        chain.append(&[6]);
    }
    for number in [2, 3] {
        let block = watching.block().await;
        assert_eq!((block.number, block.live), (number, true));
    }
    watching.finish().await;
}

#[tokio::test]
async fn a_node_without_subscriptions_is_polled() {
    let node = FakeNode::start(Chain { refuses_subscriptions: true, ..Chain::new(1) }).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine_quietly(&[2]);
    assert_eq!(watching.block().await.number, 1);
    watching.finish().await;
}

#[tokio::test]
async fn a_node_that_is_not_there_yet_is_waited_for() {
    let mut node = FakeNode::start(Chain::new(1)).await;
    node.close().await;
    node.mine_quietly(&[2]);
    let watching = Watching::start(node.address);
    watching.down().await;
    // Called several times meanwhile, told once.
    tokio::time::sleep(Duration::from_millis(700)).await;
    node.open().await;
    watching.up().await;
    assert_eq!(watching.block().await.number, 1, "a deployment made at once is not missed");
    watching.finish().await;
}

#[tokio::test]
async fn a_chain_set_back_to_before_the_start_tells_no_block_anew() {
    let mut chain = Chain::new(1);
    (1..=5).for_each(|n| drop(chain.append(&[n * 2])));
    let node = FakeNode::start(chain).await;
    let settings =
        WatchSettings { silence: PATIENCE * 2, ..WatchSettings::new(node.address.to_string()) };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.chain.lock().unwrap().blocks.truncate(3);
    watching.wanted.send(ChainQuestion::Look).await.unwrap();
    watching.went_back(5, 2).await;
    node.mine(&[40]);
    assert_eq!(watching.block().await.number, 3);
    watching.finish().await;
}
