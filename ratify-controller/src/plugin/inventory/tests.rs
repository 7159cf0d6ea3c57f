//! The inventory against a real file system, and against a neighbour who writes into it.

use std::{io::Write as _, os::unix::fs::PermissionsExt as _, time::Duration, time::SystemTime};

use ratify_core::{Algorithm, Descriptor, media_type};
use tempfile::TempDir;

use super::*;

fn sha256(bytes: &[u8]) -> Digest {
    digest_of(Algorithm::Sha256, bytes)
}

fn record(name: &str, type_: &str, bytes: &[u8]) -> Record {
    let root = sha256(b"manifest");
    serde_json::from_value(serde_json::json!({
        "name": name, "kind": "verifier", "type": type_, "artifact": "example.com/p:1",
        "root": Descriptor::new(media_type::OCI_MANIFEST, root.clone(), 8),
        "manifest": root, "digest": sha256(bytes), "size": bytes.len(), "mediaType": "m",
        "platform": "linux/amd64", "installedAt": "2026-01-01T00:00:00Z",
    }))
    .unwrap()
}

/// Installs bytes as a program.
async fn install(inventory: &Inventory, record: &Record, bytes: &[u8]) -> InstalledPlugin {
    inventory.prepare("sha256").unwrap();
    let draft = inventory.draft(&record.digest).unwrap();
    draft.writer().unwrap().write_all(bytes).unwrap();
    let plugin = inventory.adopt(record, draft.close().unwrap()).unwrap();
    inventory.publish(record).unwrap();
    plugin
}

fn fixture() -> (TempDir, Inventory) {
    let folder = tempfile::tempdir().unwrap();
    let inventory = Inventory::of(folder.path().join("a/plugins"));
    (folder, inventory)
}

fn files_of(inventory: &Inventory) -> Vec<String> {
    let mut names: Vec<String> = files_below(inventory.directory());
    names.retain(|name| !name.ends_with(".lock"));
    names.sort();
    names
}

fn files_below(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.flat_map(|entry| match entry.file_type().unwrap().is_dir() {
        true => files_below(&entry.path()),
        false => vec![entry.path().display().to_string()],
    });
    names.collect()
}

#[tokio::test]
async fn an_installed_file_is_private_executable_and_shown_where_v1_put_it() {
    let (_folder, inventory) = fixture();
    let record = record("sample", "sample", b"program");
    let plugin = install(&inventory, &record, b"program").await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(plugin.path()), 0o500);
    assert_eq!(mode(&inventory.directory().join(STORE)), 0o700);
    let view = inventory.view_path("sample");
    assert_eq!(mode(&view), 0o500);
    assert_eq!(fs::read(&view).unwrap(), b"program");
    assert_eq!(fs::read_link(&view).unwrap(), Path::new(".store/sha256").join(record.digest.hex()));
    let run = plugin.open_for_run().unwrap();
    assert_eq!((run.path.as_path(), run.argv0.as_path()), (plugin.path(), view.as_path()));
    assert_eq!(inventory.record(&record.resource()), Some(record.clone()));
    let shown = inventory.open_view("sample").unwrap().unwrap();
    assert_eq!(shown.digest(), &record.digest);
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing_and_other_bytes_under_the_name_never_run() {
    let (_folder, inventory) = fixture();
    inventory.prepare("sha256").unwrap();
    let record = record("sample", "sample", b"program");
    for closed in [false, true] {
        let draft = inventory.draft(&record.digest).unwrap();
        draft.writer().unwrap().write_all(b"prog").unwrap();
        assert_eq!(files_of(&inventory).len(), 1);
        if closed {
            drop(draft.close().unwrap());
        } else {
            drop(draft);
        }
        assert_eq!(files_of(&inventory), Vec::<String>::new());
    }
    for (bytes, is_good) in [(&b"another"[..], false), (b"program", true)] {
        let draft = inventory.draft(&record.digest).unwrap();
        draft.writer().unwrap().write_all(bytes).unwrap();
        let plugin = inventory.adopt(&record, draft.close().unwrap()).unwrap();
        assert_eq!(plugin.open_for_run().is_ok(), is_good);
        assert_eq!(inventory.open(&record).is_ok(), is_good);
    }
}

