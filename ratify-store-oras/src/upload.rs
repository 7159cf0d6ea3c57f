//! [`FileBody`]: a part of a file as the body of a request, read a piece at a time on a thread
//! that may block. However large the file, two pieces of it are in memory at most.

use std::{
    io::{self, Read as _},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::Section;

/// How much is read at once, in bytes.
const PIECE: u64 = 256 * 1024;

/// A body that is read when it is sent.
pub(crate) struct FileBody {
    left: u64,
    sent: Arc<AtomicU64>,
    state: State,
}

enum State {
    Idle(Section),
    Reading(JoinHandle<io::Result<(Section, Bytes)>>),
    Ended,
}

impl FileBody {
    /// All of a section from its beginning. `sent` counts the bytes that were handed over.
    pub(crate) fn new(section: Section, sent: Arc<AtomicU64>) -> Self {
        Self { left: section.length(), sent, state: State::Idle(section) }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(_) if self.left == 0 => return Poll::Ready(None),
                State::Idle(section) => {
                    self.state = State::Reading(spawn_blocking(move || next(section)));
                }
                State::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(context) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    let (section, piece) = match read.map_err(io::Error::other).flatten() {
                        Ok(read) => read,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    };
                    self.left -= piece.len() as u64;
                    self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    self.state = State::Idle(section);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn next(mut section: Section) -> io::Result<(Section, Bytes)> {
    let mut piece = Vec::new();
    section.by_ref().take(PIECE).read_to_end(&mut piece)?;
    if piece.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((section, piece.into()))
}
