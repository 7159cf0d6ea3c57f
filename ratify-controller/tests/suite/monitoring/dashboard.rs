//! The dashboard of the chart: that Grafana can show it, and that each panel asks for what there is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{documented, file, named, unknown};

fn dashboard() -> Value {
    let text = std::fs::read(file("charts/ratify/dashboards/ratify.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The expressions of all panels, with the title of each.
pub(super) fn expressions() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (title.to_owned(), target["expr"].as_str().unwrap().to_owned()))
    });
    targets.collect()
}

#[test]
fn every_panel_asks_for_what_there_is() {
    let known = documented();
    for (title, expression) in expressions() {
        assert_eq!(unknown(&expression, &known), [""; 0], "{title}: {expression}");
    }
}

/// Whoever adds a metric shows it, or says here why not.
#[test]
fn every_metric_is_on_a_panel() {
    let shown: BTreeSet<String> = expressions()
        .into_iter()
        .flat_map(|(_, expression)| named(&expression))
        .map(|(name, _)| name)
        .collect();
    let is_shown = |name: &str, type_: &str| match type_ {
        "histogram" => ["_bucket", "_count", "_sum"]
            .iter()
            .any(|suffix| shown.contains(&format!("{name}{suffix}"))),
        _ => shown.contains(name),
    };
    let known = documented();
    let hidden = known.iter().filter(|(name, one)| !is_shown(name, &one.type_));
    let hidden: Vec<&str> = hidden.map(|(name, _)| name.as_str()).collect();
    // How many entries there are, beside their bytes; limits; what the graphs of a pod show anyway;
    // spans that were sent.
    let expected = [
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
        "ratify_late_answers_entries",
        "ratify_queue_limit",
        "ratify_queue_tenants",
        "ratify_result_cache_entries",
        "ratify_trace_export_spans_total",
        "ratify_verdict_cache_entries",
    ];
    assert_eq!(hidden, expected);
}

#[test]
fn it_is_a_dashboard_that_grafana_can_show() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    let uid = dashboard["uid"].as_str().unwrap();
    assert!((1..=40).contains(&uid.len()) && dashboard["title"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: BTreeMap<&str, &str> = variables
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["type"].as_str().unwrap()))
        .collect();
    assert_eq!(names["datasource"], "datasource");
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeMap::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().filter(|title| !title.is_empty()).unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is wider than the grid");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            let other = taken.insert(cell, title);
            assert_eq!(other, None, "{title} lies over another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        let letters: BTreeSet<_> = targets.iter().map(|one| one["refId"].as_str()).collect();
        assert_eq!(letters.len(), targets.len(), "{title}");
        for asking in targets.iter().chain([panel]) {
            assert_eq!(asking["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    // A variable that is not defined would be taken for text.
    for (title, expression) in expressions() {
        for rest in expression.split('$').skip(1) {
            let name: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let is_known = names.contains_key(name.as_str()) || name == "__rate_interval";
            assert!(is_known, "{title}: ${name} is not defined");
        }
    }
}
