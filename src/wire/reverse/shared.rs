//! What all connections of a proxy thread share.

use std::cell::{Cell, RefCell};

use http::HeaderValue;

use super::drain::Drain;
use super::ids::Ids;
use super::pool::Pool;
use super::settings::ReverseSettings;
use crate::model::{ConnectionEvent, ConnectionId, Observation, Observer, Proxy, Stamp};
use crate::wire::guard::Guard;

/// One for each proxy thread, behind an `Rc`.
pub(super) struct Shared {
    pub(super) settings: ReverseSettings,
    pub(super) guard: Guard,
    pub(super) observer: Observer,
    pub(super) pool: Pool,
    pub(super) drain: Drain,
    pub(super) ids: RefCell<Ids>,
    /// The upstream's `host:port`, as the `Host` of requests that came without one.
    pub(super) upstream_host: HeaderValue,
    reachable: Cell<Option<bool>>,
}

impl Shared {
    pub(super) fn new(settings: ReverseSettings, guard: Guard, observer: Observer) -> Self {
        let upstream_host = HeaderValue::from_str(settings.upstream.as_str())
            .expect("an authority consists of visible ASCII only");
        Self {
            pool: Pool::new(settings.idle_connections, settings.idle_timeout),
            settings,
            guard,
            observer,
            drain: Drain::default(),
            ids: RefCell::new(Ids::seeded()),
            upstream_host,
            reachable: Cell::new(None),
        }
    }

    /// Tells what happened to a connection.
    pub(super) fn tell(&self, connection: ConnectionId, event: ConnectionEvent) {
        self.observer.tell(Observation::Connection(connection, Stamp::now(), event));
    }

    /// Tells whether the upstream could be reached, when that changed.
    pub(super) fn tell_reachable(&self, connection: ConnectionId, reachable: bool) {
        if self.reachable.replace(Some(reachable)) != Some(reachable) {
            self.tell(connection, ConnectionEvent::Upstream { proxy: Proxy::Api, reachable });
        }
    }
}
