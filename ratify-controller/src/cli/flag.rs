//! Flags that several commands take, and Go's spelling of truth and time.

use std::time::{Duration, Instant};

use clap::Args;

/// `-d`, `--debug`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Debug {
    /// Log at level debug.
    #[arg(short = 'd', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool)]
    pub(crate) debug: bool,
}

/// Which subject is asked about, by which configuration, for how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Question {
    /// Subject Reference
    #[arg(short, long, default_value = "")]
    pub(crate) subject: String,
    /// Config File Path
    #[arg(short, long, default_value = "")]
    pub(crate) config: String,
    /// When registries and plugins are given up (v1 waits for ever)
    #[arg(long, default_value = "5m", value_parser = go_duration)]
    timeout: Duration,
}

impl Question {
    /// When the time is over, from now on; `None` where no clock reaches that far.
    pub(crate) fn give_up_at(&self) -> Option<Instant> {
        Instant::now().checked_add(self.timeout)
    }
}

/// Reads a truth value as Go's flags do: `--silent`, `--silent=true`, `--silent=0`.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("give true or false".to_owned()),
    }
}

/// A duration as Go writes it: `10s`, `1m30s`, `1.5h`, `250ms`.
pub(crate) fn go_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("h", 3600.0),
        ("m", 60.0),
        ("s", 1.0),
    ];
    let wrong = || format!("{text:?} is no duration; write it as 10s, 1m30s or 250ms");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let (unit, scale) =
            UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
        seconds += number * scale;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_and_durations_are_gos() {
        assert_eq!((go_bool("T"), go_bool("yes").is_err()), (Ok(true), true));
        for (text, milliseconds) in
            [("10s", 10_000), ("1m30s", 90_000), ("250ms", 250), ("1.5h", 5_400_000), ("0", 0)]
        {
            assert_eq!(go_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1x", "1e400s"] {
            assert!(go_duration(text).is_err(), "{text}");
        }
    }
}
