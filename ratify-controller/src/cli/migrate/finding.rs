//! [`Finding`]: one thing that a migration comes upon, as a value.

use ratify_core::capped_line;
use serde::Serialize;

/// What is shown of a text that somebody else wrote.
const SHOWN: usize = 200;

/// How much a finding asks for. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Level {
    /// It carries over, as it is.
    Same,
    /// It is accepted and does something else: look at it first.
    Look,
    /// It does not work as it is.
    Change,
}

/// Where something is, what it is, why it matters here, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// The key or the resource.
    pub(crate) at: String,
    pub(crate) what: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) why: String,
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    pub(crate) todo: String,
    /// The row of docs/COMPATIBILITY.md, by what it says of v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) row: Option<&'static str>,
}

/// Everything about one file, or about the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Source {
    /// Which one.
    pub(crate) name: String,
    pub(crate) findings: Vec<Finding>,
}

/// All sources, and what they come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) verdict: Level,
    pub(crate) sources: Vec<Source>,
}

impl Finding {
    pub(crate) fn same(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Level::Same, at, what, "", "")
    }

    pub(crate) fn look(
        at: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self::new(Level::Look, at, what, why, todo)
    }

    pub(crate) fn change(
        at: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self::new(Level::Change, at, what, why, todo)
    }

    fn new(
        level: Level,
        at: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self {
            level,
            at: at.into(),
            what: what.into(),
            why: why.into(),
            todo: todo.into(),
            row: None,
        }
    }

    /// The same with the row that tells the difference.
    #[must_use]
    pub(crate) fn row(self, row: &'static str) -> Self {
        Self { row: Some(row), ..self }
    }
}

impl Report {
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let levels = sources.iter().flat_map(|source| &source.findings);
        let verdict = levels.map(|finding| finding.level).max().unwrap_or(Level::Same);
        Self { verdict, sources }
    }
}

/// A text that somebody else wrote, on one line and bounded.
pub(crate) fn shown(text: &str) -> String {
    capped_line(text, SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_verdict() {
        let report = |levels: &[Level]| {
            let findings = levels.iter().map(|level| Finding::new(*level, "", "", "", ""));
            Report::new(vec![Source { name: String::new(), findings: findings.collect() }]).verdict
        };
        assert_eq!(report(&[]), Level::Same);
        assert_eq!(report(&[Level::Look, Level::Same]), Level::Look);
        assert_eq!(report(&[Level::Same, Level::Change, Level::Look]), Level::Change);
    }
}
