//! The servers in front of which the clients' sessions run.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Running, free_port, marketplace, signal, until};

/// A server of `tests/marketplace/fidelity`; it ends when it goes out of scope.
pub struct Server {
    process: Running,
    pub address: SocketAddr,
    _log: TempDir,
}

impl Server {
    /// The app on Flask's own server.
    pub fn flask() -> Self {
        Self::start(|port| format!(".venv/bin/python -m flask --app app run --port {port}"))
    }

    /// The app on gunicorn, which keeps connections.
    pub fn gunicorn() -> Self {
        Self::start(|port| {
            format!(
                ".venv/bin/python -m gunicorn --no-control-socket --threads 32 --bind 127.0.0.1:{port} app:app"
            )
        })
    }

    /// The server that says what those two do not.
    pub fn raw() -> Self {
        Self::start(|port| format!(".venv/bin/python raw_upstream.py {port}"))
    }

    fn start(command: impl Fn(u16) -> String) -> Self {
        let port = free_port();
        let command = command(port);
        let mut words = command.split(' ');
        let log = tempfile::tempdir().unwrap();
        let child = Command::new(marketplace().join(words.next().unwrap()))
            .args(words)
            .current_dir(marketplace().join("fidelity"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(File::create(log.path().join("out")).unwrap())
            .stderr(File::create(log.path().join("err")).unwrap())
            .spawn()
            .unwrap();
        let mut process = Running { child };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until("the server to listen", || {
            if let Some(status) = process.child.try_wait().unwrap() {
                let errors = std::fs::read_to_string(log.path().join("err")).unwrap();
                panic!("{command} ended at once ({status}): {errors}");
            }
            TcpStream::connect(address).ok()
        });
        Self { process, address, _log: log }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first: gunicorn ends its workers before itself.
        signal(self.process.child.id(), "TERM");
        let _ = self.process.child.wait();
    }
}
