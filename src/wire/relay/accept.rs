//! Accepts clients on one listener, and sees them off at shutdown.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::connection::Connection;
use super::shared::Shared;

/// Pauses between attempts to accept while the process has no file descriptors left: the listener
/// stays ready all the time, so without a pause the loop would spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until `shutdown`, then waits for the connections to end, at most the drain time.
pub(super) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut shutdown: watch::Receiver<bool>,
) {
    // Each connection holds a sender; when all are gone, the receiver ends.
    let (alive, mut ended) = mpsc::channel::<Infallible>(1);
    tokio::select! {
        () = accept(&listener, &shared, &alive) => {}
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    drop((listener, alive));
    shared.drain();
    let _ = tokio::time::timeout(shared.settings.drain, ended.recv()).await;
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>, alive: &mpsc::Sender<Infallible>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match listener.accept().await {
            Ok((client, peer)) => {
                pause = SHORTEST_PAUSE;
                let connection = Connection::new(Arc::clone(shared), client, peer);
                let alive = alive.clone();
                tokio::spawn(async move {
                    connection.run().await;
                    drop(alive);
                });
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept clients");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether a client was gone before it was accepted, which says nothing about the next.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
