//! Accepts clients on one listener, and sees them off at shutdown.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};

use super::RelaySettings;
use super::connection::Connection;
use crate::decode::capture::Budget;
use crate::decode::http1::Limits;
use crate::model::{ConnectionEvent, ConnectionId, Observation, Observer, Proxy, Stamp};
use crate::wire::guard::Guard;

/// Pauses between attempts to accept while the process has no file descriptors left: the listener
/// stays ready all the time, so without a pause the loop would spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the relay's connections share.
pub(super) struct Shared {
    pub settings: RelaySettings,
    pub guard: Guard,
    pub observer: Observer,
    /// What each connection is followed within.
    pub limits: Limits,
    /// Set once the shutdown signal came; `stopping` wakes those who wait for something else.
    draining: AtomicBool,
    stopping: Notify,
    /// Whether the upstream could be reached the last time: 0 not tried, 1 yes, 2 no.
    reachable: AtomicU8,
}

impl Shared {
    pub fn new(settings: RelaySettings, guard: Guard, observer: Observer) -> Self {
        let limits = Limits {
            capture: settings.capture_limit,
            budget: Budget::new(settings.capture_total),
            pipeline: settings.pipeline_limit,
            active: settings.active.clone(),
        };
        Self {
            settings,
            limits,
            guard,
            observer,
            draining: AtomicBool::new(false),
            stopping: Notify::new(),
            reachable: AtomicU8::new(0),
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Resolves when the shutdown signal comes.
    pub fn stopping(&self) -> tokio::sync::futures::Notified<'_> {
        self.stopping.notified()
    }

    /// Tells whether the upstream was reached, when that changed.
    pub fn note_upstream(&self, connection: ConnectionId, reachable: bool) {
        let now = if reachable { 1 } else { 2 };
        if self.reachable.swap(now, Relaxed) != now {
            let event = ConnectionEvent::Upstream { proxy: Proxy::Rpc, reachable };
            self.observer.tell(Observation::Connection(connection, Stamp::now(), event));
        }
    }

    fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.stopping.notify_waiters();
    }
}

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
