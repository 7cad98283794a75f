//! What contracts, blocks, state changes and findings cost, counted once more from the samples fed.

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    CallDetail, Client, EmittedEvents, EventName, Finding, FindingKind, InnerCall, SlotChange,
    StateChange, Tracer, UnknownPeer,
};

const FUNCTIONS: [&str; 3] = ["buy", "list", "cancel"];
const CONTRACTS: [&str; 2] = ["Marketplace", "token.sol:Token"];

fn target(i: usize) -> ContractCall {
    ContractCall {
        contract: ContractName::known(CONTRACTS[i % 2]),
        function: FunctionName::known(FUNCTIONS[i % 3]),
    }
}

fn mined(i: usize) -> Transaction {
    let status = TransactionStatus::ALL[i % 7 % 6];
    let in_block = i % 7 % 6 < 2;
    let Sample::Transaction(base) = transaction(status, None) else { unreachable!() };
    let target = target(i);
    Transaction {
        kind: TransactionKind::ALL[i % 3],
        contract: target.contract,
        function: target.function,
        reason: (status != TransactionStatus::Success)
            .then(|| Reason::known(["NotForSale", "NotOwner"][i % 5 % 2])),
        gas_used: in_block.then(|| 30_000 + (i as u64 * 7_919) % 90_000),
        gas_price: in_block.then(|| 1_000_000_007 + i as u128),
        confirmation: in_block.then(|| Duration::from_micros(1_000 + i as u64 * 13 % 997)),
        submission: (!i.is_multiple_of(4)).then(|| Duration::from_micros(9)),
        code_bytes: (i % 3 == 2).then(|| 9_000 + u32::try_from(i).unwrap()),
        block_gas_limit: in_block.then_some(30_000_000),
        block: in_block.then_some(i as u64),
        message: (i == 8).then(|| "NotOwner(7)".into()),
        envelope: Some(2),
        events: vec![EmittedEvents {
            contract: ContractName::known("Nft"),
            event: EventName::known("Transfer"),
            count: 2,
        }]
        .into(),
        inner: Box::default(),
        delegation: None,
        ..*base
    }
}

fn touching(i: usize) -> RpcCall {
    let method = ["eth_call", "eth_estimateGas", "eth_sendTransaction"][i / 2 % 3];
    let failed = i.is_multiple_of(5);
    let outcome = if failed { Outcome::Error(3) } else { Outcome::Success };
    let Sample::Call(base) = call(method, outcome, 100 + i as u64 * 31 % 4_001) else {
        unreachable!()
    };
    RpcCall {
        target: Some(target(i)),
        detail: failed.then(|| {
            Box::new(CallDetail {
                delegation: None,
                reason: Some(Reason::known("NotForSale")),
                message: Some("NotForSale(7)".into()),
                selector: Some([0xd9, 0x6a, 0x09, 0x4a]),
                gas: Some(50_000),
                inner: vec![InnerCall {
                    target: target(1),
                    selector: None,
                    success: Some(false),
                    reason: Some(Reason::known("NotOwner")),
                }]
                .into(),
                uninspected: None,
            })
        }),
        ..base
    }
}

fn traced(i: usize) -> StateChange {
    let target = target(i);
    StateChange {
        at: UnixMicros::now(),
        hash: B256::repeat_byte(u8::try_from(i).unwrap()),
        block: i as u64,
        contract: target.contract,
        function: target.function,
        tracer: Tracer::PrestateDiff,
        took: Duration::from_micros(700),
        counts: [1, u32::try_from(i).unwrap(), 2],
        accounts: 3,
        slots: vec![SlotChange {
            address: Address::repeat_byte(1),
            contract: target.contract,
            slot: B256::repeat_byte(2),
            name: Some("_owners[7]".into()),
            before: B256::ZERO,
            after: B256::repeat_byte(3),
        }]
        .into(),
    }
}

fn finding(kind: FindingKind) -> Finding {
    Finding {
        at: UnixMicros::now(),
        kind,
        count: 12,
        span: Duration::from_millis(3_200),
        method: Some(Method::known("eth_call")),
        target: Some(target(0)),
        transaction: None,
        account: Some(Address::repeat_byte(0xf3)),
        connection: ConnectionId(7),
        client: Client {
            agent: Some("ethers/6".into()),
            process: None,
            process_unknown: Some(UnknownPeer::ConnectionClosed),
        },
        request: None,
        query: None,
        block: None,
    }
}

