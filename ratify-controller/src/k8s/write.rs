//! [`write()`]: a status is said against what others say of the same resource: replicas, v1 beside
//! us during an upgrade, and people.

use jiff::Timestamp;
use kube::api::Patch;
use ratify_core::{Digest, Error, ErrorCode};
use serde_json::{Map, Value};

use super::{
    build::{Shared, api, by_us, within},
    crd::PluginStatus,
    events,
    resource::Resource,
    status::{self, Outcome, Standing},
};

/// How often a status is written against others.
const WRITES: usize = 5;

/// What came of a resource, for its status.
pub(super) struct Verdict {
    pub(super) error: Option<Error>,
    /// Whether what was in force before still is.
    pub(super) kept: bool,
    pub(super) plugin: Option<PluginStatus>,
    /// Whether its plugin is named by a tag, so that replicas agree on a digest.
    pub(super) is_by_tag: bool,
    /// What the plugin's tag stands for, where that is not what runs.
    pub(super) moved_to: Option<Digest>,
    /// What is worth knowing of it though it is in force.
    pub(super) remark: Option<&'static str>,
    /// The plugin that was in force before.
    pub(super) ran_before: Option<PluginStatus>,
    /// What is to be told of each key.
    pub(super) properties: Option<Map<String, Value>>,
}

impl Verdict {
    /// The same of a resource of which nothing is in force any more.
    pub(super) fn refused(&self, error: Option<Error>) -> Self {
        Self {
            error,
            kept: false,
            plugin: None,
            is_by_tag: self.is_by_tag,
            moved_to: None,
            remark: self.remark,
            ran_before: None,
            properties: None,
        }
    }

    /// The same of a resource in force, with its tag at another digest.
    pub(super) fn with_tag_at(&self, moved_to: Option<Digest>) -> Self {
        let plugin = self.plugin.clone();
        let (is_by_tag, remark) = (self.is_by_tag, self.remark);
        let ran_before = plugin.clone();
        let properties = self.properties.clone();
        Self {
            error: None,
            kept: false,
            is_by_tag,
            remark,
            ran_before,
            plugin,
            moved_to,
            properties,
        }
    }

    /// The same of a resource in force, with something else worth knowing.
    pub(super) fn with_remark(&self, remark: Option<&'static str>) -> Self {
        Self { remark, ..self.with_tag_at(self.moved_to.clone()) }
    }

    fn standing(&self) -> Standing<'_> {
        let outcome = match &self.error {
            None => Outcome::Active,
            Some(error) if self.kept => Outcome::KeptLastGood(error),
            Some(error) => Outcome::Refused(error),
        };
        Standing {
            outcome,
            remark: self.remark.map(str::to_owned),
            plugin: self.plugin.clone(),
            moved_to: self.moved_to.clone(),
            properties: self.properties.clone(),
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        let text = |verdict: &Self| verdict.error.as_ref().map(ToString::to_string);
        let same_plugin = self.plugin == other.plugin;
        same_plugin && self.kept == other.kept && text(self) == text(other)
    }
}

/// Says in a status how a resource stands, against the state that was seen: what others wrote
/// meanwhile is looked at first. True unless another try is needed; a missing right is told and
/// not tried again.
pub(super) async fn write(shared: &Shared, mut resource: Resource, verdict: &Verdict) -> bool {
    let (key, standing) = (resource.key.clone(), &verdict.standing());
    let api = api(&shared.client, key.kind, &key.namespace);
    let mut why = String::new();
    for _ in 0..WRITES {
        let Some(body) = status::patch(&resource, standing, Timestamp::now()) else { return true };
        match within(api.patch_status(&key.name, &by_us(), &Patch::Merge(&body))).await {
            Ok(Ok(_)) => {
                let notes = events::notes(&resource, standing, verdict.ran_before.as_ref());
                events::publish(shared, &resource, notes).await;
                return true;
            }
            // It was deleted meanwhile.
            Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => return true,
            Ok(Err(kube::Error::Api(answer))) if answer.code == 403 => {
                tracing::error!(
                    "{}, unable to update the status of {key}: the right to patch {}/status is missing",
                    ErrorCode::GetClusterResourceFailure.value(),
                    key.kind.plural()
                );
                return true;
            }
            Ok(Err(kube::Error::Api(answer))) if answer.code == 409 => why = answer.message,
            Ok(Err(error)) => {
                why = error.to_string();
                break;
            }
            Err(late) => {
                why = late;
                break;
            }
        }
        match within(api.get(&key.name)).await {
            Ok(Ok(now)) => {
                let now = Resource::read(key.kind, now);
                if now.uid != resource.uid || now.generation != resource.generation {
                    // What is said of the present spec comes from its own try.
                    return true;
                }
                if verdict.is_by_tag && leaves(&resource, &now, verdict.plugin.as_ref()) {
                    // Others agreed on another digest: what is said of it comes from its own try.
                    return true;
                }
                resource = now;
            }
            Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => return true,
            Ok(Err(error)) => why = error.to_string(),
            Err(late) => why = late,
        }
    }
    tracing::error!(
        "unable to update the status of {key}: {}",
        ratify_core::capped_line(&why, 300)
    );
    false
}

/// Whether a status came to name another digest than this one.
fn leaves(seen: &Resource, now: &Resource, plugin: Option<&PluginStatus>) -> bool {
    let is_other = |plugin: &PluginStatus| {
        now.pin().is_some_and(|agreed| agreed.digest.to_string() != plugin.digest)
    };
    now.pin() != seen.pin() && plugin.is_some_and(is_other)
}
