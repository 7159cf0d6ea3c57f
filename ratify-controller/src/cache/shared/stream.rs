//! [`Metered`]: a connection of which no more is read than answers may have. Whoever is at the other
//! end may send without end, and the client below reads all of it into memory.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Answers that are under way have no more bytes than this together.
const MOST: u64 = 8 << 20;

/// How many bytes may still be read. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Allowance(Arc<AtomicU64>);

/// A stream with an [`Allowance`]; it fails when that is used up.
pub(super) struct Metered<S> {
    stream: S,
    allowance: Allowance,
}

impl Allowance {
    /// Allows so many bytes more, up to a bound.
    pub(super) fn grant(&self, bytes: u64) {
        let more = |left: u64| Some(left.saturating_add(bytes).min(MOST));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn take(&self, bytes: u64) -> bool {
        let taken = |left: u64| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, allowance: Allowance) -> Self {
        Self { stream, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = (buffer.filled().len() - before) as u64;
        if self.allowance.take(read) {
            return Poll::Ready(Ok(()));
        }
        buffer.set_filled(before);
        Poll::Ready(Err(io::Error::other("it sends more than it was asked for")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_not_allowed_is_not_read() {
        let allowance = Allowance::default();
        let mut stream = Metered::new(&[7_u8; 100][..], allowance.clone());
        let mut buffer = [0; 10];
        allowance.grant(20);
        for _ in 0..2 {
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 10);
        }
        assert!(stream.read(&mut buffer).await.is_err());
        allowance.grant(10);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 10);
        allowance.grant(u64::MAX);
        assert!(allowance.take(MOST) && !allowance.take(1));
    }
}
