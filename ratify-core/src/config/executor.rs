//! The `executor` section: how long a request may take.

use super::{ConfigError, Section};

/// v1's default for a verification, in milliseconds.
const DEFAULT_VERIFICATION_MS: i64 = 2900;
/// v1's default for a mutation, in milliseconds.
const DEFAULT_MUTATION_MS: i64 = 950;

/// Timeouts of the server's two endpoints. The command line has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutorConfig {
    /// As configured, in milliseconds.
    pub verification_request_timeout_ms: Option<i64>,
    /// As configured, in milliseconds.
    pub mutation_request_timeout_ms: Option<i64>,
}

impl ExecutorConfig {
    pub(super) fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        Ok(Self {
            verification_request_timeout_ms: section.integer("verificationRequestTimeout")?,
            mutation_request_timeout_ms: section.integer("mutationRequestTimeout")?,
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
        };
        assert_eq!((config.verification_ms(), config.mutation_ms()), (0, 7));
    }
}
