//! A request's body on its way to the API: counted, never kept; held back while the client waits
//! for `100 Continue`.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What is known of a request's body while the upstream's side reads it.
#[derive(Default)]
pub(super) struct Meter {
    bytes: Cell<u64>,
    done: Cell<bool>,
    failed: Cell<bool>,
    /// With `Expect: 100-continue`: whether the body may be asked for. The client is told to send
    /// when the body is first read, so reading waits until the upstream agreed.
    gate: Option<Arc<AtomicBool>>,
}

impl Meter {
    pub(super) fn new(gate: Option<Arc<AtomicBool>>) -> Self {
        Self { gate, ..Self::default() }
    }

    /// Bytes that were handed to the upstream's side.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// The whole body was handed over.
    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// The client broke off while sending.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// The upstream has not yet agreed to receive the body.
    pub(super) fn is_held(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| !gate.load(Relaxed))
    }
}

/// A request's body, as the upstream's side reads it.
pub(super) enum Upload {
    Empty,
    Streaming { incoming: Incoming, meter: Rc<Meter> },
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Streaming { incoming, meter } = self.get_mut() else {
            return Poll::Ready(None);
        };
        if meter.is_held() {
            // Whoever opens the gate polls the connection afterwards, and it polls this body.
            return Poll::Pending;
        }
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    meter.bytes.set(meter.bytes.get() + bytes.len() as u64);
                }
                meter.done.set(frame.is_trailers() || incoming.is_end_stream());
            }
            Poll::Ready(Some(Err(_))) => meter.failed.set(true),
            Poll::Ready(None) => meter.done.set(true),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { incoming, .. } => incoming.size_hint(),
        }
    }
}
