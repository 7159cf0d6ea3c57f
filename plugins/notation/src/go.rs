//! Values in the words of Go's `fmt`, since v1's texts hold them and people compare texts.

use std::fmt::Write as _;

use ratify_core::{Descriptor, Reference};
use serde_json::{Map, Value};

/// `%q`: a text in quotes, with what cannot be printed escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() && c < '\u{80}' => {
                // A text takes whatever is written to it.
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control()
                || ratify_core::without_control_characters(c.encode_utf8(&mut [0; 4]))
                    == "\u{fffd}"
                    && c != '\u{fffd}' =>
            {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `%q` of a list of texts.
pub(crate) fn quoted_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", all.join(" "))
}

/// `%v` of a list of texts.
pub(crate) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = texts.into_iter().collect();
    format!("[{}]", all.join(" "))
}

/// `%+v` of what was read from JSON.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(self::value).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(entries) => map(entries),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// `%+v` of a map, which Go prints in the order of its keys.
pub(crate) fn map(entries: &Map<String, Value>) -> String {
    let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    let entries: Vec<String> =
        entries.iter().map(|(key, item)| format!("{key}:{}", value(item))).collect();
    format!("map[{}]", entries.join(" "))
}

/// `%+v` of what v1 holds of an artifact that is attached to an image.
pub(crate) fn referrer(descriptor: &Descriptor) -> String {
    let annotations: Vec<String> =
        descriptor.annotations.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!(
        "{{Descriptor:{{MediaType:{} Digest:{} Size:{} URLs:{} Annotations:map[{}] Data:[] Platform:<nil> ArtifactType:{}}} ArtifactType:{}}}",
        descriptor.media_type,
        descriptor.digest,
        descriptor.size,
        list(descriptor.urls.iter().map(String::as_str)),
        annotations.join(" "),
        descriptor.artifact_type,
        descriptor.artifact_type
    )
}

/// `%+v` of what v1 holds of an image's name.
pub(crate) fn subject(subject: &Reference) -> String {
    let digest = subject.digest().map(ToString::to_string).unwrap_or_default();
    let tag = subject.tag().unwrap_or_default();
    format!("{{Path:{} Digest:{digest} Tag:{tag} Original:{subject}}}", subject.path())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_in_quotes_cannot_end_them_or_move_a_cursor() {
        assert_eq!(quoted("a\"b\\c\n\x1b\u{202e}é"), "\"a\\\"b\\\\c\\n\\x1b\\u202eé\"");
        assert_eq!(quoted_list(["a", "b"]), r#"["a" "b"]"#);
    }

    #[test]
    fn json_is_shown_as_go_shows_it() {
        let shown = value(&json!({"b": ["x", null, 1], "a": {"k": true}, "c": []}));
        assert_eq!(shown, "map[a:map[k:true] b:[x <nil> 1] c:[]]");
    }

    #[test]
    fn an_artifact_and_an_image_are_shown_as_v1_shows_them() {
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let mut descriptor = Descriptor::new("m", digest, 7)
            .with_artifact_type("application/vnd.cncf.notary.signature");
        descriptor.annotations.insert("k".into(), "v".into());
        insta::assert_snapshot!(referrer(&descriptor), @"{Descriptor:{MediaType:m Digest:sha256:abababababababababababababababababababababababababababababababab Size:7 URLs:[] Annotations:map[k:v] Data:[] Platform:<nil> ArtifactType:application/vnd.cncf.notary.signature} ArtifactType:application/vnd.cncf.notary.signature}");
        let image = Reference::parse("reg.io/a:v1").unwrap().with_digest(descriptor.digest);
        insta::assert_snapshot!(subject(&image), @"{Path:reg.io/a Digest:sha256:abababababababababababababababababababababababababababababababab Tag:v1 Original:reg.io/a:v1}");
    }
}
