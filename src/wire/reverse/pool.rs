//! Idle connections to the API, one list for each proxy thread, the last one used first.
//!
//! The last one used is the least likely to have been closed by the API's own idle timeout, and the
//! others age until they are let go. A connection comes here only when its exchange was complete
//! both ways, and leaves only after it was looked at: closed ones are found before a request is
//! handed to them, so no request is ever repeated.

use std::cell::RefCell;
use std::task::{Context, Waker};
use std::time::Duration;

use super::connection::{Connection, Connector};
use crate::model::Stamp;

/// A connection idle for longer than this is asked, with a system call, whether it is still open;
/// a younger one is trusted to the events already delivered.
const TRUSTED: Duration = Duration::from_millis(20);

/// How long before the upstream's own timeout a connection is let go, so that the two do not meet.
const MARGIN: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    #[expect(clippy::vec_box, reason = "a connection stays where it is while it changes hands")]
    idle: RefCell<Vec<Box<Connection>>>,
    most: usize,
    timeout: Duration,
    pub(super) connector: Connector,
}

impl Pool {
    pub(super) fn new(most: usize, timeout: Duration) -> Self {
        Self { idle: RefCell::default(), most, timeout, connector: Connector::default() }
    }

    /// The connection that was used last and is still open.
    pub(super) fn take(&self, now: Stamp, cx: &mut Context<'_>) -> Option<Box<Connection>> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            let probe = now.since(connection.idle_since) > TRUSTED;
            if now < connection.idle_until && connection.is_reusable(probe, cx) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose exchange is complete. `announced` is the upstream's own idle
    /// timeout, where it told one.
    pub(super) fn put(
        &self,
        mut connection: Box<Connection>,
        announced: Option<Duration>,
        cx: &mut Context<'_>,
    ) {
        if !connection.is_reusable(false, cx) {
            return;
        }
        let timeout =
            announced.map_or(self.timeout, |t| self.timeout.min(t.saturating_sub(MARGIN)));
        // The response's last byte has just been read: as good as reading the clock again.
        let now = connection.marks.last_read();
        let until = now.as_nanos().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(0));
        connection.idle_since = now;
        connection.idle_until = Stamp::from_nanos(until);
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.most {
            idle.push(connection);
        }
    }

    /// Lets go of connections that are closed or too old. Called now and then, because nobody
    /// polls a connection that lies here.
    pub(super) fn sweep(&self) {
        let now = Stamp::now();
        let mut cx = Context::from_waker(Waker::noop());
        self.idle.borrow_mut().retain_mut(|c| now < c.idle_until && c.is_reusable(true, &mut cx));
    }

    /// Lets go of all: descriptors have run out, or the proxy is going down.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
