//! What all connections of a relay share: its settings, whom it tells, and whether it is to end.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use tokio::sync::Notify;

use super::RelaySettings;
use crate::decode::capture::Budget;
use crate::decode::http1::Limits;
use crate::model::{ConnectionEvent, ConnectionId, Observation, Observer, Proxy, Stamp};
use crate::wire::guard::Guard;

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

    /// Tells what was passed on to the client: calls that name a request's trace to that one too,
    /// whose answer may be about to leave.
    pub fn passed_on(&self, told: Observation) {
        if let Observation::Exchange(exchange) = &told
            && let Some(trace) = exchange.trace
        {
            self.settings.flights.made(trace.trace_id, exchange.timing.upstream());
        }
        self.observer.tell(told);
    }

    /// The shutdown signal came.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.stopping.notify_waiters();
    }
}
