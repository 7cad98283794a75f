//! The tree of a request against what others say of it: SQLite's own log, the node's own log, the
//! receipts. In every way to run the API, plain and with OpenTelemetry.

use std::net::SocketAddr;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::harness::{Dappscope, Hardhat, Metrics, call, free_port, until};
use crate::marketplace::{Dapp, Flask, Server, Way, post};
use crate::node_log::{Calls, DAPPSCOPE_ASKS, calls_during, count};

/// How far the clocks of two programs may tell one moment apart, in microseconds: spans have the
/// system's clock, which is set while it runs.
const CLOCKS_APART: i64 = 5_000;

pub const BUY: &str = "/api/nfts/{id}/buy";

/// A request, its answer, and the calls that the node served meanwhile.
pub struct Step {
    route: &'static str,
    answer: Value,
    calls: Calls,
}

/// A route by its shape: with OpenTelemetry it goes by the API's own name from when that was learned.
pub fn by_shape(route: &str) -> String {
    route.replace("{token_id}", "{id}")
}

/// The sum of a family over a route, by whichever name.
pub fn sum_of_route(metrics: &Metrics, family: &str, route: &str) -> f64 {
    let all = metrics.matching(family, &[]);
    all.filter(|(labels, _)| by_shape(&labels["http_route"]) == route).map(|(_, value)| value).sum()
}

/// A token is minted and listed, somebody pays too little for it, somebody pays its price.
pub fn trade(api: SocketAddr, node: &Hardhat) -> Vec<Step> {
    // At the first call that names no sender Hardhat asks itself for its accounts, and prints that.
    call(
        node.address,
        "/",
        "eth_call",
        &json!([{"to": "0x0000000000000000000000000000000000000001"}]),
    );
    let low = json!({"account": 2, "value_wei": "7", "gas": 300_000});
    [
        ("/api/nfts/mint", json!({"account": 1, "uri": "ipfs://tree"}), 201),
        ("/api/nfts/{id}/list", json!({"price_wei": "1000000"}), 200),
        (BUY, low, 409),
        (BUY, json!({"account": 2}), 200),
    ]
    .into_iter()
    .map(|(route, body, expected)| {
        let path = route.replace("{id}", "1");
        let ((status, answer), calls) = calls_during(node, || post(api, &path, &body));
        assert_eq!(status, expected, "{path}: {answer}");
        Step { route, answer, calls }
    })
    .collect()
}

/// What the node serves for these requests when nobody watches.
fn unwatched() -> &'static [Step] {
    static STEPS: OnceLock<Vec<Step>> = OnceLock::new();
    STEPS.get_or_init(|| {
        let node = Hardhat::start();
        let flask = Flask::start(Server::Development, None, free_port(), node.address);
        trade(flask.address, &node)
    })
}

/// The calls of a step that are the API's: while dappscope watches, the node's log has its questions
/// in it, and of the methods that it asks the log without it tells.
fn own_calls(step: &Step, unwatched: &Step) -> Calls {
    let asked = |method: &str| DAPPSCOPE_ASKS.contains(&method);
    for (method, count) in unwatched.calls.iter().filter(|(method, _)| asked(method)) {
        let served = step.calls.get(method).copied().unwrap_or(0);
        assert!(served >= *count, "{method}: {served}, without dappscope {count}");
    }
    let others = step.calls.iter().filter(|(method, _)| !asked(method));
    let shared = unwatched.calls.iter().filter(|(method, _)| asked(method));
    others.chain(shared).map(|(method, count)| (method.clone(), *count)).collect()
}

/// The requests so far, oldest first.
pub fn requests(scope: &Dappscope, expected: usize) -> Vec<Value> {
    until("the requests to be listed", || {
        let listed = scope.ask("dappscope_requests", &json!({"last": "1d", "limit": 1000}));
        let mut requests = listed["requests"].as_array()?.clone();
        requests.reverse();
        (requests.len() == expected).then_some(requests)
    })
}

/// What dappscope says of a trace once it is settled.
pub fn settled(scope: &Dappscope, trace_id: &Value) -> Value {
    until("the tree to settle", || {
        let told = scope.ask("dappscope_trace", &json!({"trace_id": trace_id, "last": "1d"}));
        (told["is_settled"] == true).then_some(told)
    })
}

/// A node of a tree, and those above it, from the top.
pub struct Found<'t> {
    pub node: &'t Value,
    above: Vec<&'t Value>,
}

fn all(told: &Value) -> Vec<Found<'_>> {
    fn walk<'t>(node: &'t Value, above: &[&'t Value], found: &mut Vec<Found<'t>>) {
        found.push(Found { node, above: above.to_vec() });
        let above = [above, &[node]].concat();
        for child in node["children"].as_array().into_iter().flatten() {
            walk(child, &above, found);
        }
    }
    let mut found = Vec::new();
    walk(&told["tree"], &[], &mut found);
    found
}

pub fn of_kind<'t>(told: &'t Value, kind: &str) -> Vec<Found<'t>> {
    let mut found = all(told);
    found.retain(|it| it.node["kind"] == kind);
    found.sort_by_key(|it| it.node["start_us"].as_i64());
    found
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("expected text, found {value}")).to_owned()
}

