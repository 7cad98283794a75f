//! A hundred thousand mixed calls against a real node: every counter equals what was sent, the store
//! recounts the same, and the durations agree with the client's own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use jsonrpsee::core::client::ClientT;
use jsonrpsee::rpc_params;
use jsonrpsee::ws_client::WsClientBuilder;
use serde_json::{Value, json};

use crate::harness::{Dappscope, Hardhat, Lateness, until};
use crate::upstream::read_head;

/// What is called, with params, and the error code that Hardhat answers with.
fn menu() -> [(&'static str, Value, &'static str); 6] {
    [
        ("eth_chainId", json!([]), ""),
        ("eth_blockNumber", json!([]), ""),
        ("eth_getBalance", json!(["0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "latest"]), ""),
        ("net_version", json!([]), ""),
        ("eth_doesNotExist", json!([]), "-32004"),
        ("eth_getBalance", json!(["nobody", "latest"]), "-32602"),
    ]
}

type Counts = BTreeMap<(String, String, String), u64>;

fn count(counts: &mut Counts, method: &str, error: &str, transport: &str) {
    *counts.entry((method.into(), error.into(), transport.into())).or_default() += 1;
}

/// A keep-alive connection for any body; the answer may be chunked.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(proxy: SocketAddr) -> Self {
        let stream = TcpStream::connect(proxy).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn post(&mut self, body: &str) -> Vec<u8> {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        // Hardhat 2 answers in chunks: no Content-Length reads as zero.
        let length = read_head(&mut self.0).unwrap().expect("an answer");
        if length > 0 {
            let mut body = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut body).unwrap();
            return body;
        }
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            let from = body.len();
            body.resize(from + size + 2, 0);
            self.0.read_exact(&mut body[from..]).unwrap();
            body.truncate(from + size);
            if size == 0 {
                return body;
            }
        }
    }
}

const SINGLES: usize = 30_000;
const BATCHES: usize = 1_000;
const BATCH: usize = 50;
const SOCKET: usize = 20_000;
const CONNECTIONS: usize = 8;

/// Single calls on several connections; each call's time as its client saw it.
fn singles(proxy: SocketAddr, counts: &mut Counts) -> Vec<Duration> {
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|thread| {
            std::thread::spawn(move || {
                let (mut counts, mut times) = (Counts::new(), Vec::new());
                let mut connection = Connection::open(proxy);
                for i in 0..SINGLES / CONNECTIONS {
                    let (method, params, error) = &menu()[(i + thread) % 6];
                    let body =
                        json!({"jsonrpc": "2.0", "id": i, "method": method, "params": params});
                    let body = body.to_string();
                    let sent = Instant::now();
                    let answer = connection.post(&body);
                    times.push(sent.elapsed());
                    let answer: Value = serde_json::from_slice(&answer).unwrap();
                    let code =
                        answer["error"]["code"].as_i64().map_or(String::new(), |c| c.to_string());
                    assert_eq!(&code, error, "{method}");
                    count(&mut counts, method, &code, "http");
                }
                (counts, times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        let (own, times) = thread.join().unwrap();
        for (key, n) in own {
            *counts.entry(key).or_default() += n;
        }
        all.extend(times);
    }
    all
}

fn batches(proxy: SocketAddr, counts: &mut Counts) {
    let mut connection = Connection::open(proxy);
    for batch in 0..BATCHES {
        let items: Vec<Value> = (0..BATCH)
            .map(|i| {
                let (method, params, error) = &menu()[(batch + i) % 6];
                count(counts, method, error, "http_batch");
                // Strings, numbers beyond 2^53 and plain ones.
                let id = match i % 3 {
                    0 => json!(format!("id-{i}")),
                    1 => json!(9_007_199_254_740_993_u64 + i as u64),
                    _ => json!(i),
                };
                json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
            })
            .collect();
        let answer = connection.post(&Value::Array(items).to_string());
        let answer: Vec<Value> = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer.len(), BATCH);
    }
}

fn socket(proxy: SocketAddr, counts: &mut Counts) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = WsClientBuilder::default().build(format!("ws://{proxy}")).await.unwrap();
        for i in 0..SOCKET {
            let (method, params, error) = &menu()[i % 6];
            let answer: Result<Value, _> = match params.as_array().unwrap().as_slice() {
                [] => client.request(method, rpc_params![]).await,
                [a, b] => client.request(method, rpc_params![a, b]).await,
                _ => unreachable!("the menu has no other"),
            };
            let code = match answer {
                Ok(_) => String::new(),
                Err(jsonrpsee::core::client::Error::Call(error)) => error.code().to_string(),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(&code, error, "{method}");
            count(counts, method, &code, "websocket");
        }
    });
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = ((times.len() - 1) as f64 * share) as usize;
    times[index]
}

