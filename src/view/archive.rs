//! Reading the store without holding up anything else: on blocking threads, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::types::ErrorObjectOwned;
use tokio::sync::Semaphore;

use crate::model::{Block, HttpRequest, RpcCall, Transaction};
use crate::store::{
    CallFilter, Measure, Page, Paging, Range, RequestFilter, Series, SeriesQuery, Store,
    StoreError, Summary, TransactionFilter,
};

/// Reads that run at a time.
const AT_A_TIME: usize = 4;
/// How long a read waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the store may take to say how it is.
const QUICKLY: Duration = Duration::from_secs(2);
/// JSON-RPC's code for an error of the server's own.
const SERVER_ERROR: i32 = -32_000;

/// Why the store could not be read, in words.
#[derive(Debug, thiserror::Error)]
#[error("the store could not be read: {0}")]
pub struct Unreadable(pub String);

/// What the view asks of the store. The store itself answers; tests answer from a list.
pub trait Samples: Send + Sync + 'static {
    fn calls(
        &self,
        range: Range,
        filter: &CallFilter,
        paging: Paging,
    ) -> Result<Page<RpcCall>, Unreadable>;
    fn requests(
        &self,
        range: Range,
        filter: &RequestFilter,
        paging: Paging,
    ) -> Result<Page<HttpRequest>, Unreadable>;
    fn transactions(
        &self,
        range: Range,
        filter: &TransactionFilter,
        paging: Paging,
    ) -> Result<Page<Transaction>, Unreadable>;
    fn blocks(&self, range: Range, paging: Paging) -> Result<Page<Block>, Unreadable>;
    fn series(&self, query: &SeriesQuery) -> Result<Series, Unreadable>;
    fn summaries(
        &self,
        measure: Measure,
        range: Range,
    ) -> Result<Vec<(String, Summary)>, Unreadable>;
    /// The store's health: whether it takes samples, and what is said of it.
    fn health(&self) -> Health;
}

/// How the store is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Whether samples are being written.
    pub recording: bool,
    /// Why not, or what else is wrong.
    pub trouble: Option<String>,
    /// Size of its files.
    pub bytes: u64,
}

/// The store answers for itself; nothing is lost between its words and these but types.
impl Samples for Store {
    fn calls(
        &self,
        range: Range,
        filter: &CallFilter,
        paging: Paging,
    ) -> Result<Page<RpcCall>, Unreadable> {
        Ok(Self::calls(self, range, filter, paging)?)
    }

    fn requests(
        &self,
        range: Range,
        filter: &RequestFilter,
        paging: Paging,
    ) -> Result<Page<HttpRequest>, Unreadable> {
        Ok(Self::requests(self, range, filter, paging)?)
    }

    fn transactions(
        &self,
        range: Range,
        filter: &TransactionFilter,
        paging: Paging,
    ) -> Result<Page<Transaction>, Unreadable> {
        Ok(Self::transactions(self, range, filter, paging)?)
    }

    fn blocks(&self, range: Range, paging: Paging) -> Result<Page<Block>, Unreadable> {
        Ok(Self::blocks(self, range, paging)?)
    }

    fn series(&self, query: &SeriesQuery) -> Result<Series, Unreadable> {
        Ok(Self::series(self, query)?)
    }

    fn summaries(
        &self,
        measure: Measure,
        range: Range,
    ) -> Result<Vec<(String, Summary)>, Unreadable> {
        Ok(Self::summaries(self, measure, range)?)
    }

    fn health(&self) -> Health {
        let status = self.status();
        Health {
            recording: !status.failing,
            trouble: status.failing.then_some(status.last_error).flatten(),
            bytes: status.bytes,
        }
    }
}

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// Runs reads.
#[derive(Clone)]
pub struct Archive {
    samples: Arc<dyn Samples>,
    turns: Arc<Semaphore>,
}

impl Archive {
    pub fn new(samples: Arc<dyn Samples>) -> Self {
        Self { samples, turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// The store's health. A disk that hangs is told as trouble, and holds up nobody.
    pub async fn health(&self) -> Health {
        let samples = Arc::clone(&self.samples);
        let asked = tokio::task::spawn_blocking(move || samples.health());
        match tokio::time::timeout(QUICKLY, asked).await {
            Ok(Ok(health)) => health,
            _ => Health {
                recording: false,
                trouble: Some("the store does not answer; is its disk all right?".to_owned()),
                bytes: 0,
            },
        }
    }

    /// Runs `read` on a blocking thread, when it is its turn.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Samples) -> Result<T, Unreadable> + Send + 'static,
    ) -> Result<T, ErrorObjectOwned> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(failed("the store is busy with other queries; try again, or ask for less"));
        };
        let samples = Arc::clone(&self.samples);
        let answer = tokio::task::spawn_blocking(move || {
            // Held here, not by the caller: a query goes on when its client has left.
            let _turn = turn;
            read(&*samples)
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(unreadable)) => Err(failed(unreadable.to_string())),
            Err(_) => Err(failed("the store's reader failed; its message is in the log")),
        }
    }
}

fn failed(message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(SERVER_ERROR, message, None::<()>)
}
