//! The two bodies of an exchange on their way through: counted, never kept.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::{Connection, Marks};
use super::record::Record;
use crate::model::End;

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

/// A response's body, as the client's side reads it.
pub(super) enum Download {
    Empty,
    /// Written by the proxy itself.
    Own(Bytes),
    Streaming(Streaming),
}

/// A response's body that the upstream is sending.
pub(super) struct Streaming {
    pub(super) incoming: Incoming,
    /// The connection it comes over; none when a task of its own drives it.
    pub(super) connection: Option<Box<Connection>>,
    pub(super) marks: Rc<Marks>,
    pub(super) record: Option<Record>,
    /// The upstream's announced idle timeout.
    pub(super) keep_alive: Option<Duration>,
}

impl Streaming {
    /// The whole response was read: the record waits for the last write, the connection for the
    /// next request.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) {
        let Some(record) = self.record.take() else { return };
        // A request that is still being sent when its response is whole leaves bytes behind.
        let complete = record.meter.as_ref().is_none_or(|meter| meter.is_done());
        if let Some(connection) = self.connection.take()
            && complete
        {
            record.client.shared.pool.put(connection, self.keep_alive, cx);
        }
        record.finish(End::Complete, Some(self.marks.last_read()));
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = &mut self.incoming;
        let polled = match (&mut self.connection, &self.record) {
            (Some(connection), Some(record)) => {
                // Only driving the connection brings a frame, so nobody need be woken for one; and
                // asking first lets the connection know that there is room.
                let nobody = &mut Context::from_waker(Waker::noop());
                let asked = record.client.quietly(|| Pin::new(&mut *incoming).poll_frame(nobody));
                if asked.is_pending() {
                    connection.drive(cx);
                    Pin::new(incoming).poll_frame(nobody)
                } else {
                    asked
                }
            }
            _ => Pin::new(incoming).poll_frame(cx),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(bytes), Some(record)) = (frame.data_ref(), &mut self.record) {
                    record.received(bytes.len());
                }
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.finish(cx);
                }
            }
            Poll::Ready(None) => self.finish(cx),
            Poll::Ready(Some(Err(_))) => {
                // hyper cuts the client's connection on an error: a response that is not whole
                // must not look as if it were.
                if let Some(record) = self.record.take() {
                    record.break_off(End::UpstreamGone);
                }
            }
            Poll::Pending => {}
        }
        polled
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Streaming(streaming) => streaming.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Own(bytes) => bytes.is_empty(),
            Self::Streaming(streaming) => streaming.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming(streaming) => streaming.incoming.size_hint(),
        }
    }
}
