//! The pages of a list of referrers. The list has every entry of every page, each artifact once, or
//! there is none.

use std::collections::BTreeSet;

use ratify_store_oras::fuzzing;
use serde_json::{Map, Value};

use super::manifest::only;

/// What stands between two pages.
const SEPARATOR: u8 = 0x1e;
/// More entries are refused.
const MOST: usize = 8;

pub(super) fn check(input: &[u8]) {
    let pages: Vec<_> = input.split(|byte| *byte == SEPARATOR).collect();
    let Ok(entries) = fuzzing::referrers(&pages, MOST) else { return };
    assert!(entries.len() <= MOST);
    let found: BTreeSet<_> = entries.iter().map(|entry| entry.digest.as_str()).collect();
    assert_eq!(found.len(), entries.len(), "an artifact is listed twice");
    let pages: Vec<Map<String, Value>> =
        pages.iter().map(|page| serde_json::from_slice(page).unwrap()).collect();
    let listed =
        pages.iter().flat_map(|page| only(page, "manifests").as_array().into_iter().flatten());
    let listed: Vec<_> = listed.map(|entry| entry.as_object().unwrap()).collect();
    let text = |entry: &'_ Map<String, Value>, key| {
        only(entry, key).as_str().unwrap_or_default().to_owned()
    };
    let names: BTreeSet<_> = listed.iter().map(|entry| text(entry, "digest")).collect();
    assert_eq!(found, names.iter().map(String::as_str).collect());
    for listed in listed {
        let entry = entries.iter().find(|entry| entry.digest.as_str() == text(listed, "digest"));
        let entry = entry.unwrap();
        assert_eq!(entry.artifact_type, text(listed, "artifactType"));
        assert_eq!(entry.size, only(listed, "size").as_u64().unwrap_or_default());
    }
}
