//! How results and errors are printed.

use std::io::Write as _;

use ratify_core::go_json;
use serde::Serialize;

/// What v1 warns of when a tag is given.
pub(crate) const TAG_WARNING: &str = "Warning: Digest should be used instead of tagged reference. The resolved digest may not point to the same signed artifact, since tags are mutable.";

/// Prints a result as v1 does: indented JSON on stdout.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print_line(&go_json::to_string_pretty(value)?)
}

/// Prints one result on stdout. A reader that has gone is no error.
pub(crate) fn print_line(text: &str) -> anyhow::Result<()> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// Writes raw bytes to stdout. A reader that has gone is no error.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// An error in one line: each text of the chain that the one before it does not hold already.
pub(crate) fn error_text(error: &anyhow::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !texts.last().is_some_and(|outer| outer.contains(&text)) {
            texts.push(text);
        }
        // A coded error speaks for all its causes.
        if cause.is::<ratify_core::Error>() {
            break;
        }
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use ratify_core::ErrorCode;

    use super::*;

    #[test]
    fn a_coded_error_speaks_for_its_causes() {
        let error = ErrorCode::ConfigInvalid.detail("D").with_source("O");
        let error = Err::<(), _>(error).context("outer").unwrap_err();
        assert_eq!(error_text(&error), "outer: CONFIG_INVALID: D: O");
        let error = Err::<(), _>(anyhow::anyhow!("cause")).context("outer: cause").unwrap_err();
        assert_eq!(error_text(&error), "outer: cause");
    }
}