fn queries_are_those_of_sqlite(told: &Value, statements: &[String], way: Way) {
    assert_eq!(told["breakdown"]["queries"], statements.len(), "{told:#}");
    if !way.opentelemetry {
        let [queries] = &of_kind(told, "queries")[..] else { panic!("one entry in {told:#}") };
        assert_eq!(queries.node["count"], statements.len(), "{statements:#?}");
        assert!(of_kind(told, "query").is_empty(), "the header tells of none alone");
        return;
    }
    let queries = of_kind(told, "query");
    let operations: Vec<_> = queries.iter().map(|it| text(&it.node["operation"])).collect();
    let ran: Vec<_> =
        statements.iter().map(|it| it.split(' ').next().unwrap().to_uppercase()).collect();
    assert_eq!(operations, ran, "SQLite: {statements:#?}");
    for query in &queries {
        let maker = query.above.last().unwrap();
        let maker = (maker["kind"].as_str().unwrap(), maker["name"].as_str().unwrap());
        if query.node["collection"] == "followed" {
            assert_eq!(maker, ("function", "sync"));
        }
        assert!(["function", "server"].contains(&maker.0), "{told:#}");
    }
    assert!(of_kind(told, "queries").is_empty(), "told once: {told:#}");
}

fn calls_are_those_of_the_node(told: &Value, own: &Calls, way: Way) {
    let calls = of_kind(told, "call");
    let methods = calls.iter().map(|it| text(&it.node["call"]["method"]));
    assert_eq!(&count(methods), own, "{told:#}");
    assert_eq!(told["breakdown"]["rpc_calls"], calls.len());
    let joined_by = if way.opentelemetry { "trace" } else { "alone" };
    assert_eq!(told["breakdown"]["joined_by"], joined_by);
    for found in &calls {
        assert_eq!(found.node["call"]["joined_by"], joined_by);
        let kinds: Vec<_> = found.above.iter().map(|it| text(&it["kind"])).collect();
        if way.opentelemetry {
            assert!(kinds.starts_with(&["request".into(), "server".into()]), "{kinds:?}");
            assert_eq!(kinds.last().unwrap(), "client", "{told:#}");
        } else {
            assert_eq!(kinds, ["request"]);
        }
    }
    if way.opentelemetry {
        let sent = ["eth_sendTransaction", "eth_sendRawTransaction"];
        let is_sent = |it: &&Found<'_>| sent.contains(&it.node["call"]["method"].as_str().unwrap());
        for found in calls.iter().filter(is_sent) {
            let functions: Vec<_> = found
                .above
                .iter()
                .filter(|it| it["kind"] == "function")
                .map(|it| text(&it["name"]))
                .collect();
            let route = text(&told["request"]["route"]);
            assert!(route.ends_with(&functions[0]), "{functions:?} sent it for {route}");
        }
    }
}

/// Every transaction that the request's calls sent, with the gas of its receipt.
fn transactions_are_those_of_the_receipts(told: &Value, answer: &Value, node: SocketAddr) {
    let mut gas = 0;
    let found = of_kind(told, "transaction");
    for it in &found {
        let shown = &it.node["transaction"];
        let receipt = call(node, "/", "eth_getTransactionReceipt", &json!([shown["hash"]]));
        let used = text(&receipt["result"]["gasUsed"]);
        let used = u64::from_str_radix(used.trim_start_matches("0x"), 16).unwrap();
        assert_eq!(shown["gas_used"], used, "{receipt}");
        let success = receipt["result"]["status"] == "0x1";
        assert_eq!(shown["status"], if success { "success" } else { "reverted" });
        assert_eq!(it.above.last().unwrap()["kind"], "call");
        gas += used;
    }
    assert_eq!(told["gas_used"], gas);
    // The last one is the one that the API tells of.
    let last = &found.last().expect("a transaction").node["transaction"];
    assert_eq!(last["hash"], answer["transaction"]["hash"]);
    assert_eq!(last["gas_used"], answer["transaction"]["gas_used"]);
    if !answer["error"].is_null() {
        assert_eq!(last["status"], "reverted");
        assert_eq!(last["reason"], answer["error"]);
        assert_eq!((&last["contract"], &last["function"]), (&json!("Marketplace"), &json!("buy")));
    }
}

fn times_add_up(told: &Value) {
    let us =
        |value: &Value| value.as_i64().unwrap_or_else(|| panic!("a time: {value} in {told:#}"));
    let breakdown = &told["breakdown"];
    let parts = ["database_us", "evm_us", "rpc_us", "proxy_us", "app_us"];
    let sum: i64 = parts.iter().map(|part| us(&breakdown[*part])).sum();
    let total = us(&breakdown["total_us"]);
    assert!((sum - total).abs() <= 5, "each is cut to whole microseconds: {breakdown:#}");
    assert_eq!(total, us(&told["request"]["total_us"]));
    for part in ["evm_us", "rpc_us", "app_us"] {
        assert!(us(&breakdown[part]) > 0, "{part}: {breakdown:#}");
    }
    assert_eq!(
        us(&breakdown["database_us"]) > 0,
        breakdown["queries"].as_u64() > Some(0),
        "{breakdown:#}"
    );
    for Found { node, .. } in all(told) {
        let Some(start) = node["start_us"].as_i64() else { continue };
        let ends = start + us(&node["duration_us"]);
        let inside = -CLOCKS_APART <= start && ends <= total + CLOCKS_APART;
        assert!(inside, "{} {} from {start} to {ends} of {total}", node["kind"], node["name"]);
    }
}

