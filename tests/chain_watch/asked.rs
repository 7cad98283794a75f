//! What the watcher asks a node, and how much of it at a time: the README's table, and its bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use dappscope::chain::WatchSettings;
use dappscope::model::{ChainEvent, ChainQuestion, Observation, RevertCause, Unexplained};
use serde_json::{Value, json};

use crate::fake::{Chain, FakeNode, quantity, word};
use crate::watching::Watching;

/// The bounds that the README states.
const MOST_CALLS: usize = 64;
const READ_GAS: u64 = 2_000_000;
const REPLAY_GAS: u64 = 300_000;
const TRACE_GAS: u64 = 2_000_000;

fn set_gas(chain: &mut Chain, number: u64, gas: u64) {
    let receipt = chain.receipts.get_mut(&word(number)).unwrap();
    receipt["gasUsed"] = json!(quantity(gas));
    receipt["to"] = json!(Address::repeat_byte(9));
}

/// Sends the hash to be traced; whether a trace came.
async fn is_traced(watching: &Watching, number: u64, gas: u64) -> bool {
    let question = ChainQuestion::Trace { hash: word(number), block: 1, gas };
    watching.wanted.send(question).await.unwrap();
    match watching.next().await {
        ChainEvent::Traced(traced) => traced.hash == word(number),
        ChainEvent::Untraced { hash } if hash == word(number) => false,
        other => panic!("expected an answer to the trace of {number}, found {other:?}"),
    }
}

/// Stops the watcher; the calls that it skipped, by purpose.
async fn skipped(watching: Watching, purpose: &str) -> u32 {
    watching.stop.send(true).unwrap();
    watching.task.await.unwrap();
    std::iter::from_fn(|| watching.queue.take())
        .filter_map(|observation| match observation {
            Observation::Chain(ChainEvent::Asked(cost)) => Some(cost),
            _ => None,
        })
        .filter(|cost| cost.purpose == purpose)
        .map(|cost| cost.skipped)
        .sum()
}

/// The methods of the README's table of what dappscope asks of the node.
fn listed() -> BTreeSet<String> {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("### What dappscope asks of the node").unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let first = rows.map(|row| row.split('|').nth(1).unwrap());
    let names = first.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    // Others are the names of options.
    names.filter(|name| name.contains('_')).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_watcher_asks_all_that_the_readme_lists_and_nothing_else() {
    let mut asked = BTreeSet::new();
    for (client, refuses_prestate) in [("HardhatNetwork/2.29.1", true), ("anvil/v1.7.1", false)] {
        let mut chain = Chain { client: Some(client), refuses_prestate, ..Chain::new(1) };
        chain.append(&[2, 4]);
        let deployment = &mut chain.blocks[1]["transactions"][0];
        deployment["to"] = Value::Null;
        // A proxy by its beacon, whose implementation is asked for.
        let beacon = "0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50";
        let place = (Address::repeat_byte(3), beacon.parse::<B256>().unwrap());
        chain.storage.insert(place, Address::repeat_byte(4).into_word());
        let node = FakeNode::start(chain).await;
        let settings = WatchSettings {
            struct_log_gas: Some(50_000),
            silence: Duration::from_millis(50),
            ..WatchSettings::new(node.address.to_string())
        };
        let watching = Watching::start_with(settings);
        watching.up_as(client).await;
        assert!(matches!(watching.next().await, ChainEvent::Code(_)), "deployed before");
        // Receipts and the reason of a revert; then a block that is too large for one answer.
        node.mine(&[6, 7]);
        watching.block().await;
        let many: Vec<u64> = (50..250).map(|n| 2 * n).collect();
        node.mine(&many);
        watching.block().await;
        set_gas(&mut node.chain.lock().unwrap(), 6, 30_000);
        assert!(is_traced(&watching, 6, 30_000).await);
        watching.wanted.send(ChainQuestion::Code(Address::repeat_byte(3))).await.unwrap();
        assert!(matches!(watching.next().await, ChainEvent::Code(_)));
        watching.wanted.send(ChainQuestion::Sight(word(2_000))).await.unwrap();
        assert!(matches!(watching.next().await, ChainEvent::Sighted { .. }));
        // A gap.
        node.mine_quietly(&[8]);
        node.mine(&[10]);
        for _ in 0..2 {
            watching.block().await;
        }
        asked.extend(node.messages.all().into_iter().flat_map(|it| it.calls).map(|it| it.0));
        watching.finish().await;
    }
    assert_eq!(asked, listed());
}

#[tokio::test]
async fn no_message_holds_more_calls_or_gas_than_the_bounds() {
    let mut chain = Chain::new(1);
    (1..=200).for_each(|n| drop(chain.append(&[2 * n])));
    let node = FakeNode::start(chain).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    // Many transactions; few that used much gas; one alone that used more than a message may hold.
    let many: Vec<u64> = (1_000..1_400).map(|n| 2 * n).collect();
    node.mine(&many);
    assert_eq!(watching.block().await.transactions.len(), 400);
    let before = node.messages.all().len();
    for (numbers, gas) in
        [(&[4_000_u64, 4_002, 4_004, 4_006][..], 4 * 800_000), (&[4_010], 9_000_000)]
    {
        let mut block = node.mine_quietly(numbers);
        block["gasUsed"] = json!(quantity(gas));
        *node.chain.lock().unwrap().blocks.last_mut().unwrap() = block.clone();
        node.announce(block);
        assert_eq!(watching.block().await.transactions.len(), numbers.len());
    }
    let messages = node.messages.all();
    let largest = messages.iter().map(|message| message.calls.len()).max();
    assert!(largest <= Some(MOST_CALLS), "{largest:?}");
    let full = |message: &crate::recording::Message| {
        message
            .calls
            .iter()
            .filter(|(method, params)| {
                method.starts_with("eth_getBlockBy") && params[1] == json!(true)
            })
            .count()
    };
    assert!(messages.iter().all(|it| full(it) as u64 * 21_000 <= READ_GAS));
    let receipts: Vec<usize> = messages[before..]
        .iter()
        .filter(|message| message.calls[0].0 == "eth_getTransactionReceipt")
        .map(|message| message.calls.len())
        .collect();
    assert_eq!(receipts, [2, 2, 1], "at most {READ_GAS} gas together");
    watching.finish().await;
}

#[tokio::test]
async fn a_slow_node_gets_small_batches_with_pauses_between_them() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    let takes = Duration::from_millis(30);
    node.messages.take(takes);
    let mut asked = 0;
    while asked < 128 {
        // As many as the channel holds: they are looked up together.
        for _ in 0..16 {
            asked += 1;
            let address = word(asked + 1);
            watching.wanted.send(ChainQuestion::Code(Address::from_word(address))).await.unwrap();
        }
    }
    for _ in 0..asked {
        assert!(matches!(watching.next().await, ChainEvent::Code(_)));
    }
    let messages = node.messages.of("eth_getCode");
    let last = messages.iter().rev().take(4).map(|message| message.calls.len()).max();
    assert!(last <= Some(8), "halved again and again: {last:?}");
    let pauses = messages.windows(2).map(|pair| pair[1].begun - pair[0].ended.unwrap());
    let paused = pauses.filter(|pause| *pause >= Duration::from_millis(10)).count();
    // Between two lots of questions there need be none.
    assert!(paused * 2 > messages.len(), "{paused} pauses among {} messages", messages.len());
    watching.finish().await;
}

