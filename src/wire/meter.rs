//! When the bytes that a connection has passed are told: about once a second while it passes any, and
//! the rest at its end. Each byte once.

use std::time::Duration;

use crate::model::{ConnectionEvent, Proxy, Stamp};

/// How often a connection that is busy tells its bytes.
const EVERY: Duration = Duration::from_secs(1);

/// What was told of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    proxy: Proxy,
    at: Stamp,
    sent: u64,
    received: u64,
}

impl Meter {
    /// A connection of `proxy` that was opened at `opened`.
    pub fn new(proxy: Proxy, opened: Stamp) -> Self {
        Self { proxy, at: opened, sent: 0, received: 0 }
    }

    /// By `now`, `sent` and `received` bytes have passed since the beginning: what is to be told of
    /// it, if something is.
    pub fn passed(&mut self, sent: u64, received: u64, now: Stamp) -> Option<ConnectionEvent> {
        if now.since(self.at) < EVERY {
            return None;
        }
        self.at = now;
        self.rest(sent, received)
    }

    /// What was not told yet of so many bytes.
    pub fn rest(&mut self, sent: u64, received: u64) -> Option<ConnectionEvent> {
        let new = (sent - self.sent, received - self.received);
        (self.sent, self.received) = (sent, received);
        let (sent, received) = new;
        let event = ConnectionEvent::Passed { proxy: self.proxy, sent, received };
        (new != (0, 0)).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_told_once_and_not_more_often_than_once_a_second() {
        let at = |millis: u64| Stamp::from_nanos(millis * 1_000_000);
        let mut meter = Meter::new(Proxy::Rpc, at(0));
        let mut told = Vec::new();
        for millis in (0..3_500).step_by(100) {
            told.extend(meter.passed(millis, 2 * millis, at(millis)));
        }
        told.extend(meter.rest(3_400, 6_800));
        assert!(meter.rest(3_400, 6_800).is_none());
        let bytes: Vec<_> = told
            .iter()
            .map(|event| match event {
                ConnectionEvent::Passed { sent, received, .. } => (*sent, *received),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(bytes, [(1_000, 2_000), (1_000, 2_000), (1_000, 2_000), (400, 800)]);
    }
}
