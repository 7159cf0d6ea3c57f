//! Bodies that do not end as they should.

use std::{io, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

/// Bytes that were written have left the process after this long.
const WRITTEN: Duration = Duration::from_millis(50);

/// The first half, and then the connection ends.
pub(super) fn truncated(bytes: &Bytes) -> Body {
    let half = bytes.slice(..bytes.len() / 2);
    let cut = stream::once(async {
        // A body's error may overtake the bytes before it.
        tokio::time::sleep(WRITTEN).await;
        Err(io::Error::other("cut on purpose"))
    });
    Body::from_stream(stream::once(async { Ok(half) }).chain(cut))
}

/// The bytes, and then blanks for ever: JSON stays JSON.
pub(super) fn endless(bytes: Bytes) -> Body {
    let blanks = Bytes::from(vec![b' '; 16 << 10]);
    let body = stream::once(async { bytes }).chain(stream::repeat(blanks));
    Body::from_stream(body.map(Ok::<_, io::Error>))
}

/// Nothing, and no end.
pub(super) fn stalled() -> Body {
    Body::from_stream(stream::pending::<io::Result<Bytes>>())
}

/// One byte each time `pause` passes.
pub(super) fn dripping(bytes: Bytes, pause: Duration) -> Body {
    Body::from_stream(stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let byte = rest.split_to(1);
        Some((Ok::<_, io::Error>(byte), rest))
    }))
}
