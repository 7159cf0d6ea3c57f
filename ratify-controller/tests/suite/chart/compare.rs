//! What makes two rendered objects the same: what the API server would make of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::helm::NAMESPACE;

/// Objects by `Kind/name`, straightened.
pub(super) type Objects = BTreeMap<String, Value>;

/// One place where two charts differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Difference {
    /// `Kind/name`.
    pub(super) object: String,
    /// A JSON pointer; empty where one of the charts has no such object.
    pub(super) at: String,
    /// What v1's chart and ours have, for whoever reads the failure.
    pub(super) values: [String; 2],
}

/// Labels that name the chart and its version, which differ by design.
const VERSION_LABELS: [&str; 2] = ["helm.sh/chart", "app.kubernetes.io/version"];
/// Lists whose order means nothing, and what tells their elements apart.
const KEYED: [(&str, &str); 4] =
    [("containers", "name"), ("volumes", "name"), ("volumeMounts", "mountPath"), ("env", "name")];

/// Straightens what was rendered. Two objects of one name would be one in a cluster: a defect.
pub(super) fn straighten(objects: Vec<Value>) -> Objects {
    let mut all = Objects::new();
    for mut object in objects {
        let name = format!(
            "{}/{}",
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"].as_str().unwrap()
        );
        parse_configuration(&mut object);
        hide_checksums(&mut object);
        forget_the_namespace(&mut object);
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(labels) = object.pointer_mut(labels).and_then(Value::as_object_mut) {
                labels.retain(|label, _| !VERSION_LABELS.contains(&label.as_str()));
            }
        }
        let object = pruned(object).unwrap_or_default();
        assert!(all.insert(name.clone(), object).is_none(), "{name} is rendered twice");
    }
    all
}

/// A configuration file counts for what it says.
fn parse_configuration(object: &mut Value) {
    if let Some(text) = object.pointer_mut("/data/config.json") {
        *text = serde_json::from_str(text.as_str().unwrap()).unwrap();
    }
}

/// Checksums of different texts differ; that there is one counts.
fn hide_checksums(object: &mut Value) {
    let annotations = object.pointer_mut("/spec/template/metadata/annotations");
    let annotations = annotations.and_then(Value::as_object_mut).into_iter().flatten();
    for (_, value) in annotations.filter(|(name, _)| name.starts_with("checksum/")) {
        *value = "checksum".into();
    }
}

/// Helm fills in the namespace of the release.
fn forget_the_namespace(object: &mut Value) {
    let metadata = object["metadata"].as_object_mut().unwrap();
    if metadata.get("namespace").is_some_and(|namespace| namespace == NAMESPACE) {
        metadata.remove("namespace");
    }
}

/// Without `null` and what is empty, which mean what is absent means; lists with keys as maps.
fn pruned(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Array(items) => {
            let items: Vec<Value> = items.into_iter().filter_map(pruned).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(fields) => {
            let fields: Map<String, Value> =
                fields.into_iter().filter_map(|(key, value)| pruned_field(key, value)).collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        other => Some(other),
    }
}

fn pruned_field(name: String, value: Value) -> Option<(String, Value)> {
    let key = KEYED.iter().find(|(list, _)| *list == name).map(|(_, key)| *key);
    let value = match (key, value) {
        (_, Value::Array(items)) if name == "args" => arguments(&items),
        (Some(key), Value::Array(items)) => {
            let count = items.len();
            let keyed: Map<String, Value> = items
                .into_iter()
                .map(|item| (item[key].as_str().unwrap().to_owned(), item))
                .collect();
            assert_eq!(keyed.len(), count, "{name} has two elements of one {key}");
            Value::Object(keyed)
        }
        (_, value) => value,
    };
    Some((name, pruned(value)?))
}

/// Arguments by their flag; a word alone stands for itself.
fn arguments(words: &[Value]) -> Value {
    let words = words.iter().map(|word| word.as_str().unwrap());
    let split = words.map(|word| word.split_once('=').unwrap_or((word, "given")));
    split.map(|(flag, value)| (flag.to_owned(), Value::from(value))).collect::<Map<_, _>>().into()
}

/// Everything in which these differ.
pub(super) fn differences(v1: &Objects, ours: &Objects) -> Vec<Difference> {
    let mut found = Vec::new();
    let names: BTreeSet<&String> = v1.keys().chain(ours.keys()).collect();
    for name in names {
        compare(name, String::new(), v1.get(name), ours.get(name), &mut found);
    }
    found
}

fn compare(
    object: &str,
    at: String,
    v1: Option<&Value>,
    ours: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match (v1, ours) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                compare(object, at, left.get(key), right.get(key), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) if left.len() == right.len() => {
            for (index, pair) in left.iter().zip(right).enumerate() {
                compare(object, format!("{at}/{index}"), Some(pair.0), Some(pair.1), found);
            }
        }
        (left, right) if left == right => {}
        (left, right) => {
            let text = |value: Option<&Value>| -> String {
                value.map_or("-".into(), Value::to_string).chars().take(200).collect()
            };
            let values = [text(left), text(right)];
            found.push(Difference { object: object.to_owned(), at, values });
        }
    }
}
