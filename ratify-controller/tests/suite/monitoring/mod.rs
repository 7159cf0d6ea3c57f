//! What watches Ratify, against what there is to see: the chart's alerts by a real `promtool`, its
//! dashboard, and the document.
//!
//! - [`named`]: which metrics an expression names, and by which labels it picks;
//! - `alerts`: each fires when it should, and not else; `dashboard`: it is one.

// Helpers of tests count as tests.
#![allow(clippy::unwrap_used)]

mod alerts;
mod dashboard;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What Prometheus adds to every series.
const OF_THE_TARGET: [&str; 5] = ["namespace", "pod", "service", "instance", "job"];

/// What the document says of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Documented {
    pub(crate) type_: String,
    pub(crate) labels: BTreeSet<String>,
}

/// A file of this tree.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The document's table.
pub(crate) fn documented() -> BTreeMap<String, Documented> {
    let text = std::fs::read_to_string(file("docs/OBSERVABILITY.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [name, type_, labels, _, _] = cells.try_into().ok()?;
        let labels = labels.split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| label != "–").collect();
        Some((name.trim_matches('`').to_owned(), Documented { type_: type_.to_owned(), labels }))
    });
    rows.collect()
}

/// The metrics that an expression names, as families, each with the labels that it picks by.
pub(crate) fn named(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(is_part) {
        let end = rest[at..].find(|c| !is_part(c)).map_or(rest.len(), |length| at + length);
        let word = &rest[at..end];
        rest = &rest[end..];
        if !(word.starts_with("ratify_") || word.starts_with("process_") || word == "up") {
            continue;
        }
        let mut labels = Vec::new();
        if let Some((inside, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
        {
            let pickers = inside.split(", ").filter_map(|one| one.split(['=', '!']).next());
            labels.extend(pickers.map(|label| label.trim().to_owned()));
            rest = after;
        }
        found.push((word.to_owned(), labels));
    }
    found
}

/// Why an expression asks for what there is not.
pub(crate) fn unknown(expression: &str, known: &BTreeMap<String, Documented>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, labels) in named(expression) {
        if name == "up" {
            continue;
        }
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let family = name.strip_suffix(suffix)?;
            known.get(family).filter(|one| one.type_ == "histogram")
        });
        let Some(metric) = histogram.or_else(|| known.get(&name)) else {
            wrong.push(format!("{name} is not there"));
            continue;
        };
        for label in labels {
            let is_known = metric.labels.contains(&label) || OF_THE_TARGET.contains(&&*label);
            if !is_known {
                wrong.push(format!("{name} has no label {label}"));
            }
        }
    }
    wrong
}

#[test]
fn what_an_expression_asks_for_is_found_in_it() {
    let expression = r#"sum(rate(ratify_a_total{x="1", y=~"a|b"}[5m])) / up > process_b"#;
    let expected = vec![
        ("ratify_a_total".to_owned(), vec!["x".to_owned(), "y".to_owned()]),
        ("up".to_owned(), vec![]),
        ("process_b".to_owned(), vec![]),
    ];
    assert_eq!(named(expression), expected);
    let metric = |type_: &str| Documented { type_: type_.into(), labels: ["x".into()].into() };
    let known = [("ratify_a_total", "counter"), ("ratify_h", "histogram")];
    let known = known.map(|(name, type_)| (name.to_owned(), metric(type_))).into();
    assert_eq!(
        unknown(&format!("{expression} + ratify_h_bucket + ratify_a_total_count"), &known),
        [
            "ratify_a_total has no label y",
            "process_b is not there",
            "ratify_a_total_count is not there"
        ]
    );
}
