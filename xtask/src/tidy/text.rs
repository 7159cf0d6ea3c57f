//! The text files of the tree, read once for every rule.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

/// One text file.
#[derive(Debug)]
pub(crate) struct Text {
    /// Its path from the root.
    pub(crate) name: String,
    /// Its content.
    pub(crate) content: String,
}

impl Text {
    /// Whether it is Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        self.name.ends_with(".rs")
    }
}

/// Reads those of the files that are UTF-8; others are data. A file that git tracks and that is
/// gone from the disk is about to be removed and is passed over.
///
/// # Errors
/// When a file is there and cannot be read.
pub(crate) fn read(root: &Path, files: &[String]) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for name in files {
        let path = root.join(name);
        if path.is_symlink() || path.is_dir() {
            continue;
        }
        match fs::read(&path) {
            Ok(bytes) => {
                if let Ok(content) = String::from_utf8(bytes) {
                    texts.push(Text { name: name.clone(), content });
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        }
    }
    Ok(texts)
}
