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
    let first = inventory.loads().unwrap().loads[0].clone();
    let digest = inventory.record_load(&load("w")).unwrap();
    let second = inventory.loads().unwrap().loads[1].previous.clone().unwrap();
    let line = serde_json::to_vec(&first).unwrap();
    assert_eq!(second, digest_of(Algorithm::Sha256, &line));
    let head = inventory.check_loads(None).unwrap().head;
    assert_eq!((head.as_ref(), first.previous), (Some(&digest), None));
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_full_file_is_put_aside_whole_and_only_the_oldest_goes() {
    let (_folder, inventory) = inventory();
    let linked = Load { previous: Some(load("000").root), ..load("000") };
    let length = serde_json::to_vec(&linked).unwrap().len() as u64 + 1;
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
    let chain = inventory.check_loads(None).unwrap();
    assert_eq!((chain.faults.len(), chain.lines), (0, names(&inventory).len() as u64));
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
    // It is told, and what follows is linked to it.
    let kinds: Vec<_> =
        inventory.check_loads(None).unwrap().faults.into_iter().map(|one| one.what).collect();
    assert_eq!(kinds, [FaultKind::Unreadable]);
}

#[test]
fn nothing_can_be_changed_taken_out_or_put_in() {
    use FaultKind::{Broken, NoBeginning, Unlinked};
    let (_folder, inventory) = inventory();
    let heads: Vec<_> =
        (0..4).map(|n| inventory.record_load(&load(&n.to_string())).unwrap()).collect();
    let path = inventory.loads_folder().join("loads.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let faults = |lines: &[&str]| {
        fs::write(&path, format!("{}\n", lines.join("\n"))).unwrap();
        let chain = inventory.check_loads(Some(&heads[3])).unwrap();
        let faults: Vec<_> = chain.faults.iter().map(|fault| (fault.line, fault.what)).collect();
        (faults, chain.has_known_head)
    };
    assert_eq!(faults(&lines), (vec![], true));
    let changed = lines[1].replace("\"downloaded\"", "\"present\"");
    assert_eq!(faults(&[lines[0], &changed, lines[2], lines[3]]), (vec![(3, Broken)], true));
    assert_eq!(faults(&[lines[0], lines[2], lines[3]]), (vec![(2, Broken)], true));
    assert_eq!(faults(&lines[1..]), (vec![(1, NoBeginning)], true));
    assert_eq!(faults(&[lines[0], lines[2], lines[1], lines[3]]).0.len(), 3);
    let forged = serde_json::to_string(&load("forged")).unwrap();
    let with = [lines[0], &forged, lines[1], lines[2], lines[3]];
    assert_eq!(faults(&with), (vec![(2, Unlinked), (3, Broken)], true));
    // A record that was cut, or written anew, is whole: who kept its head knows.
    assert_eq!(faults(&lines[..3]), (vec![], false));
    assert_eq!(faults(&[&forged]), (vec![], false));
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
    assert_eq!(inventory.check_loads(None).unwrap().faults, []);
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
