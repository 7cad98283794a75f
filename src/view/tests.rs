//! The view as its clients see it: real HTTP, real WebSockets, a real store.

mod access;
mod contracts;
mod lists;
mod numbers;
mod routes;
mod subscribers;
mod trace;

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
    AppFunction, AppTiming, Block, CacheOutcome, ConnectionId, ContractCall, ContractName,
    CustomMetrics, DatabaseTiming, End, Event, Flow, FunctionName, Head, HttpMethod, HttpRequest,
    Method, Outcome, Proxy, Reason, Route, RpcCall, Sample, Sink, TraceContext, Transaction,
    TransactionKind, TransactionStatus, Transport, UnixMicros,
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
            custom: CustomMetrics::default(),
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
            money: Some(Money { eth_price: 2_000.0, currency: "USD".to_owned() }),
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
        joined_by: None,
        detail: None,
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
        cache: CacheOutcome::Unknown,
        flow: Flow::Response,
        app: None,
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
        message: None,
        envelope: None,
        events: Box::default(),
        inner: Box::default(),
        delegation: None,
        code_bytes: None,
        block_gas_limit: None,
        rolled_back_by: None,
        unexplained: None,
        events_omitted: 0,
        blob: None,
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
