//! [`ServiceConfig`]: how long and how much.

use std::time::Duration;

use ratify_core::config::Config;

use super::times::Times;

/// How long and how much. v1 takes these when it starts; a reload does not change them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// Within this a verification is answered.
    pub verify_within: Duration,
    /// Within this a mutation is answered.
    pub mutate_within: Duration,
    /// After this, counted from the request, work is given up.
    pub give_up_after: Duration,
    /// How many images are worked on at once while somebody waits for them. One namespace may have
    /// half of what the others leave; so with the other bounds.
    pub at_once: usize,
    /// How many images are worked on when everybody who asked was told that they are late.
    pub behind: usize,
    /// How many images may wait for their turn; more are refused.
    pub waiting: usize,
    /// How many bytes those may have.
    pub waiting_bytes: usize,
    /// For how long what came too late is kept for who asks again.
    pub keep_late: Duration,
    /// How many bytes that may have.
    pub late_bytes: usize,
    /// Whether a mutation keeps the tag beside the digest.
    pub mutation_keeps_tag: bool,
    /// The headers a request's trace id is taken from, first found first.
    pub trace_id_headers: Vec<String>,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self::from_config(&Config::default())
    }
}

impl ServiceConfig {
    /// What a configuration says, and defaults for what it cannot say.
    pub fn from_config(config: &Config) -> Self {
        Self {
            verify_within: Duration::from_millis(config.executor.verification_ms()),
            mutate_within: Duration::from_millis(config.executor.mutation_ms()),
            give_up_after: config.executor.give_up_after(),
            at_once: 128,
            behind: 128,
            waiting: 4000,
            waiting_bytes: 8 << 20,
            keep_late: Duration::from_secs(30),
            late_bytes: 8 << 20,
            mutation_keeps_tag: config.executor.mutation_keeps_tag,
            trace_id_headers: config.logger.trace_id_headers.clone(),
        }
    }

    /// The configured times of answers.
    pub fn times(&self) -> Times {
        Times::new(self.verify_within, self.mutate_within)
    }
}
