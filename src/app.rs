//! The wiring: binds the ports, starts every part in front of the next, and ends them in the order in
//! which nothing is lost.
//!
//! Start: store, recorder, proxies, watchers, page. End: the proxies finish what is under way, the
//! watchers stop, the recorder empties the queue, the store writes and seals, the page goes last.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::task;

use crate::config::{Config, LogFormat, Upstream};

/// How long what is under way may take to finish.
const DRAIN: Duration = Duration::from_secs(10);

/// Where the parts really listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub rpc: SocketAddr,
    pub api: Option<SocketAddr>,
    pub page: SocketAddr,
}

impl Addresses {
    /// Tells people what to point where.
    fn announce(&self, config: &Config) {
        let api = self.api.map(|api| api.to_string()).unwrap_or_default();
        tracing::info!(
            rpc = %self.rpc,
            api,
            page = %self.page,
            "listening; page and numbers: http://{}", self.page
        );
        tracing::info!(
            "set your wallet's and your frontend's RPC URL to http://{} (it goes on to {})",
            self.rpc, config.rpc.upstream
        );
        if let Some(api) = self.api {
            tracing::info!(
                "open your API at http://{api} (it goes on to {}), and set the API's own RPC URL to http://{}",
                config.api.upstream, self.rpc
            );
        }
        for (proxy, open) in
            [("rpc", config.rpc.allow_any_origin), ("api", config.api.allow_any_origin)]
        {
            if open {
                tracing::warn!("{proxy}.allow_any_origin is on: any web page that you visit can use it");
            }
        }
    }
}

/// Starts logging as the settings say. Once a process.
///
/// # Errors
/// The filter cannot be understood.
pub fn log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).with_context(|| {
        format!("log.filter: expected \"info\" or \"info,dappscope::wire=debug\", found {filter:?}")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Who holds a port, in words; empty where the system does not tell.
pub fn taken_by(address: SocketAddr) -> String {
    match crate::host::who_listens(address.port()) {
        Some((pid, name)) => format!("is taken by {name} (process {pid})"),
        None => "is taken".to_owned(),
    }
}