/// What the logs and the receipts say of a request.
struct Logged {
    route: &'static str,
    queries: usize,
    calls: usize,
    gas: u64,
}

#[expect(clippy::cast_precision_loss, reason = "a few millions of gas")]
fn routes_are_the_sums_of_their_requests(scope: &Dappscope, logged: &[Logged]) {
    let metrics = scope.settled();
    let listed = scope.ask("dappscope_routes", &json!({"last": "1d"}));
    let listed = listed["routes"].as_array().unwrap();
    for route in ["/api/nfts/mint", "/api/nfts/{id}/list", BUY] {
        let of_route: Vec<_> = logged.iter().filter(|it| it.route == route).collect();
        let queries = of_route.iter().map(|it| it.queries).sum::<usize>() as f64;
        let calls = of_route.iter().map(|it| it.calls).sum::<usize>() as f64;
        let gas = of_route.iter().map(|it| it.gas).sum::<u64>() as f64;
        for (family, logged) in [
            ("http_server_db_queries_sum", queries),
            ("http_server_rpc_calls_sum", calls),
            ("http_server_transaction_gas_total", gas),
        ] {
            assert_eq!(sum_of_route(&metrics, family, route), logged, "{family} {route}");
        }
        let names = || listed.iter().filter(|it| by_shape(it["route"].as_str().unwrap()) == route);
        let number = |value: &Value| value.as_f64().unwrap_or(0.0);
        let total = |mean: &str| -> f64 {
            names().map(|it| number(&it["settled"]) * number(&it["per_request"][mean])).sum()
        };
        let settled: f64 = names().map(|it| number(&it["settled"])).sum();
        assert_eq!(settled, of_route.len() as f64, "{listed:#?}");
        assert!((total("rpc_calls") - calls).abs() < 1e-6, "{listed:#?}");
        assert!((total("gas") - gas).abs() < 1e-3, "{listed:#?}");
        for name in names() {
            let whole: f64 = name["share"].as_object().unwrap().values().map(number).sum();
            assert!((whole - 1.0).abs() < 1e-6, "{name:#}");
        }
    }
}

fn the_trees_of_a_trade_are_true(way: Way) {
    let dapp = Dapp::start(way);
    let unwatched = unwatched();
    let steps = trade(dapp.api, &dapp.hardhat);
    let mut expected = Vec::new();
    for ((step, unwatched), request) in
        steps.iter().zip(unwatched).zip(requests(&dapp.scope, steps.len()))
    {
        assert_eq!(by_shape(&text(&request["route"])), step.route);
        let told = settled(&dapp.scope, &request["trace_id"]);
        let statements = dapp.flask.statements(request["trace_id"].as_str().unwrap());
        assert!(!statements.is_empty() || step.route == BUY, "{}", dapp.flask.complaints());
        let own = own_calls(step, unwatched);
        if statements.is_empty() && !way.opentelemetry {
            // A refused purchase queries nothing: its header has no `db`, which may mean anything.
            assert_eq!(told["breakdown"]["queries"], Value::Null);
            assert!(of_kind(&told, "queries").is_empty(), "{told:#}");
        } else {
            let told_by = if way.opentelemetry { "spans" } else { "server_timing" };
            assert_eq!(told["breakdown"]["told_by"], told_by, "{told:#}");
            queries_are_those_of_sqlite(&told, &statements, way);
        }
        times_add_up(&told);
        calls_are_those_of_the_node(&told, &own, way);
        transactions_are_those_of_the_receipts(&told, &step.answer, dapp.hardhat.address);
        assert_eq!(told["ambiguous"], json!([]));
        expected.push(Logged {
            route: step.route,
            queries: statements.len(),
            calls: own.values().sum(),
            gas: told["gas_used"].as_u64().unwrap(),
        });
    }
    routes_are_the_sums_of_their_requests(&dapp.scope, &expected);
    assert!(dapp.stop().success());
}

#[test]
fn trees_from_flask_are_true() {
    the_trees_of_a_trade_are_true(Way::PLAIN);
}

#[test]
fn trees_from_flask_with_opentelemetry_are_true() {
    the_trees_of_a_trade_are_true(Way { opentelemetry: true, ..Way::PLAIN });
}

#[test]
fn trees_from_gunicorn_are_true() {
    the_trees_of_a_trade_are_true(Way { server: Server::Gunicorn, opentelemetry: false });
}

#[test]
fn trees_from_gunicorn_with_opentelemetry_are_true() {
    the_trees_of_a_trade_are_true(Way { server: Server::Gunicorn, opentelemetry: true });
}
