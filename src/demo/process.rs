//! The demo's children: started with a log file each, awaited by what they do, ended with us.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a child may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running program.
pub struct Child {
    name: &'static str,
    process: tokio::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `program` in `place`; what it prints goes to `log`.
    pub fn start(
        name: &'static str,
        place: &Path,
        program: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let output =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(place)
            .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(output.try_clone().context("cannot share the log file")?)
            .stdout(output)
            .kill_on_drop(true);
        // Out of the terminal's foreground group: Ctrl-C is ours to pass on, in the right order.
        #[cfg(unix)]
        command.process_group(0);
        let process =
            command.spawn().with_context(|| format!("cannot start {name} ({program})"))?;
        Ok(Self { name, process, log: log.to_owned() })
    }

    /// Waits until something accepts connections at `address`.
    pub async fn listens(&mut self, address: SocketAddr, limit: Duration) -> anyhow::Result<()> {
        let accepts = async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            reached = timeout(limit, accepts) => {
                if reached.is_err() {
                    bail!("{} did not listen on {address} within {limit:?}. {}", self.name, self.says());
                }
                Ok(())
            }
            ended = self.process.wait() => bail!("{} ended at once ({}). {}", self.name, status(ended), self.says()),
        }
    }

    /// Waits until it has ended well.
    pub async fn succeeds(&mut self, limit: Duration) -> anyhow::Result<()> {
        match timeout(limit, self.process.wait()).await {
            Ok(Ok(code)) if code.success() => Ok(()),
            Ok(ended) => bail!("{} failed ({}). {}", self.name, status(ended), self.says()),
            Err(_) => bail!("{} took longer than {limit:?}. {}", self.name, self.says()),
        }
    }

    /// Waits until it ends, which nobody asked of it.
    pub async fn ended(&mut self) -> anyhow::Error {
        let ended = status(self.process.wait().await);
        anyhow::anyhow!("{} ended by itself ({ended}). {}", self.name, self.says())
    }

    /// Ends it: politely, then for certain.
    pub async fn stop(mut self) {
        #[cfg(unix)]
        if let Some(pid) = self.process.id().and_then(|id| i32::try_from(id).ok()) {
            use rustix::process::{Pid, Signal, kill_process_group};
            if let Some(group) = Pid::from_raw(pid) {
                // An error means that it is gone already.
                let _ = kill_process_group(group, Signal::TERM);
                if timeout(PATIENCE, self.process.wait()).await.is_ok() {
                    return;
                }
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        let _ = self.process.kill().await;
    }

    /// The end of what it printed.
    fn says(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = without_escapes(&String::from_utf8_lossy(&text));
        let lines: Vec<&str> = text.lines().rev().take(15).collect();
        let tail: Vec<&str> = lines.into_iter().rev().collect();
        format!("It said ({}):\n{}", self.log.display(), tail.join("\n"))
    }
}

fn status(ended: std::io::Result<std::process::ExitStatus>) -> String {
    ended.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// The text without colours and other orders to a terminal: some children print them even into a
/// file, and what they print is data here.
fn without_escapes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // `ESC [ … letter`; after any other character but `[` the order is that one character.
            if characters.next() == Some('[') {
                characters.by_ref().find(|c| ('\u{40}'..='\u{7e}').contains(c));
            }
        } else if character == '\n' || character == '\t' || !character.is_control() {
            kept.push(character);
        }
    }
    kept
}

/// Runs a program to its end, its output passed on. True when it was ended by `shutdown`.
pub async fn run_to_end(
    place: &Path,
    program: &str,
    arguments: &[&str],
    shutdown: &mut watch::Receiver<bool>,
) -> anyhow::Result<bool> {
    let mut process = Command::new(program)
        .args(arguments)
        .current_dir(place)
        .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    tokio::select! {
        ended = process.wait() => {
            let ended = ended.with_context(|| format!("cannot wait for {program}"))?;
            if !ended.success() {
                bail!("{program} {} in {} failed ({ended}); its last lines above say why",
                    arguments.join(" "), place.display());
            }
            Ok(false)
        }
        _ = shutdown.wait_for(|stop| *stop) => {
            let _ = process.kill().await;
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_log_holds_no_orders_to_the_terminal() {
        for (printed, quoted) in [
            ("plain \u{e9}\ttext\nnext", "plain \u{e9}\ttext\nnext"),
            ("\u{1b}[31m\u{1b}[1mWARNING\u{1b}[0m: no\r\n", "WARNING: no\n"),
            ("\u{1b}[38;5;3mx\u{1b}cy", "xy"),
            ("cut \u{1b}[3", "cut "),
            ("cut \u{1b}", "cut "),
        ] {
            assert_eq!(without_escapes(printed), quoted);
        }
    }
}
