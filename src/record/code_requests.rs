//! Asks the chain watcher for the code at addresses: each address once at a time, all of them no
//! faster than a bound.

use std::collections::HashMap;
use std::time::Duration;

use alloy::primitives::Address;
use tokio::sync::mpsc::Sender;

use crate::model::{ChainQuestion, Stamp};

/// After how long the code at an address is asked for again when no answer came.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How far apart the requests for an address without code are at least. Calls wait a little longer for
/// their names than this.
const ASK_ACCOUNT_EVERY: Duration = Duration::from_millis(150);
/// Addresses whose requests are remembered.
const MOST_ASKED: usize = 10_000;
/// Addresses that may be asked about at once, and the pause that pays for each: a client that looks
/// through a million accounts must not have the monitor look through them as well.
const MOST_AT_ONCE: u32 = 512;
const ASK_EVERY: Duration = Duration::from_millis(10);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// It is on its way.
    Sent,
    /// It may be sent in a moment: asked too lately.
    Later,
    /// Too many were sent lately, or the watcher is behind.
    Refused,
}

pub(super) struct CodeRequests {
    wanted: Sender<ChainQuestion>,
    /// When the code at an address was asked for, for those not answered.
    asked: HashMap<Address, Stamp>,
    /// When an address was last asked about and found to be without code.
    accounts: HashMap<Address, Stamp>,
    /// The time at which every request sent so far is paid for.
    paid_at: Stamp,
}

impl CodeRequests {
    pub(super) fn new(wanted: Sender<ChainQuestion>) -> Self {
        Self { wanted, asked: HashMap::new(), accounts: HashMap::new(), paid_at: Stamp::default() }
    }

    /// Asks for the code at an address, unless that is on its way.
    pub(super) fn ask(&mut self, address: Address, now: Stamp) -> Request {
        if self.asked.get(&address).is_some_and(|at| now.since(*at) < ASK_AGAIN) {
            return Request::Sent;
        }
        if self.accounts.get(&address).is_some_and(|at| now.since(*at) < ASK_ACCOUNT_EVERY) {
            return Request::Later;
        }
        let paid_at = self.paid_at.max(now).after(ASK_EVERY);
        if paid_at.since(now) > ASK_EVERY * MOST_AT_ONCE {
            return Request::Refused;
        }
        if self.wanted.try_send(ChainQuestion::Code(address)).is_err() {
            return Request::Refused;
        }
        if self.asked.len() >= MOST_ASKED {
            self.asked.clear();
        }
        self.asked.insert(address, now);
        self.paid_at = paid_at;
        Request::Sent
    }

    /// The node answered.
    pub(super) fn answered(&mut self, address: Address, has_code: bool, now: Stamp) {
        let asked = self.asked.remove(&address);
        if has_code {
            self.accounts.remove(&address);
        } else {
            if self.accounts.len() >= MOST_ASKED {
                self.accounts.clear();
            }
            self.accounts.insert(address, asked.unwrap_or(now));
        }
    }

    /// What was asked before may be answered of a chain that is gone: it may be asked again.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;

    fn at(millis: u64) -> Stamp {
        Stamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn an_address_is_asked_about_once_until_it_is_answered() {
        let (sender, mut asked) = channel(1_024);
        let mut requests = CodeRequests::new(sender);
        let here = Address::repeat_byte(1);
        assert_eq!(requests.ask(here, at(0)), Request::Sent);
        assert_eq!(requests.ask(here, at(9_999)), Request::Sent);
        assert!(asked.try_recv().is_ok() && asked.try_recv().is_err());
        requests.answered(here, true, at(10_000));
        assert_eq!(requests.ask(here, at(10_000)), Request::Sent);
        assert!(asked.try_recv().is_ok());
    }

    #[test]
    fn an_account_is_asked_about_a_few_times_a_second() {
        let (sender, mut asked) = channel(1_024);
        let mut requests = CodeRequests::new(sender);
        let here = Address::repeat_byte(1);
        let sent = (0..1_000).filter(|millis| {
            requests.ask(here, at(*millis));
            let is_sent = asked.try_recv().is_ok();
            if is_sent {
                requests.answered(here, false, at(*millis));
            }
            is_sent
        });
        assert_eq!(sent.count(), 7);
    }

    #[test]
    fn many_addresses_are_asked_about_no_faster_than_the_bound() {
        let (sender, mut asked) = channel(10_000);
        let mut requests = CodeRequests::new(sender);
        for i in 0..5_000_u64 {
            requests.ask(Address::left_padding_from(&i.to_be_bytes()), at(i / 5));
        }
        let sent = std::iter::from_fn(|| asked.try_recv().ok()).count();
        assert!((600..=612).contains(&sent), "{sent} within a second");
    }
}
