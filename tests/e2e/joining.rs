//! Calls and transactions where it is hard to say whose they are: several requests at once, nothing
//! that traces them, a block that comes after the answer.

use serde_json::{Value, json};

use crate::harness::{call, http, until};
use crate::marketplace::{Dapp, Server, Way, post};
use crate::node_log::{Calls, DAPPSCOPE_ASKS, calls_during, count};
use crate::trees::{BUY, by_shape, of_kind, requests, settled, sum_of_route, text, trade};

#[test]
fn calls_that_several_requests_may_have_made_are_given_to_none_of_them() {
    let dapp = Dapp::start(Way::PLAIN);
    let mint = |uri: &str| {
        let (status, answer) = post(dapp.api, "/api/nfts/mint", &json!({"uri": uri}));
        assert_eq!(status, 201, "{answer}");
        text(&answer["transaction"]["hash"])
    };
    let alone = mint("ipfs://alone");
    // While one sleeps, whatever the others call may have been called by it.
    let slow = || http(dapp.api, "GET", "/api/slow?ms=3000", &[], b"").status;
    let (beside, served) = std::thread::scope(|scope| {
        let sleeping = scope.spawn(slow);
        until("it to be under way", || {
            let underway = dapp.scope.metrics().sum("http_server_active_requests", &[]);
            (underway > 0.5).then_some(())
        });
        let minted = calls_during(&dapp.hardhat, || mint("ipfs://beside"));
        assert!(!sleeping.is_finished(), "it was to last for longer than a mint");
        assert_eq!(sleeping.join().unwrap(), 200);
        minted
    });
    let requests = requests(&dapp.scope, 3);
    let of_route = |route: &'static str| requests.iter().filter(move |it| it["route"] == route);
    let mints: Vec<_> =
        of_route("/api/nfts/mint").map(|it| settled(&dapp.scope, &it["trace_id"])).collect();
    let sent = |told: &Value| -> Vec<String> {
        of_kind(told, "transaction")
            .iter()
            .map(|it| text(&it.node["transaction"]["hash"]))
            .collect()
    };
    assert_eq!(sent(&mints[0]), [alone]);
    assert_eq!(mints[0]["breakdown"]["joined_by"], "alone");

    let slow = settled(&dapp.scope, &of_route("/api/slow").next().unwrap()["trace_id"]);
    for told in [&mints[1], &slow] {
        assert!(of_kind(told, "call").is_empty(), "{told:#}");
        assert_eq!(told["breakdown"]["joined_by"], "ambiguous", "{told:#}");
        let shown = told["ambiguous"].as_array().unwrap();
        assert!(shown.iter().all(|it| it["joined_by"] == "ambiguous"), "{told:#}");
        let methods = count(shown.iter().map(|it| text(&it["method"])));
        for (method, served) in served.iter().filter(|it| !DAPPSCOPE_ASKS.contains(&it.0.as_str()))
        {
            assert_eq!(methods.get(method), Some(served), "{method} in {methods:?}");
        }
    }
    let listed = dapp.scope.ask("dappscope_transactions", &json!({"hash": beside, "last": "1d"}));
    assert_eq!(listed["transactions"][0]["trace_id"], Value::Null, "{listed:#}");
}

