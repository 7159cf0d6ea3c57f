//! [`CacheOptions`]: what the command line's words about the cache mean. The texts are v1's where it
//! has one.

use std::{str::FromStr, time::Duration};

/// `--cache-ttl 0`, which is for ever in v1, means this long.
const UNBOUNDED: Duration = Duration::from_secs(60 * 60);
/// No verdict is kept for longer, whatever is configured.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const MEGABYTE: u64 = 1 << 20;

/// How verdicts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheOptions {
    /// At most so many bytes in memory.
    pub bytes: u64,
    /// For how long.
    pub ttl: Duration,
}

/// A time to live as Go reads it: v1 takes a negative one, and then keeps nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ttl {
    /// How long.
    Of(Duration),
    /// Less than nothing, as written.
    Negative(String),
}

/// Why there is no cache of that kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// There is none of that name.
    #[error("error initializing cache of type {0}: cache provider {0} not found")]
    Unknown(String),
    /// It would hold nothing.
    #[error("error initializing cache of type {kind}: --cache-size must be at least 1, not {size}")]
    Size {
        /// The type.
        kind: String,
        /// The size.
        size: i64,
    },
}

impl FromStr for Ttl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('-') {
            Some(rest) => match ratify_core::duration::parse(rest)? {
                Duration::ZERO => Ok(Self::Of(Duration::ZERO)),
                _ => Ok(Self::Negative(text.to_owned())),
            },
            None => ratify_core::duration::parse(text).map(Self::Of),
        }
    }
}

impl CacheOptions {
    /// Keeps so many bytes for so long.
    pub fn new(bytes: u64, ttl: Duration) -> Self {
        Self { bytes, ttl }
    }

    /// What the flags of v1 mean, and what there is to say about them; `None` where nothing is to be
    /// kept.
    ///
    /// # Errors
    /// When there is no such type, or no room.
    pub fn from_flags(
        kind: &str,
        name: &str,
        size: i64,
        ttl: &Ttl,
    ) -> Result<(Option<Self>, Vec<String>), CacheError> {
        let mut said = Vec::new();
        match kind {
            // v1's word for the cache in memory.
            "ristretto" | "memory" | "redis" => {}
            "dapr" => {
                let name = ratify_core::capped_line(name, 100);
                said.push(format!(
                    "the cache type dapr: no sidecar is asked for its state store {name}"
                ));
            }
            _ => return Err(CacheError::Unknown(ratify_core::capped_line(kind, 100))),
        }
        let megabytes = u64::try_from(size).ok().filter(|size| *size > 0);
        let Some(megabytes) = megabytes else {
            return Err(CacheError::Size { kind: kind.to_owned(), size });
        };
        let ttl = match ttl {
            Ttl::Negative(text) => {
                let provider = if kind == "dapr" { "redis" } else { kind };
                said.push(format!(
                    "Error saving value to {provider}: ttl provided must be >= 0: {text}"
                ));
                return Ok((None, said));
            }
            Ttl::Of(Duration::ZERO) => {
                said.push("--cache-ttl 0: verdicts are kept for one hour, not for ever".to_owned());
                UNBOUNDED
            }
            Ttl::Of(ttl) if *ttl > LONGEST => {
                said.push("--cache-ttl: verdicts are kept for 24 hours at most".to_owned());
                LONGEST
            }
            Ttl::Of(ttl) => *ttl,
        };
        Ok((Some(Self::new(megabytes.saturating_mul(MEGABYTE), ttl)), said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, size: i64, ttl: &str) -> Result<Option<CacheOptions>, String> {
        let read = CacheOptions::from_flags(kind, "n", size, &ttl.parse()?);
        read.map(|(options, _)| options).map_err(|error| error.to_string())
    }

    #[test]
    fn v1s_types_are_taken_and_others_refused_in_its_words() {
        let expected = CacheOptions::new(256 << 20, Duration::from_secs(10));
        for kind in ["ristretto", "dapr", "memory", "redis"] {
            assert_eq!(read(kind, 256, "10s"), Ok(Some(expected.clone())), "{kind}");
        }
        assert_eq!(
            read("foo", 256, "10s").unwrap_err(),
            "error initializing cache of type foo: cache provider foo not found"
        );
        for size in [0, -1, i64::MIN] {
            assert!(read("ristretto", size, "10s").unwrap_err().contains("at least 1"));
        }
    }

    #[test]
    fn a_verdict_is_never_kept_for_ever() {
        let ttl = |text| read("ristretto", 1, text).unwrap().map(|options| options.ttl);
        assert_eq!(ttl("0"), Some(UNBOUNDED));
        assert_eq!(ttl("0s"), Some(UNBOUNDED));
        assert_eq!(ttl("-0s"), Some(UNBOUNDED));
        assert_eq!(ttl("10000h"), Some(LONGEST));
        assert_eq!(ttl("250ms"), Some(Duration::from_millis(250)));
        assert!(read("ristretto", 1, "soon").is_err());
    }

    #[test]
    fn less_than_no_time_is_v1s_error_and_nothing_is_kept() {
        let (options, said) =
            CacheOptions::from_flags("ristretto", "n", 1, &"-5s".parse().unwrap()).unwrap();
        assert_eq!(options, None);
        let last = said.last().map(String::as_str);
        assert_eq!(last, Some("Error saving value to ristretto: ttl provided must be >= 0: -5s"));
    }
}
