//! The whole dapp: Flask behind the reverse proxy, Hardhat behind the relay, a real Prometheus.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Dappscope, Hardhat, Metrics, Running, free_port, http, try_http, until};
use crate::marketplace::{Dapp, Flask, Server, Way, post};

#[test]
fn mint_list_buy_cancel_and_a_refusal_are_known_by_name_gas_and_reason() {
    let dapp = Dapp::start(Way::PLAIN);
    let api = dapp.api;
    let mut expected = Vec::new();
    let mut trade = |path: &str, body: Value, status: u16, names: (&str, &str)| {
        let (code, answer) = post(api, path, &body);
        assert_eq!(code, status, "{path}: {answer}");
        let transaction = &answer["transaction"];
        expected.push((
            transaction["hash"].as_str().unwrap().to_owned(),
            transaction["gas_used"].as_u64().unwrap(),
            transaction["status"] == 1,
            format!("{}.{}", names.0, names.1),
        ));
        answer
    };
    let price = json!({"price_wei": "1000"});
    let minted = trade("/api/nfts/mint", json!({"uri": "ipfs://a"}), 201, ("MarketNFT", "mint"));
    let id = minted["token_id"].as_u64().unwrap();
    trade(&format!("/api/nfts/{id}/list"), price.clone(), 200, ("Marketplace", "list"));
    let low = json!({"value_wei": "7", "gas": 300_000});
    let refused = trade(&format!("/api/nfts/{id}/buy"), low, 409, ("Marketplace", "buy"));
    assert_eq!(refused["error"], "WrongPrice");
    trade(&format!("/api/nfts/{id}/buy"), json!({}), 200, ("Marketplace", "buy"));
    let minted = trade("/api/nfts/mint", json!({"uri": "ipfs://b"}), 201, ("MarketNFT", "mint"));
    let id = minted["token_id"].as_u64().unwrap();
    trade(&format!("/api/nfts/{id}/list"), price, 200, ("Marketplace", "list"));
    trade(&format!("/api/nfts/{id}/cancel"), json!({}), 200, ("Marketplace", "cancel"));

    for (hash, gas, success, name) in &expected {
        let found = until("the transaction to be recorded", || {
            let list =
                dapp.scope.ask("dappscope_transactions", &json!({"hash": hash, "last": "1d"}));
            list["transactions"].as_array().and_then(|list| list.first().cloned())
        });
        let known = format!(
            "{}.{}",
            found["contract"].as_str().unwrap(),
            found["function"].as_str().unwrap()
        );
        assert_eq!(&known, name);
        assert_eq!(found["gas_used"], *gas, "{name}");
        assert_eq!(found["status"], if *success { "success" } else { "reverted" }, "{name}");
        if !success {
            assert_eq!(found["reason"], "WrongPrice");
        }
        // Hardhat mines inside the call that submits: the block is seen about when it is answered.
        let confirmation = found["confirmation_us"].as_u64().expect("it passed the relay");
        let submission = found["submission_us"].as_u64().expect("it passed the relay");
        assert!(confirmation > 0 && confirmation < submission + 250_000, "{found}");
    }
    let metrics = dapp.scope.settled();
    let gas = metrics.sum("evm_transaction_gas_used_sum", &[("function", "buy")]);
    let told: u64 = expected.iter().filter(|e| e.3.ends_with(".buy")).map(|e| e.1).sum();
    #[expect(clippy::cast_precision_loss, reason = "gas of two transactions")]
    let told = told as f64;
    assert_eq!(gas, told);
    let reverts = metrics.sum(
        "evm_reverts_total",
        &[
            ("contract", "Marketplace"),
            ("function", "buy"),
            ("kind", "transaction"),
            ("reason", "WrongPrice"),
        ],
    );
    assert_eq!(reverts, 1.0);

    let requests = |route: &str, status: &str| {
        let labels = [("http_route", route), ("http_response_status_code", status)];
        metrics.sum("http_server_request_duration_seconds_count", &labels)
    };
    assert_eq!(requests("/api/nfts/mint", "201"), 2.0);
    assert_eq!(requests("/api/nfts/{id}/buy", "200"), 1.0);
    assert_eq!(requests("/api/nfts/{id}/buy", "409"), 1.0);
    assert_eq!(requests("/api/nfts/{id}/cancel", "200"), 1.0);
    let listed = dapp.scope.ask("dappscope_requests", &json!({"last": "1d", "limit": 100}));
    assert_eq!(listed["requests"].as_array().unwrap().len(), 7);
}

