//! What the overview and series count, and over which time.

use super::*;
use crate::model::RollbackCause;

#[tokio::test]
async fn the_overview_tells_what_was_recorded_and_judges_it() {
    let mut view = Served::start(None).await;
    let mut samples: Vec<_> =
        (1..=90).map(|i| call("eth_call", Outcome::Success, i * 100)).collect();
    samples.extend((0..10).map(|_| call("eth_estimateGas", Outcome::Error(3), 500)));
    samples.push(request("/api/nfts/7", 200));
    samples.push(transaction(TransactionStatus::Success, None));
    samples.push(transaction(TransactionStatus::Reverted, Some("NotForSale")));
    samples.push(block(7));
    view.feed(&samples);
    view.event(&Event::NodeUp {
        at: UnixMicros(1),
        chain_id: 31_337,
        client: "Hardhat".into(),
        head: Head { number: 21, ..Head::default() },
    });
    view.event(&Event::Upstream { proxy: Proxy::Rpc, reachable: true });
    let told = view.ask("dappscope_overview", json!({ "last": "5m" })).await.unwrap();
    assert_eq!(told["node"]["head"], 21);
    assert_eq!(told["verdict"]["level"], "warning", "{told:#}");
    assert_eq!(told["verdict"]["text"], "Look at this: 10.0 % of 100 RPC calls failed.");
    assert_eq!(told["calls"]["count"], 100);
    assert_eq!(told["calls"]["errors"], 10);
    let p50 = told["calls"]["p50_us"].as_u64().unwrap();
    assert!((4_000..=4_600).contains(&p50), "{p50}");
    assert_eq!(told["methods"][0]["method"], "eth_call");
    assert_eq!(told["routes"][0]["method"], "GET");
    assert_eq!(told["routes"][0]["route"], "/api/nfts/{id}");
    assert_eq!(told["transactions"]["success"], 1);
    assert_eq!(told["transactions"]["reasons"], json!([{ "reason": "NotForSale", "count": 1 }]));
    assert_eq!(told["gas"][0]["contract"], "Marketplace");
    assert_eq!(told["gas"][0]["function"], "buy");
    assert_eq!(told["gas"][0]["max_gas"], 84_000);
    assert_eq!(told["block"]["number"], 7);
    assert_eq!(told["node"]["client"], "Hardhat");
    assert_eq!(told["upstreams"], json!({ "rpc": true, "api": null }));
    assert_eq!(told["monitor"]["overhead"]["p50_us"], 20);
    assert_eq!(told["endpoints"]["rpc"], "http://127.0.0.1:8546");
}

#[tokio::test]
async fn the_node_s_head_is_the_newest_block_that_was_heard_of() {
    let mut view = Served::start(None).await;
    let met = |number| Event::NodeUp {
        at: UnixMicros(1),
        chain_id: 31_337,
        client: "Hardhat".into(),
        head: Head { number, ..Head::default() },
    };
    let mut heads = Vec::new();
    for step in 0..5 {
        match step {
            0 => view.event(&met(21)),
            1 => view.feed(&[block(22), block(23)]),
            2 => view.event(&Event::WentBack { cause: Some(RollbackCause::EvmRevert), blocks: 3 }),
            3 => view.feed(&[block(21)]),
            _ => {
                view.event(&Event::NodeRestarted);
                view.event(&met(0));
            }
        }
        let told = view.ask("dappscope_overview", json!({})).await.unwrap();
        heads.push(told["node"]["head"].as_u64().unwrap());
    }
    assert_eq!(heads, [21, 23, 20, 21, 0]);
}

/// The seconds that a rate was divided by, recounted from the answer.
fn divided_by(load: &Value) -> f64 {
    load["count"].as_f64().unwrap() / load["per_second"].as_f64().unwrap()
}

#[tokio::test]
async fn a_rate_counts_only_the_time_since_the_start() {
    let begun = Instant::now();
    let mut view = Served::start(None).await;
    let calls: Vec<_> = (0..100).map(|_| call("eth_call", Outcome::Success, 100)).collect();
    view.feed(&calls);
    // A sample's time is told to ten seconds, and a second is the least.
    let longest = || begun.elapsed().as_secs_f64() + 10.0;
    let told = view.ask("dappscope_overview", json!({ "last": "15m" })).await.unwrap();
    let seconds = divided_by(&told["calls"]);
    assert!((1.0..=longest()).contains(&seconds), "{seconds} s");
    let future = UnixMicros::now().0 / 1_000 + 3_600_000;
    let told = view.ask("dappscope_overview", json!({ "until_ms": future, "from_ms": 0 })).await;
    let seconds = divided_by(&told.unwrap()["calls"]);
    assert!((1.0..=longest()).contains(&seconds), "{seconds} s");
}

#[tokio::test]
async fn a_rate_counts_the_time_before_the_start_from_the_ranges_first_sample() {
    let mut view = Served::start(None).await;
    let ago = |seconds: u64, sample: Sample| match sample {
        Sample::Call(call) => {
            let at = UnixMicros(UnixMicros::now().0 - seconds * 1_000_000);
            Sample::Call(RpcCall { at, ..call })
        }
        other => other,
    };
    for seconds in [400, 300, 20] {
        view.feed(&[ago(seconds, call("eth_call", Outcome::Success, 100))]);
    }
    for (last, expected) in [("15m", 400.0), ("7d", 400.0), ("1m", 20.0)] {
        let told = view.ask("dappscope_overview", json!({ "last": last })).await.unwrap();
        let seconds = divided_by(&told["calls"]);
        // A sample's time is told to ten seconds; the test itself may take a few.
        assert!((expected..expected + 20.0).contains(&seconds), "{last}: {seconds} s");
        let watched = told["watched_ms"].as_f64().unwrap() / 1_000.0;
        assert!((watched - seconds).abs() < 0.01, "{watched} s, {seconds} s");
    }
}