/// By `Contract.function`.
fn grouped<T>(of: impl Iterator<Item = (ContractCall, T)>) -> BTreeMap<String, Vec<T>> {
    let mut groups: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (target, it) in of {
        groups.entry(format!("{}.{}", target.contract, target.function)).or_default().push(it);
    }
    groups
}

fn of(transaction: &Transaction) -> ContractCall {
    ContractCall { contract: transaction.contract, function: transaction.function }
}

#[tokio::test]
async fn every_number_of_a_contract_is_what_a_recount_finds() {
    let mut view = Served::start(None).await;
    let transactions: Vec<_> = (0..200).map(mined).collect();
    let calls: Vec<_> = (0..300).map(touching).collect();
    let traces: Vec<_> = (0..20).map(traced).collect();
    let samples: Vec<_> = transactions
        .iter()
        .map(|t| Sample::Transaction(Box::new(t.clone())))
        .chain(calls.iter().cloned().map(Sample::Call))
        .chain(traces.iter().map(|s| Sample::State(Box::new(s.clone()))))
        .collect();
    view.feed(&samples);
    let told = view.ask("dappscope_contracts", json!({ "last": "5m" })).await.unwrap();
    assert_eq!((&told["exact"], &told["reverts_exact"]), (&json!(true), &json!(true)), "{told:#}");
    let contracts = told["contracts"].as_array().unwrap();
    assert_eq!(contracts.len(), 3, "two that were called, one that only emitted");
    let mut functions = BTreeMap::new();
    let mut order = Vec::new();
    for contract in contracts {
        order.push(contract["sum_gas"].as_f64().unwrap());
        for function in contract["functions"].as_array().unwrap() {
            let (contract, name) = (&contract["contract"], &function["function"]);
            let name = format!("{}.{}", contract.as_str().unwrap(), name.as_str().unwrap());
            functions.insert(name, function.clone());
        }
    }
    assert!(order.is_sorted_by(|a, b| a >= b), "most gas first: {order:?}");
    let called = grouped(calls.iter().map(|c| (c.target.unwrap(), c)));
    let changed = grouped(
        traces.iter().map(|s| (ContractCall { contract: s.contract, function: s.function }, s)),
    );
    for (name, mined) in grouped(transactions.iter().map(|t| (of(t), t))) {
        let told = &functions[&name];
        let mut gas: Vec<u64> = mined.iter().filter_map(|t| t.gas_used).collect();
        gas.sort_unstable();
        assert_eq!(told["gas"]["count"], gas.len(), "{name}");
        assert_eq!(told["gas"]["sum_gas"].as_f64().unwrap(), gas.iter().sum::<u64>() as f64);
        let at = |percent: usize| gas[(gas.len() * percent).div_ceil(100).max(1) - 1];
        for (key, value) in [("min", gas[0]), ("p50", at(50)), ("p95", at(95)), ("max", at(100))] {
            assert_eq!(told["gas"][format!("{key}_gas")], value, "{name} {key}");
        }
        for status in TransactionStatus::ALL {
            let count = mined.iter().filter(|t| t.status == status).count();
            assert_eq!(told["transactions"][status.as_str()], count, "{name}");
        }
        let wei: U256 = mined
            .iter()
            .filter_map(|t| Some(U256::from(t.gas_used?) * U256::from(t.gas_price?)))
            .fold(U256::ZERO, |sum, fee| sum + fee);
        let eth = told["fee_eth"].as_str().unwrap();
        assert_eq!(alloy::primitives::utils::parse_ether(eth).unwrap(), wei, "{name}");
        let money = told["fee_money"].as_f64().unwrap();
        assert!((money - f64::from(wei) / 1e18 * 2_000.0).abs() < 1e-9, "{name}");
        assert_eq!(told["currency"], "USD");
        let reverts = |kind: &str, reason: &str| -> u64 {
            let list = told["reverts"].as_array().unwrap();
            list.iter()
                .filter(|r| r["kind"] == kind && r["reason"] == reason)
                .map(|r| r["count"].as_u64().unwrap())
                .sum()
        };
        for reason in ["NotForSale", "NotOwner"] {
            let count = mined.iter().filter(|t| t.reason == Some(Reason::known(reason))).count();
            assert_eq!(reverts("transaction", reason), count as u64, "{name}");
        }
        let called = &called[&name];
        for (key, kind, method) in [
            ("reads", "read", "eth_call"),
            ("estimates", "estimate", "eth_estimateGas"),
            ("writes", "write", "eth_sendTransaction"),
        ] {
            let mut times: Vec<u64> = called
                .iter()
                .filter(|c| c.method.as_str() == method)
                .map(|c| u64::try_from(c.total.as_micros()).unwrap())
                .collect();
            times.sort_unstable();
            let failed = |c: &&&RpcCall| c.method.as_str() == method && c.outcome.is_failure();
            let failed = called.iter().filter(failed).count();
            assert_eq!(told[key]["count"].as_u64().unwrap_or(0), times.len() as u64, "{name}");
            assert_eq!(told[key]["errors"].as_u64().unwrap_or(0), failed as u64, "{name} {key}");
            if let Some(longest) = times.last() {
                assert_eq!(told[key]["max_us"], *longest, "{name} {key}");
            }
            let expected = if kind == "write" { 0 } else { failed as u64 };
            assert_eq!(reverts(kind, "NotForSale"), expected, "{name} {kind}");
        }
        let changed = &changed[&name];
        let sum: u64 = changed.iter().map(|s| u64::from(s.counts[1])).sum();
        assert_eq!(
            (&told["state"]["traced"], &told["state"]["updated"]),
            (&json!(changed.len()), &json!(sum))
        );
        let mean = told["state"]["updated_mean"].as_f64().unwrap();
        assert!((mean - sum as f64 / changed.len() as f64).abs() < 1e-9);
    }
    let nft = contracts.iter().find(|c| c["contract"] == "Nft").unwrap();
    assert_eq!(nft["events"]["Transfer"], 400);
    let filter = json!({ "last": "5m", "contract": "token.sol:Token" });
    let one = view.ask("dappscope_contracts", filter).await.unwrap();
    assert_eq!(one["contracts"].as_array().unwrap().len(), 1);
    let token = contracts.iter().find(|c| c["contract"] == "token.sol:Token").unwrap();
    assert_eq!(&one["contracts"][0], token);
    let deployed: Vec<_> = transactions
        .iter()
        .filter(|t| t.contract.as_str() == CONTRACTS[1] && t.kind == TransactionKind::Deployment)
        .collect();
    assert_eq!(token["deployed"], deployed.len());
    let newest = &token["deployments"][0];
    assert_eq!(newest["code_bytes"], deployed.last().unwrap().code_bytes.unwrap());
    let few = view.ask("dappscope_contracts", json!({ "limit": 1 })).await.unwrap();
    assert_eq!((few["contracts"].as_array().unwrap().len(), &few["left_out"]), (1, &json!(2)));
}

