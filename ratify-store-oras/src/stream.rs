//! A blob on its way into a sink: received by the task that asks, hashed and written on a thread
//! that may block, so that the network waits for neither. A few pieces are under way at a time,
//! and the same few again and again.

use std::{
    io::{self, Write},
    time::Instant,
};

use bytes::Bytes;
use ratify_core::{Algorithm, Descriptor, Digest};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::{Hasher, OrasError, patience::within, resume::Download};

/// How much is handed over at once, in bytes: so much that the hand-over costs nothing beside it.
const PIECE: usize = 256 * 1024;
/// How many pieces wait between the two; one more is filled, and one more written.
const WAITING: usize = 3;

/// Receives the blob of a descriptor, and gives the sink back that holds its bytes, proven.
///
/// # Errors
/// When the connection, the sink or the proof fails. The sink is dropped then.
pub(crate) async fn into_sink<S: Write + Send + 'static>(
    download: Download<'_>,
    descriptor: &Descriptor,
    sink: S,
    progress: &mut (dyn FnMut(u64) + Send),
    give_up_at: Option<Instant>,
) -> Result<S, OrasError> {
    let what = download.what().to_owned();
    let what = what.as_str();
    let (full, pieces) = channel(WAITING);
    let (emptied, empty) = channel(WAITING + 2);
    let algorithm = descriptor.digest.algorithm();
    let writer =
        tokio::task::spawn_blocking(move || write_pieces(sink, algorithm, pieces, &emptied));
    let receiving = receive(download, &full, empty, progress);
    let received = within(give_up_at, what, Box::pin(receiving)).await;
    // The writer ends with what it was given; after an error the sink is gone when this returns.
    drop(full);
    let written = writer.await.map_err(io::Error::other).and_then(|written| written);
    let (sink, actual) =
        written.map_err(|source| OrasError::Sink { what: what.to_owned(), source })?;
    received?;
    if actual == descriptor.digest {
        return Ok(sink);
    }
    let expected = descriptor.digest.clone();
    Err(OrasError::Digest { what: what.to_owned(), expected, actual: actual.to_string() })
}

/// Ends early, and well, where the writer has ended: it says why.
async fn receive(
    mut download: Download<'_>,
    full: &Sender<Vec<u8>>,
    mut empty: Receiver<Vec<u8>>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), OrasError> {
    let mut piece = Vec::new();
    while let Some(mut chunk) = download.next().await? {
        while fill(&mut piece, &mut chunk) {
            if full.send(piece).await.is_err() {
                return Ok(());
            }
            piece = empty.try_recv().unwrap_or_default();
        }
        progress(download.received());
    }
    // Where the writer has ended, it says why.
    let _ended = full.send(piece).await;
    Ok(())
}

/// Moves what there is room for from a chunk into a piece; whether the piece is full. A chunk may have
/// any size, and no piece becomes larger for it.
fn fill(piece: &mut Vec<u8>, chunk: &mut Bytes) -> bool {
    piece.reserve_exact(PIECE - piece.len());
    let part = chunk.split_to(chunk.len().min(PIECE - piece.len()));
    piece.extend_from_slice(&part);
    piece.len() == PIECE
}

fn write_pieces<S: Write>(
    mut sink: S,
    algorithm: Algorithm,
    mut pieces: Receiver<Vec<u8>>,
    emptied: &Sender<Vec<u8>>,
) -> io::Result<(S, Digest)> {
    let mut hasher = Hasher::new(algorithm);
    while let Some(mut piece) = pieces.blocking_recv() {
        hasher.update(&piece);
        sink.write_all(&piece)?;
        piece.clear();
        // Nobody needs it any more at the end.
        let _full = emptied.try_send(piece);
    }
    sink.flush()?;
    Ok((sink, hasher.finish()))
}

/// Copies the blob of a descriptor from a file, a piece at a time, and gives the sink back that
/// holds its bytes, proven. It blocks.
///
/// # Errors
/// When the file, the sink or the proof fails. The sink is dropped then.
pub(crate) fn copy<S: Write>(
    mut from: impl io::Read,
    what: &str,
    descriptor: &Descriptor,
    mut sink: S,
) -> Result<S, OrasError> {
    let mut hasher = Hasher::new(descriptor.digest.algorithm());
    let mut piece = vec![0; PIECE];
    let mut copied = 0;
    loop {
        let read = from.read(&mut piece);
        let read = read.map_err(|source| OrasError::Read { what: what.to_owned(), source })?;
        if read == 0 {
            break;
        }
        copied += read as u64;
        if copied > descriptor.size {
            let (what, expected) = (what.to_owned(), descriptor.size);
            return Err(OrasError::Size { what, expected, actual: "more".into() });
        }
        hasher.update(&piece[..read]);
        let written = sink.write_all(&piece[..read]);
        written.map_err(|source| OrasError::Sink { what: what.to_owned(), source })?;
    }
    sink.flush().map_err(|source| OrasError::Sink { what: what.to_owned(), source })?;
    let actual = hasher.finish();
    if actual == descriptor.digest {
        return Ok(sink);
    }
    let expected = descriptor.digest.clone();
    Err(OrasError::Digest { what: what.to_owned(), expected, actual: actual.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_any_size_fill_pieces_of_one_size() {
        let sent: Vec<u8> = (0..4 * PIECE + 7).map(|index| (index % 251) as u8).collect();
        let mut rest = Bytes::from(sent.clone());
        let (mut piece, mut received) = (Vec::new(), Vec::new());
        for size in [1, 16 << 10, 2 * PIECE + 5, PIECE - 1, PIECE - (16 << 10) + 2] {
            let mut chunk = rest.split_to(size);
            while fill(&mut piece, &mut chunk) {
                assert_eq!((piece.len(), piece.capacity()), (PIECE, PIECE));
                received.append(&mut piece);
            }
            assert!(chunk.is_empty() && piece.capacity() == PIECE);
        }
        received.append(&mut piece);
        assert!(rest.is_empty() && received == sent);
    }
}
