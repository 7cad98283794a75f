//! What people and programs look at: the page, the JSON-RPC API, the scrape and the health check,
//! all on one listener.
//!
//! Owns HTTP on the page's port, who may come in there, and how samples look in JSON. Reads the
//! store, the metrics and [`Live`]; changes none of them. Whether a `Host` or `Origin` is acceptable
//! is the guard's to say, which `app` hands in.

mod access;
mod advice;
mod archive;
mod contracts;
mod fates;
mod json;
mod lists;
mod live;
mod newest;
mod overview;
mod page;
mod params;
mod queries;
mod restarts;
mod rollbacks;
mod routes;
mod rpc;
mod server;
#[cfg(test)]
mod tests;
mod trace;
mod uninspected;
mod unknown;
mod verdict;
mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::watch;

pub use archive::Health;
pub use live::{Live, LiveSink, Node, Now, live};

use crate::metrics::Metrics;
use crate::model::{Queue, Tally, UnixMicros};
use crate::store::Store;

/// The guard's word on a request's `Host` and `Origin`: a status and a reason when it is refused.
/// The page's own origin is not asked about.
pub type Admit =
    Arc<dyn Fn(Option<&[u8]>, Option<&[u8]>) -> Result<(), (u16, String)> + Send + Sync>;

/// What the view shows, and to whom.
pub struct Parts {
    pub store: Store,
    pub metrics: Arc<Metrics>,
    pub live: Live,
    pub tally: Arc<Tally>,
    pub queue: Arc<Queue>,
    pub endpoints: Endpoints,
    /// What fees are told in beside ETH; none when the price of one is not known.
    pub money: Option<Money>,
    pub admit: Admit,
    /// Asked of everybody when it is set. Needed on an address that is not loopback.
    pub token: Option<String>,
}

/// Where clients are to connect, for the page to tell those who have not yet.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// The relay in front of the node: `http://127.0.0.1:8546`.
    pub rpc: Option<String>,
    /// The reverse proxy in front of the API.
    pub api: Option<String>,
}

/// The price of one ETH.
#[derive(Clone, Debug)]
pub struct Money {
    /// In units of the currency.
    pub eth_price: f64,
    /// `USD`.
    pub currency: String,
}

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    #[error(
        "the page would be open to the whole network on {0}: set a token, or listen on 127.0.0.1"
    )]
    TokenNeeded(SocketAddr),
    #[error(
        "the token is too short or holds other characters than letters, digits, '-', '_' and '.': \
         expected at least 16 of these"
    )]
    WeakToken,
    #[error("the page's listener cannot be used: {0}")]
    Listener(#[from] std::io::Error),
    #[error("the methods cannot be registered: {0}")]
    Methods(jsonrpsee::core::RegisterMethodError),
}

/// Whether a text may be the page's token; if not, it is [`ViewError::WeakToken`].
pub fn is_token(text: &str) -> bool {
    access::Token::new(text).is_some()
}

/// The page and its API, ready to be served.
pub struct View {
    state: Arc<State>,
    access: access::Access,
    guarded: bool,
}

/// What the methods answer from.
struct State {
    archive: archive::Archive,
    metrics: Arc<Metrics>,
    live: Live,
    tally: Arc<Tally>,
    queue: Arc<Queue>,
    endpoints: Endpoints,
    money: Option<Money>,
    started: Instant,
    /// The same moment by the wall clock, as the samples' times are.
    began: UnixMicros,
}

impl View {
    /// # Errors
    /// The token is not fit to be one.
    pub fn new(parts: Parts) -> Result<Self, ViewError> {
        let token = match parts.token {
            Some(text) => Some(access::Token::new(&text).ok_or(ViewError::WeakToken)?),
            None => None,
        };
        let guarded = token.is_some();
        let state = State {
            archive: archive::Archive::new(parts.store),
            metrics: parts.metrics,
            live: parts.live,
            tally: parts.tally,
            queue: parts.queue,
            endpoints: parts.endpoints,
            money: parts.money,
            started: Instant::now(),
            began: UnixMicros::now(),
        };
        Ok(Self {
            state: Arc::new(state),
            access: access::Access::new(parts.admit, token),
            guarded,
        })
    }

    /// Serves until `shutdown` holds true or its sender is gone, then gives what is under way five
    /// seconds to end.
    ///
    /// # Errors
    /// The listener is open to the network and there is no token, or it cannot be used.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: watch::Receiver<bool>,
    ) -> Result<(), ViewError> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() && !self.guarded {
            return Err(ViewError::TokenNeeded(address));
        }
        server::serve(listener, self.state, self.access, shutdown).await
    }
}
