//! Requests as exporters send them, and as nobody should, over a real socket.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;

use super::body::{LARGEST, LARGEST_TOGETHER, Room};
use super::*;
use crate::model::{CustomMetrics, Observation, Observer, Queue, Tally};
use crate::wire::guard::Guard;

const FLASK: &[u8] = include_bytes!("../../../tests/fixtures/otlp/flask.pb");
const FLASK_JSON: &[u8] = include_bytes!("../../../tests/fixtures/otlp/flask.json");
const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";
const JSON: &str = "Content-Type: application/json; charset=utf-8\r\n";

struct Receiver {
    address: std::net::SocketAddr,
    queue: Arc<Queue>,
    stop: tokio::sync::watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

impl Receiver {
    fn start() -> Self {
        Self::with(Duration::from_secs(60), Duration::from_secs(60))
    }

    /// One whose bodies may take so long, and stall for so long.
    fn with(slowest: Duration, stalled: Duration) -> Self {
        let queue = Queue::new(100, 1 << 24, Arc::new(Tally::default()));
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let custom = CustomMetrics::default();
        let settings = Settings { drain: Duration::from_secs(10), slowest, stalled, custom };
        let observer = Observer::new(&queue);
        let thread = serve(listener, settings, Guard::default(), observer, stopping).unwrap();
        Self { address, queue, stop, thread }
    }

    /// Sends a request on a connection of its own; the answer's status, head and body.
    fn send(&self, line: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let length = match headers.contains("Content-Length:") {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = format!("{line} HTTP/1.1\r\n{host}{headers}{length}Connection: close\r\n\r\n");
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), answer[end + 4..].to_vec())
    }

    fn post(&self, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        self.send("POST /v1/traces", headers, body)
    }

    /// How many spans the next observation holds, or why it was refused.
    fn told(&self) -> Result<usize, &'static str> {
        match self.queue.take() {
            Some(Observation::Spans(told)) => Ok(told.spans.len()),
            Some(Observation::ExportRefused(reason)) => Err(reason),
            other => panic!("{other:?}"),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn exports_are_taken_in_both_encodings_plain_and_compressed() {
    let receiver = Receiver::start();
    let zipped = "Content-Encoding: gzip\r\n";
    for (kind, body, empty) in [(PROTOBUF, FLASK, &b""[..]), (JSON, FLASK_JSON, b"{}")] {
        let answers = [
            receiver.post(kind, body),
            receiver.post(&format!("{kind}{zipped}"), &gzip(body)),
            receiver.post(&format!("{kind}Content-Encoding: identity\r\n"), body),
        ];
        for (status, head, answer) in answers {
            assert_eq!((status, &*answer), (200, empty));
            let sent = kind.trim_end().split(';').next().unwrap().to_ascii_lowercase();
            assert!(head.contains(&sent), "{head}");
            assert_eq!(receiver.told(), Ok(13));
        }
    }
    receiver.stop.send_replace(true);
    receiver.thread.join().unwrap();
}

#[test]
fn what_was_left_out_is_told_to_the_exporter() {
    let receiver = Receiver::start();
    let body = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{},{}]}]}]}"#;
    let (status, _, answer) = receiver.post(JSON, body);
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &answer["partialSuccess"]["rejectedSpans"]), (200, &"2".into()));
    // One resource with one scope of one empty span.
    let (status, _, answer) = receiver.post(PROTOBUF, &[0x0a, 4, 0x12, 2, 0x12, 0]);
    assert_eq!(status, 200);
    // partial_success { rejected_spans: 1, error_message: … }
    assert_eq!((answer[0], &answer[2..5]), (0x0a, &[0x08, 1, 0x12][..]));
}

#[test]
fn what_is_no_export_is_refused_with_its_status_and_words() {
    let receiver = Receiver::start();
    let refused = |headers: &str, body: &[u8]| {
        let (status, _, answer) = receiver.post(headers, body);
        (status, String::from_utf8_lossy(&answer).into_owned(), receiver.told())
    };
    let (status, words, told) = refused(PROTOBUF, &FLASK[..100]);
    assert_eq!((status, told), (400, Err("malformed")));
    assert!(words.contains("longer than the"), "{words}");
    let (status, words, told) = refused(JSON, b"{\"resourceSpans\":7}");
    assert_eq!((status, told), (400, Err("malformed")));
    assert!(words.contains("\"message\":") && words.contains("at the top"), "{words}");
    let zipped = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    let (status, _, told) = refused(&zipped, FLASK);
    assert_eq!((status, told), (400, Err("malformed")));
    let (status, words, told) = refused("Content-Type: application/grpc\r\n", FLASK);
    assert_eq!((status, told), (415, Err("content_type")));
    assert!(words.contains("http/protobuf"), "{words}");
    let (status, _, told) = refused("", FLASK);
    assert_eq!((status, told), (415, Err("content_type")));
    let (status, _, told) = refused(&format!("{PROTOBUF}Content-Encoding: br\r\n"), FLASK);
    assert_eq!((status, told), (415, Err("encoding")));
    let announced = format!("{PROTOBUF}Content-Length: {}\r\n", LARGEST + 1);
    let (status, _, told) = refused(&announced, b"");
    assert_eq!((status, told), (413, Err("too_large")));
    // A thousandth of what it becomes.
    let bomb = gzip(&vec![0; LARGEST * 4]);
    let (status, _, told) = refused(&zipped, &bomb);
    assert_eq!((status, told), (413, Err("too_large")));
    let (status, _, told) = refused(&format!("{PROTOBUF}Host: evil.example\r\n"), FLASK);
    assert_eq!((status, told), (403, Err("host_or_origin")));
    let (status, _, told) = refused(&format!("{JSON}Origin: https://evil.example\r\n"), b"{}");
    assert_eq!((status, told), (403, Err("host_or_origin")));
}

