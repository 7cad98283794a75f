//! A task's waker that can be told not to listen for a moment.
//!
//! A client's task polls its own upstream connection. When it puts a request into that connection's
//! channel, or asks for a frame, hyper wakes whoever polls the connection: the very task that is
//! about to do so. Each such wake-up would run the whole task once more for nothing; there would be
//! two for each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Wake, Waker};

/// Passes wake-ups on, except while [`quietly`](Self::quietly) runs.
pub(super) struct Waking {
    task: Waker,
    quiet: AtomicBool,
}

impl Waking {
    pub(super) fn of(task: &Waker) -> Arc<Self> {
        Arc::new(Self { task: task.clone(), quiet: AtomicBool::new(false) })
    }

    /// Runs `step` without being woken by it. Whoever calls this polls afterwards what `step` may
    /// have made ready.
    pub(super) fn quietly<T>(&self, step: impl FnOnce() -> T) -> T {
        // The flag is set and read on the task's own thread; a wake-up from another one that falls
        // into this moment cannot occur, because nothing in a task is shared with other threads.
        self.quiet.store(true, Relaxed);
        let result = step();
        self.quiet.store(false, Relaxed);
        result
    }
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.quiet.load(Relaxed) {
            self.task.wake_by_ref();
        }
    }
}
