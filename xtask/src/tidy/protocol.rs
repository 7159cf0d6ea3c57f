//! The protocol and its document change together. The document carries the hash of the source;
//! whoever changes the source reads the document, mends it, and blesses the new hash.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use crate::sha256;

/// The source of the wire.
const SOURCE: &str = "ratify-plugin-sdk/src/protocol";
/// The language-neutral contract.
const DOCUMENT: &str = "docs/PLUGIN-PROTOCOL.md";
/// What the hash stands between.
const BEFORE: &str = "<!-- protocol-hash: ";
const AFTER: &str = " -->";

/// Compares the hash of the source with the one in the document.
///
/// # Errors
/// When a file of the source is there and cannot be read.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    if !root.join(SOURCE).is_dir() {
        return Ok(vec![format!("{SOURCE}: is missing; tidy looks for the protocol there")]);
    }
    let hash = hash(&source(root)?);
    let document = fs::read_to_string(root.join(DOCUMENT)).ok();
    Ok(compare(&hash, document.as_deref()).into_iter().collect())
}

/// Writes the hash into the document, in place of the old one or as its last line.
///
/// # Errors
/// When the document is missing, or a file cannot be read or written.
pub(crate) fn bless(root: &Path) -> Result<()> {
    let path = root.join(DOCUMENT);
    let document =
        fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}; write it"))?;
    let hash = hash(&source(root)?);
    fs::write(&path, with_hash(&document, &hash))
        .with_context(|| format!("cannot write {DOCUMENT}"))?;
    println!("{DOCUMENT} now stands for {SOURCE} as it is ({hash})");
    Ok(())
}

/// Name and content of each file of the source, sorted by name.
fn source(root: &Path) -> Result<Vec<(String, String)>> {
    let folder = root.join(SOURCE);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {SOURCE}"))?;
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rs") {
            let content = fs::read_to_string(folder.join(&name))
                .with_context(|| format!("cannot read {SOURCE}/{name}"))?;
            files.push((name, content));
        }
    }
    files.sort();
    Ok(files)
}

fn hash(files: &[(String, String)]) -> String {
    let text: String = files.iter().map(|(name, content)| format!("{name}\n{content}")).collect();
    sha256::of_bytes(text.as_bytes())
}

fn compare(hash: &str, document: Option<&str>) -> Option<Finding> {
    let Some(document) = document else {
        return Some(format!("{DOCUMENT}: is missing; the protocol has no contract"));
    };
    (written_hash(document) != Some(hash)).then(|| {
        format!(
            "{DOCUMENT}: {SOURCE} changed since this document was last read against it; mend \
             the document, then run: cargo xtask tidy --bless-protocol"
        )
    })
}

fn written_hash(document: &str) -> Option<&str> {
    document.lines().find_map(|line| line.strip_prefix(BEFORE)?.strip_suffix(AFTER))
}

fn with_hash(document: &str, hash: &str) -> String {
    let line = format!("{BEFORE}{hash}{AFTER}");
    match written_hash(document) {
        Some(old) => document.replace(&format!("{BEFORE}{old}{AFTER}"), &line),
        None => format!("{}\n\n{line}\n", document.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(content: &str) -> Vec<(String, String)> {
        vec![("mod.rs".to_owned(), content.to_owned())]
    }

    #[test]
    fn a_changed_source_is_found_until_it_is_blessed() {
        let old = hash(&files("pub struct Output;"));
        let new = hash(&files("pub struct Output; // changed"));
        let document = with_hash("# The wire\n", &old);
        assert_eq!(compare(&old, Some(&document)), None);
        let finding = compare(&new, Some(&document)).unwrap();
        assert!(finding.contains("--bless-protocol"), "{finding}");
        assert_eq!(compare(&new, Some(&with_hash(&document, &new))), None);
    }

    #[test]
    fn blessing_changes_one_line_and_adds_none() {
        let once = with_hash("# The wire\n", "aa");
        assert_eq!(with_hash(&once, "bb"), once.replace("aa", "bb"));
    }

    #[test]
    fn a_document_that_is_missing_or_has_no_hash_is_found() {
        assert!(compare("aa", None).is_some());
        assert!(compare("aa", Some("# The wire\n")).is_some());
    }
}
