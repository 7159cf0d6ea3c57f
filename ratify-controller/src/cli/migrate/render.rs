//! A report as people read it: what must change first, what carries over in one paragraph.

use super::finding::{Finding, Level, Report, Source};

/// How long a line with what carries over may get.
const WIDTH: usize = 96;

/// The report as text.
pub(super) fn text(report: &Report) -> String {
    let mut lines: Vec<String> = report.sources.iter().flat_map(source).collect();
    lines.push(verdict(report.verdict).to_owned());
    lines.join("\n")
}

fn verdict(level: Level) -> &'static str {
    match level {
        Level::Same => "Everything carries over.",
        Level::Look => "It carries over; look at what is said first.",
        Level::Change => "Something must change first.",
    }
}

fn source(source: &Source) -> Vec<String> {
    let of = |level: Level| source.findings.iter().filter(move |finding| finding.level == level);
    let count = |level: Level| of(level).count();
    let mut lines = vec![format!(
        "{}: {} must change, {} to look at, {} carry over",
        source.name,
        count(Level::Change),
        count(Level::Look),
        count(Level::Same)
    )];
    for level in [Level::Change, Level::Look] {
        lines.extend(of(level).flat_map(finding));
    }
    let mut same: Vec<&str> = of(Level::Same).map(|finding| finding.at.as_str()).collect();
    same.dedup();
    lines.extend(paragraph("  SAME    ", &same));
    lines.push(String::new());
    lines
}

fn finding(finding: &Finding) -> Vec<String> {
    let word = if finding.level == Level::Change { "CHANGE" } else { "LOOK" };
    let mut lines = vec![format!("  {word:<7} {}", finding.at)];
    let parts = [("", &finding.what), ("why: ", &finding.why), ("do: ", &finding.todo)];
    let given = parts.into_iter().filter(|(_, text)| !text.is_empty());
    lines.extend(given.map(|(label, text)| format!("          {label}{text}")));
    lines.extend(finding.row.map(|row| format!("          see COMPATIBILITY.md: {row}")));
    lines
}

/// Names, as many on a line as there is room for.
fn paragraph(label: &str, names: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if line.len() + name.len() + 2 <= WIDTH => {
                line.push_str(", ");
                line.push_str(name);
            }
            None => lines.push(format!("{label}{name}")),
            Some(line) => {
                line.push(',');
                lines.push(format!("{:width$}{name}", "", width = label.len()));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_change_comes_first_and_what_carries_over_is_named() {
        let same = (1..=12).map(|number| Finding::same(format!("a.long.key{number}"), ""));
        let findings = same
            .chain([
                Finding::look("b", "what is so", "why it is", ""),
                Finding::change("c", "what is so", "why it is", "what to do").row("a row"),
            ])
            .collect();
        let report = Report::new(vec![Source { name: "values.yaml".to_owned(), findings }]);
        insta::assert_snapshot!(text(&report), @r"
        values.yaml: 1 must change, 1 to look at, 12 carry over
          CHANGE  c
                  what is so
                  why: why it is
                  do: what to do
                  see COMPATIBILITY.md: a row
          LOOK    b
                  what is so
                  why: why it is
          SAME    a.long.key1, a.long.key2, a.long.key3, a.long.key4, a.long.key5, a.long.key6,
                  a.long.key7, a.long.key8, a.long.key9, a.long.key10, a.long.key11, a.long.key12

        Something must change first.
        ");
        insta::assert_snapshot!(text(&Report::new(Vec::new())), @"Everything carries over.");
    }
}
