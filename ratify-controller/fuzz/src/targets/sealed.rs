//! An entry of Redis. Whoever does not have the replicas' key can write none that counts; and under
//! the key, too, an entry must be a verdict, of this question and of this time.

use std::time::{Duration, SystemTime};

use ratify_controller::cache::fuzzing::Seal;
use serde_json::Value;

const KEY: [u8; 32] = [7; 32];
const QUESTION: &[u8] = b"fingerprint, namespace, image";
const NOW: u64 = 1_800_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn check(input: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let seal = Seal::new(&KEY).unwrap();
    assert_eq!(seal.open(QUESTION, input, now), None, "a forged entry counts");
    let genuine = seal.seal_verdict(QUESTION, "[{\"isSuccess\":true}]", now, now + DAY).unwrap();
    assert!(seal.open(QUESTION, &genuine, now).is_some());
    let changed = overlaid(&genuine, input);
    assert!(changed == genuine || seal.open(QUESTION, &changed, now).is_none(), "a changed one");
    // What somebody wrote who has the key.
    let entry = seal.seal(QUESTION, input);
    assert_eq!(seal.open(b"another question", &entry, now), None);
    assert_eq!(Seal::new(&[8; 32]).unwrap().open(QUESTION, &entry, now), None);
    if let Some((reports, ends)) = seal.open(QUESTION, &entry, now) {
        let is_array = serde_json::from_str::<Vec<Value>>(&reports).is_ok();
        assert!(is_array || reports.is_empty(), "{reports}");
        assert!(ends > now && ends <= now + DAY + Duration::from_secs(30), "{ends:?}");
    }
}

/// The entry with the input laid over it: the first byte says where, and whether it is cut there.
fn overlaid(entry: &[u8], input: &[u8]) -> Vec<u8> {
    let Some((place, bytes)) = input.split_first() else { return entry.to_vec() };
    let at = usize::from(*place) % (entry.len() + 1);
    let mut changed = entry.to_vec();
    if bytes.is_empty() {
        changed.truncate(at);
    }
    for (index, byte) in bytes.iter().enumerate() {
        match changed.get_mut(at + index) {
            Some(old) => *old ^= byte,
            None => changed.push(*byte),
        }
    }
    changed
}
