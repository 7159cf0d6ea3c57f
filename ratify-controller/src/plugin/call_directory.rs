//! [`CallDirectories`]: a private, empty directory for each call of a plugin.
//!
//! To make one and remove it again costs a file system more than all else that the host does for a
//! call, and calls that do so at once wait for each other. Most plugins write nothing into theirs,
//! so one that is as it was made serves the next call of the same verifier.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;

/// Nobody else may look into it.
const ONLY_OURS: u32 = 0o700;

/// The directories of one verifier's calls; removed with it.
pub(super) struct CallDirectories {
    parent: PathBuf,
    free: Mutex<Vec<TempDir>>,
}

/// The directory of one call. Dropped when the plugin is gone with all its descendants, so nobody
/// writes into it any more.
pub(super) struct CallDirectory {
    /// `None` only while it is dropped.
    directory: Option<TempDir>,
    all: Arc<CallDirectories>,
}

impl CallDirectories {
    /// Below `parent`, which must exist.
    pub(super) fn new(parent: PathBuf) -> Arc<Self> {
        Arc::new(Self { parent, free: Mutex::default() })
    }

    /// An empty directory that no other call has.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn take(self: &Arc<Self>) -> io::Result<CallDirectory> {
        let free = self.free().pop();
        let directory = match free {
            Some(directory) => directory,
            None => {
                let mut builder = tempfile::Builder::new();
                builder.prefix("call-").permissions(Permissions::from_mode(ONLY_OURS));
                builder.tempdir_in(&self.parent)?
            }
        };
        Ok(CallDirectory { directory: Some(directory), all: Arc::clone(self) })
    }

    fn free(&self) -> MutexGuard<'_, Vec<TempDir>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallDirectory {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.directory.as_ref().map_or(Path::new(""), TempDir::path)
    }
}

impl Drop for CallDirectory {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take().filter(|one| is_untouched(one.path())) {
            self.all.free().push(directory);
        }
    }
}

/// Whether a directory is as it was made. Where that cannot be told, it is not.
fn is_untouched(path: &Path) -> bool {
    let is_ours = fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o7777 == ONLY_OURS);
    is_ours && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_calls_at_once_have_two_directories_and_a_later_one_takes_one_over() {
        let parent = tempfile::tempdir().unwrap();
        let all = CallDirectories::new(parent.path().to_owned());
        let (one, two) = (all.take().unwrap(), all.take().unwrap());
        let path = one.path().to_owned();
        assert_ne!(path, two.path());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        drop(one);
        assert_eq!(all.take().unwrap().path(), path);
    }

    #[test]
    fn a_directory_that_was_written_to_opened_or_replaced_serves_nobody_else() {
        let parent = tempfile::tempdir().unwrap();
        let all = CallDirectories::new(parent.path().to_owned());
        let touches: [fn(&Path); 3] = [
            |path| fs::write(path.join("blob"), "x").unwrap(),
            |path| fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap(),
            |path| {
                fs::remove_dir(path).unwrap();
                std::os::unix::fs::symlink("/", path).unwrap();
            },
        ];
        for touch in touches {
            let call = all.take().unwrap();
            let path = call.path().to_owned();
            touch(&path);
            drop(call);
            assert_ne!(all.take().unwrap().path(), path);
            assert!(fs::metadata(path.join("blob")).is_err(), "what was written is gone");
        }
    }

    #[test]
    fn nothing_is_left_behind() {
        let parent = tempfile::tempdir().unwrap();
        let all = CallDirectories::new(parent.path().to_owned());
        drop(all.take().unwrap());
        drop(all);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