#[tokio::test]
async fn transactions_and_calls_tell_what_only_some_of_them_have() {
    let mut view = Served::start(None).await;
    let transactions: Vec<_> = (0..60).map(mined).collect();
    let samples: Vec<_> =
        transactions.iter().map(|t| Sample::Transaction(Box::new(t.clone()))).collect();
    view.feed(&samples);
    view.feed(&[Sample::Call(touching(5)), Sample::Call(touching(6))]);
    for (params, expected) in [
        (
            json!({ "kind": "deployment" }),
            transactions.iter().filter(|t| t.kind == TransactionKind::Deployment).count(),
        ),
        (
            json!({ "reason": "NotOwner" }),
            transactions.iter().filter(|t| t.reason == Some(Reason::known("NotOwner"))).count(),
        ),
        (json!({ "block": 8 }), transactions.iter().filter(|t| t.block == Some(8)).count()),
        (
            json!({ "through_relay": false }),
            transactions.iter().filter(|t| t.submission.is_none()).count(),
        ),
        (
            json!({ "min_gas": 90_000 }),
            transactions.iter().filter(|t| t.gas_used >= Some(90_000)).count(),
        ),
        (
            json!({ "status": "replaced" }),
            transactions.iter().filter(|t| t.status == TransactionStatus::Replaced).count(),
        ),
    ] {
        let told = view.ask("dappscope_transactions", params.clone()).await.unwrap();
        assert!(expected > 0, "{params}");
        assert_eq!(told["transactions"].as_array().unwrap().len(), expected, "{params}");
    }
    let told = view.ask("dappscope_transactions", json!({ "block": 8 })).await.unwrap();
    let (told, fed) = (&told["transactions"][0], &transactions[8]);
    assert_eq!((&told["type"], &told["envelope"]), (&json!("deployment"), &json!(2)));
    assert_eq!((&told["through_relay"], &told["message"]), (&json!(false), &json!("NotOwner(7)")));
    assert_eq!((&told["code_bytes"], &told["code_limit_bytes"]), (&json!(9_008), &json!(24_576)));
    let share = fed.gas_used.unwrap() as f64 / 30e6;
    assert!((told["block_share"].as_f64().unwrap() - share).abs() < 1e-12);
    let wei = fed.gas_used.unwrap() * 1_000_000_015;
    let eth = format!("0.{wei:018}");
    assert_eq!(told["fee_eth"], eth.trim_end_matches('0'));
    assert!((told["fee_money"].as_f64().unwrap() - wei as f64 / 1e18 * 2_000.0).abs() < 1e-12);
    assert_eq!(told["events"], json!([{ "contract": "Nft", "event": "Transfer", "count": 2 }]));
    let calls = view.ask("dappscope_calls", json!({ "reason": "NotForSale" })).await.unwrap();
    let calls = calls["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["access"], "write");
    assert_eq!(
        (&calls[0]["selector"], &calls[0]["estimated_gas"]),
        (&json!("0xd96a094a"), &json!(50_000))
    );
    assert_eq!(calls[0]["message"], "NotForSale(7)");
    let inner = json!([{ "contract": "token.sol:Token", "function": "list", "selector": null, "success": false, "reason": "NotOwner" }]);
    assert_eq!(calls[0]["inner"], inner);
}

#[tokio::test]
async fn blocks_state_changes_and_findings_are_listed_and_filtered() {
    let mut view = Served::start(None).await;
    let mut events = soon(view.subscribe(json!({ "kinds": ["state", "finding"] }))).await.unwrap();
    let first = block(8);
    let Sample::Block(full) = block(9) else { unreachable!() };
    let full = Block { gas_used: 24_000_000, ..*full };
    let Sample::Block(empty) = block(10) else { unreachable!() };
    let empty = Block { gas_used: 0, transactions: 0, ..*empty };
    view.feed(&[first, Sample::Block(Box::new(full)), Sample::Block(Box::new(empty))]);
    let numbers = async |params: Value| -> Vec<u64> {
        let told = view.ask("dappscope_blocks", params).await.unwrap();
        told["blocks"].as_array().unwrap().iter().map(|b| b["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(json!({})).await, [10, 9, 8]);
    assert_eq!(numbers(json!({ "with_transactions": true })).await, [9, 8]);
    assert_eq!(numbers(json!({ "min_fullness": 0.8 })).await, [9]);
    let told = view.ask("dappscope_blocks", json!({ "limit": 1 })).await.unwrap();
    let before = told["next"].clone();
    assert_eq!(numbers(json!({ "before": before, "limit": 1 })).await, [9]);
    let told = view.ask("dappscope_blocks", json!({ "min_fullness": 0.8 })).await.unwrap();
    assert_eq!(told["blocks"][0]["fullness"], 0.8);
    assert_invalid(
        view.ask("dappscope_blocks", json!({ "min_fullness": 80 })).await,
        "a share from 0 to 1",
    );

    let mut samples: Vec<_> = (1..7).map(|i| Sample::State(Box::new(traced(i)))).collect();
    samples.extend(FindingKind::ALL.map(|kind| Sample::Finding(Box::new(finding(kind)))));
    view.feed(&samples);
    let hash = B256::repeat_byte(4);
    for (params, expected) in
        [(json!({}), 6), (json!({ "hash": hash }), 1), (json!({ "function": "list" }), 2)]
    {
        let told = view.ask("dappscope_states", params).await.unwrap();
        let states = told["states"].as_array().unwrap();
        assert_eq!(states.len(), expected);
        assert_eq!(states[0]["slots"][0]["change"], "created");
    }
    let told = view.ask("dappscope_findings", json!({})).await.unwrap();
    assert_eq!(told["findings"].as_array().unwrap().len(), FindingKind::ALL.len());
    let told = view.ask("dappscope_findings", json!({ "kind": "repeated_calls" })).await.unwrap();
    let found = &told["findings"][0];
    assert_eq!((&found["finding"], &found["wasted"]), (&json!("repeated_calls"), &json!(11)));
    assert!(
        found["text"].as_str().unwrap().starts_with("eth_call of Marketplace.buy was asked 12")
    );
    assert!(found["advice"].as_str().unwrap().contains("until the next block"));
    assert_eq!(
        found["who"],
        "unknown process (it closed the connection at once), ethers/6, connection 7"
    );
    let process = (&found["process"], &found["process_unknown"]);
    assert_eq!(process, (&Value::Null, &json!("connection_closed")));
    let mut kinds = Vec::new();
    while kinds.len() < samples.len() {
        let told = soon(events.next()).await.unwrap().unwrap();
        kinds.extend(told["events"].as_array().unwrap().iter().map(|e| e["kind"].clone()));
    }
    let found = kinds.iter().filter(|kind| **kind == "finding").count();
    assert_eq!(found, FindingKind::ALL.len());
}
