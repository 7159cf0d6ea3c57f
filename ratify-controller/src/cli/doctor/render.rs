//! A report as people read it: by area, each finding with a mark, what is wrong with its reason and
//! its fix.

use std::fmt::Write as _;

use super::{
    chain,
    finding::{Counts, Finding, Report, State},
};

/// The report as text.
pub(super) fn text(report: &Report, is_colourful: bool) -> String {
    let mut text = String::new();
    let mut area = "";
    for finding in &report.findings {
        if finding.area() != area {
            let gap = if area.is_empty() { "" } else { "\n" };
            area = finding.area();
            push(&mut text, &format!("{gap}{area}"));
        }
        one(&mut text, finding, is_colourful);
    }
    for chain in &report.timeouts {
        push(&mut text, "");
        push(&mut text, &chain::picture(chain));
    }
    push(&mut text, "");
    text.push_str(&summary(&report.counts));
    text
}

fn one(text: &mut String, finding: &Finding, is_colourful: bool) {
    let (mark, colour) = match finding.state {
        State::Ok => (" ok ", "32"),
        State::NotChecked => (" -- ", "2"),
        State::Note => ("note", "36"),
        State::Warning => ("WARN", "33"),
        State::Failure => ("FAIL", "31"),
    };
    let mark = match is_colourful {
        true => format!("\u{1b}[{colour}m[{mark}]\u{1b}[0m"),
        false => format!("[{mark}]"),
    };
    let name = finding.id.split_once('.').map_or(finding.id, |(_, name)| name);
    let on = if finding.on.is_empty() { String::new() } else { format!(" {}:", finding.on) };
    let skipped = if finding.state == State::NotChecked { " not checked:" } else { "" };
    push(text, &format!("  {mark} {name:<14}{on}{skipped} {}", finding.seen));
    for (word, said) in [("why", &finding.why), ("fix", &finding.fix)] {
        for (number, line) in said.lines().enumerate() {
            let word = if number == 0 { format!("{word}:") } else { String::new() };
            push(text, &format!("           {word:<4} {line}"));
        }
    }
}

fn push(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}

fn summary(counts: &Counts) -> String {
    let many = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    format!(
        "{}, {}, {}, {} ok, {} not checked",
        many(counts.failure, "failure"),
        many(counts.warning, "warning"),
        many(counts.note, "note"),
        counts.ok,
        counts.not_checked
    )
}
