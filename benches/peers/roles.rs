//! The parts that run as processes of their own: the upstream, and the bare relay that is the floor
//! under every proxy.

use std::io::Write;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER_BODY: &str = r#"{"jsonrpc":"2.0","id":1234,"result":"0x000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266"}"#;

/// Accepts on a port of its own, prints it, and gives every connection to `serve`.
fn accept<F>(serve: impl Fn(TcpStream) -> F) -> anyhow::Result<()>
where
    F: Future<Output = std::io::Result<()>> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let served = serve(stream);
            tokio::task::spawn_local(async move {
                // A client that goes away is how every connection ends here.
                let _ = served.await;
            });
        }
    })
}

/// Answers every request with the same JSON-RPC result.
pub fn upstream() -> anyhow::Result<()> {
    accept(|mut stream| async move {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ANSWER_BODY}",
            ANSWER_BODY.len()
        );
        let mut buffer = vec![0; 16 * 1024];
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            while let Some(length) = request_length(&buffer[..filled]) {
                buffer.copy_within(length..filled, 0);
                filled -= length;
                stream.write_all(answer.as_bytes()).await?;
            }
        }
    })
}

/// The size of the whole request at the beginning of `bytes`, if it is there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes).ok()? else { return None };
    let body = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok())
        .unwrap_or(0);
    (bytes.len() >= head + body).then_some(head + body)
}

/// Passes bytes between two sockets and looks at none of them.
pub fn bare_relay(upstream: &str) -> anyhow::Result<()> {
    let upstream: SocketAddr = upstream.parse()?;
    accept(move |client| async move {
        let server = TcpStream::connect(upstream).await?;
        server.set_nodelay(true)?;
        let (mut client_in, mut client_out) = client.into_split();
        let (mut server_in, mut server_out) = server.into_split();
        let up = tokio::task::spawn_local(async move {
            let mut buffer = vec![0; 16 * 1024];
            loop {
                let read = client_in.read(&mut buffer).await?;
                if read == 0 {
                    return server_out.shutdown().await;
                }
                server_out.write_all(&buffer[..read]).await?;
            }
        });
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = server_in.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            client_out.write_all(&buffer[..read]).await?;
        }
        up.abort();
        Ok(())
    })
}
