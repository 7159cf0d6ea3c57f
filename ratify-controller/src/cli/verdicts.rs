//! The flags of `serve` about the cache of verdicts.

use clap::Args;

use super::flag;
use crate::{
    cache::{CacheOptions, Ttl, VerdictCache},
    runtime::Runtime,
};

#[derive(Debug, Args)]
pub(super) struct CacheFlags {
    /// Enable cache if enabled (default: false)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = flag::go_bool)]
    cache_enabled: bool,
    /// Cache type to use
    #[arg(long, default_value = "ristretto")]
    cache_type: String,
    /// Cache implementation name to use
    #[arg(long, default_value = "dapr-redis")]
    cache_name: String,
    /// Cache max size to use in MB
    #[arg(long, default_value_t = 256)]
    cache_size: i64,
    /// Cache TTL for the verifier http server
    #[arg(long, default_value = "10s", allow_hyphen_values = true)]
    cache_ttl: Ttl,
}

impl CacheFlags {
    /// The cache of verdicts, where one is asked for.
    ///
    /// # Errors
    /// When there is no such type, or no room.
    pub(super) fn open(&self, runtime: &Runtime) -> anyhow::Result<VerdictCache> {
        if !self.cache_enabled {
            return Ok(VerdictCache::default());
        }
        let (options, said) = CacheOptions::from_flags(
            &self.cache_type,
            &self.cache_name,
            self.cache_size,
            &self.cache_ttl,
        )?;
        let Some(options) = options else {
            for line in said {
                tracing::error!(component_type = "cache", "{line}");
            }
            return Ok(VerdictCache::default());
        };
        for line in said {
            tracing::warn!(component_type = "cache", "{line}");
        }
        let (megabytes, ttl) = (options.bytes >> 20, options.ttl);
        tracing::info!(
            component_type = "cache",
            "verdicts are kept in memory: {megabytes} MB at most, for {ttl:?}"
        );
        Ok(VerdictCache::new(&options, runtime.rules.clone()))
    }
}
