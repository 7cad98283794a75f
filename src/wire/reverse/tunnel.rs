//! After the upstream switched protocols: bytes go both ways, unread.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::connection::UpstreamIo;

/// The upstream's side of a switched connection.
pub(super) struct Tunnel {
    pub(super) upstream: UpstreamIo,
    /// What the upstream sent right behind its 101.
    pub(super) early: Bytes,
}

impl Tunnel {
    /// Copies until both sides have ended or one has failed. `early` is what the client sent right
    /// behind its request.
    pub(super) async fn run(
        mut self,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        early: Bytes,
    ) -> std::io::Result<()> {
        client.write_all(&self.early).await?;
        self.upstream.write_all(&early).await?;
        tokio::io::copy_bidirectional(&mut client, &mut self.upstream).await?;
        Ok(())
    }
}
