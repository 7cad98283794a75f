//! What following costs: the copy of an exchange or a message, from its bytes to its observation,
//! without any socket.
#![allow(missing_docs, reason = "Criterion's macros define public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dappscope::decode::capture::Budget;
use dappscope::decode::follower::Follower;
use dappscope::decode::http1::{self, Limits};
use dappscope::model::{ConnectionId, Observation, Stamp, Underway};

const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":"0x5fbdb2315678afecb367f032d93f642f64180aa3","data":"0x70a08231000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266"},"latest"]}"#;
const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const UPGRADED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn request(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:8546\r\nContent-Type: application/json\r\n\
         User-Agent: ethers/6.13\r\nAccept-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn response(body: &str, chunked: bool) -> Vec<u8> {
    let length = body.len();
    let framed = if chunked {
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n")
    } else {
        format!("Content-Length: {length}\r\n\r\n{body}")
    };
    format!(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n\
         Date: Mon, 23 Nov 2026 00:00:00 GMT\r\nConnection: keep-alive\r\n\
         Keep-Alive: timeout=5\r\n{framed}"
    )
    .into_bytes()
}

struct Wire {
    follower: Follower,
    up: u64,
    down: u64,
}

impl Wire {
    fn new() -> Self {
        let limits = Limits {
            capture: 1 << 20,
            budget: Budget::new(64 << 20),
            pipeline: 1_024,
            active: Underway::default(),
        };
        let peer = "127.0.0.1:1".parse().unwrap();
        Self { follower: Follower::new(ConnectionId(1), peer, limits), up: 0, down: 0 }
    }

    fn ask(&mut self, bytes: &[u8], mut tell: impl FnMut(Observation)) {
        let at = Stamp::from_nanos(1);
        black_box(self.follower.from_client(bytes, at, |_| true, &mut tell));
        self.up += bytes.len() as u64;
        self.follower.to_upstream(self.up, at, &mut tell);
    }

    fn answer(&mut self, bytes: &[u8], mut tell: impl FnMut(Observation)) {
        let at = Stamp::from_nanos(2);
        self.follower.from_upstream(bytes, at, &mut tell);
        self.down += bytes.len() as u64;
        self.follower.to_client(self.down, at, &mut tell);
    }
}

fn drop_told(told: Observation) {
    drop(black_box(told));
}

fn follower(criterion: &mut Criterion) {
    let asked = request(BODY);
    let mut group = criterion.benchmark_group("follower");
    for (name, chunked) in [("exchange of 200 bytes", false), ("the same, chunked", true)] {
        let answered = response(r#"{"jsonrpc":"2.0","id":1,"result":"0x01"}"#, chunked);
        let mut wire = Wire::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                wire.ask(&asked, drop_told);
                wire.answer(&answered, drop_told);
            });
        });
    }
    group.bench_function("head of a request", |bencher| {
        bencher.iter(|| black_box(http1::request(black_box(&asked))).eq(&http1::Parsed::Partial));
    });

    let mut wire = Wire::new();
    wire.ask(UPGRADE, drop_told);
    wire.answer(UPGRADED, drop_told);
    let mut frame = vec![0x81, 0x80 | 126, 0, u8::try_from(BODY.len()).unwrap(), 1, 2, 3, 4];
    frame.extend(BODY.bytes().zip([1, 2, 3, 4].into_iter().cycle()).map(|(byte, key)| byte ^ key));
    group.bench_function("WebSocket message of 200 bytes", |bencher| {
        bencher.iter(|| wire.ask(&frame, drop_told));
    });

    let big = response(&"x".repeat(1 << 20), false);
    group.throughput(Throughput::Bytes(big.len() as u64));
    let mut wire = Wire::new();
    group.bench_function("exchange with a response of 1 MiB in 64 KiB reads", |bencher| {
        bencher.iter(|| {
            wire.ask(&asked, drop_told);
            big.chunks(64 * 1024).for_each(|chunk| wire.answer(chunk, drop_told));
        });
    });
    group.finish();
}

criterion_group!(benches, follower);
criterion_main!(benches);
