//! The record of loads, whatever happened to it. All its lines are counted, and nothing is wrong with it only
//! where what stands before a line is what the line names.

use std::fs;

use ratify_controller::plugin::inventory::Inventory;

/// A record of two loads, as it was written.
const GOOD: &str = include_str!("../../corpora/loads/two");

pub(super) fn check(input: &[u8]) {
    let (first, second) = GOOD.trim_end().split_once('\n').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let inventory = Inventory::of(folder.path());
    let record = folder.path().join(".store/loads");
    fs::create_dir_all(&record).unwrap();
    fs::write(record.join("loads.jsonl"), [input, b"\n", second.as_bytes()].concat()).unwrap();
    let loads = inventory.loads().unwrap();
    let chain = inventory.check_loads(None).unwrap();
    assert_eq!((loads.loads.len() + loads.unreadable) as u64, chain.lines);
    assert!(chain.faults.len() as u64 <= chain.lines);
    if chain.faults.is_empty() {
        let mut lines = input.split(|byte| *byte == b'\n');
        let before = lines.rfind(|line| !line.trim_ascii().is_empty());
        assert_eq!(before, Some(first.as_bytes()));
        assert_eq!(loads.unreadable, 0);
    }
}
