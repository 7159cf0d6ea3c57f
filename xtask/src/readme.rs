//! The parts of the README that are made: the plugin in 20 lines, which is the compiled sample, and
//! the table of figures, which `cargo xtask bench` measured. Each stands between two markers.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const README: &str = "README.md";
const SAMPLE: &str = "plugins/sample/src/main.rs";
const FIRST: &str = "// ANCHOR: plugin\n";
const LAST: &str = "// ANCHOR_END: plugin\n";

/// A part of the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The sample's source.
    Plugin,
    /// The measured figures.
    Bench,
}

impl Part {
    fn markers(self) -> (&'static str, &'static str) {
        match self {
            Self::Plugin => ("<!-- PLUGIN -->\n", "<!-- PLUGIN END -->"),
            Self::Bench => ("<!-- BENCH -->\n", "<!-- BENCH END -->"),
        }
    }
}

/// Says what is wrong where the README does not show the sample as it is compiled.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let readme = read(root, README)?;
    let wanted = with_part(&readme, Part::Plugin, &sample(root)?);
    Ok(match wanted {
        Some(wanted) if wanted == readme => Vec::new(),
        Some(_) => vec![format!(
            "{README}: shows another plugin than {SAMPLE}; run: cargo xtask tidy --bless-readme"
        )],
        None => vec![format!("{README}: has no markers for the plugin")],
    })
}

/// Writes the sample into the README.
///
/// # Errors
/// As [`replace`].
pub(crate) fn bless(root: &Path) -> Result<()> {
    replace(root, Part::Plugin, &sample(root)?)
}

/// Writes a part of the README.
///
/// # Errors
/// When the README cannot be read or written, or has no such part.
pub(crate) fn replace(root: &Path, part: Part, text: &str) -> Result<()> {
    let readme = read(root, README)?;
    let changed = with_part(&readme, part, text)
        .with_context(|| format!("{README} has no markers for {part:?}"))?;
    fs::write(root.join(README), changed).with_context(|| format!("cannot write {README}"))
}

/// The sample between its anchors, as a block of the README.
fn sample(root: &Path) -> Result<String> {
    let source = read(root, SAMPLE)?;
    let code = between(&source, FIRST, LAST).with_context(|| format!("{SAMPLE} has no anchors"))?;
    Ok(format!("```rust\n{code}```\n"))
}

fn read(root: &Path, name: &str) -> Result<String> {
    fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))
}

fn between<'a>(text: &'a str, first: &str, last: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(first)?;
    rest.split_once(last).map(|(inside, _)| inside)
}

fn with_part(readme: &str, part: Part, text: &str) -> Option<String> {
    let (first, last) = part.markers();
    let (before, rest) = readme.split_once(first)?;
    let (_, after) = rest.split_once(last)?;
    Some(format!("{before}{first}{text}{last}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_everything_else_stays() {
        let readme = "a\n<!-- PLUGIN -->\nold\n<!-- PLUGIN END -->\nb\n";
        let changed = with_part(readme, Part::Plugin, "new\n").unwrap();
        assert_eq!(changed, "a\n<!-- PLUGIN -->\nnew\n<!-- PLUGIN END -->\nb\n");
        assert_eq!(with_part("nothing", Part::Bench, "x"), None);
    }

    #[test]
    fn the_sample_is_what_stands_between_its_anchors() {
        assert_eq!(
            between("x\n// ANCHOR: plugin\ncode\n// ANCHOR_END: plugin\ny", FIRST, LAST),
            Some("code\n")
        );
    }
}
