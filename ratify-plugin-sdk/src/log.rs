//! Log lines to the host, in v1's form on standard error: `INFO: `, `WARN: `, `DEBUG: `.
//!
//! A line has no braces: v1's host takes any line with `{` for JSON, drops it, or takes what it
//! finds there for the answer. Here they become parentheses. Line breaks and other control
//! characters are replaced, so that one call is one line.

#[cfg(any(test, feature = "tracing"))]
mod told;

use std::{cell::RefCell, fmt, io::Write};

use ratify_core::without_control_characters;

/// Something an operator should know.
pub fn info(message: impl fmt::Display) {
    write("INFO", &message);
}

/// Something an operator should mend.
pub fn warn(message: impl fmt::Display) {
    write("WARN", &message);
}

/// Something that helps to find a fault.
pub fn debug(message: impl fmt::Display) {
    write("DEBUG", &message);
}

/// Makes lines of what libraries say by `tracing`, from `info` up; an error is a warning. Where somebody
/// has set up `tracing` already, nothing changes.
#[cfg(feature = "tracing")]
pub fn take_tracing() {
    // The one error is that it is set up.
    let _ = tracing::subscriber::set_global_default(told::Lines);
}

thread_local! {
    /// Where a test of a plugin collects its lines. A plugin itself is one process a call, and
    /// its lines go to standard error.
    static COLLECTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work` and returns what it logged beside its result.
pub(crate) fn collect<T>(work: impl FnOnce() -> T) -> (T, String) {
    let outer = COLLECTED.replace(Some(String::new()));
    let result = work();
    (result, COLLECTED.replace(outer).unwrap_or_default())
}

fn write(level: &str, message: &dyn fmt::Display) {
    let line = line(level, message);
    let collected = COLLECTED.with_borrow_mut(|lines| match lines {
        Some(lines) => {
            lines.push_str(&line);
            true
        }
        None => false,
    });
    if !collected {
        // A log that nobody reads must not end the plugin.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn line(level: &str, message: &dyn fmt::Display) -> String {
    let text = without_control_characters(&message.to_string());
    format!("{level}: {}\n", text.replace('{', "(").replace('}', ")"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_without_braces() {
        let ((), lines) = collect(|| {
            info("plain");
            warn(format_args!("got {}\nINFO: forged", r#"{"isSuccess":true}"#));
            debug("\x1b[31m");
        });
        insta::assert_snapshot!(lines, @r#"
        INFO: plain
        WARN: got ("isSuccess":true)�INFO: forged
        DEBUG: �[31m
        "#);
    }
}
