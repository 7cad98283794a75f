//! What the watcher answers to those who ask: code, traces, sights; and what that costs the node.

use std::collections::HashMap;

use alloy::primitives::Address;
use dappscope::chain::WatchSettings;
use dappscope::model::{ChainEvent, ChainQuestion, Observation, Sight, TracedSlot, Tracer};
use serde_json::{Value, json};

use crate::fake::{Chain, FakeNode, quantity, word};
use crate::watching::Watching;

#[tokio::test]
async fn code_is_told_to_those_who_ask_and_an_account_has_none() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.wanted.send(ChainQuestion::Code(Address::repeat_byte(9))).await.unwrap();
    watching.wanted.send(ChainQuestion::Code(Address::ZERO)).await.unwrap();
    watching.up().await;
    for (address, length) in [(Address::repeat_byte(9), 2), (Address::ZERO, 0)] {
        let ChainEvent::Code(code) = watching.next().await else { panic!("expected code") };
        assert_eq!((code.address, code.code.len()), (address, length));
    }
    watching.finish().await;
}

#[tokio::test]
async fn of_a_proxy_the_contract_behind_it_is_told() {
    let (proxy, beaconed) = (Address::repeat_byte(3), Address::repeat_byte(4));
    let (behind, beacon) = (Address::repeat_byte(0xaa), Address::repeat_byte(0xbe));
    let mut chain = Chain::new(1);
    let slots = [
        (proxy, "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc", behind),
        (beaconed, "0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50", beacon),
        // An account without code is no proxy, whatever the node says.
        (
            Address::ZERO,
            "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc",
            behind,
        ),
    ];
    for (address, slot, target) in slots {
        chain.storage.insert((address, slot.parse().unwrap()), target.into_word());
    }
    let node = FakeNode::start(chain).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let plain = Address::repeat_byte(9);
    for address in [proxy, beaconed, plain, Address::ZERO] {
        watching.wanted.send(ChainQuestion::Code(address)).await.unwrap();
    }
    for (address, implementation) in [
        (proxy, Some(behind)),
        (beaconed, Some(Address::repeat_byte(0xbb))),
        (plain, None),
        (Address::ZERO, None),
    ] {
        let ChainEvent::Code(code) = watching.next().await else { panic!("expected code") };
        assert_eq!((code.address, code.implementation), (address, implementation));
    }
    watching.finish().await;
}

#[tokio::test]
async fn what_was_deployed_before_the_start_is_told_on_a_young_chain() {
    let deployer = Address::repeat_byte(5);
    let deployed = |count: u64| {
        let mut chain = Chain::new(1);
        for nonce in 0..count {
            chain.append(&[2]);
            let block = chain.blocks.last_mut().unwrap();
            let transaction = &mut block["transactions"][0];
            transaction["to"] = Value::Null;
            transaction["from"] = json!(deployer);
            transaction["nonce"] = json!(quantity(nonce));
        }
        chain
    };
    let node = FakeNode::start(deployed(40)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    for nonce in 0..40 {
        let ChainEvent::Code(code) = watching.next().await else { panic!("expected code") };
        assert_eq!(code.address, deployer.create(nonce));
    }
    watching.finish().await;
    // On an old chain they are history.
    let node = FakeNode::start(deployed(40)).await;
    let settings =
        WatchSettings { largest_gap: 39, ..WatchSettings::new(node.address.to_string()) };
    let watching = Watching::start_with(settings);
    watching.up().await;
    node.mine(&[2]);
    assert_eq!(watching.block().await.number, 41);
    watching.finish().await;
}

fn slot(slot: u64, before: u64, after: u64) -> TracedSlot {
    let address = Address::repeat_byte(9);
    TracedSlot { address, slot: word(slot), before: word(before), after: word(after) }
}

#[tokio::test]
async fn a_transaction_is_traced_in_diff_mode() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let traced = watching.traced(4).await;
    assert_eq!((traced.tracer, traced.block, traced.accounts), (Tracer::PrestateDiff, 2, 1));
    assert_eq!(traced.slots, [slot(7, 6, 0)]);
    watching.finish().await;
}

