//! Rules about files and their text: what may lie in the root, how a file begins, how long it
//! and its functions may be, and that nothing of one person's machine is in it.

use super::Finding;
use super::functions;
use super::table;
use super::text::Text;

/// The most lines of a file that does not explain itself.
const FILE_LINES: usize = 500;
/// The most lines of a function that does not explain itself.
const FUNCTION_LINES: usize = 80;
/// What an explanation begins with: in the file's header, or in a comment above a function.
const EXPLAINED: &str = "Long because:";

/// Only what was agreed on lies in the root.
pub(crate) fn root_entries(files: &[String]) -> Vec<Finding> {
    let mut entries: Vec<&str> = files.iter().filter_map(|name| name.split('/').next()).collect();
    entries.sort_unstable();
    entries.dedup();
    let strange =
        entries.into_iter().filter(|name| !name.starts_with('.') && !table::ROOT.contains(name));
    strange.map(|name| format!("{name}: does not belong in the root; find it a folder")).collect()
}

/// Every rule about one file's text.
pub(crate) fn text_rules(text: &Text) -> Vec<Finding> {
    let mut findings = home_paths(text);
    if text.is_rust() {
        findings.extend(environment(text));
        findings.extend(opening(text));
        findings.extend(file_length(text));
        findings.extend(function_lengths(text));
    }
    findings
}

/// The controller reads variables in one file.
fn environment(text: &Text) -> Vec<Finding> {
    let sources = "ratify-controller/src/";
    if !text.name.starts_with(sources) || text.name == format!("{sources}env.rs") {
        return Vec::new();
    }
    let reads = |line: &str| ["env::var(", "env::var_os("].iter().any(|call| line.contains(call));
    let numbered = text.content.lines().enumerate().filter(|(_, line)| reads(line));
    let finding = |(index, _): (usize, &str)| {
        format!("{}:{}: reads a variable; {sources}env.rs does that", text.name, index + 1)
    };
    numbered.map(finding).collect()
}

/// A Rust file opens with what it is for.
fn opening(text: &Text) -> Option<Finding> {
    let opens = text.content.starts_with("//!") || text.content.starts_with("#!");
    (!opens).then(|| format!("{}:1: open the file with //! and what it is for", text.name))
}

fn file_length(text: &Text) -> Option<Finding> {
    let lines = text.content.lines().count();
    let header = text.content.lines().take_while(|line| line.starts_with("//!"));
    let explained = header.into_iter().any(|line| line.contains(EXPLAINED));
    (lines > FILE_LINES && !explained).then(|| {
        format!(
            "{}: {lines} lines, more than {FILE_LINES}; split it, or say in its header \
             \"{EXPLAINED} …\"",
            text.name
        )
    })
}

fn function_lengths(text: &Text) -> Vec<Finding> {
    let lines: Vec<&str> = text.content.lines().collect();
    let long = functions::all(&text.content).into_iter().filter(|function| {
        function.lines > FUNCTION_LINES && !explained_above(&lines, function.first_line)
    });
    let finding = |function: functions::Function| {
        format!(
            "{}:{}: the function {} has {} lines, more than {FUNCTION_LINES}; split it, or \
             explain above it \"{EXPLAINED} …\"",
            text.name,
            function.first_line + 1,
            function.name,
            function.lines
        )
    };
    long.map(finding).collect()
}

/// Whether the comments and attributes right above this line hold an explanation.
fn explained_above(lines: &[&str], line: usize) -> bool {
    let above = lines[..line].iter().rev().map(|line| line.trim_start());
    let mut attached = above.take_while(|line| line.starts_with("//") || line.starts_with("#["));
    attached.any(|line| line.contains(EXPLAINED))
}

/// Home directories are one person's, but for the table's examples; files in a folder named
/// `data` quote what others wrote.
fn home_paths(text: &Text) -> Vec<Finding> {
    if text.name.split('/').any(|part| part == "data") {
        return Vec::new();
    }
    let homes = ["root", "home"].map(|name| format!("/{name}/"));
    let mentions = |line: &str| homes.iter().any(|home| names_a_home(line, home));
    let numbered = text.content.lines().enumerate().filter(|(_, line)| mentions(line));
    let finding = |(index, _): (usize, &str)| {
        format!("{}:{}: names a home directory; say it without one", text.name, index + 1)
    };
    numbered.map(finding).collect()
}

