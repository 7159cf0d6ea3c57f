//! The file that a Rego policy may be in: `policyPath`.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
};

/// A larger policy is refused anyway.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a policy, once.
///
/// # Errors
/// In Go's words, as v1 shows them: `open p: no such file or directory`.
pub(crate) fn read(path: &str) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("open {path}: {}", words(&error)))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|error| format!("read {path}: {}", words(&error)))?;
    Ok(text)
}

/// A namespace's policy is in its resource: a file would be one of Ratify's own.
///
/// # Errors
/// Always.
pub(crate) fn refuse(path: &str) -> Result<String, String> {
    Err(format!(
        "open {path}: a namespace's policy stands in its resource, not in a file of Ratify's"
    ))
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_said_in_gos_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.rego");
        let text = path.to_str().unwrap();
        assert_eq!(read(text).unwrap_err(), format!("open {text}: no such file or directory"));
        std::fs::write(&path, "package ratify.policy").unwrap();
        assert_eq!(read(text).unwrap(), "package ratify.policy");
        let folder = directory.path().to_str().unwrap();
        assert_eq!(read(folder).unwrap_err(), format!("read {folder}: is a directory"));
        assert_eq!(read("").unwrap_err(), "open : no such file or directory");
    }
}