#[tokio::test]
async fn by_default_a_node_is_asked_for_no_struct_logs() {
    for client in ["HardhatNetwork/2.29.1/@nomicfoundation/edr/0.3.8", "fake/1"] {
        let chain = Chain { client: Some(client), refuses_prestate: true, ..Chain::new(1) };
        let node = FakeNode::start(chain).await;
        node.mine_quietly(&[4, 6]);
        let watching = Watching::start(node.address);
        watching.up_as(client).await;
        for number in [4, 6] {
            assert!(!is_traced(&watching, number, 21_000).await);
        }
        let traces = node.messages.of("debug_traceTransaction");
        // A node that is not known as Hardhat 2 is asked once, for what it may have.
        assert_eq!(traces.len(), usize::from(client == "fake/1"));
        assert!(traces.iter().all(|message| message.calls[0].1[1]["tracer"] == "prestateTracer"));
        watching.finish().await;
    }
}

#[tokio::test]
async fn what_used_more_gas_than_the_bound_is_not_traced_and_counted() {
    for (refuses_prestate, most) in [(false, TRACE_GAS), (true, 40_000)] {
        let mut chain = Chain { refuses_prestate, ..Chain::new(1) };
        chain.append(&[4, 6]);
        set_gas(&mut chain, 4, most);
        set_gas(&mut chain, 6, most + 1);
        let node = FakeNode::start(chain).await;
        let settings = WatchSettings {
            struct_log_gas: Some(40_000),
            ..WatchSettings::new(node.address.to_string())
        };
        let watching = Watching::start_with(settings);
        watching.up().await;
        assert!(is_traced(&watching, 4, most).await);
        assert!(!is_traced(&watching, 6, most + 1).await);
        let traced = node.messages.of("debug_traceTransaction");
        assert!(traced.iter().all(|message| message.calls[0].1[0] == json!(word(4))));
        if let Some(options) = traced.last().map(|message| &message.calls[0].1[1])
            && refuses_prestate
        {
            let off = [&options["disableMemory"], &options["disableStorage"]];
            assert_eq!(off, [&json!(true), &json!(true)]);
            assert_eq!(options["enableReturnData"], json!(false));
        }
        assert_eq!(skipped(watching, "traces").await, 1);
    }
}

#[tokio::test]
async fn reverts_that_used_more_gas_than_the_bound_are_not_run_again_and_counted() {
    let node = FakeNode::start(Chain::new(1)).await;
    let watching = Watching::start(node.address);
    watching.up().await;
    // Each alone in its block: of a block only the first one is run again.
    for (number, gas, is_replayed) in [
        (5, REPLAY_GAS, true),
        (7, REPLAY_GAS + 1, false),
        (9, 8_000_000, false),
        (11, 25_000, true),
    ] {
        let mut block = node.mine_quietly(&[number]);
        {
            let mut chain = node.chain.lock().unwrap();
            set_gas(&mut chain, number, gas);
            block["transactions"][0]["gas"] = json!(quantity(16_000_000));
            *chain.blocks.last_mut().unwrap() = block.clone();
        }
        node.announce(block);
        let revert = watching.block().await.transactions.remove(0).revert.unwrap();
        let found = matches!(revert, RevertCause::Replayed(_));
        assert_eq!(found, is_replayed, "{number} used {gas} gas: {revert:?}");
        let too_large = RevertCause::Unexplained(Unexplained::TooMuchGas);
        assert!(is_replayed || revert == too_large, "{revert:?}");
    }
    let replays = node.messages.of("eth_call");
    assert_eq!(replays.len(), 2);
    for message in replays {
        let gas = message.calls[0].1[0]["gas"].as_str().unwrap();
        assert_eq!(gas, quantity(2 * REPLAY_GAS), "on another state it may take another way");
    }
    assert_eq!(skipped(watching, "reverts").await, 2);
}
