//! One direction of a relayed connection: what was read and not yet written, and how it ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What the receiver did not take yet. While there is any, nothing more is read: a slow receiver
    /// slows its sender down, as it would without a relay.
    pending: Vec<u8>,
    /// How much of it was written.
    sent: usize,
    /// Bytes written since the beginning.
    pub written: u64,
    pub state: State,
}

/// How far a direction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Open,
    /// The sender ended; the receiver is told once everything is written.
    Ending,
    /// The receiver was told.
    Ended,
    /// The sender reset the connection; so will we, once everything is written.
    Resetting,
    /// The receiver takes no more.
    Dead,
}

impl Lane {
    pub fn is_clear(&self) -> bool {
        self.pending.is_empty()
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Ended | State::Dead)
    }

    /// What is to be written first, for a receiver that is still to be connected.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Puts `bytes` at the end of what is to be written.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Writes `bytes` and keeps what the receiver does not take. Nothing may be pending.
    pub fn write(
        &mut self,
        to: &mut TcpStream,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.written += count as u64;
                    rest = &rest[count..];
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.pending.extend_from_slice(rest);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Writes what is pending. Ready when nothing is left.
    pub fn flush(&mut self, to: &mut TcpStream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            match Pin::new(&mut *to).poll_write(context, &self.pending[self.sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.written += count as u64;
                    self.sent += count;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Given back, not kept: an idle connection is to hold no buffer.
        self.pending = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// The receiver takes no more: what was meant for it is gone.
    pub fn die(&mut self) {
        self.pending = Vec::new();
        self.sent = 0;
        self.state = State::Dead;
    }
}
