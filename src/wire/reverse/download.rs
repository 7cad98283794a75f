//! A response's body on its way to the client: counted, never kept.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::{Connection, Marks};
use super::record::Record;
use crate::model::End;

type Polled = Poll<Option<Result<Frame<Bytes>, hyper::Error>>>;

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
    /// Why the upstream broke off, until the client has what came before.
    pub(super) broken: Option<hyper::Error>,
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

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        if self.broken.is_some() {
            return self.poll_break();
        }
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
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        match polled {
            Poll::Ready(Some(Err(error))) => self.hold_back(error, cx),
            polled => polled,
        }
    }

    /// Holds an error back until the client has what came before it. hyper cuts the client's
    /// connection on an error, for a response that is not whole must not look as if it were; it
    /// would do so with the head and the beginning of the body still unwritten.
    fn hold_back(&mut self, error: hyper::Error, cx: &Context<'_>) -> Polled {
        if let Some(record) = &self.record {
            record.client.await_flush(cx.waker());
        }
        self.broken = Some(error);
        Poll::Pending
    }

    fn poll_break(&mut self) -> Polled {
        if self.record.as_ref().is_some_and(|record| record.client.awaits_flush()) {
            return Poll::Pending;
        }
        self.tell_broken();
        Poll::Ready(self.broken.take().map(Err))
    }

    fn tell_broken(&mut self) {
        if let Some(record) = self.record.take() {
            record.break_off(End::UpstreamGone);
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // The client left while it was to be told.
        if self.broken.is_some() {
            self.tell_broken();
        }
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
