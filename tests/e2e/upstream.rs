//! A node that answers everything at once, and its variants that misbehave: for load that no real
//! node carries, and faults that none produces on demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#;

/// An upstream in this process; it ends with the process.
pub struct Upstream {
    pub address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Upstream {
    /// Answers every request with [`ANSWER`].
    pub fn start() -> Self {
        Self::with(|stream| {
            let mut writer = stream.try_clone()?;
            let mut reader = BufReader::new(stream);
            while let Some(length) = read_head(&mut reader)? {
                std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
                write!(
                    writer,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ANSWER}",
                    ANSWER.len()
                )?;
            }
            Ok(())
        })
    }

    /// Answers a request with its own body.
    pub fn echo() -> Self {
        Self::with(|stream| {
            let mut writer = stream.try_clone()?;
            let mut reader = BufReader::new(stream);
            while let Some(length) = read_head(&mut reader)? {
                write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                std::io::copy(&mut (&mut reader).take(length), &mut writer)?;
            }
            Ok(())
        })
    }

    /// Runs `serve` for each connection, on a thread of its own.
    pub fn with(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let closed = Arc::new(AtomicBool::new(false));
        let serve = Arc::new(serve);
        let stop = Arc::clone(&closed);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Relaxed) {
                    break;
                }
                let serve = Arc::clone(&serve);
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, closed }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.closed.store(true, Relaxed);
        // Wakes the accepting thread, so that it sees the flag and frees the port.
        let _ = TcpStream::connect(self.address);
    }
}

/// Reads a request's head; its body's length, or nothing at the connection's end.
pub fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<u64>> {
    let mut length = 0;
    let mut first = true;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return if first { Ok(None) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) };
        }
        first = false;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
}

/// A keep-alive connection that sends the same call again and again.
pub struct Caller {
    reader: BufReader<TcpStream>,
    request: Vec<u8>,
}

impl Caller {
    pub fn connect(proxy: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(proxy)?;
        stream.set_nodelay(true)?;
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#;
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {proxy}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { reader: BufReader::new(stream), request: request.into_bytes() })
    }

    /// One call; its answer's body.
    pub fn call(&mut self) -> std::io::Result<Vec<u8>> {
        self.reader.get_mut().write_all(&self.request)?;
        let Some(length) = read_head(&mut self.reader)? else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }
}
