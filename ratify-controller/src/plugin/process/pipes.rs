//! The host's ends of a child's three pipes: one is fed, two are read up to a cap.

use std::{io, os::fd::OwnedFd};

use bytes::Bytes;
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe::{Receiver, Sender},
};

/// How much is read at once, at first: most plugins write one line to one of their two streams.
const FIRST_CHUNK: usize = 1024;
/// The same of one that writes a lot.
const CHUNK: usize = 64 * 1024;

/// One of a child's output streams, kept up to a cap.
pub(super) struct Capture {
    pipe: Option<Receiver>,
    bytes: Vec<u8>,
    cap: usize,
}

/// What reading once brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something, or the end; there is nothing to decide.
    Fine,
    /// More than the cap.
    OverCap,
}

impl Capture {
    pub(super) fn new(pipe: impl Into<OwnedFd>, cap: usize) -> io::Result<Self> {
        let pipe = Receiver::from_owned_fd(pipe.into())?;
        Ok(Self { pipe: Some(pipe), bytes: Vec::new(), cap })
    }

    /// Whether more may come.
    pub(super) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads once. May be dropped at any time without losing a byte.
    pub(super) async fn fill(&mut self) -> io::Result<Progress> {
        let Some(pipe) = &self.pipe else { return Ok(Progress::Fine) };
        pipe.readable().await?;
        if self.bytes.len() == self.bytes.capacity() {
            let more = self.bytes.capacity().clamp(FIRST_CHUNK, CHUNK);
            self.bytes.reserve(more.min(self.cap + 1 - self.bytes.len()));
        }
        match pipe.try_read_buf(&mut self.bytes) {
            Ok(0) => self.pipe = None,
            Ok(_) if self.bytes.len() > self.cap => {
                self.pipe = None;
                self.bytes.truncate(self.cap);
                return Ok(Progress::OverCap);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(Progress::Fine)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Writes all of the input and closes the pipe. A child need not read it: a closed pipe is fine.
pub(super) async fn feed(mut pipe: Sender, input: Bytes) {
    let _ = pipe.write_all(&input).await;
}
