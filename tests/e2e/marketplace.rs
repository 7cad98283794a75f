//! The marketplace's API as dapps serve theirs: on Flask's own server or by gunicorn, plain or
//! instrumented by OpenTelemetry; with SQLite's own log of what each request had it run.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Dappscope, Hardhat, Running, free_port, http, marketplace, signal, until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `flask run`: a thread for each connection.
    Development,
    /// Two processes of four threads each.
    Gunicorn,
}

/// How the API is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub server: Server,
    pub opentelemetry: bool,
}

impl Way {
    pub const PLAIN: Self = Self { server: Server::Development, opentelemetry: false };
}

/// The API, running.
pub struct Flask {
    process: Running,
    pub address: SocketAddr,
    files: TempDir,
}

impl Flask {
    /// Deploys the contracts through `rpc` and starts the API on `port`; with `receiver`, by
    /// `opentelemetry-instrument`, which tells it there.
    pub fn start(server: Server, receiver: Option<SocketAddr>, port: u16, rpc: SocketAddr) -> Self {
        let files = tempfile::tempdir().unwrap();
        let rpc_url = format!("http://{rpc}");
        let deployment = files.path().join("deployment.json");
        let deployed = Command::new("node")
            .arg("scripts/deploy.js")
            .current_dir(marketplace())
            .env("RPC_URL", &rpc_url)
            .env("DEPLOYMENT", &deployment)
            .output()
            .unwrap();
        assert!(deployed.status.success(), "{}", String::from_utf8_lossy(&deployed.stderr));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = serving(server, receiver, address)
            .current_dir(marketplace())
            .env("RPC_URL", &rpc_url)
            .env("DEPLOYMENT", &deployment)
            .env("DATABASE", files.path().join("market.sqlite"))
            .env("SQL_LOG", files.path().join("sql"))
            .stdin(Stdio::null())
            .stdout(File::create(files.path().join("out")).unwrap())
            .stderr(File::create(files.path().join("err")).unwrap())
            .spawn()
            .unwrap();
        let process = Running { child };
        until("Flask to listen", || TcpStream::connect(address).ok());
        Self { process, address, files }
    }

    /// The statements that SQLite ran for the request of this trace, as its own log has them.
    pub fn statements(&self, trace_id: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.files.path().join("sql")).unwrap_or_default();
        let lines = log.lines().filter_map(|line| line.split_once('\t'));
        lines.filter(|(id, _)| *id == trace_id).map(|(_, it)| it.to_owned()).collect()
    }

    /// What it has printed, for a test that fails.
    pub fn complaints(&self) -> String {
        std::fs::read_to_string(self.files.path().join("err")).unwrap_or_default()
    }
}

impl Drop for Flask {
    fn drop(&mut self) {
        // Gunicorn's workers outlive it for a while when it is killed.
        signal(self.process.child.id(), "INT");
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5)
            && self.process.child.try_wait().is_ok_and(|ended| ended.is_none())
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn serving(server: Server, receiver: Option<SocketAddr>, address: SocketAddr) -> Command {
    let bin = marketplace().join(".venv/bin");
    let mut command = match receiver {
        None => Command::new(bin.join("python")),
        Some(receiver) => {
            let mut command = Command::new(bin.join("opentelemetry-instrument"));
            command
                .arg(bin.join("python"))
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{receiver}"))
                .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
                .env("OTEL_METRICS_EXPORTER", "none")
                .env("OTEL_LOGS_EXPORTER", "none")
                .env("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
                .env("OTEL_BSP_SCHEDULE_DELAY", "100");
            command
        }
    };
    match server {
        Server::Development => command
            .args(["-m", "flask", "--app", "api", "run", "--host", "127.0.0.1"])
            .args(["--port", &address.port().to_string()]),
        Server::Gunicorn => command
            .args(["-m", "gunicorn", "--no-control-socket", "--workers", "2", "--threads", "4"])
            .args(["--bind", &address.to_string(), "api:create_app()"]),
    };
    command
}

/// Flask and Hardhat, both seen by one dappscope.
pub struct Dapp {
    // Dropped in this order: who calls before who is called.
    pub flask: Flask,
    pub scope: Dappscope,
    pub hardhat: Hardhat,
    pub api: SocketAddr,
}

impl Dapp {
    pub fn start(way: Way) -> Self {
        let hardhat = Hardhat::start();
        let flask = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let scope = Dappscope::start(hardhat.address, Some(flask), "");
        let receiver = way.opentelemetry.then(|| scope.otlp.unwrap());
        let flask = Flask::start(way.server, receiver, flask.port(), scope.rpc);
        let api = scope.api.unwrap();
        Self { flask, scope, hardhat, api }
    }

    /// Ends all of it, and tells how dappscope ended.
    pub fn stop(self) -> ExitStatus {
        drop(self.flask);
        self.scope.stop()
    }
}

/// Posts JSON; the status and the answer.
pub fn post(address: SocketAddr, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("Content-Type", "application/json")];
    let answer = http(address, "POST", path, &headers, body.to_string().as_bytes());
    (answer.status, answer.json())
}
