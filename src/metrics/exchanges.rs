//! Time and sizes of exchanges, at hand: the shape that calls and requests share.
//!
//! Times are kept in finer series than sizes (by outcome too), so a series of times knows the place
//! of the sizes that belong to it, and an exchange costs one look-up.

use std::hash::Hash;

use prometheus::Histogram;
use prometheus::local::LocalHistogram;

use super::series::{Flush, Place, Table};

/// Series of times by `T`, and of sizes by the coarser `S`.
pub struct Exchanges<T, S> {
    times: Table<T, Times>,
    sizes: Table<S, Sizes>,
}

struct Times {
    duration: LocalHistogram,
    sizes: Place,
}

/// Sizes of the two directions, in bytes.
pub struct Sizes {
    pub request: LocalHistogram,
    pub response: LocalHistogram,
}

impl Flush for Times {
    fn flush(&mut self) {
        self.duration.flush();
    }
}

impl Flush for Sizes {
    fn flush(&mut self) {
        self.request.flush();
        self.response.flush();
    }
}

impl<T: Eq + Hash, S: Eq + Hash> Exchanges<T, S> {
    pub fn new() -> Self {
        Self { times: Table::new(), sizes: Table::new() }
    }

    /// Whether there are times by `time`, and sizes by `size`.
    pub fn knows(&self, time: &T, size: &S) -> (bool, bool) {
        (self.times.knows(time), self.sizes.knows(size))
    }

    /// The series of an exchange, to be handed over with the next flush. What is new is opened:
    /// `duration`, then the sizes of request and response.
    pub fn touch(
        &mut self,
        (time, size): (T, S),
        duration: impl FnOnce() -> Histogram,
        sizes: impl FnOnce() -> [Histogram; 2],
    ) -> (&mut LocalHistogram, &mut Sizes) {
        let times = self.times.touch(time, || Times {
            duration: duration().local(),
            sizes: self.sizes.place(size, || {
                let [request, response] = sizes();
                Sizes { request: request.local(), response: response.local() }
            }),
        });
        let sizes = self.sizes.at(times.sizes);
        (&mut times.duration, sizes)
    }

    pub fn flush(&mut self) {
        self.times.flush();
        self.sizes.flush();
    }
}
