//! What two hosts said, compared: a value each, and every place where they differ.

use serde_json::{Map, Value};

/// One place where v1 and this differ. `None`: there is nothing at that place.
#[derive(Debug)]
pub(super) struct Difference {
    /// A JSON pointer (RFC 6901).
    pub(super) pointer: String,
    pub(super) v1: Option<Value>,
    pub(super) here: Option<Value>,
}

impl Difference {
    /// Whether the last key of the place is this one.
    pub(super) fn is_at(&self, key: &str) -> bool {
        self.pointer.rsplit('/').next() == Some(key)
    }

    /// Whether only our side has something there.
    pub(super) fn only_here(&self) -> bool {
        self.v1.is_none()
    }

    /// Whether only v1 has something there.
    pub(super) fn only_v1(&self) -> bool {
        self.here.is_none()
    }

    /// What v1 has there as text; other values as JSON.
    pub(super) fn v1_text(&self) -> String {
        text(self.v1.as_ref())
    }

    /// What we have there as text; other values as JSON.
    pub(super) fn here_text(&self) -> String {
        text(self.here.as_ref())
    }

    /// Whether v1's text has the one and ours the other.
    pub(super) fn says(&self, v1: &str, here: &str) -> bool {
        self.v1_text().contains(v1) && self.here_text().contains(here)
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
        let (v1, here) = (show(self.v1.as_ref()), show(self.here.as_ref()));
        write!(formatter, "{}\n    v1:   {v1}\n    here: {here}", self.pointer)
    }
}

/// Takes away what may differ from one run to the next: time, trace id, the host's own home, and
/// the order of what v1 gathers concurrently.
pub(super) fn normalised(value: Value, home: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(home, "<home>")),
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| normalised(item, home)).collect())
        }
        Value::Object(object) => {
            let kept = object.into_iter().filter(|(key, _)| key != "timestamp" && key != "traceID");
            let entry = |(key, value): (String, Value)| {
                let value = ordered(&key, normalised(value, home));
                (key, value)
            };
            Value::Object(kept.map(entry).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// Every difference, in the order of the places.
pub(super) fn differences(v1: &Value, here: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(String::new(), Some(v1), Some(here), &mut found);
    found
}

fn ordered(key: &str, value: Value) -> Value {
    match value {
        Value::Array(mut items)
            if [
                "verifierReports",
                "nestedReports",
                "nestedResults",
                "items",
                "References",
                "verifications",
            ]
            .contains(&key) =>
        {
            items.sort_by_cached_key(|item| {
                let part = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
                let named = ["key", "referenceDigest", "digest", "artifactType", "name"].map(part);
                (named, item.to_string())
            });
            Value::Array(items)
        }
        other => other,
    }
}

fn walk(at: String, v1: Option<&Value>, here: Option<&Value>, found: &mut Vec<Difference>) {
    match (v1, here) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let place = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                walk(place, one.get(key), other.get(key), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for index in 0..one.len().max(other.len()) {
                walk(format!("{at}/{index}"), one.get(index), other.get(index), found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => {
            found.push(Difference { pointer: at, v1: one.cloned(), here: other.cloned() });
        }
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_found_wherever_it_is_and_nothing_else_is() {
        let v1 = json!({"a": [1, {"b/c": "x"}], "only": null, "same": {"k": 1.5}});
        let here = json!({"a": [1, {"b/c": "y"}, 3], "same": {"k": 1.5}});
        let found: Vec<String> = differences(&v1, &here)
            .iter()
            .map(|one| one.to_string().replace("\n   ", ""))
            .collect();
        assert_eq!(
            found,
            [
                r#"/a/1/b~1c v1:   "x" here: "y""#,
                "/a/2 v1:   nothing here: 3",
                "/only v1:   null here: nothing",
            ]
        );
    }

    #[test]
    fn time_trace_order_and_home_do_not_count() {
        let answer = |order: [&str; 2], home: &str, time: &str| {
            let reports = order.map(|digest| json!({"referenceDigest": digest, "message": home}));
            let value = json!({"timestamp": time, "traceID": time, "verifierReports": reports});
            normalised(value, home)
        };
        assert_eq!(answer(["a", "b"], "/tmp/1", "1"), answer(["b", "a"], "/tmp/2", "2"));
    }
}
