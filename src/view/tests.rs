//! The view as its clients see it: real HTTP, real WebSockets, a real store.

use std::future::Future;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use jsonrpsee::core::client::{ClientT, Error, Subscription, SubscriptionClientT};
use jsonrpsee::core::params::ArrayParams;
use jsonrpsee::http_client::HttpClientBuilder;
use jsonrpsee::ws_client::WsClientBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::metrics::Sources;
use crate::model::{
    Block, ConnectionId, ContractCall, ContractName, End, Event, FunctionName, Head, HttpMethod,
    HttpRequest, Method, Outcome, Proxy, Reason, Route, RpcCall, Sample, Sink, TraceContext,
    Transaction, TransactionKind, TransactionStatus, Transport, UnixMicros,
};
use crate::store::{Options, Store, Writer};

/// A view that is being served, and what feeds it.
struct Served {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    ended: JoinHandle<Result<(), ViewError>>,
    writer: Writer,
    sinks: Vec<Box<dyn Sink>>,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn start(token: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tally = Arc::new(Tally::default());
        let queue = Queue::new(1_000, 1_000_000, Arc::clone(&tally));
        let (store, writer) =
            Store::open(dir.path(), Options::default(), Arc::clone(&tally)).unwrap();
        let metrics = Metrics::new(Sources {
            tally: Arc::clone(&tally),
            queue: Arc::clone(&queue),
            store: None,
            active_calls: Box::new(|| 0),
            active_requests: None,
        })
        .unwrap();
        let (live_sink, live) = live();
        let sinks: Vec<Box<dyn Sink>> =
            vec![Box::new(writer.sink()), Box::new(metrics.sink()), Box::new(live_sink)];
        let view = View::new(Parts {
            store,
            metrics: Arc::new(metrics),
            live,
            tally,
            queue,
            endpoints: Endpoints { rpc: Some("http://127.0.0.1:8546".to_owned()), api: None },
            admit: Arc::new(local_only),
            token: token.map(str::to_owned),
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let ended = tokio::spawn(view.serve(listener, stopped));
        Self { address, stop, ended, writer, sinks, _dir: dir }
    }

    fn feed(&mut self, samples: &[Sample]) {
        self.sinks.iter_mut().for_each(|sink| sink.accept(samples));
        self.writer.flush();
    }

    fn event(&mut self, event: &Event) {
        self.sinks.iter_mut().for_each(|sink| sink.event(event));
    }

    /// Asks over HTTP.
    async fn ask(&self, method: &str, params: Value) -> Result<Value, Error> {
        let client =
            HttpClientBuilder::default().build(format!("http://{}/rpc", self.address)).unwrap();
        client.request(method, one(params)).await
    }

    async fn subscribe(&self, params: Value) -> Result<Subscription<Value>, Error> {
        let url = format!("ws://{}/rpc", self.address);
        let client = WsClientBuilder::default().build(url).await.unwrap();
        let subscription =
            client.subscribe("dappscope_subscribe", one(params), "dappscope_unsubscribe").await;
        // The client must live as long as its subscription.
        std::mem::forget(client);
        subscription
    }

    /// Sends these bytes and reads what comes back until the end.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        let host = self.address;
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        ))
        .await
    }
}

fn local_only(host: Option<&[u8]>, origin: Option<&[u8]>) -> Result<(), (u16, String)> {
    if !host.is_some_and(|host| host.starts_with(b"127.0.0.1") || host.starts_with(b"localhost")) {
        return Err((403, "this Host is not this machine".to_owned()));
    }
    if origin.is_some() {
        return Err((403, "this Origin may not ask here".to_owned()));
    }
    Ok(())
}

fn one(params: Value) -> ArrayParams {
    let mut list = ArrayParams::new();
    list.insert(params).unwrap();
    list
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("within ten seconds")
}

fn call(method: &'static str, outcome: Outcome, total_us: u64) -> Sample {
    Sample::Call(RpcCall {
        at: UnixMicros::now(),
        method: Method::known(method),
        transport: Transport::Http,
        outcome,
        connection: ConnectionId(1),
        batch: None,
        request_bytes: 200,
        response_bytes: 100,
        total: Duration::from_micros(total_us),
        upstream: Duration::from_micros(total_us - 20),
        overhead: Duration::from_micros(20),
        target: (method == "eth_call").then_some(ContractCall {
            contract: ContractName::known("Marketplace"),
            function: FunctionName::known("listings"),
        }),
        transaction: None,
        trace: None,
    })
}

