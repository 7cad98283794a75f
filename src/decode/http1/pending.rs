//! The exchanges of a connection that are under way, in the order of their requests.

use std::collections::VecDeque;

use super::head::Upgrade;
use crate::decode::capture::Ration;
use crate::model::{Captured, CopyStop, End, Exchange, Stamp, Token};

/// An exchange under way. Positions are in bytes from the beginning of its direction.
pub(super) struct Pending {
    pub exchange: Box<Exchange>,
    pub is_head: bool,
    pub upgrade: Upgrade,
    /// Where the request ends, once that is known.
    pub request_end: Option<u64>,
    /// Where the response begins and ends, once that is known.
    pub response_begin: Option<u64>,
    response_end: Option<u64>,
    written: bool,
    /// What the captured bodies take of the budget.
    rations: [Option<Ration>; 2],
    /// Held as long as this is pending.
    _active: Option<Token>,
}

/// Exchanges under way.
#[derive(Default)]
pub(super) struct Outstanding {
    queue: VecDeque<Pending>,
    /// The first of them whose request is not written whole.
    unwritten: usize,
    /// The first of them whose response is not read whole.
    unanswered: usize,
}

impl Pending {
    pub fn new(
        exchange: Box<Exchange>,
        is_head: bool,
        upgrade: Upgrade,
        active: Option<Token>,
    ) -> Self {
        Self {
            exchange,
            is_head,
            upgrade,
            request_end: None,
            response_begin: None,
            response_end: None,
            written: false,
            rations: [None, None],
            _active: active,
        }
    }

    pub fn is_answered(&self) -> bool {
        self.response_end.is_some()
    }

    pub fn set_request(&mut self, (captured, ration): (Captured, Option<Ration>)) {
        self.exchange.request = captured;
        self.rations[0] = ration;
    }

    pub fn set_response(&mut self, (captured, ration): (Captured, Option<Ration>)) {
        self.exchange.response = captured;
        self.rations[1] = ration;
    }

    /// The exchange. Stamps that were never reached are set to the last that was, or of one that was
    /// cut off, to when: what was waited for until then was waited for.
    fn told(mut self, cut_off: Option<Stamp>) -> Box<Exchange> {
        let timing = &mut self.exchange.timing;
        let mut last = timing.request_started;
        for stamp in [
            &mut timing.request_read,
            &mut timing.request_written,
            &mut timing.response_started,
            &mut timing.response_forwarded,
            &mut timing.response_read,
            &mut timing.response_written,
        ] {
            if *stamp == Stamp::default() {
                *stamp = cut_off.map_or(last, |at| at.max(last));
            }
            last = *stamp;
        }
        self.exchange
    }
}

impl Outstanding {
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn push(&mut self, pending: Pending) {
        self.queue.push_back(pending);
    }

    pub fn first(&mut self) -> Option<&mut Pending> {
        self.queue.front_mut()
    }

    /// The one whose request came last.
    pub fn last(&mut self) -> Option<&mut Pending> {
        self.queue.back_mut()
    }

    /// The one whose response comes next or is coming.
    pub fn awaiting(&mut self) -> Option<&mut Pending> {
        self.queue.get_mut(self.unanswered)
    }

    pub fn is_all_answered(&self) -> bool {
        self.unanswered == self.queue.len()
    }

    /// The response under way was read whole, at `read`; it ends at position `end`.
    pub fn answered(&mut self, body: (Captured, Option<Ration>), end: u64, read: Stamp) {
        if let Some(pending) = self.queue.get_mut(self.unanswered) {
            pending.set_response(body);
            pending.exchange.timing.response_read = read;
            pending.response_end = Some(end);
            self.unanswered += 1;
        }
    }

    /// Requests were written up to position `upto`.
    pub fn requests_written(&mut self, upto: u64, at: Stamp, done: &mut impl FnMut(Box<Exchange>)) {
        while let Some(pending) = self.queue.get_mut(self.unwritten)
            && pending.request_end.is_some_and(|end| end <= upto)
        {
            pending.exchange.timing.request_written = at;
            self.unwritten += 1;
        }
        self.hand_over(done);
    }

    /// Responses were written up to position `upto`.
    pub fn responses_written(
        &mut self,
        upto: u64,
        at: Stamp,
        done: &mut impl FnMut(Box<Exchange>),
    ) {
        // The one that is being answered may have begun to be written.
        for pending in self.queue.iter_mut().take(self.unanswered + 1) {
            let timing = &mut pending.exchange.timing;
            let begun = pending.response_begin.is_some_and(|begin| begin < upto);
            if begun && timing.response_forwarded == Stamp::default() {
                timing.response_forwarded = at;
            }
            if pending.response_end.is_none_or(|end| end > upto) {
                break;
            }
            if !pending.written {
                pending.written = true;
                timing.response_written = at;
            }
        }
        self.hand_over(done);
    }

    /// The request under way has an end that cannot be told any more.
    pub fn forget_unfinished_request(&mut self) {
        if self.queue.back().is_some_and(|last| last.request_end.is_none()) {
            self.queue.pop_back();
            self.clamp();
        }
    }

    /// The responses still to come cannot be followed, from `at` on: takes out the exchanges whose
    /// requests were read whole.
    pub fn take_unanswered(&mut self, at: Stamp) -> Vec<Exchange> {
        let lost = self.queue.drain(self.unanswered..);
        let lost = lost.filter(|pending| pending.request_end.is_some()).map(|mut pending| {
            let stopped = Some(CopyStop::Opaque);
            pending.exchange.response = Captured { stopped, ..Captured::default() };
            *pending.told(Some(at))
        });
        let lost = lost.collect();
        self.clamp();
        lost
    }

    /// Everything still under way ended with `end`, at `at`.
    pub fn finish(&mut self, end: End, at: Stamp, done: &mut impl FnMut(Box<Exchange>)) {
        for mut pending in std::mem::take(&mut self.queue) {
            pending.exchange.end = if pending.written { End::Complete } else { end };
            let end = pending.exchange.end;
            let is_cut_off = matches!(end, End::ClientGone | End::UpstreamGone | End::Stopped);
            done(pending.told(is_cut_off.then_some(at)));
        }
        self.clamp();
    }

    /// Gives away the exchanges at the front that are over.
    fn hand_over(&mut self, done: &mut impl FnMut(Box<Exchange>)) {
        while self.unwritten > 0
            && let Some(front) = self.queue.pop_front_if(|front| front.written)
        {
            self.unwritten -= 1;
            self.unanswered -= 1;
            done(front.told(None));
        }
    }

    fn clamp(&mut self) {
        self.unwritten = self.unwritten.min(self.queue.len());
        self.unanswered = self.unanswered.min(self.queue.len());
    }
}
