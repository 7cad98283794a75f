//! The load: each connection sends the next request when it has the answer to the last.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// 200 bytes, as a contract read has.
pub const REQUEST_BODY: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1234,"method":"eth_call","params":[{"to":"0x5fbdb2315678afecb367f032d93f642f64180aa3","#,
    r#""data":"0x6352211e0000000000000000000000000000000000000000000000000001"},"latest"]}         "#
);

/// What a stretch of load came to.
pub struct Measured {
    latencies_ns: Vec<u32>,
    length: Duration,
    /// CPU time that the proxy used meanwhile.
    pub cpu: Duration,
}

impl Measured {
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies_ns.len() as f64
    }

    pub fn rate(&self) -> f64 {
        self.latencies_ns.len() as f64 / self.length.as_secs_f64()
    }

    fn percentile_us(&self, share: f64) -> f64 {
        let last = self.latencies_ns.len() - 1;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (last as f64 * share) as usize;
        f64::from(self.latencies_ns[index]) / 1e3
    }

    pub fn p50_us(&self) -> f64 {
        self.percentile_us(0.50)
    }

    pub fn p99_us(&self) -> f64 {
        self.percentile_us(0.99)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:6.2} µs CPU, {:7.0}/s, p50 {:6.0} µs, p99 {:6.0} µs",
            self.cpu_us(),
            self.rate(),
            self.p50_us(),
            self.p99_us()
        )
    }
}

/// Sends requests on so many connections for so long. Every answer is checked to be whole.
pub async fn drive(
    proxy: SocketAddr,
    connections: usize,
    length: Duration,
) -> anyhow::Result<Measured> {
    let started = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(proxy, started + length));
    }
    let mut latencies_ns = Vec::new();
    while let Some(done) = clients.join_next().await {
        latencies_ns.extend(done??);
    }
    ensure!(!latencies_ns.is_empty(), "{proxy} answered nothing");
    let length = started.elapsed();
    latencies_ns.sort_unstable();
    Ok(Measured { latencies_ns, length, cpu: Duration::ZERO })
}

async fn client(proxy: SocketAddr, end: Instant) -> anyhow::Result<Vec<u32>> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {proxy}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{REQUEST_BODY}",
        REQUEST_BODY.len()
    );
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 4096];
    while Instant::now() < end {
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..]).await?;
            ensure!(read > 0, "{proxy} closed the connection in the middle");
            filled += read;
            if whole(&buffer[..filled])? {
                break;
            }
        }
        latencies.push(u32::try_from(sent.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    Ok(latencies)
}

/// Whether `bytes` are one whole 200 response.
fn whole(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else { return Ok(false) };
    ensure!(response.code == Some(200), "answered {:?}", response.code);
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .context("no Content-Length in the answer")?;
    let length: usize = std::str::from_utf8(length.value)?.parse()?;
    ensure!(bytes.len() <= head + length, "more than one answer");
    Ok(bytes.len() == head + length)
}
