//! Tells the connections of a thread that the proxy is going down, for the price of a flag.
//!
//! A watch channel polled by each connection would cost every request; here a connection leaves
//! its task's waker once and reads a flag afterwards.

use std::cell::{Cell, RefCell};
use std::task::Waker;

/// One for each proxy thread.
#[derive(Default)]
pub(super) struct Drain {
    begun: Cell<bool>,
    over: Cell<bool>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    live: Cell<usize>,
}

/// A connection's place in the list.
pub(super) struct Seat<'a> {
    drain: &'a Drain,
    index: usize,
}

impl Drain {
    /// Whether the proxy is going down.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// The time to finish is over: what is still under way is about to be cut.
    pub(super) fn end(&self) {
        self.over.set(true);
    }

    /// Whether what ends now is cut by the proxy.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Connections that have a seat.
    pub(super) fn live(&self) -> usize {
        self.live.get()
    }

    pub(super) fn sit(&self) -> Seat<'_> {
        self.live.set(self.live.get() + 1);
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut wakers = self.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        });
        Seat { drain: self, index }
    }

    /// Wakes every seated connection, once.
    pub(super) fn begin(&self) {
        self.begun.set(true);
        // Taken out first: a waker may run code that sits or leaves.
        let wakers: Vec<_> = self.wakers.borrow_mut().iter_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Seat<'_> {
    /// Leaves the task's waker; a task's waker stays the same, so once is enough.
    pub(super) fn wake_me(&self, waker: &Waker) {
        self.drain.wakers.borrow_mut()[self.index] = Some(waker.clone());
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.drain.wakers.borrow_mut()[self.index] = None;
        self.drain.free.borrow_mut().push(self.index);
        self.drain.live.set(self.drain.live.get() - 1);
    }
}