#[tokio::test]
async fn a_node_that_refuses_diff_mode_is_asked_for_struct_logs_from_then_on() {
    let mut chain = Chain { refuses_prestate: true, ..Chain::new(1) };
    chain.append(&[4, 5, 6]);
    chain.storage.insert((Address::repeat_byte(9), word(8)), word(2));
    chain.storage.insert((Address::repeat_byte(9), word(9)), word(3));
    for receipt in chain.receipts.values_mut() {
        receipt["to"] = json!(Address::repeat_byte(9));
    }
    let node = FakeNode::start(chain).await;
    let settings = WatchSettings {
        struct_log_gas: Some(21_000),
        ..WatchSettings::new(node.address.to_string())
    };
    let watching = Watching::start_with(settings);
    watching.up().await;
    for number in [4, 6] {
        let traced = watching.traced(number).await;
        assert_eq!((traced.tracer, traced.accounts), (Tracer::StructLogs, 1));
        assert_eq!(traced.slots, [slot(7, 6, 5), slot(8, 2, 4)], "9 is as it was");
    }
    assert_eq!(node.calls("debug_traceTransaction"), 3);
    let traced = watching.traced(5).await;
    assert_eq!((traced.slots.len(), traced.accounts), (0, 0), "it reverted");
    assert_eq!(node.calls("debug_traceTransaction"), 3, "so it need not be traced");
    watching.finish().await;
}

#[tokio::test]
async fn while_a_trace_takes_long_blocks_and_code_come_and_of_many_traces_the_newest_are_left_out()
{
    let node = FakeNode::start(Chain { holds_traces: true, ..Chain::new(1) }).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let mut left_out = Vec::new();
    for number in 1..=40 {
        let question = ChainQuestion::Trace { hash: word(number), block: 1, gas: 21_000 };
        watching.wanted.send(question).await.unwrap();
        node.mine(&[]);
        let block = loop {
            match watching.next().await {
                ChainEvent::Block(block) => break block,
                ChainEvent::Untraced { hash } => left_out.push(hash),
                other => panic!("expected block {number}, found {other:?}"),
            }
        };
        assert_eq!(block.number, number);
    }
    watching.wanted.send(ChainQuestion::Code(Address::repeat_byte(9))).await.unwrap();
    loop {
        match watching.next().await {
            ChainEvent::Code(_) => break,
            ChainEvent::Untraced { hash } => left_out.push(hash),
            other => panic!("expected code, found {other:?}"),
        }
    }
    node.chain.lock().unwrap().holds_traces = false;
    // One is worked on; whether it was taken before the last one that waits came, is chance.
    let made = 40 - left_out.len() as u64;
    assert!((16..=17).contains(&made), "{made} were kept");
    assert!(left_out.into_iter().eq((made + 1..=40).map(word)), "and each of the others told");
    for number in 1..=made {
        let ChainEvent::Traced(traced) = watching.next().await else { panic!("expected a trace") };
        assert_eq!(traced.hash, word(number));
    }
    watching.wanted.send(ChainQuestion::Sight(word(2_000))).await.unwrap();
    assert!(matches!(watching.next().await, ChainEvent::Sighted { .. }), "no more traces");
    watching.stop.send(true).unwrap();
    watching.task.await.unwrap();
}

#[tokio::test]
async fn a_trace_that_is_refused_is_given_up_and_the_next_one_is_made() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let question = ChainQuestion::Trace { hash: word(999), block: 1, gas: 21_000 };
    watching.wanted.send(question).await.unwrap();
    match watching.next().await {
        ChainEvent::Untraced { hash } => assert_eq!(hash, word(999)),
        other => panic!("expected 999 to be given up, found {other:?}"),
    }
    assert_eq!(watching.traced(4).await.tracer, Tracer::PrestateDiff);
    assert_eq!(node.calls("debug_traceTransaction"), 2);
    watching.finish().await;
}

#[tokio::test]
async fn a_submitted_transaction_is_gone_pending_or_mined() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let pending = Sight::Pending { from: Address::repeat_byte(7) };
    for (number, expected) in [(2_000, Sight::Gone), (1, pending), (2, Sight::Mined)] {
        watching.wanted.send(ChainQuestion::Sight(word(number))).await.unwrap();
        match watching.next().await {
            ChainEvent::Sighted { hash, sight } => {
                assert_eq!((hash, sight), (word(number), expected));
            }
            other => panic!("expected a sight of {number}, found {other:?}"),
        }
    }
    watching.finish().await;
}

#[tokio::test]
async fn what_the_node_was_asked_is_told_by_purpose() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    node.mine(&[2, 4]);
    watching.block().await;
    watching.wanted.send(ChainQuestion::Code(Address::repeat_byte(9))).await.unwrap();
    watching.next().await;
    watching.stop.send(true).unwrap();
    watching.task.await.unwrap();
    let mut asked = HashMap::<_, u32>::new();
    while let Some(observation) = watching.queue.take() {
        if let Observation::Chain(ChainEvent::Asked(cost)) = observation {
            *asked.entry(cost.purpose).or_default() += cost.calls;
        }
    }
    let served: usize = node.chain.lock().unwrap().calls.values().sum();
    assert_eq!(
        asked.values().sum::<u32>() as usize,
        served,
        "every call is counted once: {asked:?}"
    );
    assert_eq!(asked["code"], 3);
}
