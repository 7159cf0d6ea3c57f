//! `ratify version`.

use std::process::ExitCode;

use clap::Args;

use super::{flag, output};

/// The commit the binary was built from, where the build says so.
pub(crate) const COMMIT: Option<&str> = option_env!("RATIFY_GIT_COMMIT");

#[derive(Debug, Args)]
pub(crate) struct Version {
    #[command(flatten)]
    pub(super) debug: flag::Debug,
}

impl Version {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        output::print_line(&lines(COMMIT).join("\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// v1's form: a label, padded to the widest, and a value. There is no `Go version` here.
fn lines(commit: Option<&str>) -> Vec<String> {
    let mut items = vec![
        ("Version", concat!("v", env!("CARGO_PKG_VERSION"))),
        ("Rust version", env!("CARGO_PKG_RUST_VERSION")),
        ("Replaces", "Ratify v1.4.0"),
    ];
    items.extend(commit.map(|commit| ("Git commit", commit)));
    let width = items.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    items
        .iter()
        .map(|(label, value)| format!("{label}: {:1$}{value}", "", width - label.len()))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn labels_are_padded_to_the_widest() {
        let lines = super::lines(Some("abc"));
        assert_eq!(lines[2], "Replaces:     Ratify v1.4.0");
        assert_eq!(lines[3], "Git commit:   abc");
    }
}