#[tokio::test]
async fn what_the_overview_counts_is_what_its_own_range_lists() {
    let mut view = Served::start(None).await;
    let now = UnixMicros::now().0;
    // Three a second for six minutes, so that every range cuts through a span of ten seconds.
    let calls: Vec<_> = (0..1_080)
        .map(|i| match call("eth_call", Outcome::Success, 100) {
            Sample::Call(call) => {
                Sample::Call(RpcCall { at: UnixMicros(now - i * 333_333), ..call })
            }
            other => other,
        })
        .collect();
    view.feed(&calls);
    for last in ["10s", "30s", "1m", "5m"] {
        let told = view.ask("dappscope_overview", json!({ "last": last })).await.unwrap();
        let (from, until) = (&told["from_ms"], &told["until_ms"]);
        let mut listed = 0;
        let mut before = Value::Null;
        loop {
            let params =
                json!({ "from_ms": from, "until_ms": until, "limit": 1_000, "before": before });
            let page = view.ask("dappscope_calls", params).await.unwrap();
            listed += page["calls"].as_array().unwrap().len();
            before = page["next"].clone();
            if before.is_null() {
                break;
            }
        }
        assert_eq!(told["calls"]["count"], listed, "{last}");
        assert!(until.as_u64().unwrap() <= UnixMicros::now().0 / 1_000 + 1, "{last}: {until}");
        let span = until.as_f64().unwrap() - from.as_f64().unwrap();
        assert!((span - told["watched_ms"].as_f64().unwrap()).abs() < 2.0, "{last}: {told:#}");
        let rate = told["calls"]["per_second"].as_f64().unwrap();
        assert!((2.8..3.2).contains(&rate), "{last}: {rate} a second");
        let params = json!({ "last": last, "points": 1 });
        let series = view.ask("dappscope_series", params).await.unwrap();
        assert!(series["from_ms"].as_u64() >= from.as_u64(), "{last}");
        assert_eq!(series["from_ms"].as_u64().unwrap() % 10_000, 0, "{last}");
    }
}

#[tokio::test]
async fn one_point_covers_the_range_and_no_more_across_midnight() {
    const DAY: u64 = 86_400_000;
    let mut view = Served::start(None).await;
    let midnight = UnixMicros::now().0 / 1_000 / DAY * DAY;
    for seconds in [400, 300, 20] {
        let Sample::Call(late) = call("eth_call", Outcome::Success, 100) else { unreachable!() };
        let at = UnixMicros((midnight - seconds * 1_000) * 1_000);
        view.feed(&[Sample::Call(RpcCall { at, ..late })]);
    }
    let (from, until) = (midnight - 15 * 60_000 - 1_000, midnight + 5_000);
    let now = UnixMicros::now().0 / 1_000;
    let params = json!({ "from_ms": from, "until_ms": until, "points": 1 });
    let series = view.ask("dappscope_series", params).await.unwrap();
    let points = series["points"].as_array().unwrap();
    assert_eq!(points.len(), 1, "{series:#}");
    assert_eq!((&points[0]["count"], &points[0]["at_ms"]), (&json!(3), &series["from_ms"]));
    let end = series["from_ms"].as_u64().unwrap() + series["step_ms"].as_u64().unwrap();
    let told_until = series["until_ms"].as_u64().unwrap();
    assert!((told_until..=told_until.max(now) + 10_000).contains(&end), "{series:#}");
    assert!(series["step_ms"].as_u64().unwrap() <= 16 * 60_000, "{series:#}");
}

#[tokio::test]
async fn gas_and_confirmation_are_told_to_the_unit() {
    let mut view = Served::start(None).await;
    let samples: Vec<_> = [(84_007, 4_001), (50_021, 9_973), (100_003, 2_003)]
        .into_iter()
        .map(|(gas, confirmation_us)| match transaction(TransactionStatus::Success, None) {
            Sample::Transaction(mined) => Sample::Transaction(Box::new(Transaction {
                gas_used: Some(gas),
                confirmation: Some(Duration::from_micros(confirmation_us)),
                ..*mined
            })),
            other => other,
        })
        .collect();
    view.feed(&samples);
    let told = view.ask("dappscope_overview", json!({})).await.unwrap();
    let gas = &told["gas"][0];
    assert_eq!((&gas["p50_gas"], &gas["exact"]), (&json!(84_007), &json!(true)));
    assert_eq!(gas["sum_gas"], json!(84_007.0 + 50_021.0 + 100_003.0));
    let confirmation = &told["confirmation"];
    assert_eq!((&confirmation["p50_us"], &confirmation["p95_us"]), (&json!(4_001), &json!(9_973)));
}

#[tokio::test]
async fn an_empty_store_is_told_as_no_traffic() {
    let view = Served::start(None).await;
    let told = view.ask("dappscope_overview", json!({})).await.unwrap();
    assert_eq!(told["verdict"]["level"], "no_traffic");
    assert_eq!(told["calls"], Value::Null);
    let series = view.ask("dappscope_series", json!({ "measure": "gas_used" })).await.unwrap();
    assert_eq!((&series["points"], &series["unit"]), (&json!([]), &json!("gas")));
}
