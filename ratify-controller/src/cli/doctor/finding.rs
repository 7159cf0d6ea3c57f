//! [`Finding`]: what one check came to, as a value; and [`Report`], all of them.

use ratify_core::capped_line;
use serde::Serialize;

/// What is shown of a text that somebody else wrote.
const SHOWN: usize = 300;

/// What a check came to. Ordered: the worst is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    /// It is as it should be.
    Ok,
    /// It could not be looked at; `why` says what for.
    NotChecked,
    /// Worth knowing.
    Note,
    /// It works, and will not under some load, or at some time to come.
    Warning,
    /// Something does not work.
    Failure,
}

/// What one check came to, on one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    /// Which check: `registry.tls`. docs/DOCTOR.md explains each.
    pub(super) id: &'static str,
    /// On what: a registry, a verifier, a file. Empty where there is only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) on: String,
    pub(super) state: State,
    /// What was seen.
    pub(super) seen: String,
    /// Why it matters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) why: String,
    /// What to do, to be typed as far as it can be.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) fix: String,
}

/// How many findings there are of each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) ok: usize,
    pub(super) note: usize,
    pub(super) warning: usize,
    pub(super) failure: usize,
    pub(super) not_checked: usize,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Of this form; a change that breaks a reader gets another number.
    pub(super) version: u32,
    /// The worst state.
    pub(super) verdict: State,
    pub(super) counts: Counts,
    pub(super) findings: Vec<Finding>,
    /// The timeouts of the chain, outermost first, in milliseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) timeouts: Vec<super::chain::Chain>,
}

impl Finding {
    fn new(id: &'static str, on: &str, state: State, seen: impl Into<String>) -> Self {
        let on = shown(on);
        Self { id, on, state, seen: seen.into(), why: String::new(), fix: String::new() }
    }

    pub(super) fn ok(id: &'static str, on: &str, seen: impl Into<String>) -> Self {
        Self::new(id, on, State::Ok, seen)
    }

    pub(super) fn not_checked(id: &'static str, on: &str, why: impl Into<String>) -> Self {
        Self::new(id, on, State::NotChecked, why)
    }

    pub(super) fn note(id: &'static str, on: &str, seen: impl Into<String>) -> Self {
        Self::new(id, on, State::Note, seen)
    }

    pub(super) fn warning(id: &'static str, on: &str, seen: impl Into<String>) -> Self {
        Self::new(id, on, State::Warning, seen)
    }

    pub(super) fn failure(id: &'static str, on: &str, seen: impl Into<String>) -> Self {
        Self::new(id, on, State::Failure, seen)
    }

    /// Why it matters.
    #[must_use]
    pub(super) fn why(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }

    /// What to do.
    #[must_use]
    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..self }
    }

    /// The area of a check: `registry` of `registry.tls`.
    pub(super) fn area(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(area, _)| area)
    }
}

impl Report {
    /// Findings in the order of areas, and within one as they were found.
    pub(super) fn new(mut findings: Vec<Finding>, timeouts: Vec<super::chain::Chain>) -> Self {
        findings.sort_by_key(|finding| super::checks::place(finding.id));
        let verdict = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
        let mut counts = Counts::default();
        for finding in &findings {
            *match finding.state {
                State::Ok => &mut counts.ok,
                State::NotChecked => &mut counts.not_checked,
                State::Note => &mut counts.note,
                State::Warning => &mut counts.warning,
                State::Failure => &mut counts.failure,
            } += 1;
        }
        Self { version: 1, verdict, counts, findings, timeouts }
    }
}

/// A text that somebody else wrote, on one line and bounded.
pub(super) fn shown(text: &str) -> String {
    capped_line(text, SHOWN)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{super::chain, *};

    /// Every key of a value is one of the schema's, and none that it requires is missing.
    fn assert_fits(value: &Value, schema: &Value) {
        let object = value.as_object().unwrap();
        for key in object.keys() {
            assert!(schema["properties"][key].is_object(), "{key} is not in {schema}");
        }
        for key in schema["required"].as_array().unwrap() {
            assert!(object.contains_key(key.as_str().unwrap()), "{key} is missing: {value}");
        }
    }

    #[test]
    fn the_report_has_the_form_of_its_schema() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../../docs/doctor.schema.json")).unwrap();
        let finding = Finding::failure("registry.tls", "r", "seen").why("why").fix("fix");
        let executor = ratify_core::config::ExecutorConfig::default();
        let front = chain::InFront::default();
        let (chain, _) = chain::judge(chain::Question::Mutation, &executor, &front);
        let report =
            Report::new(vec![finding, Finding::ok("cluster.api", "", "seen")], vec![chain]);
        let report = serde_json::to_value(&report).unwrap();
        assert_fits(&report, &schema);
        assert_fits(&report["findings"][0], &schema["$defs"]["Finding"]);
        assert_fits(&report["timeouts"][0], &schema["$defs"]["Chain"]);
        let link = &schema["$defs"]["Chain"]["properties"]["links"]["items"];
        assert_fits(&report["timeouts"][0]["links"][0], link);
        assert_eq!(
            (&report["verdict"], &report["counts"]["failure"]),
            (&"failure".into(), &1.into())
        );
    }
}
