//! Token files: a token that the cluster writes, renews, and may write late. It is read each time
//! it is needed.

use std::{fs::OpenOptions, io::Read, os::unix::fs::OpenOptionsExt, path::Path};

use ratify_core::capped_line;

use crate::auth::Secret;

/// No token is longer.
const MAX_BYTES: u64 = 64 << 10;

/// The token in a file as it is now, without the white space around it. A pipe does not block.
///
/// # Errors
/// Why there is none: the path and a reason, nothing of the content.
pub(in crate::auth) fn read(path: &Path) -> Result<Secret, String> {
    let said = |why: &dyn std::fmt::Display| {
        format!("the token file {}: {why}", capped_line(&path.display().to_string(), 300))
    };
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(nonblocking).open(path).map_err(|e| said(&e))?;
    if !file.metadata().map_err(|error| said(&error))?.is_file() {
        return Err(said(&"not a file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|_| said(&"not a text"))?;
    let token = text.trim();
    let is_token = |b: u8| b.is_ascii_graphic();
    match text.len() as u64 {
        length if length > MAX_BYTES => Err(said(&"longer than 64 KiB")),
        _ if token.is_empty() => Err(said(&"empty")),
        _ if !token.bytes().all(is_token) => Err(said(&"not one token")),
        _ => Ok(Secret::new(token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_now_and_without_white_space() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        assert!(read(&path).unwrap_err().ends_with("No such file or directory (os error 2)"));
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(read(&path).unwrap().reveal(), "one");
        std::fs::write(&path, " two \r\n").unwrap();
        assert_eq!(read(&path).unwrap().reveal(), "two");
    }

    /// As the cluster renews a token: a link to a folder is put in place of another.
    #[test]
    fn a_token_that_is_renewed_by_a_link_is_read_at_once_and_never_half() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let renew = |number: usize| {
            let folder = at(&format!("..{number}"));
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("token"), format!("token-{number}\n")).unwrap();
            std::os::unix::fs::symlink(&folder, at("..next")).unwrap();
            std::fs::rename(at("..next"), at("..data")).unwrap();
        };
        renew(0);
        std::os::unix::fs::symlink("..data/token", at("token")).unwrap();
        for number in 1..50 {
            assert_eq!(read(&at("token")).unwrap().reveal(), format!("token-{}", number - 1));
            renew(number);
            assert_eq!(read(&at("token")).unwrap().reveal(), format!("token-{number}"));
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let long = "a".repeat(65 << 10);
        for content in
            [&b""[..], b" \n", b"hunter2 hunter2", b"hunter2\xff", b"a\0b", long.as_bytes()]
        {
            std::fs::write(&path, content).unwrap();
            let error = read(&path).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(read(directory.path()).is_err());
    }

    #[test]
    fn a_pipe_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(read(&path).unwrap_err().ends_with("not a file"));
    }
}
