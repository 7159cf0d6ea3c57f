//! Flags that several commands take, and Go's spelling of truth and time.

use std::time::{Duration, Instant};

use clap::Args;

use ratify_core::{Context, duration};

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
    #[arg(long, default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
}

impl Question {
    /// What the work is done in, from now on: without an end where no clock reaches that far.
    pub(crate) fn work(&self) -> Context {
        Context::until(Instant::now().checked_add(self.timeout))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_gos() {
        assert_eq!((go_bool("T"), go_bool("yes").is_err()), (Ok(true), true));
    }
}
