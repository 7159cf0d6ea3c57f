//! [`find_in_dirs`]: which file a plugin's name stands for, as v1 searches.
//!
//! Nothing is remembered: v1 searches anew on each call, so that a file copied in is found.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ratify_core::capped_line;

/// Why a name stands for no file. The first three texts are v1's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No name.
    #[error("plugin name is required")]
    NoName,
    /// No directories.
    #[error("no paths provided to find a plugin")]
    NoDirs,
    /// There is no such file.
    #[error("failed to find plugin \"{name}\" in paths [{dirs}]")]
    NotFound {
        /// The name.
        name: String,
        /// The directories, with spaces between.
        dirs: String,
    },
    /// A name that leads elsewhere, or could.
    #[error(
        "invalid plugin name {0:?}: it has a path separator, a leading dot or a control character, or more than 255 bytes"
    )]
    Name(String),
}

/// Finds a plugin: in the first directory that has a regular file of that name (links are
/// followed). As in v1, later directories are shadowed, and whether the file can be executed is
/// seen when it is run.
///
/// # Errors
/// When the name is none, or there is no such file.
pub fn find_in_dirs(name: &str, dirs: &[PathBuf]) -> Result<PathBuf, FindError> {
    check_name(name)?;
    if dirs.is_empty() {
        return Err(FindError::NoDirs);
    }
    dirs.iter().map(|dir| file_in(dir, name)).find(|path| path.is_file()).ok_or_else(|| {
        let dirs: Vec<_> = dirs.iter().map(|dir| dir.to_string_lossy()).collect();
        FindError::NotFound { name: name.to_owned(), dirs: dirs.join(" ") }
    })
}

/// Why a file that was found cannot be executed, where its mode says so: what to do about
/// "permission denied".
pub fn not_executable(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o111 == 0).then(|| {
        format!("the file is not executable (mode {mode:04o}): set its executable bit, chmod a+x")
    })
}

/// A directory "" is the current one; the path must not be taken for a name to look up in PATH.
fn file_in(dir: &Path, name: &str) -> PathBuf {
    if dir.as_os_str().is_empty() { Path::new(".").join(name) } else { dir.join(name) }
}

/// Refuses a name that could lead elsewhere.
pub(super) fn check_name(name: &str) -> Result<(), FindError> {
    if name.is_empty() {
        return Err(FindError::NoName);
    }
    let is_plain = name.len() <= 255
        && !name.starts_with('.')
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control);
    if is_plain { Ok(()) } else { Err(FindError::Name(capped_line(name, 100))) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn file(dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, "").unwrap();
        path
    }

    #[test]
    fn the_first_directory_with_a_regular_file_wins_and_links_are_followed() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = [first.path().to_owned(), second.path().to_owned()];
        let in_second = file(second.path(), "p");
        assert_eq!(find_in_dirs("p", &dirs), Ok(in_second.clone()));
        fs::create_dir(first.path().join("p")).unwrap();
        assert_eq!(find_in_dirs("p", &dirs), Ok(in_second.clone()), "a directory is no plugin");
        fs::remove_dir(first.path().join("p")).unwrap();
        symlink(&in_second, first.path().join("p")).unwrap();
        assert_eq!(find_in_dirs("p", &dirs), Ok(first.path().join("p")));
        symlink("/nowhere", first.path().join("dangling")).unwrap();
        assert!(find_in_dirs("dangling", &dirs).is_err());
    }

    #[test]
    fn errors_have_v1s_texts() {
        let dirs = [PathBuf::from("/no/a"), PathBuf::from("/no/b")];
        let text = |name: &str, dirs: &[PathBuf]| find_in_dirs(name, dirs).unwrap_err().to_string();
        assert_eq!(text("", &dirs), "plugin name is required");
        assert_eq!(text("x", &[]), "no paths provided to find a plugin");
        assert_eq!(text("x", &dirs), "failed to find plugin \"x\" in paths [/no/a /no/b]");
    }

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        let dirs = [PathBuf::from("/bin")];
        for name in ["..", ".", ".store", "../bin/sh", "/bin/sh", "a\0b", "a\nb", "a\\b"] {
            assert!(matches!(find_in_dirs(name, &dirs), Err(FindError::Name(_))), "{name:?}");
        }
        assert!(find_in_dirs(&"a".repeat(256), &dirs).is_err());
        assert!(find_in_dirs("-sh", &dirs).is_err_and(|e| matches!(e, FindError::NotFound { .. })));
    }

    #[test]
    fn the_empty_directory_is_the_current_one_and_never_path() {
        assert_eq!(file_in(Path::new(""), "sh"), Path::new("./sh"));
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "p");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            not_executable(&path).unwrap(),
            "the file is not executable (mode 0640): set its executable bit, chmod a+x"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(not_executable(&path), None);
    }
}
