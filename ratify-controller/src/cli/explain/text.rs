//! An explanation as a tree for a person: no line is wider than the page, and there is colour on a
//! terminal only.

use std::{fmt::Write as _, time::Duration};

use super::{Explanation, steps::Step};

/// How wide the page is.
pub(super) const WIDTH: usize = 120;
/// How many columns times have, on the left.
const GUTTER: usize = 11;
/// How much of an artifact's digest is shown.
const SHORT: usize = "sha256:".len() + 12;
/// A text is given so many columns at least, however deep it stands.
const LEAST: usize = 40;

/// How it looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) width: usize,
    pub(super) color: bool,
}

#[derive(Clone, Copy)]
enum Tint {
    Plain,
    Good,
    Bad,
    Faint,
}

/// One entry of the tree: a line, texts below it, and what stands further in.
struct Entry {
    line: String,
    tint: Tint,
    took: String,
    notes: Vec<(String, Tint)>,
    entries: Vec<Entry>,
}

struct Page {
    style: Style,
    text: String,
}

pub(super) fn render(explained: &Explanation<'_>, style: Style) -> String {
    let mut page = Page { style, text: String::new() };
    let (said, tint) = match explained.is_success() {
        true => ("allowed", Tint::Good),
        false => ("refused", Tint::Bad),
    };
    page.wrapped("", "", &format!("{}: {said}", explained.subject), tint);
    let mut entries: Vec<Entry> = Vec::new();
    for step in &explained.steps {
        // The image is the heading.
        match step.name {
            "subject" if step.fields.get("error").is_none() => {
                entries.extend(step.steps.iter().map(entry));
            }
            _ => entries.push(entry(step)),
        }
    }
    page.tree("", &entries);
    page.text.push('\n');
    for (label, texts) in [("why", &explained.reasons), ("do", &explained.remediations)] {
        for text in texts {
            page.wrapped("", &format!("{label}: "), text, Tint::Plain);
        }
    }
    if let Err((_, remediation)) = &explained.outcome
        && !remediation.is_empty()
    {
        page.wrapped("", "do: ", remediation, Tint::Plain);
    }
    page.wrapped("", "registries: ", &requests(explained), Tint::Plain);
    page.wrapped("", "took: ", &time(Some(explained.took)), Tint::Plain);
    if explained.left_out > 0 {
        let left_out = format!("{} more steps are not shown", explained.left_out);
        page.wrapped("", "", &left_out, Tint::Plain);
    }
    page.text
}