#[tokio::test]
async fn a_rewritten_file_is_refused_at_the_next_start_and_one_put_back_runs_again() {
    let (_folder, inventory) = fixture();
    let record = record("sample", "sample", b"program");
    let plugin = install(&inventory, &record, b"program").await;
    fs::set_permissions(plugin.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(plugin.path(), b"PROGRAM").unwrap();
    let error = plugin.open_for_run().unwrap_err();
    assert!(matches!(error, InventoryError::Changed { .. }), "{error}");
    assert!(inventory.open(&record).is_err());
    fs::write(plugin.path(), b"program").unwrap();
    plugin.open_for_run().unwrap();
}

#[tokio::test]
async fn a_swapped_a_linked_and_a_removed_file_are_refused() {
    let (folder, inventory) = fixture();
    let record = record("sample", "sample", b"program");
    let plugin = install(&inventory, &record, b"program").await;
    let other = folder.path().join("other");
    fs::write(&other, b"PROGRAM").unwrap();
    fs::rename(&other, plugin.path()).unwrap();
    assert!(matches!(plugin.open_for_run(), Err(InventoryError::Changed { .. })));
    fs::remove_file(plugin.path()).unwrap();
    assert!(matches!(plugin.open_for_run(), Err(InventoryError::Missing(_))));
    fs::write(&other, b"program").unwrap();
    std::os::unix::fs::symlink(&other, plugin.path()).unwrap();
    assert!(matches!(plugin.open_for_run(), Err(InventoryError::Changed { .. })));
}

#[tokio::test]
async fn the_first_resource_by_name_owns_the_view() {
    let (_folder, inventory) = fixture();
    let (b, a, c) = (record("b", "t", b"b"), record("a", "t", b"a"), record("c", "t", b"c"));
    let mut plugins = Vec::new();
    for (record, bytes, shown) in [(&b, b"b", b"b"), (&a, b"a", b"a"), (&c, b"c", b"a")] {
        plugins.push(install(&inventory, record, bytes).await);
        assert_eq!(fs::read(inventory.view_path("t")).unwrap(), shown);
    }
    let names: Vec<String> = inventory.records().into_iter().map(|record| record.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    for (plugin, bytes) in plugins.iter().zip([b"b", b"a", b"c"]) {
        assert_eq!(fs::read(plugin.open_for_run().unwrap().path).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_file_of_v1_is_replaced_and_foreign_things_are_left_alone() {
    let (folder, inventory) = fixture();
    inventory.prepare("sha256").unwrap();
    let view = inventory.view_path("sample");
    fs::write(&view, b"from v1").unwrap();
    let record = record("sample", "sample", b"program");
    install(&inventory, &record, b"program").await;
    assert_eq!(fs::read(&view).unwrap(), b"program");
    fs::remove_file(&view).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, b"mine").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &view).unwrap();
    assert!(inventory.check("sample").unwrap_err().to_string().contains("is a link to elsewhere"));
    assert!(inventory.publish(&record).is_err());
    assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
    fs::remove_file(&view).unwrap();
    fs::create_dir(&view).unwrap();
    assert!(inventory.check("sample").unwrap_err().to_string().contains("is a directory"));
}

#[tokio::test]
async fn collection_takes_what_is_old_unnamed_and_unused_only() {
    let (_folder, inventory) = fixture();
    let (old, new) = (record("s", "s", b"old"), record("s", "s", b"newer"));
    let running = install(&inventory, &old, b"old").await;
    install(&inventory, &new, b"newer").await;
    inventory.keep_document(&sha256(b"{}"), b"{}").unwrap();
    let alive = inventory.draft(&sha256(b"x")).unwrap();
    let stale = inventory.content_path(&sha256(b"x")).with_file_name(".incoming-dead");
    fs::write(&stale, b"partial").unwrap();
    std::os::unix::fs::symlink("x", inventory.view_path(".incoming-link")).unwrap();

    let later = SystemTime::now() + Duration::from_secs(10);
    let within_grace = inventory.collect(later, Duration::from_secs(60)).unwrap();
    assert_eq!(within_grace, Collected::default());
    let first = inventory.collect(later, Duration::ZERO).unwrap();
    assert_eq!((first.files, first.temporaries), (1, 2), "{first:?}");
    running.open_for_run().unwrap();
    let guard = running.open_for_run().unwrap().guard;
    drop(running);
    assert_eq!(inventory.collect(later, Duration::ZERO).unwrap().files, 0);
    drop((guard, alive));
    assert_eq!(inventory.collect(later, Duration::ZERO).unwrap().files, 1);
    inventory.open(&new).unwrap();
    assert!(matches!(inventory.open(&old), Err(InventoryError::Missing(_))));
}

#[tokio::test]
async fn what_a_dead_writer_left_goes_at_once_and_what_has_a_writer_stays() {
    let (_folder, inventory) = fixture();
    inventory.prepare("sha256").unwrap();
    let alive = inventory.draft(&sha256(b"x")).unwrap();
    let named = inventory.content_path(&sha256(b"x"));
    let left = ["sha256", "documents", "sources"]
        .map(|folder| inventory.store().join(folder).join(".incoming-dead"));
    for path in &left {
        fs::write(path, b"partial").unwrap();
    }
    let link = inventory.view_path(".incoming-link");
    std::os::unix::fs::symlink("x", &link).unwrap();
    let closed = inventory.draft(&sha256(b"y")).unwrap().close().unwrap();

    inventory.remove_abandoned();
    assert!(left.iter().all(|path| !path.exists()) && fs::symlink_metadata(&link).is_err());
    let there = fs::read_dir(named.parent().unwrap()).unwrap().count();
    assert_eq!(there, 2, "the file with a writer, and the one to be named");
    drop(alive);
    closed.name().unwrap();
    inventory.remove_abandoned();
    assert!(inventory.content_path(&sha256(b"y")).exists());
    fs::remove_file(inventory.content_path(&sha256(b"y"))).unwrap();
    assert_eq!(fs::read_dir(named.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn directories_that_are_none_or_open_to_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let said = |inventory: &Inventory| inventory.check("t").unwrap_err().to_string();
    assert!(said(&Inventory::of(&file)).contains("is not a directory"));
    assert!(Inventory::of(&file).prepare("sha256").is_err());
    assert!(Inventory::of(file.join("below")).prepare("sha256").is_err());

    let inventory = Inventory::of(folder.path().join("plugins"));
    inventory.check("t").unwrap();
    inventory.prepare("sha256").unwrap();
    let store = inventory.store();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(said(&inventory).contains("writable by others"));
    fs::remove_dir_all(&store).unwrap();
    std::os::unix::fs::symlink(folder.path(), &store).unwrap();
    assert!(said(&inventory).contains("is not a directory"));
    assert!(inventory.prepare("sha256").is_err());
}

#[test]
fn a_plugin_directory_that_is_a_link_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("real", &link).unwrap();
    let inventory = Inventory::of(&link);
    inventory.check("t").unwrap();
    inventory.prepare("sha256").unwrap();
    assert!(folder.path().join("real/.store/sha256").is_dir());
}

#[test]
fn any_name_of_a_resource_is_one_plain_file_name() {
    let resource = |name: &str| Resource { name: name.to_owned(), kind: Kind::Store };
    let cases = [
        ("sample-1", "store-sample-1.json"),
        ("../../etc", "store-%2E%2E%2F%2E%2E%2Fetc.json"),
        ("a\0b%", "store-a%00b%25.json"),
        ("", "store-.json"),
    ];
    for (name, expected) in cases {
        assert_eq!(resource(name).file_name(), expected);
    }
    let long = resource(&"é".repeat(200)).file_name();
    assert!(long.len() < 100 && long != resource(&"é".repeat(201)).file_name());
}

#[test]
fn a_record_that_cannot_be_read_is_passed_over() {
    let (_folder, inventory) = fixture();
    inventory.prepare("sha256").unwrap();
    let record = record("s", "s", b"x");
    let path = inventory.sources().join(record.resource().file_name());
    for bytes in [&b""[..], b"{", b"{\"name\":\"s\"}", &[b'x'; 70_000]] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(inventory.record(&record.resource()), None);
    }
    inventory.publish(&record).unwrap();
    fs::rename(&path, inventory.sources().join("verifier-other.json")).unwrap();
    let other = Resource { name: "other".into(), kind: Kind::Verifier };
    assert_eq!(inventory.record(&other), None);
}

#[test]
fn a_document_is_given_only_while_it_is_whole() {
    let (_folder, inventory) = fixture();
    inventory.prepare("sha256").unwrap();
    let digest = sha256(b"{}");
    assert_eq!(inventory.document(&digest), None);
    inventory.keep_document(&digest, b"{}").unwrap();
    assert_eq!(inventory.document(&digest).as_deref(), Some(&b"{}"[..]));
    fs::write(inventory.document_path(&digest), b"[]").unwrap();
    assert_eq!(inventory.document(&digest), None);
}

#[tokio::test]
async fn a_long_program_is_whole_and_runs_at_once() {
    let (_folder, inventory) = fixture();
    let mut script = b"#!/bin/sh\nexit 0\n".to_vec();
    script.resize(20 << 20, b'#');
    let record = record("long", "long", &script);
    let plugin = install(&inventory, &record, &script).await;
    assert_eq!(fs::read(plugin.path()).unwrap(), script);
    // "Text file busy" where anybody still has it open for writing.
    assert!(std::process::Command::new(plugin.path()).status().unwrap().success());
}
