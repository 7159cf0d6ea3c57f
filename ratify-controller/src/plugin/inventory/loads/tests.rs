//! The record of loads keeps each line, however it is written, and bounds itself by whole files.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::json;

use super::*;

fn inventory() -> (tempfile::TempDir, Inventory) {
    let folder = tempfile::tempdir().unwrap();
    let inventory = Inventory::of(folder.path());
    inventory.prepare("sha256").unwrap();
    (folder, inventory)
}

fn load(name: &str) -> Load {
    let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
    serde_json::from_value(json!({
        "time": "2026-01-01T00:00:00.000Z", "kind": "Verifier", "namespace": "", "name": name,
        "type": "t", "artifact": "r.example.com/t:1", "root": digest("a"), "manifest": digest("b"),
        "program": digest("c"), "platform": "linux/amd64", "size": 1, "who": "pod", "outcome": "downloaded",
    }))
    .unwrap()
}

fn names(inventory: &Inventory) -> Vec<String> {
    inventory.loads().unwrap().loads.into_iter().map(|load| load.name).collect()
}

#[test]
fn a_line_is_a_contract() {
    let (_folder, inventory) = inventory();
    inventory.record_load(&load("v\n\u{1b}")).unwrap();
    let path = inventory.loads_folder().join("loads.jsonl");
    insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"{"time":"2026-01-01T00:00:00.000Z","kind":"Verifier","namespace":"","name":"v\n\u001b","type":"t","artifact":"r.example.com/t:1","root":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","manifest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","program":"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc","platform":"linux/amd64","size":1,"who":"pod","outcome":"downloaded"}"#);
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_full_file_is_put_aside_whole_and_only_the_oldest_goes() {
    let (_folder, inventory) = inventory();
    let length = serde_json::to_vec(&load("000")).unwrap().len() as u64 + 1;
    let last = 3 * (u64::from(MAX_OLD_FILES) + 3);
    for number in 0..last {
        inventory.append_load(&load(&format!("{number:03}")), 3 * length).unwrap();
        let kept = names(&inventory);
        assert_eq!(kept.last().unwrap(), &format!("{number:03}"));
        let first = number + 1 - kept.len() as u64;
        let expected: Vec<String> = (first..=number).map(|n| format!("{n:03}")).collect();
        assert_eq!(kept, expected, "in order and none missing");
        assert!(first.is_multiple_of(3) && first <= last, "whole files only");
    }
    let files = fs::read_dir(inventory.loads_folder()).unwrap().count();
    assert_eq!(files, MAX_OLD_FILES as usize + 1);
}

#[test]
fn what_a_dead_process_left_of_a_line_costs_no_other() {
    let (_folder, inventory) = inventory();
    inventory.record_load(&load("before")).unwrap();
    let path = inventory.loads_folder().join("loads.jsonl");
    let mut file = File::options().append(true).open(path).unwrap();
    file.write_all(br#"{"time":"20"#).unwrap();
    inventory.record_load(&load("after")).unwrap();
    assert_eq!(names(&inventory), ["before", "after"]);
    assert_eq!(inventory.loads().unwrap().unreadable, 1);
}

#[test]
fn many_at_once_lose_nothing() {
    let (_folder, inventory) = inventory();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let inventory = &inventory;
            scope.spawn(move || {
                for number in 0..20 {
                    let load = load(&format!("{thread}-{number}"));
                    inventory.append_load(&load, 20_000).unwrap();
                }
            });
        }
    });
    let mut names = names(&inventory);
    names.sort();
    names.dedup();
    assert_eq!((names.len(), inventory.loads().unwrap().unreadable), (160, 0));
}

#[test]
fn a_record_that_is_somebody_elses_is_not_written_to() {
    let (folder, inventory) = inventory();
    let loads = inventory.loads_folder();
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &loads).unwrap();
    assert!(matches!(inventory.record_load(&load("v")), Err(InventoryError::NotADirectory(_))));
    fs::remove_file(&loads).unwrap();
    inventory.record_load(&load("v")).unwrap();
    let path = loads.join("loads.jsonl");
    fs::hard_link(&path, elsewhere.join("copy")).unwrap();
    assert!(matches!(inventory.record_load(&load("v")), Err(InventoryError::OpenToOthers(_))));
    fs::remove_file(&path).unwrap();
    symlink(elsewhere.join("copy"), &path).unwrap();
    assert!(inventory.record_load(&load("v")).is_err());
    assert!(inventory.loads().is_err());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(inventory.record_load(&load("v")).is_err());
}
