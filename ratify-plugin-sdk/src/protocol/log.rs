//! Lines a plugin logs, as a host reads them.

use ratify_core::capped_line;

/// A log line longer than this many bytes is cut.
const MAX_LOG_LINE: usize = 2048;
/// Log lines beyond this number are counted, not kept.
const MAX_LOG_LINES: usize = 1000;

/// Lines a plugin logged, fit for a host's own log: no control characters, bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// The lines that were kept.
    pub lines: Vec<LogLine>,
    /// How many were not.
    pub dropped: usize,
}

/// One line a plugin logged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// The level of its prefix; `None` for a line without one.
    pub level: Option<LogLevel>,
    /// The line without the prefix.
    pub text: String,
}

/// The levels of v1's plugin logger; there is none for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogLevel {
    /// `DEBUG: `.
    Debug,
    /// `INFO: `.
    Info,
    /// `WARN: `.
    Warn,
}

impl Log {
    pub(super) fn push(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.lines.len() == MAX_LOG_LINES {
            self.dropped += 1;
            return;
        }
        self.lines.push(LogLine::parse(line));
    }

    /// Puts earlier lines in front.
    pub(super) fn prepend(&mut self, mut earlier: Self) {
        let room = MAX_LOG_LINES - earlier.lines.len();
        earlier.dropped += self.dropped + self.lines.len().saturating_sub(room);
        earlier.lines.extend(self.lines.drain(..).take(room));
        *self = earlier;
    }
}

impl LogLine {
    fn parse(line: &str) -> Self {
        let levels =
            [("info:", LogLevel::Info), ("warn:", LogLevel::Warn), ("debug:", LogLevel::Debug)];
        for (prefix, level) in levels {
            if let Some((head, rest)) = line.split_at_checked(prefix.len())
                && head.eq_ignore_ascii_case(prefix)
            {
                let text = capped_line(rest.trim(), MAX_LOG_LINE);
                return Self { level: Some(level), text };
            }
        }
        Self { level: None, text: capped_line(line, MAX_LOG_LINE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(line: &str, times: usize) -> Log {
        let mut log = Log::default();
        for _ in 0..times {
            log.push(line);
        }
        log
    }

    #[test]
    fn a_flood_of_lines_is_counted_not_kept() {
        let mut log = log_of("x", MAX_LOG_LINES + 5);
        assert_eq!((log.lines.len(), log.dropped), (MAX_LOG_LINES, 5));
        log.prepend(log_of("y", 0));
        assert_eq!((log.lines.len(), log.dropped), (MAX_LOG_LINES, 5));
        let mut log = log_of("y", 10);
        log.prepend(log_of("x", MAX_LOG_LINES - 3));
        assert_eq!((log.lines.len(), log.dropped), (MAX_LOG_LINES, 7));
    }

    #[test]
    fn a_long_line_is_cut() {
        assert_eq!(log_of(&"x".repeat(9000), 1).lines[0].text.len(), MAX_LOG_LINE);
    }

    #[test]
    fn a_prefix_gives_the_level_only_with_its_colon() {
        let level = |line| LogLine::parse(line).level;
        assert_eq!(level("INFO: a"), Some(LogLevel::Info));
        assert_eq!(level("warn:a"), Some(LogLevel::Warn));
        assert_eq!(level("Debug: a"), Some(LogLevel::Debug));
        assert_eq!((level("information"), level("ERROR: a"), level("ä")), (None, None, None));
    }
}
