//! Every change of a document: each part flipped, cut, emptied, removed, doubled or of another type, and
//! each member given twice.

use serde_json::{Value, json};

/// A document that was changed in one place.
struct Change {
    /// What was done.
    what: &'static str,
    /// A JSON pointer (RFC 6901).
    place: String,
    text: String,
}

/// Why a change of a part, or of what is in it, may be refused besides that it makes no document any more:
/// how its place ends, and how reasons begin. The last one that fits counts.
pub(crate) type Reasons = &'static [(&'static str, &'static [&'static str])];

/// What comes of all changes of a document.
pub(crate) struct Expected<'a> {
    /// In front of what is said of something that is no such document.
    pub(crate) malformed: &'a str,
    pub(crate) reasons: &'a [Reasons],
    /// Parts that say nothing: their changes pass, but for what is given twice.
    pub(crate) nothing: &'a [&'a str],
    /// The other changes that pass, in their order.
    pub(crate) harmless: &'a [&'a str],
}

impl Expected<'_> {
    /// Judges all changes; why each is refused is empty where it is not.
    pub(crate) fn check(&self, document: &Value, refused: &dyn Fn(&str) -> String) {
        assert_eq!(refused(&document.to_string()), "");
        let mut passed = Vec::new();
        for Change { what, place, text } in changes(document) {
            let (name, refusal) = (format!("{place} {what}"), refused(&text));
            let says_nothing = self.nothing.iter().any(|part| place.starts_with(part));
            if says_nothing && !what.starts_with("twice") {
                assert_eq!(refusal, "", "{name}");
                continue;
            }
            if refusal.is_empty() {
                passed.push(name);
                continue;
            }
            if what.starts_with("twice") {
                let key = place.rsplit('/').next().unwrap();
                let twice = format!("{}the key {key:?} is given twice", self.malformed);
                assert_eq!(refusal, twice, "{name}");
                continue;
            }
            let fits = |(part, _): &&(&str, _)| {
                place.ends_with(part) || place.contains(&format!("{part}/"))
            };
            let own = self.reasons.iter().copied().flatten().rfind(fits);
            let own = own.map_or(&[][..], |(_, own)| own);
            let is_own = own.iter().any(|reason| refusal.starts_with(reason));
            // What is no document any more says what is missing; a letter that is changed makes another.
            let is_malformed = what != "flipped" && refusal.starts_with(self.malformed);
            assert!(is_own || is_malformed, "{name}: {refusal:?}, not one of {own:?}");
        }
        passed.dedup();
        assert_eq!(passed, self.harmless);
    }
}

/// All changes of a document.
fn changes(document: &Value) -> Vec<Change> {
    let mut places = Vec::new();
    find_places(String::new(), document, &mut places);
    let mut all = Vec::new();
    for place in places {
        let value = document.pointer(&place).unwrap();
        for (what, value) in replacements(value) {
            let mut changed = document.clone();
            *changed.pointer_mut(&place).unwrap() = value;
            all.push(Change { what, place: place.clone(), text: changed.to_string() });
        }
        let (parent, key) = place.rsplit_once('/').unwrap();
        let mut changed = document.clone();
        match changed.pointer_mut(parent).unwrap() {
            Value::Array(items) => drop(items.remove(key.parse().unwrap())),
            Value::Object(object) => drop(object.remove(key)),
            _ => unreachable!("what has parts is a list or an object"),
        }
        all.push(Change { what: "removed", place: place.clone(), text: changed.to_string() });
        if document.pointer(parent).unwrap().is_object() {
            for other in ["{}", "[]", "null", "\"\"", &value.to_string()] {
                for (what, is_last) in [("twice, good first", false), ("twice, good last", true)] {
                    let mut text = String::new();
                    write_twice(document, "", (&place, other, is_last), &mut text);
                    all.push(Change { what, place: place.clone(), text });
                }
            }
        }
    }
    all
}

/// The places of all parts, those of whole lists and objects as well.
fn find_places(at: String, value: &Value, found: &mut Vec<String>) {
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(object) => {
            object.iter().map(|(key, value)| (key.replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    for (key, value) in parts {
        find_places(format!("{at}/{key}"), value, found);
    }
    if !at.is_empty() {
        found.push(at);
    }
}

fn replacements(value: &Value) -> Vec<(&'static str, Value)> {
    let mut all = vec![
        ("null", Value::Null),
        ("a number", json!(9)),
        ("in a list", json!([value])),
        ("in an object", json!({"value": value})),
    ];
    match value {
        Value::String(text) => {
            all.push(("emptied", json!("")));
            for at in [0, text.len() / 3, text.len() / 2, text.len().saturating_sub(4)] {
                all.push(("flipped", json!(flipped(text, at))));
            }
            for end in [text.len() / 2, text.len().saturating_sub(4)] {
                all.push(("cut", json!(text.get(..end).unwrap_or_default())));
            }
            all.push(("doubled", json!(text.repeat(2))));
        }
        Value::Array(items) => {
            all.push(("emptied", json!([])));
            all.push(("doubled", json!([items.as_slice(), items.as_slice()].concat())));
        }
        Value::Object(_) => all.push(("emptied", json!({}))),
        Value::Number(number) => {
            let number = number.as_i64().unwrap();
            all.push(("flipped", json!(number ^ 1)));
            all.push(("as a text", json!(number.to_string())));
            all.push(("of the other sign", json!(-number - 1)));
            all.push(("too large", json!(u64::MAX)));
        }
        Value::Bool(_) | Value::Null => {}
    }
    all
}

/// The text with another character at a place.
pub(crate) fn flipped(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte = if *byte == b'A' { b'B' } else { b'A' };
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Writes a document in which the member at a place is there twice, once with another value.
fn write_twice(value: &Value, at: &str, twice: (&str, &str, bool), text: &mut String) {
    let (place, other, is_last) = twice;
    match value {
        Value::Object(object) => {
            text.push('{');
            for (index, (key, value)) in object.iter().enumerate() {
                let here = format!("{at}/{}", key.replace('/', "~1"));
                let name = json!(key);
                text.push_str(if index == 0 { "" } else { "," });
                if here == place && is_last {
                    text.push_str(&format!("{name}:{other},"));
                }
                text.push_str(&format!("{name}:"));
                write_twice(value, &here, twice, text);
                if here == place && !is_last {
                    text.push_str(&format!(",{name}:{other}"));
                }
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                write_twice(item, &format!("{at}/{index}"), twice, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}
