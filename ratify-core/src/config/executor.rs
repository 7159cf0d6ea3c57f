//! The `executor` section: how long a request may take, and what a mutation makes of a tag.

use std::time::Duration;

use super::{ConfigError, Section};

/// v1's default for a verification, in milliseconds.
const DEFAULT_VERIFICATION_MS: i64 = 2900;
/// v1's default for a mutation, in milliseconds.
const DEFAULT_MUTATION_MS: i64 = 950;
/// When work is given up, where nothing else is said.
const DEFAULT_GIVE_UP: Duration = Duration::from_secs(30);
/// Work goes on no shorter and no longer than this, in milliseconds.
const GIVE_UP_MS: [i64; 2] = [100, 600_000];

/// Timeouts of the server's two endpoints, and what else concerns their work. The command line has
/// no such times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutorConfig {
    /// As configured, in milliseconds.
    pub verification_request_timeout_ms: Option<i64>,
    /// As configured, in milliseconds.
    pub mutation_request_timeout_ms: Option<i64>,
    /// When work is given up, counted from the request that asked for it (not in v1).
    pub give_up_after: Option<Duration>,
    /// Whether a mutation keeps the tag beside the digest (not in v1).
    pub mutation_keeps_tag: bool,
}

impl ExecutorConfig {
    pub(super) fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        let give_up = section.integer("giveUpAfter")?;
        if give_up.is_some_and(|given| !(GIVE_UP_MS[0]..=GIVE_UP_MS[1]).contains(&given)) {
            let [least, most] = GIVE_UP_MS;
            return Err(ConfigError::Value {
                at: section.key_path("giveUpAfter"),
                why: format!("it must be between {least} and {most} milliseconds"),
            });
        }
        Ok(Self {
            verification_request_timeout_ms: section.integer("verificationRequestTimeout")?,
            mutation_request_timeout_ms: section.integer("mutationRequestTimeout")?,
            give_up_after: give_up.map(|given| Duration::from_millis(given.unsigned_abs())),
            mutation_keeps_tag: section.boolean("mutationKeepsTag")?.unwrap_or_default(),
        })
    }

    /// How long a verification may take, in milliseconds. Zero or less means that every request
    /// is late, as in v1.
    pub fn verification_ms(&self) -> u64 {
        milliseconds(self.verification_request_timeout_ms, DEFAULT_VERIFICATION_MS)
    }

    /// How long a mutation may take, in milliseconds.
    pub fn mutation_ms(&self) -> u64 {
        milliseconds(self.mutation_request_timeout_ms, DEFAULT_MUTATION_MS)
    }

    /// When work is given up, counted from the request that asked for it. Until then what is late
    /// goes on, so that it is done when it is asked for again.
    pub fn give_up_after(&self) -> Duration {
        self.give_up_after.unwrap_or(DEFAULT_GIVE_UP)
    }
}

fn milliseconds(configured: Option<i64>, default: i64) -> u64 {
    u64::try_from(configured.unwrap_or(default)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_of_zero_or_less_is_no_time_at_all() {
        assert_eq!(ExecutorConfig::default().verification_ms(), 2900);
        let config = ExecutorConfig {
            verification_request_timeout_ms: Some(-1),
            mutation_request_timeout_ms: Some(7),
            ..ExecutorConfig::default()
        };
        assert_eq!((config.verification_ms(), config.mutation_ms()), (0, 7));
    }

    #[test]
    fn work_is_given_up_within_bounds() {
        let read = |text: &str| {
            let file = format!(r#"{{"executor":{{{text}}}}}"#);
            let config = crate::config::Config::from_json(file.as_bytes());
            config.map(|config| config.executor).map_err(|error| error.to_string())
        };
        let usual = read("").unwrap();
        assert_eq!(usual.give_up_after(), Duration::from_secs(30));
        assert!(!usual.mutation_keeps_tag);
        let given = read(r#""giveUpAfter":1500,"mutationKeepsTag":true"#).unwrap();
        assert_eq!(given.give_up_after(), Duration::from_millis(1500));
        assert!(given.mutation_keeps_tag);
        for wrong in ["0", "-1", "99", "600001"] {
            let error = read(&format!(r#""giveUpAfter":{wrong}"#)).unwrap_err();
            let said = "executor.giveUpAfter: it must be between 100 and 600000 milliseconds";
            assert_eq!(error, said);
        }
    }
}
