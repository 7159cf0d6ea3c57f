//! The flags of `serve` about the cache of verdicts: v1's, and ours about what replicas share.

use std::path::PathBuf;

use clap::Args;
use ratify_store_oras::TlsRoots;

use super::flag;
use crate::{
    cache::{CacheOptions, SharedAddress, SharedOptions, Ttl, VerdictCache},
    runtime::Runtime,
};

/// The types whose verdicts are shared where an address is given.
const SHARED_TYPES: [&str; 2] = ["redis", "dapr"];

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
    /// Redis that replicas share verdicts through: rediss://host:port
    #[arg(long, value_name = "URL", default_value = "")]
    cache_address: String,
    /// User of that Redis
    #[arg(long, value_name = "NAME")]
    cache_username: Option<String>,
    /// File with the password of that Redis
    #[arg(long, value_name = "FILE")]
    cache_password_file: Option<PathBuf>,
    /// File with the key of 32 bytes or more that replicas seal verdicts with
    #[arg(long, value_name = "FILE")]
    cache_key_file: Option<PathBuf>,
    /// File with the authorities that the certificate of that Redis may be of
    #[arg(long, value_name = "FILE")]
    cache_ca_file: Option<PathBuf>,
}

impl CacheFlags {
    /// The cache of verdicts, where one is asked for. It must be called within a runtime.
    ///
    /// # Errors
    /// When there is no such type, no room, or no such address.
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
        let rules = runtime.rules.clone();
        Ok(match self.shared(runtime)? {
            Some(shared) => VerdictCache::shared(&options, shared, rules),
            None => VerdictCache::new(&options, rules),
        })
    }

    /// What replicas would share by these flags; `None` where they share nothing.
    ///
    /// # Errors
    /// When the address is none.
    pub(super) fn shared_now(&self, runtime: &Runtime) -> anyhow::Result<Option<SharedOptions>> {
        if self.cache_enabled { self.shared(runtime) } else { Ok(None) }
    }

    /// What replicas share, where an address says so and a key proves who wrote it.
    fn shared(&self, runtime: &Runtime) -> anyhow::Result<Option<SharedOptions>> {
        let kind = self.cache_type.as_str();
        if self.cache_address.is_empty() {
            if SHARED_TYPES.contains(&kind) {
                tracing::warn!(
                    component_type = "cache",
                    "the cache type {kind} without --cache-address: replicas share no verdicts"
                );
            }
            return Ok(None);
        }
        let address = SharedAddress::parse(&self.cache_address).map_err(anyhow::Error::msg)?;
        if !SHARED_TYPES.contains(&kind) {
            tracing::warn!(
                component_type = "cache",
                "--cache-address has no effect with the cache type {kind}; redis shares verdicts"
            );
            return Ok(None);
        }
        let Some(key_file) = self.cache_key_file.clone() else {
            tracing::error!(
                component_type = "cache",
                "verdicts are not shared through {address}: without --cache-key-file nothing proves who wrote an entry"
            );
            return Ok(None);
        };
        if !address.is_tls {
            tracing::warn!(
                component_type = "cache",
                "verdicts are shared through {address} in clear: its password is for anybody on the way; rediss:// speaks TLS"
            );
        }
        let environment = &runtime.environment;
        let mut shared = SharedOptions::new(address, key_file);
        shared.username.clone_from(&self.cache_username);
        shared.password_file.clone_from(&self.cache_password_file);
        shared.ca_file.clone_from(&self.cache_ca_file);
        shared.roots = TlsRoots {
            file: environment.ssl_cert_file.clone(),
            directories: environment.ssl_cert_dirs.clone(),
        };
        Ok(Some(shared))
    }
}
