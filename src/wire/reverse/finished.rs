//! The end of an exchange's record: its last moments filled in, told to the observer.

use crate::model::{ApiExchange, End, Flight, Observation, Observer, Stamp};

/// An exchange whose response was handed over; its last bytes may still have to be written.
pub(super) struct Finished {
    exchange: Box<ApiExchange>,
    /// The exchange is under way until it is told.
    flight: Flight,
}

impl Finished {
    pub(super) fn new(exchange: Box<ApiExchange>, flight: Flight) -> Self {
        Self { exchange, flight }
    }

    /// The connection ended before the response's last byte could be written.
    pub(super) fn tell_unwritten(
        mut self,
        end: End,
        written: Option<(Stamp, Stamp)>,
        observer: &Observer,
    ) {
        self.exchange.end = end;
        self.tell(written, observer);
    }

    /// Tells the exchange, with the first and last write of its response where there was one.
    pub(super) fn tell(self, written: Option<(Stamp, Stamp)>, observer: &Observer) {
        let Self { mut exchange, flight } = self;
        let timing = &mut exchange.timing;
        if let Some((first, last)) = written {
            timing.response_forwarded = first;
            timing.response_written = last;
        }
        if matches!(exchange.end, End::ClientGone | End::Stopped) {
            // What the client waited for until then, it waited for.
            let now = Stamp::now();
            for moment in
                [&mut timing.request_read, &mut timing.response_read, &mut timing.response_written]
            {
                if *moment == Stamp::default() {
                    *moment = now;
                }
            }
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
        // Whoever is told finds it no longer counted.
        drop(flight);
        observer.tell(Observation::Request(exchange));
    }
}
