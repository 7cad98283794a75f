//! Queries and calls that one request makes again and again are found where they are, and nowhere
//! else: every endpoint of the marketplace is visited, and one of them does it on purpose.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{call, http, until};
use crate::marketplace::{Dapp, Way, post};

const REPEATING: &str = "/api/n-plus-one";
const TOKENS: usize = 30;
const ROUNDS: usize = 3;

/// Mints by the node, behind the API's back, so that its index has much to catch up with at once.
fn mint_many(dapp: &Dapp, minted: &Value) {
    let ask = |method: &str, params: Value| {
        let answer = call(dapp.scope.rpc, "/", method, &params);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    };
    let first = ask("eth_getTransactionByHash", json!([minted["transaction"]["hash"]]));
    for _ in 0..TOKENS {
        let again = json!([{"from": first["from"], "to": first["to"], "data": first["input"]}]);
        ask("eth_sendTransaction", again);
    }
}

fn visit_all(dapp: &Dapp) {
    let did = |path: &str, body: Value, expected: u16| {
        let (status, answer) = post(dapp.api, path, &body);
        assert_eq!(status, expected, "{path}: {answer}");
        answer
    };
    let minted = did("/api/nfts/mint", json!({"account": 1, "uri": "ipfs://many"}), 201);
    mint_many(dapp, &minted);
    let (id, owner) = (&minted["token_id"], minted["owner"].as_str().unwrap());
    let (path, price) = (format!("/api/nfts/{id}"), json!({"price_wei": "1000"}));
    // The first of these is the one that catches up.
    let owner = format!("/api/owners/{owner}");
    for (path, expected) in [
        ("/api/nfts?per_page=100", 200),
        (&path, 200),
        (&owner, 200),
        ("/api/slow?ms=100", 200),
        ("/api/fail", 500),
        ("/api/n-plus-one?limit=30", 200),
        ("/api/cache", 200),
        ("/healthz", 200),
        ("/nowhere", 404),
    ] {
        let answer = http(dapp.api, "GET", path, &[], b"");
        assert_eq!(answer.status, expected, "{path}: {}", answer.text());
    }
    did(&format!("{path}/list"), price.clone(), 200);
    did(&format!("{path}/cancel"), json!({}), 200);
    did(&format!("{path}/list"), price, 200);
    did(&format!("{path}/buy"), json!({"account": 2}), 200);
}

#[test]
fn the_endpoint_that_repeats_queries_and_calls_is_found_and_no_other() {
    let dapp = Dapp::start(Way { opentelemetry: true, ..Way::PLAIN });
    for _ in 0..ROUNDS {
        visit_all(&dapp);
    }
    // A finding is told once its request is settled: all of them are.
    let listed = until("all requests to settle", || {
        let told = dapp.scope.ask("dappscope_routes", &json!({"last": "1d"}));
        let routes = told["routes"].as_array()?.clone();
        let settled = |route: &Value| route["settled"] == route["requests"]["count"];
        (routes.len() >= 12 && routes.iter().all(settled)).then_some(routes)
    });
    dapp.scope.settled();
    for kind in ["n_plus_one_queries", "n_plus_one_calls"] {
        let told = dapp.scope.ask("dappscope_findings", &json!({"kind": kind, "last": "1d"}));
        let found = told["findings"].as_array().unwrap();
        let routes: BTreeSet<_> = found.iter().map(|it| it["route"].as_str().unwrap()).collect();
        assert_eq!(routes, BTreeSet::from([REPEATING]), "{kind}: {told:#}");
        for finding in found {
            assert_eq!(finding["count"], TOKENS, "{finding:#}");
            let trace = json!({"trace_id": finding["trace_id"], "last": "1d"});
            assert_eq!(dapp.scope.ask("dappscope_trace", &trace)["request"]["route"], REPEATING);
        }
        let finding = &found[0];
        if kind == "n_plus_one_queries" {
            let query = finding["query"].as_str().unwrap();
            assert!(query.contains("nfts") && query.ends_with("token_id = ?"), "{finding:#}");
        } else {
            let named = ["method", "contract", "function"].map(|name| finding[name].as_str());
            assert_eq!(
                named,
                [Some("eth_call"), Some("MarketNFT"), Some("ownerOf")],
                "{finding:#}"
            );
        }
    }
    let metrics = dapp.scope.metrics();
    for route in &listed {
        let route = route["route"].as_str().unwrap();
        let counted = metrics.sum("db_client_n_plus_one_total", &[("http_route", route)]);
        let expected =
            if route == REPEATING { f64::from(u8::try_from(ROUNDS).unwrap()) } else { 0.0 };
        assert_eq!(counted, expected, "{route}");
    }
    assert!(dapp.stop().success());
}