fn request(path: &str, status: u16) -> Sample {
    Sample::Request(HttpRequest {
        at: UnixMicros::now(),
        method: HttpMethod::known("GET"),
        route: Route::known("/api/nfts/{id}"),
        path: path.into(),
        status,
        end: End::Complete,
        connection: ConnectionId(2),
        request_bytes: 0,
        response_bytes: 1_000,
        total: Duration::from_millis(20),
        upstream: Duration::from_millis(19),
        first_byte: Duration::from_millis(18),
        overhead: Duration::from_micros(30),
        trace: TraceContext { trace_id: 0xabc, span_id: 1, flags: 1 },
    })
}

fn transaction(status: TransactionStatus, reason: Option<&'static str>) -> Sample {
    Sample::Transaction(Box::new(Transaction {
        at: UnixMicros::now(),
        hash: B256::repeat_byte(0x5f),
        kind: TransactionKind::Call,
        status,
        from: Some(Address::repeat_byte(0xf3)),
        to: Some(Address::repeat_byte(0x01)),
        created: None,
        contract: ContractName::known("Marketplace"),
        function: FunctionName::known("buy"),
        selector: Some([0xd9, 0x6a, 0x09, 0x4a]),
        nonce: Some(1),
        value: U256::MAX,
        gas_limit: Some(100_000),
        gas_used: Some(84_000),
        gas_price: Some(u128::MAX),
        block: Some(7),
        reason: reason.map(Reason::known),
        confirmation: Some(Duration::from_millis(4)),
        submission: Some(Duration::from_millis(2)),
        trace: None,
    }))
}

fn block(number: u64) -> Sample {
    Sample::Block(Box::new(Block {
        at: UnixMicros::now(),
        number,
        hash: B256::ZERO,
        parent: B256::ZERO,
        timestamp: 1_700_000_000,
        gas_used: 84_000,
        gas_limit: 30_000_000,
        base_fee: Some(7),
        transactions: 1,
        interval: Some(Duration::from_secs(1)),
    }))
}

fn assert_invalid(answer: Result<Value, Error>, words: &str) {
    match answer {
        Err(Error::Call(error)) => {
            assert_eq!(error.code(), -32602, "{error:?}");
            assert!(error.message().contains(words), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
}

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
        head: Head::default(),
    });
    view.event(&Event::Upstream { proxy: Proxy::Rpc, reachable: true });
    let told = view.ask("dappscope_overview", json!({ "last": "5m" })).await.unwrap();
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
    view.event(&Event::NodeDown);
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
        for method in ["overview", "calls", "requests", "transactions", "series", "subscribe"] {
            assert!(answer.contains(&format!("dappscope_{method}")), "{path}, {method}: {answer}");
        }
    }
    let told = soon(view.subscribe(json!({ "kinds": ["nope"] }))).await.unwrap_err().to_string();
    assert!(told.contains("call, request, transaction, block, host"), "{told}");
}

