//! The layer below the programs: what a program expects of a system, and nothing that runs.
//! Certificate authorities come from a crate, so that the lock file says which; time zones from
//! this machine's `tzdata`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::archive::{NONROOT, ROOT, Tree};

/// Where time zones are, on this machine and in the image.
const ZONES: &str = "/usr/share/zoneinfo";
/// Names that are no zones of their own: two more sets of all zones, and what this machine chose.
const NO_ZONES: [&str; 4] = ["localtime", "posix", "posixrules", "right"];
/// How a compiled time zone begins (RFC 9636).
const ZONE_MAGIC: &[u8] = b"TZif";

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
";
const GROUP: &str = "root:x:0:
nobody:x:65534:
nonroot:x:65532:
";
/// Without it, programs built by Go ask a name server before they look into `/etc/hosts`.
const NSSWITCH: &str = "hosts: files dns\n";

/// The files of the layer.
///
/// # Errors
/// When this machine has no time zones, or the licence cannot be read.
pub(crate) fn tree(root: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file("etc/passwd", 0o644, PASSWD.into());
    tree.file("etc/group", 0o644, GROUP.into());
    tree.file("etc/nsswitch.conf", 0o644, NSSWITCH.into());
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities().into_bytes());
    tree.folder("root", 0o700, ROOT);
    tree.folder("home/nonroot", 0o700, NONROOT);
    tree.folder("tmp", 0o1777, ROOT);
    // Where v1's image has its plugins, and where a volume for new ones is mounted.
    tree.folder(".ratify", 0o755, NONROOT);
    tree.folder(".ratify/plugins", 0o755, NONROOT);
    let licence = fs::read(root.join("LICENSE")).context("cannot read LICENSE")?;
    tree.file("usr/share/doc/ratify/LICENSE", 0o644, licence);
    zones(&mut tree)?;
    Ok(tree)
}

/// Mozilla's certificate authorities as one PEM file.
fn authorities() -> String {
    let mut text = String::new();
    for authority in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let encoded = STANDARD.encode(authority);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            // Base64 is ASCII, so every index is a boundary.
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// The time zones of this machine. Names of the same zone are links to the first of them, however
/// this machine keeps them.
fn zones(tree: &mut Tree) -> Result<()> {
    let mut files = Vec::new();
    list(Path::new(ZONES), "", &mut files).with_context(|| {
        format!("cannot read {ZONES}; install tzdata (`cargo xtask tools` does)")
    })?;
    files.sort();
    let mut first: HashMap<Vec<u8>, String> = HashMap::new();
    for name in files {
        let bytes = fs::read(Path::new(ZONES).join(&name))?;
        let path = format!("{}/{name}", &ZONES[1..]);
        if bytes.starts_with(ZONE_MAGIC) {
            if let Some(target) = first.get(&bytes) {
                tree.link(&path, &relative(&name, target));
                continue;
            }
            first.insert(bytes.clone(), name);
        }
        tree.file(&path, 0o644, bytes);
    }
    if first.is_empty() {
        bail!("there is no time zone in {ZONES}; install tzdata again");
    }
    Ok(())
}

/// The zones below a folder, and the tables about them.
fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if prefix.is_empty() && NO_ZONES.contains(&name.as_str()) {
            continue;
        }
        // Follows links: how this machine keeps a second name is not the image's business.
        let path = entry.path();
        if fs::metadata(&path)?.is_dir() {
            list(&path, &format!("{prefix}{name}/"), files)?;
        } else {
            files.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

/// The target of a link at `name` that leads to `target`, both below the same folder.
fn relative(name: &str, target: &str) -> String {
    format!("{}{target}", "../".repeat(name.matches('/').count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_authority_is_one_pem_block_of_short_lines() {
        let text = authorities();
        let begun = text.matches("-----BEGIN CERTIFICATE-----\n").count();
        assert_eq!(begun, webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(begun > 100, "{begun}");
        assert!(text.lines().all(|line| !line.is_empty() && line.len() <= 64));
    }

    #[test]
    fn a_link_leads_from_its_own_folder() {
        assert_eq!(relative("Cuba", "America/Havana"), "America/Havana");
        assert_eq!(relative("US/Eastern", "America/New_York"), "../America/New_York");
        assert_eq!(relative("a/b/c", "a/b/d"), "../../a/b/d");
    }

    #[test]
    fn the_user_of_the_image_is_in_both_files() {
        assert!(PASSWD.contains(&format!("nonroot:x:{NONROOT}:{NONROOT}:")));
        assert!(GROUP.contains(&format!("nonroot:x:{NONROOT}:")));
    }
}
