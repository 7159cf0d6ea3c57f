//! Each key of v1's values.yaml, flipped in v1's chart and in ours: the same objects come of it, but
//! for what is intended.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    cases::{CASES, Case, UNDECLARED},
    compare::{Objects, differences, straighten},
    helm::{Helm, base},
    intended::INTENDED,
};

/// How many helms run at once.
pub(super) const AT_ONCE: usize = 3;

/// The keys of values: what is no object, and what is an empty one.
fn leaves(values: &Value, at: &str, found: &mut BTreeMap<String, Value>) {
    match values.as_object().filter(|fields| !fields.is_empty()) {
        None => drop(found.insert(at.to_owned(), values.clone())),
        Some(fields) => {
            for (key, value) in fields {
                let at = if at.is_empty() { key.clone() } else { format!("{at}>{key}") };
                leaves(value, &at, found);
            }
        }
    }
}

/// Every key of a chart's values, with its default.
pub(super) fn keys_of(chart: &std::path::Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(chart.join("values.yaml")).unwrap();
    let mut found = BTreeMap::new();
    leaves(&serde_saphyr::from_str(&text).unwrap(), "", &mut found);
    found
}

/// A table's JSON.
pub(super) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Values in which only this key is set.
pub(super) fn nested(key: &str, value: Value) -> Value {
    key.split('>').rev().fold(value, |value, step| json!({step: value}))
}

/// What both charts make, v1's first.
async fn both(helm: &Helm, values: &[&Value]) -> [Objects; 2] {
    let v1 = helm.render(&helm.v1(), values).await;
    let ours = helm.render(&Helm::ours(), values).await;
    [straighten(v1), straighten(ours)]
}

/// What is wrong about a key; which intended differences it needed.
fn judge(case: &Case, before: &[Objects; 2], after: &[Objects; 2]) -> (Vec<String>, Vec<usize>) {
    let (mut wrong, mut used) = (Vec::new(), Vec::new());
    for (chart, (before, after)) in ["v1", "ours"].iter().zip(before.iter().zip(after)) {
        if before == after {
            wrong.push(format!("{}: nothing comes of it in {chart}", case.key));
        }
    }
    for difference in differences(&after[0], &after[1]) {
        match INTENDED.iter().position(|row| row.covers(&difference)) {
            Some(row) => used.push(row),
            None => wrong.push(format!("{}: {difference:?}", case.key)),
        }
    }
    (wrong, used)
}

#[tokio::test]
async fn each_key_of_v1s_values_means_the_same() {
    let Some(helm) = Helm::find() else { return };
    let keys: BTreeSet<String> = keys_of(&helm.v1()).into_keys().collect();
    let cases: BTreeSet<String> = CASES.iter().map(|case| case.key.to_owned()).collect();
    assert_eq!(keys.difference(&cases).collect::<Vec<_>>(), [""; 0], "keys without a case");
    assert_eq!(cases.difference(&keys).collect::<Vec<_>>(), [""; 0], "cases of no key");

    let contexts: BTreeSet<&str> = CASES.iter().map(|case| case.context).collect();
    let before = stream::iter(&contexts).map(async |context| {
        let values = [base(), parsed(context)];
        (*context, both(&helm, &[&values[0], &values[1]]).await)
    });
    let before: BTreeMap<&str, _> = before.buffered(AT_ONCE).collect().await;
    let judged = stream::iter(CASES.iter().chain(UNDECLARED)).map(async |case| {
        let values = [base(), parsed(case.context), nested(case.key, parsed(case.value))];
        let after = both(&helm, &[&values[0], &values[1], &values[2]]).await;
        judge(case, &before[case.context], &after)
    });
    let judged: Vec<_> = judged.buffered(AT_ONCE).collect().await;
    let wrong: BTreeSet<&String> = judged.iter().flat_map(|(wrong, _)| wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let used: BTreeSet<usize> = judged.iter().flat_map(|(_, used)| used.clone()).collect();
    for (index, row) in INTENDED.iter().enumerate() {
        assert!(used.contains(&index), "no case needs this row: {}", row.reason);
    }
}