#[test]
fn a_hundred_thousand_mixed_calls_are_counted_one_by_one() {
    let hardhat = Hardhat::start();
    let scope = Dappscope::start(hardhat.address, None, "");
    let mut counts = Counts::new();
    let lateness = Lateness::measure();
    let mut times = singles(scope.rpc, &mut counts);
    let mut late = lateness.end();
    let metrics = scope.settled();
    durations_agree(&scope, &mut times, &mut late);
    assert_eq!(metrics.sum("dappscope_samples_total", &[("kind", "call")]), 30_000.0);
    batches(scope.rpc, &mut counts);
    socket(scope.rpc, &mut counts);
    assert_eq!(counts.values().sum::<u64>(), 100_000);

    let metrics = scope.settled();
    assert_eq!(metrics.sum("dappscope_samples_dropped_total", &[]), 0.0);
    assert_eq!(metrics.sum("dappscope_samples_total", &[("kind", "call")]), 100_000.0);
    assert_eq!(metrics.sum("dappscope_samples_stored_total", &[("kind", "call")]), 100_000.0);
    for ((method, error, transport), sent) in &counts {
        let labels =
            [("rpc_method", method.as_str()), ("error_type", error), ("transport", transport)];
        let counted = metrics.sum("rpc_server_call_duration_seconds_count", &labels);
        #[expect(clippy::cast_precision_loss, reason = "at most 100,000")]
        let sent = *sent as f64;
        assert_eq!(counted, sent, "{labels:?}");
    }
    assert_eq!(metrics.sum("rpc_server_call_duration_seconds_count", &[]), 100_000.0);
    assert_eq!(metrics.sum("rpc_server_batch_size_count", &[]), 1_000.0);
    assert_eq!(metrics.sum("rpc_server_batch_size_sum", &[]), 50_000.0);
    assert_eq!(recount(&scope), counts, "the store's own list");
    assert!(scope.stop().success());
}

/// Counts what the store lists, page by page.
fn recount(scope: &Dappscope) -> Counts {
    let mut counts = Counts::new();
    let mut cursor = Value::Null;
    loop {
        let mut params = json!({"last": "1d", "limit": 1000});
        if !cursor.is_null() {
            params["before"] = cursor;
        }
        let page = scope.ask("dappscope_calls", &params);
        for call in page["calls"].as_array().unwrap() {
            let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
            let error = call["error_code"].as_i64().map_or(String::new(), |code| code.to_string());
            *counts.entry((text("method"), error, text("transport"))).or_default() += 1;
        }
        cursor = page["next"].clone();
        if cursor.is_null() {
            return counts;
        }
    }
}

/// The relay's figures and the client's: the client also waits for two trips over loopback, and the
/// relay and the client itself may be woken as late as other threads of this machine were.
fn durations_agree(scope: &Dappscope, times: &mut [Duration], late: &mut [Duration]) {
    let overview = until("the store to know all", || {
        let overview = scope.ask("dappscope_overview", &json!({"last": "1h"}));
        (overview["calls"]["count"] == 30_000).then_some(overview)
    });
    for (name, share) in [("p50_us", 0.5), ("p99_us", 0.99)] {
        let own = Duration::from_micros(overview["calls"][name].as_u64().unwrap());
        let client = percentile(times, share);
        let apart = client.abs_diff(own);
        let late = percentile(late, share);
        println!("{name}: relay {own:?}, client {client:?}; threads {late:?} late");
        let allowed = Duration::from_micros(300) + client / 4 + 2 * late;
        assert!(apart <= allowed, "{name}: the relay says {own:?}, the client {client:?}");
    }
}
