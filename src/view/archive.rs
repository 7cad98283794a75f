//! Reading the store without holding up anything else: on blocking threads, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::types::ErrorObjectOwned;
use tokio::sync::Semaphore;

use crate::store::{Store, StoreError};

/// Reads that run at a time.
const AT_A_TIME: usize = 4;
/// How long a read waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the store may take to say how it is.
const QUICKLY: Duration = Duration::from_secs(2);
/// JSON-RPC's code for an error of the server's own.
const SERVER_ERROR: i32 = -32_000;

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

impl Health {
    fn of(store: &Store) -> Self {
        let status = store.status();
        Self {
            recording: !status.failing,
            trouble: status.failing.then_some(status.last_error).flatten(),
            bytes: status.bytes,
        }
    }
}

/// Runs reads.
#[derive(Clone)]
pub struct Archive {
    store: Store,
    turns: Arc<Semaphore>,
}

impl Archive {
    pub fn new(store: Store) -> Self {
        Self { store, turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// The store's health. A disk that hangs is told as trouble, and holds up nobody.
    pub async fn health(&self) -> Health {
        let store = self.store.clone();
        let asked = tokio::task::spawn_blocking(move || Health::of(&store));
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
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ErrorObjectOwned> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(failed("the store is busy with other queries; try again, or ask for less"));
        };
        let store = self.store.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // Held here, not by the caller: a query goes on when its client has left.
            let _turn = turn;
            read(&store)
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(format!("the store could not be read: {error}"))),
            Err(_) => Err(failed("the store's reader failed; its message is in the log")),
        }
    }
}

fn failed(message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(SERVER_ERROR, message, None::<()>)
}
