//! The files of a layer, and the layer as an archive: the same files give the same bytes, on any
//! machine and at any time.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use crate::sha256;

/// The user and group that the programs of the image run as.
pub(crate) const NONROOT: u64 = 65532;
/// The user and group of what nobody changes.
pub(crate) const ROOT: u64 = 0;

/// What a path of a layer is.
enum Content {
    Folder,
    File(Vec<u8>),
    Link(String),
}

struct Entry {
    mode: u32,
    owner: u64,
    content: Content,
}

/// The files of a layer by their paths, which have no slash in front.
#[derive(Default)]
pub(crate) struct Tree(BTreeMap<String, Entry>);

/// A layer as it lies in a layout.
pub(crate) struct Layer {
    /// What made it, for the image's history.
    pub(crate) made_by: &'static str,
    /// The compressed archive.
    pub(crate) bytes: Vec<u8>,
    /// The digest of the archive before it is compressed (OCI image specification, "Layer DiffID").
    pub(crate) diff_id: String,
}

impl Tree {
    /// Adds a folder.
    pub(crate) fn folder(&mut self, path: &str, mode: u32, owner: u64) {
        self.add(path, Entry { mode, owner, content: Content::Folder });
    }

    /// Adds a file that belongs to root.
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.add(path, Entry { mode, owner: ROOT, content: Content::File(bytes) });
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        let content = Content::Link(target.to_owned());
        self.add(path, Entry { mode: 0o777, owner: ROOT, content });
    }

    /// The folders above a path that nobody has added belong to root and can be read by all.
    fn add(&mut self, path: &str, entry: Entry) {
        let above = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        for folder in above {
            let plain = Entry { mode: 0o755, owner: ROOT, content: Content::Folder };
            self.0.entry(folder).or_insert(plain);
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// The archive, sorted by path. Every entry has the same time.
    ///
    /// # Errors
    /// When a path does not fit into an archive.
    pub(crate) fn layer(&self, made_by: &'static str, time: u64) -> Result<Layer> {
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            append(&mut archive, path, entry, time)
                .with_context(|| format!("cannot put {path} into a layer"))?;
        }
        let archive = archive.into_inner().context("cannot finish a layer")?;
        // Neither the time of compression nor the system it ran on is part of the layer.
        let header = GzBuilder::new().mtime(0).operating_system(255);
        let mut compressed = header.write(Vec::new(), Compression::new(9));
        compressed.write_all(&archive)?;
        let bytes = compressed.finish().context("cannot compress a layer")?;
        let diff_id = format!("sha256:{}", sha256::of_bytes(&archive));
        Ok(Layer { made_by, bytes, diff_id })
    }
}

fn append(archive: &mut Builder<Vec<u8>>, path: &str, entry: &Entry, time: u64) -> Result<()> {
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
        bail!("it is no path below the root");
    }
    let mut header = Header::new_ustar();
    header.set_mode(entry.mode);
    header.set_uid(entry.owner);
    header.set_gid(entry.owner);
    header.set_mtime(time);
    header.set_size(0);
    match &entry.content {
        Content::Folder => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Content::File(bytes) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
        Content::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            archive.append_link(&mut header, path, target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.file("app/ratify", 0o755, b"program".to_vec());
        tree.folder("tmp", 0o1777, ROOT);
        tree.folder(".ratify", 0o755, NONROOT);
        tree.link("zone/UTC", "Etc/UTC");
        tree
    }

    #[test]
    fn entries_are_sorted_and_carry_mode_owner_and_the_one_time() {
        let layer = tree().layer("a test", 7).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(layer.bytes.as_slice()));
        let lines = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string());
            let (header, path) = (entry.header(), entry.path().unwrap());
            let (mode, user) = (header.mode().unwrap(), header.uid().unwrap());
            let (group, time) = (header.gid().unwrap(), header.mtime().unwrap());
            let path = path.display();
            let content = link.unwrap_or(text);
            format!("{mode:04o} {user}:{group} {time} {path} {content:?}")
        });
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
        0755 65532:65532 7 .ratify/ ""
        0755 0:0 7 app/ ""
        0755 0:0 7 app/ratify "program"
        1777 0:0 7 tmp/ ""
        0755 0:0 7 zone/ ""
        0777 0:0 7 zone/UTC "Etc/UTC"
        "#);
    }

    #[test]
    fn the_same_files_give_the_same_bytes_and_another_time_gives_others() {
        let (one, other) = (tree().layer("a", 7).unwrap(), tree().layer("b", 7).unwrap());
        assert_eq!((&one.bytes, &one.diff_id), (&other.bytes, &other.diff_id));
        assert_ne!(tree().layer("a", 8).unwrap().diff_id, one.diff_id);
    }

    #[test]
    fn a_path_that_leads_out_of_the_root_is_refused() {
        for path in ["/etc/passwd", "a/../../etc", ""] {
            let mut tree = Tree::default();
            tree.file(path, 0o644, Vec::new());
            assert!(tree.layer("a test", 0).is_err(), "{path:?}");
        }
    }
}