#[test]
fn a_body_that_does_not_come_in_time_is_refused_and_may_be_sent_again() {
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(60));
    for (slowest, stalled, words) in [
        (short, long, "the whole export within 50ms"),
        (long, short, "something of it within 50ms"),
    ] {
        let receiver = Receiver::with(slowest, stalled);
        let announced = format!("{PROTOBUF}Content-Length: {}\r\n", FLASK.len());
        let (status, head, answer) = receiver.post(&announced, &FLASK[..100]);
        assert_eq!((status, receiver.told()), (408, Err("too_slow")));
        assert!(String::from_utf8_lossy(&answer).contains(words), "{answer:?}");
        assert!(head.contains("connection: close"), "{head}");
        // One that has taken so long already stands in nobody's way.
        assert_eq!(receiver.post(PROTOBUF, FLASK).0, 200);
    }
}

/// Begins an export of `announced` bytes, of which these are all that will come for now.
fn begin(receiver: &Receiver, announced: usize, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(receiver.address).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\n{PROTOBUF}Content-Length: {announced}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    stream
}

#[test]
fn bodies_that_stall_hold_up_nobody_and_may_still_come() {
    let receiver = Receiver::start();
    let mut stalled: Vec<TcpStream> =
        (0..100).map(|_| begin(&receiver, FLASK.len(), &FLASK[..100])).collect();
    for _ in 0..10 {
        // Were it held up by them, it would be for a minute.
        assert_eq!((receiver.post(PROTOBUF, FLASK).0, receiver.told()), (200, Ok(13)));
    }
    for stream in &mut stalled {
        stream.write_all(&FLASK[100..]).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!((&answer[..], receiver.told()), (&b"HTTP/1.1 200"[..], Ok(13)));
    }
}

#[tokio::test]
async fn what_finds_no_room_beside_others_is_to_be_sent_again() {
    let room = Room::new();
    let body = |bytes: usize| Full::new(Bytes::from(vec![7; bytes]));
    let quickly = Duration::from_millis(20);
    let mut held = Vec::new();
    let refused = loop {
        match room.read(body(LARGEST), quickly).await {
            Ok(whole) => held.push(whole),
            Err(refused) => break refused,
        }
    };
    assert_eq!(held.len(), LARGEST_TOGETHER / LARGEST - 1);
    assert_eq!((refused.status.as_u16(), refused.reason), (503, "no_room"));
    let mut short = Vec::new();
    while let Ok(one) = room.read(body(100_000), quickly).await {
        short.push(one);
    }
    assert!(short.len() > 50, "there is room for {} short ones beside long ones", short.len());
    short.pop();
    assert!(room.read(body(100_000), quickly).await.is_ok(), "there is room again");
    held.pop();
    assert!(room.read(body(LARGEST), quickly).await.is_ok(), "for a long one, too");
}

#[test]
fn bodies_that_stall_with_all_the_room_are_refused_soon_and_the_next_export_is_taken() {
    let receiver = Receiver::with(Duration::from_secs(60), Duration::from_secs(1));
    let part = vec![0; LARGEST - 1];
    let stalled: Vec<TcpStream> =
        (0..LARGEST_TOGETHER / LARGEST).map(|_| begin(&receiver, LARGEST, &part)).collect();
    assert_eq!(receiver.post(PROTOBUF, FLASK).0, 200);
    for mut stream in stalled {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[..], b"HTTP/1.1 408");
    }
}

