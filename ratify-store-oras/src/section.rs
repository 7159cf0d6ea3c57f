//! [`Section`]: a part of an open file, such as a blob of a layout that lies in an archive.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

/// So many bytes of a file, from some place on. Cloning is cheap; reading moves no cursor that
/// another clone would see.
#[derive(Debug, Clone)]
pub struct Section {
    file: Arc<File>,
    offset: u64,
    length: u64,
    position: u64,
}

impl Section {
    /// All of a file.
    ///
    /// # Errors
    /// When it is no regular file, or cannot be asked for its length.
    pub fn whole(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self::part(Arc::new(file), 0, metadata.len()))
    }

    pub(crate) fn part(file: Arc<File>, offset: u64, length: u64) -> Self {
        Self { file, offset, length, position: 0 }
    }

    /// The file it is a part of.
    pub(crate) fn into_file(self) -> Arc<File> {
        self.file
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Read for Section {
    /// The file may have shrunk since: that is an error, not an end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        if most == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..most], self.offset + self.position)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += read as u64;
        Ok(read)
    }
}