#[test]
fn hits_queries_and_functions_are_as_many_as_the_api_counts_itself() {
    let dapp = Dapp::start(Way::PLAIN);
    let get = |path: &str| {
        let answer = http(dapp.api, "GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    // A mint empties the page cache: every round begins with a miss.
    for round in 1..=3 {
        let (status, answer) = post(dapp.api, "/api/nfts/mint", &json!({"uri": "ipfs://a"}));
        assert_eq!(status, 201, "{answer}");
        for _ in 0..2 * round {
            get("/api/nfts");
        }
    }
    for limit in [1, 3] {
        get(&format!("/api/n-plus-one?limit={limit}"));
    }
    let own = get("/api/cache");
    assert_eq!(own["hits"].as_u64().unwrap() + own["misses"].as_u64().unwrap(), 12, "{own}");
    let metrics = dapp.scope.settled();
    let told = dapp.scope.ask("dappscope_routes", &json!({"last": "1d", "route": "/api/nfts"}));
    let cache = &told["routes"][0]["cache"];
    for (result, own) in [("hit", &own["hits"]), ("miss", &own["misses"])] {
        let labels = [("http_route", "/api/nfts"), ("result", result)];
        let counted = metrics.sum("http_server_cache_requests_total", &labels);
        assert_eq!(Some(counted), own.as_f64(), "{result}");
        assert_eq!(&cache[result], own, "{told:#}");
    }
    assert_eq!(cache["hit_ratio"].as_f64(), own["hits"].as_f64().map(|hits| hits / 12.0));
    let mints = metrics.sum("app_function_duration_seconds_count", &[("function", "mint")]);
    assert_eq!(mints, 3.0);
    let filter = json!({"last": "1d", "route": "/api/n-plus-one"});
    let listed = dapp.scope.ask("dappscope_requests", &filter);
    let queries: Vec<_> = listed["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| request["database"]["queries"].as_u64().unwrap())
        .collect();
    assert_eq!(queries[0] - queries[1], 2, "one query for each token: {listed:#}");
}

#[test]
fn a_contract_that_was_there_before_is_named_by_its_code() {
    let hardhat = Hardhat::start();
    let flask = Flask::start(Server::Development, None, free_port(), hardhat.address);
    let scope = Dappscope::start(hardhat.address, Some(flask.address), "");
    until("the node to be followed", || {
        (scope.metrics().sum("evm_node_up", &[]) > 0.5).then_some(())
    });
    // Flask's own calls do not pass this relay: the block alone tells of the transaction.
    let (status, answer) =
        post(scope.api.unwrap(), "/api/nfts/mint", &json!({"uri": "ipfs://early"}));
    assert_eq!(status, 201, "{answer}");
    let hash = answer["transaction"]["hash"].as_str().unwrap();
    let found = until("the transaction to be recorded", || {
        let list = scope.ask("dappscope_transactions", &json!({"hash": hash, "last": "1d"}));
        list["transactions"].as_array().and_then(|list| list.first().cloned())
    });
    assert_eq!((&found["contract"], &found["function"]), (&json!("MarketNFT"), &json!("mint")));
    assert_eq!(found["gas_used"], answer["transaction"]["gas_used"]);
    assert!(found["confirmation_us"].is_null(), "it did not pass the relay");
}

#[test]
fn queries_that_flask_tells_of_are_counted_by_operation_and_table() {
    let dapp = Dapp::start(Way { opentelemetry: true, ..Way::PLAIN });
    let (scope, api) = (&dapp.scope, dapp.api);
    let (status, minted) = post(api, "/api/nfts/mint", &json!({"uri": "ipfs://told"}));
    assert_eq!(status, 201, "{minted}");
    let token = http(api, "GET", "/api/nfts/1", &[], b"");
    assert_eq!(token.status, 200);
    assert_eq!(http(api, "GET", "/api/nfts", &[], b"").status, 200);
    // What the browser is told of the calls is what the list of them has.
    let trace_id = until("the request to be recorded", || {
        let listed = scope.ask("dappscope_requests", &json!({"last": "1d", "method": "GET"}));
        let listed = listed["requests"].as_array()?.clone();
        Some(listed.iter().find(|it| it["path"] == "/api/nfts/1")?["trace_id"].clone())
    });
    let filter = json!({"last": "1d", "trace_id": trace_id});
    let calls = scope.ask("dappscope_calls", &filter)["calls"].as_array().unwrap().len();
    let told = token.server_timing.split_once("rpc;dur=").expect("it asks the node").1;
    assert!(told.contains(&format!("desc=\"{calls} call")), "{calls}: {}", token.server_timing);
    let queries = |metrics: &Metrics, operation: &str, table: &str| {
        let labels = [
            ("db_system_name", "sqlite"),
            ("db_operation_name", operation),
            ("db_collection_name", table),
        ];
        metrics.sum("db_client_operation_duration_seconds_count", &labels)
    };
    // The listing's own queries are told last.
    let metrics = until("the queries of the listing to be told", || {
        let metrics = scope.metrics();
        (queries(&metrics, "SELECT", "nfts") > 1.5).then_some(metrics)
    });
    assert_eq!(queries(&metrics, "INSERT", "nfts"), 1.0);
    assert!(queries(&metrics, "SELECT", "followed") >= 1.0);
    assert_eq!(queries(&metrics, "BEGIN", ""), queries(&metrics, "COMMIT", ""));
    assert!(metrics.sum("dappscope_spans_total", &[("result", "taken")]) > 5.0);
    assert_eq!(metrics.sum("dappscope_spans_total", &[("result", "left_out")]), 0.0);
    assert_eq!(
        metrics.matching("dappscope_exports_refused_total", &[]).map(|it| it.1).sum::<f64>(),
        0.0
    );
    assert!(dapp.stop().success());
}

/// A Prometheus that scrapes `pages` every second.
struct Prometheus {
    _process: Running,
    address: SocketAddr,
    _files: tempfile::TempDir,
}

impl Prometheus {
    fn start(pages: &[SocketAddr]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let targets: Vec<String> = pages.iter().map(|page| format!("\"{page}\"")).collect();
        let committed = include_str!("../../config/prometheus.yml");
        assert!(
            committed.contains("scrape_interval: 15s") && committed.contains("\"127.0.0.1:3001\"")
        );
        let config = committed
            .replace("scrape_interval: 15s", "scrape_interval: 1s")
            .replace("\"127.0.0.1:3001\"", &targets.join(", "));
        std::fs::write(files.path().join("prometheus.yml"), config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", files.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", files.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus: apt-get install prometheus");
        let process = Running { child };
        until("Prometheus to be ready", || {
            try_http(address, "GET", "/-/ready", &[], b"")
                .ok()
                .filter(|answer| answer.status == 200)
        });
        Self { _process: process, address, _files: files }
    }

    fn query(&self, expression: &str) -> Vec<Value> {
        let path =
            format!("/api/v1/query?query={}", expression.replace('{', "%7B").replace('}', "%7D"));
        let answer = http(self.address, "GET", &path, &[], b"").json();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

#[test]
fn a_real_prometheus_answers_a_query_for_every_family() {
    let dapp = Dapp::start(Way::PLAIN);
    let api = dapp.api;
    let (_, minted) = post(api, "/api/nfts/mint", &json!({"uri": "ipfs://p"}));
    let id = minted["token_id"].as_u64().unwrap();
    post(api, &format!("/api/nfts/{id}/list"), &json!({"price_wei": "1000"}));
    post(api, &format!("/api/nfts/{id}/buy"), &json!({"value_wei": "7", "gas": 300_000}));
    http(api, "GET", "/api/nfts", &[], b"");
    dapp.scope.settled();
    let prometheus = Prometheus::start(&[dapp.scope.page]);
    until("it to be scraped", || (prometheus.query("up==1").len() == 1).then_some(()));
    assert!(prometheus.query("up==0").is_empty(), "the committed file names nothing that is down");
    // Families whose series come to be only by things that did not happen here.
    let quiet = [
        "dappscope_parse_failures_total",
        "dappscope_label_overflow_total",
        "rpc_server_batch_size",
        "rpc_server_notifications_total",
        "rpc_server_notification_lag_seconds",
        "rpc_server_duplicate_calls_total",
        "dappscope_refused_requests_total",
        "dappscope_opaque_connections_total",
        "db_client_operation_duration_seconds",
        "app_function_duration_seconds",
    ];
    let text = dapp.scope.metrics_text();
    let mut families: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .filter(|(name, _)| !quiet.contains(name))
        .collect();
    families.sort_unstable();
    families.dedup();
    for needed in [
        "rpc_server_call_duration_seconds",
        "evm_transaction_gas_used",
        "evm_transaction_confirmation_seconds",
        "evm_deployment_gas_used",
        "evm_block_height",
        "http_server_request_duration_seconds",
        "dapp_process_resident_memory_bytes",
        "system_cpu_utilization_ratio",
        "dappscope_proxy_overhead_seconds",
    ] {
        assert!(families.iter().any(|(name, _)| *name == needed), "{needed} is not exported");
    }
    for (name, kind) in families {
        let series = if matches!(kind, "histogram" | "summary") {
            format!("{name}_count")
        } else {
            name.to_owned()
        };
        until(&format!("Prometheus to know {series}"), || {
            (!prometheus.query(&series).is_empty()).then_some(())
        });
    }
}