#[tokio::test]
async fn the_readme_lists_the_parameters_of_every_method() {
    let readme = include_str!("../../README.md");
    let everywhere = ["last", "from_ms", "until_ms", "limit", "before"];
    let view = Served::start(None).await;
    for method in ["overview", "calls", "transactions", "requests", "series", "subscribe"] {
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

#[tokio::test]
async fn a_subscriber_receives_the_kinds_it_asked_for() {
    let mut view = Served::start(None).await;
    let mut events =
        soon(view.subscribe(json!({ "kinds": ["transaction", "block"] }))).await.unwrap();
    view.feed(&[call("eth_call", Outcome::Success, 100)]);
    view.feed(&[transaction(TransactionStatus::Success, None), block(9)]);
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let told = soon(events.next()).await.unwrap().unwrap();
        assert_eq!(told["missed"], 0);
        kinds.extend(told["events"].as_array().unwrap().iter().map(|e| e["kind"].clone()));
    }
    assert_eq!(kinds, [json!("transaction"), json!("block")]);
}

#[tokio::test]
async fn a_flood_is_thinned_and_every_sample_is_either_told_or_counted() {
    let mut view = Served::start(None).await;
    let mut events = soon(view.subscribe(json!({ "kinds": ["call"] }))).await.unwrap();
    let flood: Vec<_> = (0..100).map(|_| call("eth_call", Outcome::Success, 100)).collect();
    for _ in 0..500 {
        view.sinks[2].accept(&flood);
    }
    // Outside the flood's windows, so that it is certain to be told.
    tokio::time::sleep(Duration::from_millis(150)).await;
    view.sinks[2].accept(&flood[..1]);
    let (mut told, mut missed) = (0, 0);
    while told + missed < 50_001 {
        let next = soon(events.next()).await.unwrap().unwrap();
        told += next["events"].as_array().unwrap().len() as u64;
        missed += next["missed"].as_u64().unwrap();
    }
    assert_eq!(told + missed, 50_001);
    assert!(told > 0 && missed > 40_000, "{told} told, {missed} missed");
}

#[tokio::test]
async fn a_follower_that_lags_learns_how_many_it_missed() {
    let (mut sink, live) = live();
    let mut follower = live::Follower::new(&live, vec![crate::model::SampleKind::Block]);
    sink.accept(&[block(0)]);
    assert_eq!(follower.next(10).await.unwrap().samples.len(), 1);
    for number in 1..=1_000 {
        sink.accept(&[block(number), call("eth_call", Outcome::Success, 100)]);
    }
    let (mut told, mut missed) = (0, 0);
    while told + missed < 1_000 {
        let delivery = soon(follower.next(500)).await.unwrap();
        told += delivery.samples.len() as u64;
        missed += delivery.missed;
    }
    assert_eq!((told, missed), (128, 872));
}

#[tokio::test]
async fn the_page_and_the_scrape_are_served_with_headers_that_protect_them() {
    let mut view = Served::start(None).await;
    view.feed(&[call("eth_call", Outcome::Success, 100)]);
    let page = view.get("/", "").await;
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    let lower = page.to_lowercase();
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-cache",
    ] {
        assert!(lower.contains(header), "no {header} in {page}");
    }
    assert!(!lower.contains("access-control-allow-origin"));
    let scrape = view.get("/metrics", "").await;
    assert!(scrape.contains("text/plain; version=0.0.4"), "{scrape}");
    assert!(scrape.contains("rpc_server_call_duration_seconds_count{error_type=\"\",rpc_method=\"eth_call\",transport=\"http\"} 1"));
    let health = view.get("/healthz", "").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.contains("\"status\":\"ok\""), "{health}");
    let nowhere = view.get("/..%2fetc/passwd", "").await;
    assert!(
        nowhere.starts_with("HTTP/1.1 404") && nowhere.contains("nothing is here"),
        "{nowhere}"
    );
    let host = view.address;
    let posted = view
        .raw(&format!("POST /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
        .await;
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    assert!(view.get("/rpc", "").await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn a_rebound_name_and_a_foreign_page_are_refused() {
    let view = Served::start(None).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for request in [
        "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /metrics HTTP/1.1\r\nHost: evil.example:3001\r\nConnection: close\r\n\r\n".to_owned(),
        format!(
            "GET /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n{upgrade}Connection: close\r\n\r\n"
        ),
    ] {
        let answer = view.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{request}{answer}");
    }
    let twice = view
        .raw("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .await;
    assert!(twice.starts_with("HTTP/1.1 400"), "{twice}");
}

#[tokio::test]
async fn a_token_is_asked_of_everybody_and_moves_from_the_url_into_a_cookie() {
    let token = "0123456789abcdef";
    let view = Served::start(Some(token)).await;
    for path in ["/", "/metrics", "/healthz", "/app.js"] {
        let refused = view.get(path, "").await;
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    }
    assert!(
        view.get("/metrics", &format!("Authorization: Bearer {token}\r\n"))
            .await
            .starts_with("HTTP/1.1 200")
    );
    let moved = view.get(&format!("/?token={token}"), "").await;
    assert!(moved.starts_with("HTTP/1.1 303"), "{moved}");
    let cookie = moved.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"));
    let pair = cookie.split(';').next().unwrap();
    assert!(view.get("/", &format!("Cookie: {pair}\r\n")).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_on_the_network_needs_a_token() {
    let view = |token: Option<&str>| {
        let tally = Arc::new(Tally::default());
        let queue = Queue::new(1, 1, Arc::clone(&tally));
        let dir = tempfile::tempdir().unwrap();
        let (store, _writer) =
            Store::open(dir.path(), Options::default(), Arc::clone(&tally)).unwrap();
        let sources = Sources {
            tally: Arc::clone(&tally),
            queue: Arc::clone(&queue),
            store: None,
            active_calls: Box::new(|| 0),
            active_requests: None,
        };
        View::new(Parts {
            store,
            metrics: Arc::new(Metrics::new(sources).unwrap()),
            live: live().1,
            tally,
            queue,
            endpoints: Endpoints::default(),
            admit: Arc::new(|_, _| Ok(())),
            token: token.map(str::to_owned),
        })
    };
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let (_stop, stopped) = watch::channel(false);
    let refused = view(None).unwrap().serve(listener, stopped).await.unwrap_err();
    assert!(refused.to_string().contains("set a token, or listen on 127.0.0.1"), "{refused}");
    assert!(matches!(view(Some("short")), Err(ViewError::WeakToken)));
}

#[tokio::test]
async fn serving_ends_when_told_even_with_a_subscriber() {
    let view = Served::start(None).await;
    let mut events = soon(view.subscribe(json!({}))).await.unwrap();
    view.stop.send(true).unwrap();
    soon(view.ended).await.unwrap().unwrap();
    assert!(soon(events.next()).await.is_none());
    assert!(TcpStream::connect(view.address).await.is_err());
}
