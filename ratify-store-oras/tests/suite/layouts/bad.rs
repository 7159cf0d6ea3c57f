//! Layouts that are none, or say what they do not hold: each is an error that says which.

use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::symlink,
    path::Path,
};

use ratify_core::{Context, Reference, ReferrerStore as _, media_type};
use serde_json::json;

use super::{NAMES, REPOSITORY, Written, open, read, store, tagged};

/// What reading all of the image says.
async fn said(path: &Path) -> String {
    let read = match store(path) {
        Ok(store) => read(&store, &tagged()).await.map(|_| ()),
        Err(error) => Err(error),
    };
    read.expect_err("it was taken").to_string()
}

#[tokio::test]
async fn a_good_one_is_read_from_a_directory_and_from_archives_in_every_form() {
    let written = Written::new();
    let expected = vec!["application/x signed".to_owned()];
    assert_eq!(read(&store(written.path()).unwrap(), &tagged()).await.unwrap().1, expected);
    for format in ["ustar", "gnu", "pax", "oldgnu"] {
        let option = format!("--format={format}");
        for names in [&NAMES[..], &["./oci-layout", "./blobs", "./index.json"]] {
            let archive = written.archive(&[&option], names);
            let found = read(&store(&archive).unwrap(), &tagged()).await;
            assert_eq!(found.unwrap().1, expected, "{format} {names:?}");
        }
    }
}

#[tokio::test]
async fn one_that_changes_is_read_as_it_is_now() {
    let written = Written::new();
    for path in [written.path().to_owned(), written.archive(&[], &NAMES)] {
        written.index(&[written.named("v1"), written.signature.clone()]);
        if path.is_file() {
            written.archive(&[], &NAMES);
        }
        let store = store(&path).unwrap();
        assert_eq!(read(&store, &tagged()).await.unwrap().1.len(), 1);
        written.index(&[written.named("v1")]);
        if path.is_file() {
            written.archive(&[], &NAMES);
        }
        assert!(read(&store, &tagged()).await.unwrap().1.is_empty());
    }
}

#[tokio::test]
async fn blobs_that_are_missing_changed_cut_or_elsewhere_are_errors() {
    type Break = fn(&Path);
    let breaks: [(Break, &str); 6] = [
        (|blob| fs::remove_file(blob).unwrap(), "not found"),
        (|blob| change(blob), "mismatched digest"),
        (
            |blob| File::options().write(true).open(blob).unwrap().set_len(3).unwrap(),
            "mismatched size",
        ),
        (|blob| away(blob), "a link in it is not followed"),
        (|blob| pipe(blob), "it is no regular file"),
        (|blob| directory(blob), "it is no regular file"),
    ];
    for (number, (break_, reason)) in breaks.into_iter().enumerate() {
        for part in ["image", "signature", "blob"] {
            let written = Written::new();
            break_(&written.blob_of(match part {
                "image" => &written.image,
                "signature" => &written.signature,
                _ => &written.blob,
            }));
            let said = said(written.path()).await;
            assert!(said.contains(reason), "{number} {part}: {said}");
        }
    }
}

#[tokio::test]
async fn a_link_on_the_way_is_not_followed_wherever_it_leads() {
    for name in ["index.json", "oci-layout", "blobs", "blobs/sha256"] {
        let written = Written::new();
        let (from, to) = (written.path().join(name), written.path().join("elsewhere"));
        fs::rename(&from, &to).unwrap();
        symlink(&to, &from).unwrap();
        let said = said(written.path()).await;
        assert!(
            said.contains("a link in it is not followed") || said.contains("Not a directory"),
            "{name}: {said}"
        );
    }
}