#[test]
fn among_many_requests_at_once_no_call_is_given_to_one_that_did_not_make_it() {
    let dapp = Dapp::start(Way::PLAIN);
    let (_, first) = post(dapp.api, "/api/nfts/mint", &json!({"uri": "ipfs://first"}));
    let owner = format!("/api/owners/{}", text(&first["owner"]));
    // Each names its own trace, so that its answer is known to be its; Flask does not pass it on.
    let ask = |id: usize| {
        let trace_id = format!("{:032x}", id + 1);
        let parent = format!("00-{trace_id}-00000000000000ff-01");
        let headers = [("Content-Type", "application/json"), ("traceparent", &*parent)];
        let answer = if id.is_multiple_of(2) {
            http(dapp.api, "POST", "/api/nfts/mint", &headers, br#"{"uri": "ipfs://many"}"#)
        } else {
            http(dapp.api, "GET", &owner, &headers, b"")
        };
        assert!(answer.status < 300, "{}", answer.text());
        (trace_id, answer.json()["transaction"]["hash"].as_str().map(str::to_owned))
    };
    let (answers, served) = calls_during(&dapp.hardhat, || {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..6)
                .map(|client| scope.spawn(move || [0, 1, 2, 3].map(|i| ask(client + 7 * i))))
                .collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        })
    });
    requests(&dapp.scope, answers.len() + 1);
    dapp.scope.settled();
    let mut joined = Calls::new();
    for (method, maker) in [("eth_sendRawTransaction", true), ("eth_getBalance", false)] {
        let filter = json!({"method": method, "last": "1d", "limit": 1000});
        let listed = dapp.scope.ask("dappscope_calls", &filter);
        let calls = listed["calls"].as_array().unwrap();
        let before = usize::from(maker);
        assert_eq!(calls.len(), served[method] + before, "{method}: the first one beside the log");
        for call in calls {
            let joined_by = text(&call["joined_by"]);
            *joined.entry(joined_by.clone()).or_default() += 1;
            let Some(trace_id) = call["trace_id"].as_str() else {
                assert_eq!(joined_by, "ambiguous");
                continue;
            };
            assert_eq!(joined_by, "alone");
            let made_by = answers.iter().find(|(id, _)| id == trace_id);
            if let Some((_, hash)) = made_by {
                assert_eq!(hash.is_some(), maker, "{method} given to {trace_id}");
                assert_eq!(call["transaction"].as_str(), hash.as_deref());
            } else {
                assert_eq!(call["transaction"], first["transaction"]["hash"]);
            }
        }
    }
    assert!(joined["ambiguous"] > 5, "they were to be at once: {joined:?}");
}

#[test]
fn a_purchase_that_was_answered_and_reverted_afterwards_is_found() {
    let dapp = Dapp::start(Way { server: Server::Gunicorn, opentelemetry: true });
    trade(dapp.api, &dapp.hardhat);
    let list = json!({"account": 2, "price_wei": "5000"});
    assert_eq!(post(dapp.api, "/api/nfts/1/list", &list).0, 200);
    let node = |method: &str, params: Value| {
        let answer = call(dapp.hardhat.address, "/", method, &params);
        assert!(answer["error"].is_null(), "{method}: {answer}");
    };
    node("evm_setAutomine", json!([false]));
    let low = json!({"account": 3, "value_wei": "7", "gas": 300_000});
    let (status, answer) = post(dapp.api, "/api/nfts/1/buy?wait=0", &low);
    assert_eq!(status, 202, "{answer}");
    let request = requests(&dapp.scope, 6).pop().unwrap();
    settled(&dapp.scope, &request["trace_id"]);
    node("evm_mine", json!([]));

    let filter = json!({"kind": "reverted_after_success", "last": "1d"});
    let finding = until("the finding", || {
        let listed = dapp.scope.ask("dappscope_findings", &filter);
        listed["findings"].as_array()?.first().cloned()
    });
    assert_eq!(by_shape(&text(&finding["route"])), BUY, "{finding:#}");
    assert_eq!(finding["trace_id"], request["trace_id"], "{finding:#}");
    let told = settled(&dapp.scope, &request["trace_id"]);
    let [bought] = &of_kind(&told, "transaction")[..] else { panic!("one in {told:#}") };
    let bought = &bought.node["transaction"];
    assert_eq!(bought["hash"], answer["transaction"]["hash"]);
    assert_eq!(bought["status"], "reverted");
    // The answer to the submission, long before, could not tell why.
    assert_eq!(bought["reason"], "WrongPrice", "{bought:#}");
    let listed = dapp.scope.ask("dappscope_findings", &filter);
    assert_eq!(listed["findings"].as_array().unwrap().len(), 1, "the refused one was answered 409");
    let metrics = dapp.scope.settled();
    let reverted = sum_of_route(&metrics, "http_server_transactions_reverted_total", BUY);
    assert_eq!(reverted, 1.0, "the refused one was answered 409");
    assert!(dapp.stop().success());
}
