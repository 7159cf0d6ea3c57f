//! Tags that move. A plugin is pinned at first use; whether its tag still stands for that digest is
//! looked up now and then, reported, and followed only where `source.refreshInterval` says so.

use std::time::{Duration, Instant};

use ratify_core::{Digest, Error, ErrorCode, Reference, Result, capped_line, config::PluginSource};

use super::{
    build::{Shared, scope},
    resource::Resource,
};
use crate::plugin::install::InstallError;

/// How often a tag is looked up that nobody wants followed.
const REPORT_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// After a start the first look does not wait that long: the tag may have moved while nobody ran.
const FIRST_REPORT: Duration = Duration::from_secs(5);
/// A tag is not followed more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);
/// How long a registry may take to say what a tag stands for.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(30);

/// A tag that may move.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tag {
    pub(super) source: PluginSource,
    pub(super) reference: Reference,
    /// How often it is followed; `None` where it is only reported.
    pub(super) interval: Option<Duration>,
}

impl Tag {
    /// The tag that a source names; `None` where it names a digest.
    ///
    /// # Errors
    /// When the interval is no duration, or too short.
    pub(super) fn of(source: &PluginSource) -> Result<Option<Self>> {
        let interval = source.refresh_interval.as_deref().filter(|text| !text.is_empty());
        let interval = interval.map(interval_of).transpose()?;
        let reference = Reference::parse_exact(&source.artifact).ok();
        let by_tag = reference.filter(|reference| reference.digest().is_none());
        Ok(by_tag.map(|reference| Self { source: source.clone(), reference, interval }))
    }

    /// When it is looked up next, after a look or a load; a pin that was made by an earlier process
    /// is looked at soon.
    pub(super) fn next_look(&self, now: Instant, is_old_pin: bool) -> Option<Instant> {
        let wait = self.interval.unwrap_or(REPORT_INTERVAL);
        now.checked_add(if is_old_pin { wait.min(FIRST_REPORT) } else { wait })
    }

    /// What is wrong with the digest that is pinned. Where the registry has it no more, no further
    /// try mends that, and what does is said.
    pub(super) fn explain(&self, pinned: &Digest, error: Error) -> Error {
        // The installer keeps of a registry's error its text.
        let is_gone = |error: &InstallError| matches!(error, InstallError::Registry(text) if text.ends_with(": not found"));
        if !error.find().is_some_and(is_gone) {
            return error;
        }
        let artifact = capped_line(&self.source.artifact, 300);
        ErrorCode::DownloadPluginFailure
            .detail(format!("the registry has {pinned} no more, which {artifact} stood for at first use and which is pinned; change the spec to use another: name a tag or, better, a digest in source.artifact"))
            .with_source(error)
    }

    /// What the tag stands for now.
    pub(super) async fn resolve(&self, shared: &Shared, resource: &Resource) -> Result<Digest> {
        let client = shared.runtime.plugin_client(Some(&self.source), &scope(resource))?;
        let give_up_at = Some(Instant::now() + RESOLVE_PATIENCE);
        Ok(client.resolve(&self.reference, give_up_at).await?.digest)
    }
}

fn interval_of(text: &str) -> Result<Duration> {
    let wrong = |why: String| {
        ErrorCode::ConfigInvalid
            .detail(format!("source.refreshInterval: {}", capped_line(&why, 200)))
    };
    let interval = ratify_core::duration::parse(text).map_err(wrong)?;
    if interval < SHORTEST_INTERVAL {
        return Err(wrong(format!("{text:?} is less than {} s", SHORTEST_INTERVAL.as_secs())));
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tag(source: serde_json::Value) -> Result<Option<Tag>> {
        let entry = json!({ "source": source });
        Tag::of(&PluginSource::from_entry(entry.as_object().unwrap()).unwrap().unwrap())
    }

    #[test]
    fn a_tag_is_reported_every_hour_and_followed_where_an_interval_is_given() {
        let now = Instant::now();
        let after = |tag: &Tag, is_old_pin| tag.next_look(now, is_old_pin).unwrap() - now;
        let reported = tag(json!({"artifact": "r.example.com/p:1"})).unwrap().unwrap();
        assert_eq!((reported.interval, after(&reported, false)), (None, REPORT_INTERVAL));
        assert_eq!(after(&reported, true), FIRST_REPORT);
        let source = json!({"artifact": "r.example.com/p:1", "refreshInterval": "1m30s"});
        let followed = tag(source).unwrap().unwrap();
        assert_eq!(after(&followed, false), Duration::from_secs(90));
        let by_digest = format!("r.example.com/p@sha256:{}", "0".repeat(64));
        assert_eq!(tag(json!({"artifact": by_digest})).unwrap(), None);
    }

    #[test]
    fn an_interval_that_is_none_or_too_short_is_refused() {
        for text in ["soon", "1", "-1h", "0", "4s"] {
            let error = tag(json!({"artifact": "r.example.com/p:1", "refreshInterval": text}));
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("CONFIG_INVALID: source.refreshInterval: "), "{error}");
        }
    }
}