#[tokio::test]
async fn an_index_that_can_be_read_in_two_ways_or_not_at_all_is_refused() {
    let written = Written::new();
    let image = written.image.to_string();
    let cases = [
        (format!(r#"{{"manifests":[],"config":{image}}}"#), "of a manifest and of an index"),
        (r#"{"manifests":[],"manifests":[]}"#.to_owned(), "malformed"),
        (r#"{"Manifests":[]}"#.to_owned(), "spells the key"),
        (r#"{"manifests":"#.to_owned(), "malformed"),
        (format!(r#"{{"mediaType":"{}","manifests":[]}}"#, media_type::OCI_MANIFEST), "served as"),
        (" ".repeat(5 << 20), "larger than the limit"),
    ];
    for (index, reason) in cases {
        fs::write(written.path().join("index.json"), index).unwrap();
        let said = said(written.path()).await;
        assert!(said.contains(reason), "{reason}: {said}");
    }
    written.index(&[written.named("v1"), {
        let mut other = written.named("v1");
        other["digest"] = written.signature["digest"].clone();
        other
    }]);
    assert!(said(written.path()).await.contains("two different entries"));
    for marker in ["", "{}", r#"{"imageLayoutVersion":"2.0.0"}"#] {
        fs::write(written.path().join("oci-layout"), marker).unwrap();
        assert!(said(written.path()).await.contains("its version is not 1.0.0"), "{marker}");
    }
}

#[tokio::test]
async fn a_manifest_that_is_also_an_index_is_refused() {
    let written = Written::new();
    let both = written.document(&json!({
        "config": written.blob, "layers": [], "manifests": [], "subject": written.image,
    }));
    written.index(&[written.named("v1"), both]);
    assert!(said(written.path()).await.contains("of a manifest and of an index"));
}

#[tokio::test]
async fn one_artifact_listed_in_two_ways_is_refused() {
    let written = Written::new();
    let mut listed = written.signature.clone();
    listed["artifactType"] = json!("application/other");
    let list = json!({"schemaVersion": 2, "manifests": [listed]});
    let mut list = written.add(media_type::OCI_INDEX, list.to_string().as_bytes());
    let tag = written.image["digest"].as_str().unwrap().replace(':', "-");
    list["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    written.index(&[written.named("v1"), written.signature.clone(), list]);
    assert!(said(written.path()).await.contains("is listed twice"));
}

#[tokio::test]
async fn a_bare_tag_says_nothing_where_no_repository_is_configured() {
    let written = Written::new();
    let anybodys = open(&json!({"name": "oci-layout", "path": written.path()})).unwrap();
    let refused = read(&anybodys, &tagged()).await.unwrap_err().to_string();
    assert!(refused.contains("not found"), "{refused}");
    let digest = written.image["digest"].as_str().unwrap();
    let pinned = format!("registry.example.com/any@{digest}");
    assert_eq!(read(&anybodys, &pinned).await.unwrap().1.len(), 1);
    written.index(&[written.named(&tagged()), written.signature.clone()]);
    assert_eq!(read(&anybodys, &tagged()).await.unwrap().1.len(), 1);
    // Of another repository this layout knows nothing, not even what is in it.
    let others = Reference::parse(&pinned).unwrap();
    let own = store(written.path()).unwrap();
    assert!(own.resolve(&others, &Context::default()).await.is_err());
    assert!(REPOSITORY != others.path());
}

#[tokio::test]
async fn archives_that_two_readers_would_read_in_two_ways_are_refused() {
    let cases: [(&[&str], &[&str], &str); 5] = [
        (&["-P", "--transform=s,^index,/index,"], &NAMES, "leads out"),
        (&["--transform=s,^index,../index,"], &NAMES, "leads out"),
        (&["--hard-dereference"], &["oci-layout", "index.json", "index.json", "blobs"], "twice"),
        (&[], &["oci-layout", "index.json", "blobs", "link"], "no file and no directory"),
        (&["-z"], &NAMES, "neither a directory nor a plain tar archive"),
    ];
    for (options, names, reason) in cases {
        let written = Written::new();
        symlink("/etc/passwd", written.path().join("link")).unwrap();
        let archive = written.archive(options, names);
        let said = said(&archive).await;
        assert!(said.contains(reason), "{options:?} {names:?}: {said}");
    }
}

#[tokio::test]
async fn an_archive_cut_anywhere_or_changed_in_a_header_is_refused() {
    let written = Written::new();
    let archive = written.archive(&["-b", "1"], &NAMES);
    let length = fs::metadata(&archive).unwrap().len();
    let whole = fs::read(&archive).unwrap();
    for cut in (0..length - 512).step_by(256) {
        fs::write(&archive, &whole[..usize::try_from(cut).unwrap()]).unwrap();
        let said = said(&archive).await;
        assert!(said.contains("truncated"), "{cut}: {said}");
    }
    fs::write(&archive, &whole).unwrap();
    let mut file = File::options().write(true).open(&archive).unwrap();
    file.seek(SeekFrom::Start(513 * 2)).unwrap();
    file.write_all(b"x").unwrap();
    assert!(said(&archive).await.contains("not its checksum"));
    fs::write(&archive, [&whole[..whole.len() - 512], &[1; 512]].concat()).unwrap();
    assert!(said(&archive).await.contains("goes on behind its end"));
    fs::write(&archive, "no archive at all").unwrap();
    assert!(said(&archive).await.contains("truncated"));
}

/// Whatever is in a header, the archive is refused or read, and what is read is proven. (A byte of
/// `index.json` can take an entry off it: nothing proves that.)
#[tokio::test]
async fn no_byte_of_an_archive_ends_the_process() {
    let written = Written::new();
    let archive = written.archive(&["--format=pax"], &NAMES);
    let whole = fs::read(&archive).unwrap();
    let expected = vec!["application/x signed".to_owned()];
    for place in (0..whole.len()).step_by(29) {
        for byte in [0, b'7', 0xff] {
            let mut changed = whole.clone();
            changed[place] = byte;
            fs::write(&archive, changed).unwrap();
            let Ok(store) = store(&archive) else { continue };
            if let Ok((_, texts)) = read(&store, &tagged()).await {
                assert!(texts.is_empty() || texts == expected, "{place} {byte}: {texts:?}");
            }
        }
    }
}

/// Other bytes of the same length.
fn change(blob: &Path) {
    let mut bytes = fs::read(blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(blob, bytes).unwrap();
}

/// The right bytes, but by a link to a file outside.
fn away(blob: &Path) {
    let outside = blob.ancestors().nth(3).unwrap().with_extension("outside");
    fs::rename(blob, &outside).unwrap();
    symlink(&outside, blob).unwrap();
}

fn pipe(blob: &Path) {
    fs::remove_file(blob).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, blob, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

fn directory(blob: &Path) {
    fs::remove_file(blob).unwrap();
    fs::create_dir(blob).unwrap();
}
