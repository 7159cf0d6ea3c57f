//! [`Bodies`]: the bodies of requests, bounded each and all together.
//!
//! What is read counts until the request is answered. The first part of each body has room of its
//! own, so that a few that are large, or come to no end, take nothing from all that are not.

use std::{fmt::Display, sync::Arc};

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A request of a thousand keys has some hundred kilobytes.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// What each body has in the room for all.
const FIRST_BYTES: usize = 64 << 10;
/// How much all bodies may have of their first parts, and of what is behind them.
const ROOM_BYTES: usize = 64 << 20;

/// A body that can be read: of a connection, or of a test.
pub trait Readable: HttpBody<Data = Bytes, Error: Display> + Send + Unpin {}

impl<B: HttpBody<Data = Bytes, Error: Display> + Send + Unpin> Readable for B {}

/// Room for bodies.
pub(super) struct Bodies {
    first: Arc<Semaphore>,
    rest: Arc<Semaphore>,
}

/// A body, and its room.
pub(super) struct Read {
    pub(super) bytes: Bytes,
    _room: [Option<OwnedSemaphorePermit>; 2],
}

/// Why a body is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Broken(String),
    TooLarge,
}

impl Default for Bodies {
    fn default() -> Self {
        Self::of(ROOM_BYTES)
    }
}

impl Bodies {
    fn of(bytes: usize) -> Self {
        let room = || Arc::new(Semaphore::new(bytes));
        Self { first: room(), rest: room() }
    }

    /// Reads a body. Waits for room as long as it is waited for.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        mut body: impl Readable,
    ) -> Result<Read, Unread> {
        if announced(headers).is_some_and(|bytes| bytes > MAX_BYTES as u64) {
            return Err(Unread::TooLarge);
        }
        let (mut bytes, mut room): (_, [Option<OwnedSemaphorePermit>; 2]) =
            (BytesMut::new(), [None, None]);
        let mut whole = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Unread::Broken(ratify_core::capped_line(&error.to_string(), 200))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > MAX_BYTES {
                return Err(Unread::TooLarge);
            }
            let first = length.min(FIRST_BYTES) - bytes.len().min(FIRST_BYTES);
            for (of, more) in [(0, first), (1, data.len() - first)] {
                let semaphore = if of == 0 { &self.first } else { &self.rest };
                take(semaphore, &mut room[of], more).await;
            }
            // Most have one part, and are that part.
            if length == data.len() && body.is_end_stream() {
                whole = Some(data);
                break;
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Read { bytes: whole.unwrap_or_else(|| bytes.freeze()), _room: room })
    }
}

/// Adds so much to what is held.
async fn take(semaphore: &Arc<Semaphore>, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) {
    let Some(bytes) = u32::try_from(bytes).ok().filter(|bytes| *bytes > 0) else { return };
    // The semaphore is never closed.
    let Ok(more) = Arc::clone(semaphore).acquire_many_owned(bytes).await else { return };
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use axum::body::Body;
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use tokio::time::timeout;

    use super::*;

    fn chunks(count: usize, bytes: usize, ends: bool) -> Body {
        let chunk = Bytes::from(vec![b' '; bytes]);
        let chunks = stream::iter((0..count).map(move |_| Ok::<_, Infallible>(chunk.clone())));
        let end = stream::pending().take_until(async move {
            if !ends {
                std::future::pending::<()>().await;
            }
        });
        Body::from_stream(chunks.chain(end))
    }

    #[tokio::test]
    async fn a_body_is_bounded_whether_or_not_it_says_how_long_it_is() {
        let (bodies, mut headers) = (Bodies::default(), HeaderMap::new());
        let whole = bodies.read(&headers, chunks(4, 1 << 20, true)).await;
        assert_eq!(whole.map(|read| read.bytes.len()), Ok(MAX_BYTES));
        let more = bodies.read(&headers, chunks(5, 1 << 20, true)).await;
        assert_eq!(more.err(), Some(Unread::TooLarge));
        headers.insert(header::CONTENT_LENGTH, (MAX_BYTES as u64 + 1).into());
        // Nothing of it is waited for.
        let announced = bodies.read(&headers, chunks(0, 0, false)).now_or_never();
        assert_eq!(announced.unwrap().err(), Some(Unread::TooLarge));
        assert_eq!(bodies.rest.available_permits(), ROOM_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_that_do_not_end_leave_room_for_small_ones() {
        let (bodies, headers) = (Bodies::of(4 * FIRST_BYTES), HeaderMap::new());
        let hanging: Vec<_> = (0..3)
            .map(|_| Box::pin(bodies.read(&headers, chunks(3, FIRST_BYTES, false))))
            .collect();
        let second = Duration::from_secs(1);
        let mut all = stream::iter(hanging).buffer_unordered(3);
        assert!(timeout(second, all.next()).await.is_err());
        assert_eq!(bodies.rest.available_permits(), 0, "no more than there is room");
        let small = bodies.read(&headers, chunks(1, 1000, true));
        let small = timeout(second, small).await.unwrap();
        assert_eq!(small.map(|read| read.bytes.len()), Ok(1000));
        drop(all);
        assert_eq!(bodies.first.available_permits(), 4 * FIRST_BYTES);
    }
}
