//! OPA's own cases, of both dialects, through the loader: each is right, or refused, or ends in a
//! fault (which denies). None is silently wrong.
//!
//! A case is one that a policy could be: one module and one rule asked for. Its `data` becomes the
//! input, since there are no data here, and the full names of its own rules become short ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ratify_core::policy::testing::{Evaluated, evaluate};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::parity::machines::Machines;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Case {
    note: String,
    query: String,
    modules: Vec<String>,
    data: Option<Value>,
    input: Option<Value>,
    input_term: Option<Value>,
    want_result: Option<Vec<Map<String, Value>>>,
    want_defined: Option<bool>,
    want_error: Option<Value>,
    want_error_code: Option<Value>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            note: String::new(),
            query: String::new(),
            modules: Vec::new(),
            data: None,
            input: None,
            input_term: None,
            want_result: None,
            want_defined: None,
            want_error: None,
            want_error_code: None,
        }
    }
}

/// A case as a policy, the rule to ask for, its input, and the variable its value is bound to.
struct Question {
    policy: String,
    path: String,
    input: Value,
    variable: String,
}

#[derive(Debug, Default)]
struct Counts {
    unread: usize,
    others: usize,
    right: usize,
    refused: usize,
    faults: usize,
    wrong: Vec<String>,
}

#[test]
fn each_of_opas_cases_is_right_or_refused_and_none_is_silently_wrong() {
    let Some(machines) = Machines::find() else { return };
    let folder = machines.tool("opa-module").join("test/cases/testdata");
    let [older, newer] = ["v0", "v1"].map(|dialect| {
        let files = files(&folder.join(dialect));
        std::thread::spawn(move || Counts::of(&files, dialect))
    });
    let counts = older.join().unwrap().and(newer.join().unwrap());
    let Counts { unread, others, right, refused, faults, wrong } = &counts;
    println!(
        "right {right}, refused {refused}, faults {faults}, no policies {others}, files unread {unread}"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(*right >= 1000, "{counts:?}");
    assert!(*faults <= 40 && *unread == 0, "{counts:?}");
}

/// Every file below a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|extension| extension == "yaml") => {
                    found.push(path);
                }
                false => {}
            }
        }
    }
    found.sort();
    found
}

impl Counts {
    fn of(files: &[PathBuf], dialect: &str) -> Self {
        let mut counts = Self::default();
        for file in files {
            let text = fs::read_to_string(file).unwrap();
            match serde_saphyr::from_str::<File>(&text) {
                Ok(file) => file.cases.iter().for_each(|case| counts.take(case, dialect)),
                Err(_) => counts.unread += 1,
            }
        }
        counts
    }

    fn and(mut self, other: Self) -> Self {
        self.wrong.extend(other.wrong);
        Self {
            unread: self.unread + other.unread,
            others: self.others + other.others,
            right: self.right + other.right,
            refused: self.refused + other.refused,
            faults: self.faults + other.faults,
            wrong: self.wrong,
        }
    }

    fn take(&mut self, case: &Case, dialect: &str) {
        let Some(question) = case.question(dialect) else {
            self.others += 1;
            return;
        };
        let answer = evaluate(&question.policy, &question.path, &question.input);
        match (&answer, case.wants_error()) {
            (Evaluated::Refused(_), _) => self.refused += 1,
            (Evaluated::Failed(_), true) => self.right += 1,
            (Evaluated::Failed(_), false) => self.faults += 1,
            (_, false) if case.is_answered_by(&answer, &question.variable) => self.right += 1,
            _ => {
                self.wrong.push(format!("{dialect} {}: {answer:?}\n{}", case.note, question.policy))
            }
        }
    }
}

impl Case {
    fn question(&self, dialect: &str) -> Option<Question> {
        let [module] = &self.modules[..] else { return None };
        let (path, variable) = self.query.trim().strip_prefix("data.")?.split_once(" = ")?;
        let is_name =
            |text: &str| text.chars().all(|one| one.is_ascii_alphanumeric() || one == '_');
        let (package, rule) = path.rsplit_once('.')?;
        let asks_a_rule = package.split('.').all(is_name) && is_name(rule) && is_name(variable);
        if !asks_a_rule || self.input_term.is_some() {
            return None;
        }
        let mut policy = module.replace(&format!("data.{package}."), "");
        if dialect == "v1" && !policy.contains("import rego.v1") {
            let (head, rest) = policy.split_at(policy.find("package ")?);
            let (declared, rest) = rest.split_once('\n')?;
            policy = format!("{head}{declared}\nimport rego.v1\n{rest}");
        }
        let input = match (&self.input, &self.data) {
            (Some(input), _) => input.clone(),
            (None, Some(data)) => {
                policy = with_input(&policy);
                data.clone()
            }
            // Here there is always an input.
            (None, None) if policy.contains("input") => return None,
            (None, None) => Value::Object(Map::new()),
        };
        // OPA finds the key "2" of its data by the number 2.
        let numbered = self.input.is_none() && has_numbered_keys(&input);
        let (path, variable) = (path.to_owned(), variable.to_owned());
        (!numbered).then_some(Question { policy, path, input, variable })
    }

    fn wants_error(&self) -> bool {
        self.want_error.is_some() || self.want_error_code.is_some()
    }

    fn is_answered_by(&self, answer: &Evaluated, variable: &str) -> bool {
        let wanted = self.want_result.as_deref().unwrap_or_default().first();
        let wanted = wanted.and_then(|bindings| bindings.get(variable));
        match (wanted, answer) {
            (Some(wanted), Evaluated::Value(value)) => comparable(wanted) == comparable(value),
            (None, Evaluated::Undefined) => self.want_defined != Some(true),
            (None, Evaluated::Value(_)) => self.want_defined == Some(true),
            _ => false,
        }
    }
}

/// The name `data` becomes `input`.
fn with_input(policy: &str) -> String {
    let mut written = String::new();
    let mut rest = policy;
    while let Some(at) = rest.find("data") {
        let (before, found) = rest.split_at(at);
        let after = &found["data".len()..];
        let joins = |one: char| one.is_ascii_alphanumeric() || one == '_' || one == '.';
        let is_name = !before.ends_with(joins) && after.starts_with(['.', '[']);
        written.push_str(before);
        written.push_str(if is_name { "input" } else { "data" });
        rest = after;
    }
    written + rest
}

fn has_numbered_keys(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.iter().any(|(key, value)| key.parse::<i64>().is_ok() || has_numbered_keys(value))
        }
        Value::Array(array) => array.iter().any(has_numbered_keys),
        _ => false,
    }
}

/// Without the order of lists (sets are lists here) and without fractions that are none.
fn comparable(value: &Value) -> String {
    match value {
        Value::Array(array) => {
            let mut items: Vec<String> = array.iter().map(comparable).collect();
            items.sort();
            format!("[{}]", items.join(","))
        }
        Value::Object(object) => {
            let mut fields: Vec<String> = object
                .iter()
                .map(|(key, value)| format!("{key:?}:{}", comparable(value)))
                .collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) => float.to_string(),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}
