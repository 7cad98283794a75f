//! The end of an exchange's record: its last moments filled in, told to the observer.

use super::shared::Shared;
use crate::model::{ApiExchange, End, Observation, Stamp};

/// An exchange whose response was handed over; its last bytes may still have to be written.
pub(super) struct Finished {
    exchange: Box<ApiExchange>,
}

impl Finished {
    pub(super) fn new(exchange: Box<ApiExchange>) -> Self {
        Self { exchange }
    }

    /// The response's last byte was written; `written` holds its first and last write.
    pub(super) fn tell_written(self, written: Option<(Stamp, Stamp)>, shared: &Shared) {
        tell(self.exchange, written, shared);
    }

    /// The connection ended before the response's last byte could be written.
    pub(super) fn tell_unwritten(mut self, written: Option<(Stamp, Stamp)>, shared: &Shared) {
        self.exchange.end = End::ClientGone;
        tell(self.exchange, written, shared);
    }
}

/// Tells an exchange, with the first and last write of its response where there was one.
pub(super) fn tell(
    mut exchange: Box<ApiExchange>,
    written: Option<(Stamp, Stamp)>,
    shared: &Shared,
) {
    let timing = &mut exchange.timing;
    if let Some((first, last)) = written {
        timing.response_forwarded = first;
        timing.response_written = last;
    }
    // A moment that was never reached equals the last one that was. The order differs from the
    // fields': a response may be forwarded before the last of it was read.
    let mut reached = timing.request_started;
    for moment in [
        &mut timing.request_read,
        &mut timing.request_written,
        &mut timing.response_started,
        &mut timing.response_forwarded,
    ] {
        *moment = reached.max(*moment);
        reached = *moment;
    }
    timing.response_read = timing.response_read.max(timing.response_started);
    timing.response_written =
        timing.response_written.max(timing.response_forwarded).max(timing.response_read);
    shared.settings.in_flight.end();
    shared.observer.tell(Observation::Request(exchange));
}