fn requests(explained: &Explanation<'_>) -> String {
    let registry = &explained.registry;
    let mut parts = vec![counted(registry.total, "request")];
    if registry.by_host.len() > 1 {
        let hosts: Vec<_> =
            registry.by_host.iter().map(|(host, count)| format!("{host} {count}")).collect();
        parts[0] = format!("{} ({})", parts[0], hosts.join(", "));
    }
    parts.push(format!("{} of them again", registry.repeated));
    parts.push(counted(registry.tokens, "token exchange"));
    parts.push(format!("{} from the cache", counted(registry.from_cache, "answer")));
    parts.push(counted(registry.bytes, "byte"));
    if registry.waited > Duration::ZERO {
        parts.push(format!("waited {} for their pace", time(Some(registry.waited))));
    }
    parts.join(", ")
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn entry(step: &Step) -> Entry {
    let (mut line, tint) = line(step);
    let mut asides = Vec::new();
    if step.is_true("fromCache") {
        asides.push("from the cache".to_owned());
    }
    if step.is_true("joined") {
        asides.push("asked already".to_owned());
    }
    if step.number("resent") > 0 {
        asides.push(format!("again ({})", step.number("resent")));
    }
    if step.number("waitedMs") > 0 {
        asides.push(format!("waited {} ms", step.number("waitedMs")));
    }
    let mut notes = Vec::new();
    for (field, label, tint) in [
        ("message", "says", Tint::Plain),
        ("leftOut", "left out", Tint::Plain),
        ("error", "error", Tint::Bad),
        ("remediation", "do", Tint::Plain),
    ] {
        if !step.text(field).is_empty() {
            notes.push((format!("{label}: {}", step.text(field)), tint));
        }
    }
    let tint = if step.fields.contains_key("error") { Tint::Bad } else { tint };
    let entries = step.steps.iter().map(entry).collect();
    for aside in asides {
        line = format!("{line}, {aside}");
    }
    Entry { line, tint, took: time(step.took), notes, entries }
}

fn line(step: &Step) -> (String, Tint) {
    let judged = |yes: &'static str, no: &'static str| match step.is_true("isSuccess") {
        true => (yes, Tint::Good),
        false => (no, Tint::Bad),
    };
    let or = |text: &str, or: &str| if text.is_empty() { or.to_owned() } else { text.to_owned() };
    let text = match step.name {
        "resolve" => {
            format!("resolve in {}: {}", step.text("store"), or(step.text("digest"), "no"))
        }
        "list" => {
            let count = counted(step.number("artifacts"), "artifact");
            format!("list in {}: {count}", step.text("store"))
        }
        "artifact" => {
            let digest = step.text("artifact");
            let digest = digest.get(..SHORT).unwrap_or(digest);
            format!("artifact {} {digest}", step.text("artifactType"))
        }
        "subject" => format!("subject {}", step.text("subject")),
        "bind" => "is it the subject's?".to_owned(),
        "verify" => {
            let (said, tint) = judged("success", "no");
            return (format!("verify by {}: {said}", step.text("verifier")), tint);
        }
        "policy" => {
            let (said, tint) = judged("fulfilled", "not fulfilled");
            return (format!("policy {}: {said}", step.text("policy")), tint);
        }
        "plugin" => match step.fields.get("exitCode") {
            Some(code) => format!("plugin {}: exit {code}", step.text("plugin")),
            None => format!("plugin {}", step.text("plugin")),
        },
        "http" => http(step),
        "token" => format!("token from {}", step.text("host")),
        "install" => format!("install from {}: {}", step.text("source"), step.text("digest")),
        other => other.to_owned(),
    };
    (text, Tint::Plain)
}

fn http(step: &Step) -> String {
    let port = match step.number("port") {
        0 | 80 | 443 => String::new(),
        port => format!(":{port}"),
    };
    let (method, endpoint) = (step.text("method"), step.text("endpoint"));
    let mut text = format!("{method} {endpoint} of {}{port}", step.text("host"));
    match step.number("status") {
        0 => text.push_str(": no answer"),
        status => {
            let _ = write!(text, ": {status}");
        }
    }
    if step.number("bytes") > 0 {
        let _ = write!(text, ", {}", counted(step.number("bytes"), "byte"));
    }
    text
}

fn time(took: Option<Duration>) -> String {
    took.map_or_else(String::new, |took| format!("{:.1} ms", took.as_secs_f64() * 1000.0))
}

impl Page {
    fn tree(&mut self, before: &str, entries: &[Entry]) {
        for (index, entry) in entries.iter().enumerate() {
            let is_last = index + 1 == entries.len();
            let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.line(&entry.took, &format!("{before}{branch}"), &entry.line, entry.tint);
            let inner = format!("{before}{below}");
            let stem = if entry.entries.is_empty() { "   " } else { "│  " };
            for (note, tint) in &entry.notes {
                let gutter = " ".repeat(GUTTER);
                self.wrapped(&format!("{gutter}{inner}{stem}"), "", note, *tint);
            }
            self.tree(&inner, &entry.entries);
        }
    }

    /// A line behind its time, cut where the page ends.
    fn line(&mut self, took: &str, before: &str, text: &str, tint: Tint) {
        self.tinted(&format!("{took:>width$} ", width = GUTTER - 1), Tint::Faint);
        self.text.push_str(before);
        let room = self.room(before).saturating_sub(GUTTER).max(LEAST);
        self.tinted(&cut(text, room), tint);
        self.text.push('\n');
    }

    /// A text over as many lines as it needs.
    fn wrapped(&mut self, before: &str, label: &str, text: &str, tint: Tint) {
        let room = self.room(before).saturating_sub(label.chars().count()).max(LEAST);
        let indent = " ".repeat(label.chars().count());
        for (index, line) in wrap(text, room).iter().enumerate() {
            self.text.push_str(before);
            self.text.push_str(if index == 0 { label } else { &indent });
            self.tinted(line, tint);
            self.text.push('\n');
        }
    }

    fn room(&self, before: &str) -> usize {
        self.style.width.saturating_sub(before.chars().count()).max(LEAST)
    }

    fn tinted(&mut self, text: &str, tint: Tint) {
        let code = match tint {
            _ if !self.style.color || text.is_empty() => "",
            Tint::Plain => "",
            Tint::Good => "\x1b[32m",
            Tint::Bad => "\x1b[31m",
            Tint::Faint => "\x1b[2m",
        };
        self.text.push_str(code);
        self.text.push_str(text);
        self.text.push_str(if code.is_empty() { "" } else { "\x1b[0m" });
    }
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// At spaces where there are some; a word that is longer than a line is broken.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut width = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let letters: Vec<char> = word.chars().collect();
        for (index, piece) in letters.chunks(room.max(1)).enumerate() {
            let gap = usize::from(index == 0 && width > 0);
            if width + gap + piece.len() > room && width > 0 {
                lines.push(String::new());
                width = 0;
            } else if gap == 1 {
                push(&mut lines, " ");
                width += 1;
            }
            push(&mut lines, &piece.iter().collect::<String>());
            width += piece.len();
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_and_no_line_is_wider_than_its_room() {
        assert_eq!(wrap("a bb ccc dddd", 6), ["a bb", "ccc", "dddd"]);
        assert_eq!(wrap("abcdefghij xy", 4), ["abcd", "efgh", "ij", "xy"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
    }

    #[test]
    fn there_is_colour_only_where_it_is_asked_for() {
        let page = |color| {
            let mut page = Page { style: Style { width: 40, color }, text: String::new() };
            page.line("1.0 ms", "└─ ", "x", Tint::Bad);
            page.text
        };
        assert_eq!(page(false), "    1.0 ms └─ x\n");
        assert_eq!(page(true), "\x1b[2m    1.0 ms \x1b[0m└─ \x1b[31mx\x1b[0m\n");
    }
}
