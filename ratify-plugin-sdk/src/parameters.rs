//! Typed parameters out of an entry of the configuration. An error says which key is wrong and
//! what was expected there, and does not repeat a text that may be a secret.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What Ratify itself reads from a verifier's entry.
const VERIFIER_HEAD: &[&str] =
    &["name", "type", "artifactTypes", "nestedReferences", "version", "source", "pluginEnv"];
/// What Ratify itself reads from a store's entry.
const STORE_HEAD: &[&str] = &["name", "source", "pluginEnv"];

/// Reads the parameters of a verifier.
pub(crate) fn of_verifier<P: DeserializeOwned>(entry: &Map<String, Value>) -> Result<P, String> {
    read(entry, VERIFIER_HEAD)
}

/// Reads the parameters of a store.
pub(crate) fn of_store<P: DeserializeOwned>(entry: &Map<String, Value>) -> Result<P, String> {
    read(entry, STORE_HEAD)
}

fn read<P: DeserializeOwned>(entry: &Map<String, Value>, head: &[&str]) -> Result<P, String> {
    let own: Map<String, Value> = entry
        .iter()
        .filter(|(key, _)| !head.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // Read from text, in which an error has a position, from which follows its path.
    let text = Value::Object(own).to_string();
    serde_json::from_str(&text).map_err(|error| describe(&text, &error))
}

fn describe(text: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = without_value(message.strip_suffix(&position).unwrap_or(&message));
    let path = path_at(text, error.column());
    if path.is_empty() { message } else { format!("{path}: {message}") }
}

/// `invalid type: string "secret", expected u32` without the secret.
fn without_value(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return ratify_core::capped_line(message, 200);
    };
    match found.split_once(": string ") {
        Some((_, _)) => format!("expected {expected}, found a string"),
        None => match found.split_once(": ") {
            Some((_, kind)) => format!("expected {expected}, found {kind}"),
            None => ratify_core::capped_line(message, 200),
        },
    }
}

/// The path, `a.b[2]`, of the value that ends at or surrounds a byte of compact JSON.
fn path_at(text: &str, end: usize) -> String {
    let mut steps: Vec<Step> = Vec::new();
    let mut bytes = text.bytes().enumerate().take(end);
    let mut expects_key = false;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' => {
                steps.push(Step::Key(String::new()));
                expects_key = true;
            }
            b'[' => steps.push(Step::Index(0)),
            b'}' | b']' => {
                steps.pop();
            }
            b',' => match steps.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                Some(Step::Key(_)) => expects_key = true,
                None => {}
            },
            b'"' => {
                let length = string_length(&text[at..]);
                if expects_key && let Some(Step::Key(key)) = steps.last_mut() {
                    *key = serde_json::from_str(&text[at..at + length]).unwrap_or_default();
                    expects_key = false;
                }
                bytes.by_ref().take(length - 1).for_each(drop);
            }
            _ => {}
        }
    }
    steps.iter().map(Step::to_text).collect::<String>().trim_start_matches('.').to_owned()
}

/// How long the string literal is that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn to_text(&self) -> String {
        match self {
            Self::Key(key) if key.is_empty() => String::new(),
            Self::Key(key) => format!(".{key}"),
            Self::Index(index) => format!("[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[allow(dead_code, reason = "only its shape is read")]
    struct Parameters {
        #[serde(default)]
        limit: u8,
        #[serde(default)]
        rules: Vec<Rule>,
        mode: Option<Mode>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only its shape is read")]
    struct Rule {
        name: String,
        levels: Vec<bool>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Strict,
        Loose,
    }

    fn error(value: &Value) -> String {
        of_verifier::<Parameters>(value.as_object().unwrap()).unwrap_err()
    }

    #[test]
    fn an_error_names_the_key_and_what_was_expected() {
        let cases = [
            json!({"limit": "hunter2"}),
            json!({"limit": 300}),
            json!({"limit": -1.5}),
            json!({"a\"b,{": 1}),
            json!({"rules": [{"name": "n,]}\"", "levels": []}, {"name": "m", "levels": [true, "x"]}]}),
            json!({"rules": [{"name": "n"}]}),
            json!({"rules": {"name": "n"}}),
            json!({"mode": "lose"}),
            json!({"mode": null, "rules": [1]}),
        ];
        let errors: Vec<String> = cases.iter().map(error).collect();
        insta::assert_snapshot!(errors.join("\n"), @r#"
        limit: expected u8, found a string
        limit: expected u8, found integer `300`
        limit: expected u8, found floating point `-1.5`
        a"b,{: unknown field `a"b,{`, expected one of `limit`, `rules`, `mode`
        rules[1].levels[1]: expected a boolean, found a string
        rules[0]: missing field `levels`
        rules: expected a sequence, found map
        mode: unknown variant `lose`, expected `strict` or `loose`
        rules[0]: expected struct Rule, found integer `1`
        "#);
    }

    #[test]
    fn the_head_of_an_entry_is_not_among_the_parameters() {
        let entry = json!({"name": "n", "type": "t", "artifactTypes": "*", "nestedReferences": "*",
            "version": "1.0.0", "source": {"artifact": "a"}, "pluginEnv": "minimal", "limit": 3});
        assert_eq!(of_verifier::<Parameters>(entry.as_object().unwrap()).unwrap().limit, 3);
        let entry = json!({"name": "n", "source": {"artifact": "a"}, "limit": 3});
        assert_eq!(of_store::<Parameters>(entry.as_object().unwrap()).unwrap().limit, 3);
    }
}