#[test]
fn every_way_to_be_wrong_has_its_status_and_the_next_export_is_taken() {
    let receiver = Receiver::start();
    let gzipped = gzip(FLASK);
    let of = |encoding: &str| format!("{PROTOBUF}Content-Encoding: {encoding}\r\n");
    let cut = &gzipped[..gzipped.len() / 2];
    let garbled: Vec<u8> = gzipped.iter().rev().copied().collect();
    let no_export = gzip(b"\xff\xff\xff\xff");
    let ways: [(u16, &str, String, &[u8]); 12] = [
        (400, "malformed", PROTOBUF.to_owned(), b"\xff\xff\xff\xff"),
        (400, "malformed", PROTOBUF.to_owned(), FLASK_JSON),
        (400, "malformed", JSON.to_owned(), FLASK),
        (400, "malformed", JSON.to_owned(), b""),
        (400, "malformed", of("gzip"), cut),
        (400, "malformed", of("gzip"), &garbled),
        (400, "malformed", of("gzip"), &no_export),
        (400, "malformed", of("gzip"), b""),
        (415, "encoding", of("deflate"), FLASK),
        (415, "encoding", of("zstd"), FLASK),
        (415, "encoding", of("gzip, gzip"), FLASK),
        (415, "content_type", "Content-Type: text/plain\r\n".to_owned(), FLASK),
    ];
    for (expected, reason, headers, body) in ways {
        let (status, _, answer) = receiver.post(&headers, body);
        let words = String::from_utf8_lossy(&answer);
        assert_eq!((status, receiver.told()), (expected, Err(reason)), "{headers}: {words}");
        assert!(words.contains("expected"), "{headers}: {words}");
        assert_eq!((receiver.post(PROTOBUF, FLASK).0, receiver.told()), (200, Ok(13)), "{headers}");
    }
}

#[test]
fn a_body_that_grows_too_large_without_saying_so_is_refused_before_its_end() {
    let receiver = Receiver::start();
    let mut stream = TcpStream::connect(receiver.address).unwrap();
    let head = format!("POST /v1/traces HTTP/1.1\r\nHost: localhost\r\n{PROTOBUF}");
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let piece = [b"100000\r\n", &vec![0; 1 << 20][..], b"\r\n"].concat();
    for _ in 0..=LARGEST >> 20 {
        // Once it is refused nobody reads on.
        let _ = stream.write_all(&piece);
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((&answer[..], receiver.told()), (&b"HTTP/1.1 413"[..], Err("too_large")));
}

#[test]
fn an_exporter_that_breaks_off_or_speaks_no_http_leaves_the_others_alone() {
    let receiver = Receiver::start();
    for begun in
        ["", "no HTTP at all\r\n\r\n", "POST /v1/traces HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"]
    {
        let mut stream = TcpStream::connect(receiver.address).unwrap();
        stream.write_all(begun.as_bytes()).unwrap();
        drop(stream);
        assert_eq!(receiver.post(PROTOBUF, FLASK).0, 200, "{begun:?}");
    }
    receiver.stop.send_replace(true);
    receiver.thread.join().unwrap();
}

#[test]
fn metrics_and_logs_are_accepted_and_all_else_is_not_there() {
    let receiver = Receiver::start();
    for path in ["/v1/metrics", "/v1/logs"] {
        let (status, _, answer) = receiver.send(&format!("POST {path}"), PROTOBUF, b"anything");
        assert_eq!((status, answer.len()), (200, 0), "{path}");
    }
    let (status, head, _) = receiver.send("GET /v1/traces", "", b"");
    assert_eq!(status, 405);
    assert!(head.contains("allow: post"), "{head}");
    assert_eq!(receiver.told(), Err("method"));
    assert_eq!(receiver.send("POST /v1/trace", PROTOBUF, FLASK).0, 404);
    assert_eq!(receiver.told(), Err("path"));
    assert_eq!(receiver.queue.depth(), 0);
}

#[test]
fn it_ends_while_an_exporter_is_idle() {
    let receiver = Receiver::start();
    let _idle = TcpStream::connect(receiver.address).unwrap();
    receiver.stop.send_replace(true);
    receiver.thread.join().unwrap();
}

#[test]
fn an_exporter_that_speaks_grpc_or_knows_another_path_is_told_of() {
    let receiver = Receiver::start();
    let mut stream = TcpStream::connect(receiver.address).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(receiver.told(), Err("grpc"));
    assert_eq!(receiver.send("POST /", PROTOBUF, FLASK).0, 404);
    assert_eq!(receiver.told(), Err("path"));
    assert_eq!((receiver.post(PROTOBUF, FLASK).0, receiver.told()), (200, Ok(13)));
}

#[test]
fn a_browser_sends_its_spans_from_a_page_of_an_admitted_origin() {
    let receiver = Receiver::start();
    let ask = |line: &str, origin: &str| {
        let headers = format!(
            "{JSON}Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: content-type\r\n"
        );
        receiver.send(line, &headers, FLASK_JSON)
    };
    let (status, head, _) = ask("OPTIONS /v1/traces", "http://localhost:3000");
    assert!(status == 200 && head.contains("access-control-allow-methods: post"), "{head}");
    assert!(head.contains("access-control-allow-headers: content-type"), "{head}");
    let (status, head, _) = ask("POST /v1/traces", "http://localhost:3000");
    assert!(status == 200 && head.contains("allow-origin: http://localhost:3000"), "{head}");
    assert_eq!(receiver.told(), Ok(13));
    let (status, head, _) = ask("OPTIONS /v1/traces", "http://evil.example");
    assert!(status == 403 && !head.contains("access-control"), "{head}");
}
