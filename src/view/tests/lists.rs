//! What the methods answer, with their parameters, and what mistakes are told.

use super::*;

#[tokio::test]
async fn lists_are_filtered_and_read_page_by_page() {
    let mut view = Served::start(None).await;
    let samples: Vec<_> = (1..=25).map(|i| call("eth_call", Outcome::Success, i * 1_000)).collect();
    view.feed(&samples);
    view.feed(&[
        call("eth_chainId", Outcome::Error(-32601), 50),
        transaction(TransactionStatus::Reverted, Some("NotForSale")),
        request("/api/nfts/<b>7</b>", 500),
    ]);
    let mut seen = Vec::new();
    let mut before = Value::Null;
    loop {
        let params = json!({ "method": "eth_call", "limit": 10, "before": before });
        let page = view.ask("dappscope_calls", params).await.unwrap();
        seen.extend(
            page["calls"].as_array().unwrap().iter().map(|c| c["total_us"].as_u64().unwrap()),
        );
        before = page["next"].clone();
        if before.is_null() {
            break;
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=25).map(|i| i * 1_000).collect::<Vec<_>>());
    let failed = view.ask("dappscope_calls", json!({ "failed": true })).await.unwrap();
    assert_eq!(failed["calls"].as_array().unwrap().len(), 1);
    assert_eq!(failed["calls"][0]["error_code"], -32601);
    assert_eq!(failed["calls"][0].get("http_status"), None, "told only where HTTP failed");
    view.feed(&[call("eth_gasPrice", Outcome::Http(413), 50)]);
    let told = view.ask("dappscope_calls", json!({ "method": "eth_gasPrice" })).await.unwrap();
    assert_eq!(told["calls"][0]["http_status"], 413);
    let slow = view.ask("dappscope_calls", json!({ "at_least_ms": 24.5 })).await.unwrap();
    assert_eq!(slow["calls"].as_array().unwrap().len(), 1);
    let reverted =
        view.ask("dappscope_transactions", json!({ "status": "reverted" })).await.unwrap();
    let reverted = &reverted["transactions"][0];
    assert_eq!(reverted["reason"], "NotForSale");
    assert_eq!(reverted["value_wei"], U256::MAX.to_string());
    assert_eq!(reverted["gas_price_wei"], u128::MAX.to_string());
    assert_eq!(reverted["selector"], "0xd96a094a");
    let errors = view.ask("dappscope_requests", json!({ "status_at_least": 500 })).await.unwrap();
    assert_eq!(errors["requests"][0]["path"], "/api/nfts/<b>7</b>");
    assert_eq!(errors["requests"][0]["trace_id"], format!("{:032x}", 0xabc));
    let series = json!({ "measure": "call_duration", "key": "eth_call", "points": 60 });
    let series = view.ask("dappscope_series", series).await.unwrap();
    let counted: u64 =
        series["points"].as_array().unwrap().iter().map(|p| p["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 25);
}

#[tokio::test]
async fn mistakes_are_answered_with_what_was_expected() {
    let view = Served::start(None).await;
    assert_invalid(
        view.ask("dappscope_overview", json!({ "last": "soon" })).await,
        "`last` must be a time such as 30s, 15m, 2h or 7d, found \"soon\"",
    );
    assert_invalid(
        view.ask("dappscope_calls", json!({ "limit": 0 })).await,
        "from 1 to 1000, found 0",
    );
    assert_invalid(
        view.ask("dappscope_calls", json!({ "methud": "x" })).await,
        "unknown parameter \"methud\"",
    );
    assert_invalid(
        view.ask("dappscope_calls", json!({ "before": "x" })).await,
        "the `next` of an earlier answer",
    );
    assert_invalid(
        view.ask("dappscope_transactions", json!({ "status": "mined" })).await,
        "one of success, reverted, rejected, lost",
    );
    assert_invalid(
        view.ask("dappscope_series", json!({ "measure": "x" })).await,
        "one of call_duration",
    );
    assert_invalid(
        view.ask("dappscope_transactions", json!({ "from": "0x12" })).await,
        "an address",
    );
    match view.ask("dappscope_nonsense", json!({})).await {
        Err(Error::Call(error)) => assert_eq!(error.code(), -32601),
        other => panic!("{other:?}"),
    }
    let error = soon(view.subscribe(json!({ "kinds": ["calls"] }))).await.unwrap_err();
    assert!(
        error.to_string().contains("one of call, request, transaction, block, host"),
        "{error}"
    );
}

#[tokio::test]
async fn a_subscription_over_plain_http_is_told_where_to_go() {
    let view = Served::start(None).await;
    for method in ["dappscope_subscribe", "dappscope_unsubscribe"] {
        match view.ask(method, json!({})).await {
            Err(Error::Call(error)) => {
                let place = format!("open ws://{}/rpc", view.address);
                assert!(error.message().contains(&place), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_health_check_tells_which_upstream_does_not_answer() {
    let mut view = Served::start(None).await;
    let told = async |view: &Served| -> (bool, Value) {
        let answer = view.get("/healthz", "").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (answer.starts_with("HTTP/1.1 200"), serde_json::from_str(body).unwrap())
    };
    let (_, health) = told(&view).await;
    assert_eq!(health["rpc_upstream"], "not tried yet");
    assert_eq!(health["api_upstream"], Value::Null, "there is no API here");
    view.event(&Event::Upstream { proxy: Proxy::Rpc, reachable: true });
    assert_eq!(told(&view).await.1["rpc_upstream"], "answers");
    view.event(&Event::NodeDown { unanswered: None });
    let (healthy, health) = told(&view).await;
    assert!(healthy, "the monitor itself is well");
    assert_eq!(health["status"], "ok");
    assert!(health["rpc_upstream"].as_str().unwrap().starts_with("down for "), "{health}");
    view.event(&Event::NodeUp {
        at: UnixMicros(1),
        chain_id: 1,
        client: "Hardhat".into(),
        head: Head::default(),
    });
    assert_eq!(told(&view).await.1["rpc_upstream"], "answers");
}

#[tokio::test]
async fn an_unknown_method_is_answered_with_those_that_there_are() {
    let view = Served::start(None).await;
    for path in ["alone", "batch"] {
        let call = r#"{"jsonrpc":"2.0","id":7,"method":"dappscope_nope"}"#;
        let body = if path == "batch" { format!("[{call}]") } else { call.to_owned() };
        let answer = view
            .raw(&format!(
                "POST /rpc HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: \
                 application/json\r\nContent-Length: {}\r\n\r\n{body}",
                view.address,
                body.len()
            ))
            .await;
        assert!(answer.contains("-32601") && answer.contains("\"id\":7"), "{answer}");
        for method in [
            "overview",
            "contracts",
            "calls",
            "requests",
            "transactions",
            "blocks",
            "states",
            "findings",
            "routes",
            "series",
            "subscribe",
        ] {
            assert!(answer.contains(&format!("dappscope_{method}")), "{path}, {method}: {answer}");
        }
    }
    let told = soon(view.subscribe(json!({ "kinds": ["nope"] }))).await.unwrap_err().to_string();
    assert!(told.contains("call, request, transaction, block, host"), "{told}");
}

#[tokio::test]
async fn the_readme_lists_the_parameters_of_every_method() {
    let readme = include_str!("../../../README.md");
    let everywhere = ["last", "from_ms", "until_ms", "limit", "before"];
    let view = Served::start(None).await;
    for method in [
        "overview",
        "contracts",
        "calls",
        "transactions",
        "requests",
        "blocks",
        "states",
        "findings",
        "routes",
        "series",
        "subscribe",
    ] {
        let start = format!("| `dappscope_{method}` |");
        let row = readme.lines().find(|line| line.starts_with(&start)).expect(method);
        let listed = row.split('|').nth(2).unwrap();
        let params = json!({ "nonsense": 1 });
        let told = match method {
            "subscribe" => soon(view.subscribe(params)).await.unwrap_err().to_string(),
            _ => view.ask(&format!("dappscope_{method}"), params).await.unwrap_err().to_string(),
        };
        let (_, taken) = told.split_once("this method takes ").expect("it lists its parameters");
        let taken = taken.split(['"', '}']).next().unwrap();
        for name in taken.split(", ").filter(|name| !everywhere.contains(name)) {
            assert!(listed.contains(&format!("`{name}`")), "`{name}` of {method} is not listed");
        }
    }
}
