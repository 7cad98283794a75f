//! What it costs to look into a JSON-RPC message, and to record a whole exchange of 200 bytes.
//!
//! The bars: 0.14 µs for the envelope of a 200-byte request (what a borrowed serde struct takes), and
//! 0.5 µs for everything that recording does for it.

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dappscope::decode::contracts::Contracts;
use dappscope::decode::jsonrpc;
use dappscope::model::{
    Captured, ConnectionId, Direction, End, Exchange, HttpMethod, Observation, Observer, Queue,
    Sample, Sink, SocketMessage, Stamp, Tally, Timing,
};
use dappscope::record::Recorder;
use serde_json::value::RawValue;

const READ: &str = r#"{"jsonrpc":"2.0","id":1057264140543346,"method":"eth_getBalance","params":["0x5fbdb2315678afecb367f032d93f642f64180aa3","latest"],"from":"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266","padding":"000000"}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"eth_call","params":[{"to":"0x5fbdb2315678afecb367f032d93f642f64180aa3","data":"0x70a08231000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266"},"latest"]}"#;
const RESPONSE: &str =
    r#"{"jsonrpc":"2.0","id":1057264140543346,"result":"0x21e19e0c9bab2400000"}"#;

/// What the envelope would be with serde, for comparison.
#[derive(serde::Deserialize)]
struct Serde<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

fn envelope(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope");
    group.throughput(Throughput::Bytes(READ.len() as u64));
    group.bench_function("request_200B", |b| {
        b.iter(|| {
            let message = jsonrpc::read(black_box(READ.as_bytes())).expect("a request");
            let jsonrpc::Shape::Single(request) = message.shape else { unreachable!() };
            black_box((request.method(), request.id(), request.params));
        });
    });
    group.bench_function("request_200B_serde", |b| {
        b.iter(|| {
            let request: Serde<'_> = serde_json::from_str(black_box(READ)).expect("a request");
            black_box((&request.method, request.id, request.params));
        });
    });
    group.bench_function("request_200B_value", |b| {
        b.iter(|| {
            let request: serde_json::Value =
                serde_json::from_str(black_box(READ)).expect("a request");
            black_box(request);
        });
    });
    group.finish();

    let logs = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":[{}]}}"#,
        vec![r#"{"address":"0x5fbdb2315678afecb367f032d93f642f64180aa3","topics":["0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"],"data":"0x","blockNumber":"0x1","logIndex":"0x0","removed":false}"#; 300].join(",")
    );
    let batch = format!("[{}]", vec![READ; 100].join(","));
    for (name, text) in [("response_of_300_logs", logs), ("batch_of_100", batch)] {
        let mut group = c.benchmark_group("long");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| black_box(jsonrpc::read(black_box(text.as_bytes())).expect("a message")));
        });
        group.finish();
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn accept(&mut self, samples: &[Sample]) {
        black_box(samples);
    }
}

fn captured(text: &str) -> Captured {
    Captured { bytes: text.into(), total: text.len() as u64, ..Captured::default() }
}

fn exchange(request: &str) -> Observation {
    Observation::Exchange(Box::new(Exchange {
        connection: ConnectionId(1),
        peer: ([127, 0, 0, 1], 1).into(),
        http_method: HttpMethod::known("POST"),
        status: 200,
        timing: Timing::default(),
        end: End::Complete,
        request: captured(request),
        response: captured(RESPONSE),
        trace: None,
        user_agent: None,
    }))
}

fn message(direction: Direction, text: &str) -> Observation {
    Observation::Socket(Box::new(SocketMessage {
        connection: ConnectionId(1),
        direction,
        started: Stamp::default(),
        read: Stamp::default(),
        written: Stamp::default(),
        payload: captured(text),
        peer: ([127, 0, 0, 1], 1).into(),
        user_agent: None,
    }))
}

/// The time the recorder needs for what `fill` tells, with the queue filled beforehand.
fn recorded(fill: impl Fn(&Observer)) -> Duration {
    let tally = Arc::new(Tally::default());
    let queue = Queue::new(1 << 17, 1 << 30, Arc::clone(&tally));
    fill(&Observer::new(&queue));
    let (wanted, _unasked) = tokio::sync::mpsc::channel(1);
    let started = Instant::now();
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Nowhere)];
    let (_, artifacts) = std::sync::mpsc::channel();
    let recorder = Recorder::start(
        queue,
        tally,
        Contracts::new(),
        artifacts,
        dappscope::record::Settings::default(),
        sinks,
        wanted,
    )
    .expect("a thread");
    recorder.flush();
    let taken = started.elapsed();
    recorder.stop();
    taken
}

fn recording(c: &mut Criterion) {
    const MANY: u64 = 50_000;
    let mut group = c.benchmark_group("recording_50000");
    group.throughput(Throughput::Elements(MANY)).sample_size(10);
    let calls = |text: &'static str| {
        move |observer: &Observer| (0..MANY).for_each(|_| observer.tell(exchange(text)))
    };
    let sockets = |observer: &Observer| {
        for _ in 0..MANY {
            observer.tell(message(Direction::Request, READ));
            observer.tell(message(Direction::Response, RESPONSE));
        }
    };
    let mut measure = |name, fill: &dyn Fn(&Observer)| {
        group.bench_function(name, |b| {
            b.iter_custom(|times| (0..times).map(|_| recorded(fill)).sum());
        });
    };
    measure("read_over_http", &calls(READ));
    measure("eth_call_over_http", &calls(CALL));
    measure("read_over_websocket", &sockets);
    group.finish();

    c.bench_function("dropping_an_exchange", |b| {
        b.iter_batched(|| exchange(READ), drop, BatchSize::LargeInput);
    });
}

criterion_group!(benches, envelope, recording);
criterion_main!(benches);
