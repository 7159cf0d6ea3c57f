//! `<plugins>/<type>`: a link to what is installed, where v1 put the file itself.
//!
//! What an installer put there is replaced in one step: our own link, or a plain file, which v1
//! overwrites too. A directory, a link to elsewhere (v1 writes through it) and anything odder is
//! somebody else's and stays.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
};

use ratify_core::{Algorithm, Digest};

use super::{
    InventoryError, STORE,
    contents::{self, TEMPORARY, folder_of},
    error::Attempt as _,
};

/// What stands where the link goes.
enum Now {
    Nothing,
    Ours(Digest),
    PlainFile,
    Foreign(&'static str),
}

/// Refuses a name that is taken by something foreign.
pub(super) fn check(path: &Path) -> Result<(), InventoryError> {
    match now(path)? {
        Now::Foreign(what) => Err(InventoryError::NameTaken { path: path.to_owned(), what }),
        Now::Nothing | Now::Ours(_) | Now::PlainFile => Ok(()),
    }
}

/// The digest the link shows; `None` where there is no link of ours.
pub(super) fn shown_digest(path: &Path) -> Option<Digest> {
    match now(path) {
        Ok(Now::Ours(digest)) => Some(digest),
        _ => None,
    }
}

/// Points the link to a digest, in one step.
pub(super) fn show(path: &Path, digest: &Digest) -> Result<(), InventoryError> {
    check(path)?;
    if let Ok(Now::PlainFile) = now(path) {
        tracing::info!("the plugin file {} is replaced by the installed one", path.display());
    }
    let folder = folder_of(path);
    let target = target(digest);
    let link = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .make_in(folder, |temporary| symlink(&target, temporary))
        .attempt("creating a link in", folder)?;
    link.into_temp_path().persist(path).map_err(|error| error.error).attempt("replacing", path)
}

/// Takes the link away. What is none of ours stays.
pub(super) fn hide(path: &Path) -> Result<(), InventoryError> {
    if shown_digest(path).is_none() {
        return Ok(());
    }
    contents::remove(path).attempt("removing", path)
}

/// Relative, so that the directory may be moved or mounted elsewhere.
fn target(digest: &Digest) -> PathBuf {
    [STORE, digest.algorithm().name(), digest.hex()].iter().collect()
}

fn now(path: &Path) -> Result<Now, InventoryError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Now::Nothing),
        Err(error) => return Err(error).attempt("looking at", path),
    };
    if found.is_symlink() {
        let target = fs::read_link(path).attempt("reading the link", path)?;
        return Ok(digest_in(&target).map_or(Now::Foreign("a link to elsewhere"), Now::Ours));
    }
    Ok(match found {
        found if found.is_file() => Now::PlainFile,
        found if found.is_dir() => Now::Foreign("a directory"),
        _ => Now::Foreign("no plain file"),
    })
}

/// `.store/sha256/<hex>`, and nothing else.
fn digest_in(target: &Path) -> Option<Digest> {
    let parts: Vec<&str> = target
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let [STORE, algorithm, hex] = parts[..] else { return None };
    let known = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
    let algorithm = known.into_iter().find(|known| known.name() == algorithm)?;
    Digest::new(algorithm, hex).ok()
}