/// Whether this stands where a path begins, not in the middle of a longer one or of a URL, and
/// is nobody's.
fn names_a_home(line: &str, home: &str) -> bool {
    let inside = |before: char| before.is_alphanumeric() || "._-/*}".contains(before);
    let of_nobody = |rest: &str| {
        let whole = |home: &&str| {
            let after = rest.strip_prefix(*home);
            after.is_some_and(|after| !after.starts_with(char::is_alphanumeric))
        };
        table::EXAMPLE_HOMES.iter().any(whole)
    };
    let mut places = line.match_indices(home).map(|(at, _)| line.split_at(at));
    places.any(|(before, rest)| !before.ends_with(inside) && !of_nobody(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(content: &str) -> Text {
        Text { name: "core/src/thing.rs".to_owned(), content: content.to_owned() }
    }

    #[test]
    fn a_stranger_in_the_root_is_found_once_and_dotfiles_are_not() {
        let files = ["scratch/a", "scratch/b", ".gitignore", "docs/x.md"].map(str::to_owned);
        let found = root_entries(&files);
        assert_eq!(found, ["scratch: does not belong in the root; find it a folder"]);
    }

    #[test]
    fn a_variable_that_the_controller_reads_elsewhere_is_found() {
        let content = "//! Header.\n\nlet home = std::env::var(\"HOME\");\n".to_owned();
        let found = |name: &str| text_rules(&Text { name: name.into(), content: content.clone() });
        assert!(found("ratify-controller/src/cli/mod.rs")[0].contains(":3: reads a variable"));
        let others = ["ratify-controller/src/env.rs", "ratify-controller/tests/suite/main.rs"];
        assert!(others.iter().all(|name| found(name).is_empty()));
    }

    #[test]
    fn a_rust_file_without_a_header_is_found() {
        assert_eq!(text_rules(&rust("use std::fs;\n")).len(), 1);
        assert!(text_rules(&rust("//! What it is for.\n")).is_empty());
    }

    #[test]
    fn a_file_of_501_lines_is_found_unless_its_header_explains() {
        let body = "// a line\n".repeat(500);
        let found = text_rules(&rust(&format!("//! Header.\n{body}")));
        assert!(found[0].contains("501 lines"), "{found:?}");
        assert!(text_rules(&rust(&format!("//! Long because: a table.\n{body}"))).is_empty());
        let body = "// a line\n".repeat(499);
        assert!(text_rules(&rust(&format!("//! Header.\n{body}"))).is_empty());
    }

    #[test]
    fn a_function_of_81_lines_is_found_unless_a_comment_explains() {
        let function =
            |lines: usize| format!("fn long() {{\n{}}}\n", "    call();\n".repeat(lines));
        let found = text_rules(&rust(&format!("//! Header.\n{}", function(79))));
        assert!(found[0].contains(":2: the function long has 81 lines"), "{found:?}");
        assert!(text_rules(&rust(&format!("//! Header.\n{}", function(78)))).is_empty());
        let explained =
            format!("//! Header.\n// Long because: one match.\n#[inline]\n{}", function(79));
        assert!(text_rules(&rust(&explained)).is_empty());
    }

    #[test]
    fn a_home_directory_is_found_where_a_path_begins() {
        let home = format!("/{}/someone/x", "home");
        let text = |name: &str, content: String| Text { name: name.to_owned(), content };
        assert_eq!(home_paths(&text("docs/a.md", format!("see {home}"))).len(), 1);
        assert!(home_paths(&text("docs/a.md", format!("https://example.com{home}"))).is_empty());
        assert!(home_paths(&text("tests/data/a.json", home)).is_empty());
        assert!(home_paths(&text("src/a.rs", "HOME=/home/user/.ratify".to_owned())).is_empty());
        assert_eq!(home_paths(&text("src/a.rs", format!("/{}/users", "home"))).len(), 1);
    }
}
