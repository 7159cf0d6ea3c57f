//! How a resource stands, as the patch of its status. Pure: what was seen and what came of it go
//! in, and nothing comes out where the status says so already, so that a write is never answered
//! with a write.

use jiff::Timestamp;
use ratify_core::{Digest, Error, capped_line};
use serde_json::{Map, Value, json};

use super::{
    crd::{Condition, PluginStatus},
    kind::Role,
    resource::Resource,
};

/// v1's bound of a brief error, in bytes.
const MAX_BRIEF: usize = 100;
/// A longer error is cut. v1 has no bound, and an object may have a megabyte and a half.
const MAX_ERROR: usize = 16 * 1024;
/// A condition's message is cut to this.
const MAX_MESSAGE: usize = 1024;
/// The condition that says whether a resource is in force.
pub(super) const READY: &str = "Ready";
/// The condition that says whether a tag still stands for what runs.
pub(super) const CURRENT: &str = "PluginCurrent";

/// What came of a resource.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// It is in force as its spec says.
    Active,
    /// It is not in force, and nothing of it was before: what it would judge is refused.
    Refused(&'a Error),
    /// It is not in force as its spec says; what was in force before still is.
    KeptLastGood(&'a Error),
}

/// All that a status says.
#[derive(Debug)]
pub struct Standing<'a> {
    /// What came of it.
    pub outcome: Outcome<'a>,
    /// Something worth knowing although it is in force, such as whose rules it replaces.
    pub remark: Option<String>,
    /// The dynamic plugin that runs.
    pub plugin: Option<PluginStatus>,
    /// What the tag stands for now, where that is something else than what runs.
    pub moved_to: Option<Digest>,
    /// What is to be told of each key and certificate; `None` leaves what was told last.
    pub properties: Option<Map<String, Value>>,
}

impl Outcome<'_> {
    /// In one word.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Refused(_) => "Refused",
            Self::KeptLastGood(_) => "KeptLastGood",
        }
    }

    /// In a sentence; empty where all is well.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Active => String::new(),
            Self::Refused(error) => format!("what it would judge is refused: {error}"),
            Self::KeptLastGood(error) => format!("what was in force before still is: {error}"),
        }
    }

    pub(super) fn error(&self) -> Option<&Error> {
        match self {
            Self::Active => None,
            Self::Refused(error) | Self::KeptLastGood(error) => Some(error),
        }
    }
}

/// The merge patch (RFC 7386) that makes a status say how the resource stands, against the state
/// that was read: it must not take away what another replica wrote meanwhile. `None` where the
/// status says so already.
pub fn patch(resource: &Resource, standing: &Standing<'_>, now: Timestamp) -> Option<Value> {
    let now = format!("{now:.0}");
    let mut fields = v1_fields(resource.key.kind.role, standing);
    fields.insert("observedGeneration".into(), resource.generation.into());
    let mut conditions = vec![ready(resource, standing)];
    if let Some(plugin) = &standing.plugin {
        fields.insert("plugin".into(), plugin_field(resource, plugin, &now));
        conditions.push(current(resource, plugin, standing.moved_to.as_ref()));
    }
    let conditions: Vec<Value> =
        conditions.into_iter().map(|condition| timed(resource, condition, &now)).collect();
    fields.insert("conditions".into(), conditions.into());
    if let Some(properties) = &standing.properties {
        fields.insert("properties".into(), properties.clone().into());
    }
    if fields.iter().all(|(key, value)| says(&resource.status, key, value)) {
        return None;
    }
    if fetches(resource.key.kind.role) {
        fields.insert("lastfetchedtime".into(), now.into());
    }
    let version = &resource.resource_version;
    Some(json!({ "metadata": { "resourceVersion": version }, "status": fields }))
}

/// The patch that claims a digest for a generation before anything is loaded: only against the
/// state that was read, so that of several replicas one succeeds and the others see its digest.
pub fn claim(resource: &Resource, plugin: &PluginStatus) -> Value {
    let is_success = resource.status.get("issuccess").and_then(Value::as_bool).unwrap_or(false);
    json!({
        "metadata": { "resourceVersion": resource.resource_version },
        "status": { "issuccess": is_success, "plugin": claimed(plugin) },
    })
}

/// What was known of another digest is taken away with it.
fn claimed(plugin: &PluginStatus) -> Value {
    json!({
        "digest": plugin.digest,
        "generation": plugin.generation,
        "artifact": plugin.artifact,
        "program": null, "platform": null, "size": null, "loadedTime": null, "loadedBy": null,
        "signers": null,
    })
}

/// Whether a status names the time of the last fetch.
const fn fetches(role: Role) -> bool {
    matches!(role, Role::Keys | Role::CertificateStore)
}

fn v1_fields(role: Role, standing: &Standing<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    let error = standing.outcome.error();
    fields.insert("issuccess".into(), error.is_none().into());
    let texts = error.map(|error| {
        let full = full_text(error);
        let brief = match role {
            Role::CertificateStore => cut(&full),
            _ => error.concise(MAX_BRIEF),
        };
        (full, brief)
    });
    let (full, brief) = texts.unzip();
    fields.insert("error".into(), full.into());
    fields.insert("brieferror".into(), brief.into());
    fields
}

/// An error as a status has it.
pub(super) fn full_text(error: &Error) -> String {
    capped_line(&error.to_string(), MAX_ERROR)
}

/// v1's brief error of a certificate store: the first hundred bytes and three dots.
fn cut(text: &str) -> String {
    if text.len() <= MAX_BRIEF {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(MAX_BRIEF)])
}

/// The plugin of the status. Who loaded it first stays, as long as it is the same.
fn plugin_field(resource: &Resource, plugin: &PluginStatus, now: &str) -> Value {
    let known = resource.plugin_status().filter(|known| {
        let as_known = PluginStatus {
            loaded_time: known.loaded_time.clone(),
            loaded_by: known.loaded_by.clone(),
            ..plugin.clone()
        };
        *known == as_known && known.loaded_time.is_some()
    });
    let plugin = known.unwrap_or_else(|| PluginStatus {
        loaded_time: plugin.program.is_some().then(|| now.to_owned()),
        ..plugin.clone()
    });
    let mut field = serde_json::to_value(plugin).unwrap_or_default();
    // What a merge is to take away has to be named.
    let known = resource.status.get("plugin");
    for key in ["signers", "version"] {
        if known.is_some_and(|known| known[key] != Value::Null) && field[key] == Value::Null {
            field[key] = Value::Null;
        }
    }
    field
}

fn ready(resource: &Resource, standing: &Standing<'_>) -> Condition {
    let outcome = &standing.outcome;
    let status = if outcome.error().is_none() { "True" } else { "False" };
    let mut message = outcome.message();
    if let (Outcome::Active, Some(remark)) = (outcome, &standing.remark) {
        message.clone_from(remark);
    }
    condition(resource, READY, status, outcome.reason(), &message)
}

fn current(resource: &Resource, plugin: &PluginStatus, moved_to: Option<&Digest>) -> Condition {
    match moved_to {
        None => condition(resource, CURRENT, "True", "AsResolved", ""),
        Some(digest) => {
            condition(resource, CURRENT, "False", "TagMoved", &moved_text(plugin, digest))
        }
    }
}

/// What is said about a tag that stands for something else than what runs.
pub(super) fn moved_text(plugin: &PluginStatus, moved_to: &Digest) -> String {
    format!(
        "{} stands for {moved_to} now; {} runs until the spec changes or source.refreshInterval is set",
        capped_line(plugin.artifact.as_deref().unwrap_or_default(), 300),
        plugin.digest
    )
}

fn condition(
    resource: &Resource,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: capped_line(message, MAX_MESSAGE),
        last_transition_time: String::new(),
        observed_generation: Some(resource.generation),
    }
}

/// A condition with the time it last changed: the known one, where it did not.
fn timed(resource: &Resource, condition: Condition, now: &str) -> Value {
    let known = resource.status.get("conditions").and_then(Value::as_array);
    let known = known.into_iter().flatten().find(|known| {
        known["type"] == condition.type_.as_str() && known["status"] == condition.status.as_str()
    });
    let since = known.and_then(|known| known["lastTransitionTime"].as_str()).unwrap_or(now);
    let condition = Condition { last_transition_time: since.to_owned(), ..condition };
    serde_json::to_value(condition).unwrap_or_default()
}

/// Whether a status has a value; `null` is what it has not.
fn says(status: &Map<String, Value>, key: &str, value: &Value) -> bool {
    match (status.get(key), value) {
        (None, Value::Null) => true,
        (Some(known), value) => known == value,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratify_core::ErrorCode;

    use super::*;
    use crate::k8s::{kind::Kind, resource::Key};

    fn resource(role: Role, status: Value) -> Resource {
        Resource {
            key: Key {
                kind: Kind { role, namespaced: false },
                namespace: String::new(),
                name: "r".into(),
            },
            uid: "u".into(),
            generation: 2,
            resource_version: "7".into(),
            spec: Arc::default(),
            status: Arc::new(status.as_object().cloned().unwrap_or_default()),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn standing(outcome: Outcome<'_>) -> Standing<'_> {
        Standing { outcome, remark: None, plugin: None, moved_to: None, properties: None }
    }

    /// What the API server keeps of a patch: no nulls.
    fn applied(patch: &Value) -> Value {
        let mut status = patch["status"].as_object().unwrap().clone();
        status.retain(|_, value| !value.is_null());
        Value::Object(status)
    }

    #[test]
    fn success_takes_v1s_errors_away_and_says_since_when() {
        let seen =
            resource(Role::Policy, json!({"issuccess": false, "error": "x", "brieferror": "x"}));
        let patch = patch(&seen, &standing(Outcome::Active), at(0)).unwrap();
        insta::assert_snapshot!(patch.to_string(), @r#"{"metadata":{"resourceVersion":"7"},"status":{"brieferror":null,"conditions":[{"lastTransitionTime":"2023-11-14T22:13:20Z","message":"","observedGeneration":2,"reason":"Active","status":"True","type":"Ready"}],"error":null,"issuccess":true,"observedGeneration":2}}"#);
    }

    #[test]
    fn what_the_status_says_already_is_not_written_again() {
        let error = ErrorCode::ConfigInvalid.detail("d");
        for outcome in [Outcome::Active, Outcome::Refused(&error), Outcome::KeptLastGood(&error)] {
            for role in [Role::Verifier, Role::Policy, Role::Keys, Role::CertificateStore] {
                let standing = Standing { plugin: Some(plugin("pod-1")), ..standing_of(&outcome) };
                let first = patch(&resource(role, json!({})), &standing, at(0)).unwrap();
                let seen = resource(role, applied(&first));
                let again = Standing { plugin: Some(plugin("pod-2")), ..standing_of(&outcome) };
                assert_eq!(patch(&seen, &again, at(9)), None, "{role:?} {outcome:?}");
            }
        }
    }

    fn standing_of<'a>(outcome: &Outcome<'a>) -> Standing<'a> {
        standing(match outcome {
            Outcome::Active => Outcome::Active,
            Outcome::Refused(error) => Outcome::Refused(error),
            Outcome::KeptLastGood(error) => Outcome::KeptLastGood(error),
        })
    }

    fn plugin(pod: &str) -> PluginStatus {
        PluginStatus {
            digest: "sha256:1".into(),
            generation: 2,
            artifact: Some("r/p:1".into()),
            program: Some("sha256:2".into()),
            platform: Some("linux/amd64".into()),
            size: Some(5),
            loaded_time: None,
            loaded_by: Some(pod.into()),
            signers: None,
            version: None,
        }
    }

    #[test]
    fn a_failure_is_told_in_full_and_in_a_hundred_bytes() {
        let error = ErrorCode::PluginInitFailure.detail("outer").with_source("x".repeat(300));
        let seen = resource(Role::Verifier, json!({}));
        let status = &patch(&seen, &standing(Outcome::Refused(&error)), at(0)).unwrap()["status"];
        assert_eq!(status["issuccess"], false);
        assert!(status["error"].as_str().unwrap().starts_with("PLUGIN_INIT_FAILURE: outer: xxx"));
        let brief = status["brieferror"].as_str().unwrap();
        assert!(brief.len() == 100 && brief.ends_with("..."), "{brief}");
        assert_eq!(status["conditions"][0]["reason"], "Refused");
    }

    #[test]
    fn a_certificate_store_is_brief_in_its_own_way_and_says_when() {
        let error = ErrorCode::ConfigInvalid.detail("é".repeat(100));
        let seen = resource(Role::CertificateStore, json!({}));
        let status = &patch(&seen, &standing(Outcome::Refused(&error)), at(0)).unwrap()["status"];
        let brief = status["brieferror"].as_str().unwrap();
        assert!(brief.len() <= 103 && brief.ends_with("..."), "{brief}");
        assert_eq!(status["lastfetchedtime"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn what_is_told_of_keys_stays_where_they_could_not_be_fetched_again() {
        let told = json!({"Keys": [{"Name": "k"}]});
        let properties = told.as_object().cloned();
        let fetched = Standing { properties, ..standing(Outcome::Active) };
        let first = patch(&resource(Role::Keys, json!({})), &fetched, at(0)).unwrap();
        assert_eq!(first["status"]["properties"], told);
        let seen = resource(Role::Keys, applied(&first));
        assert_eq!(patch(&seen, &fetched, at(9)), None);
        let error = ErrorCode::KeyVaultOperationFailure.detail("d");
        let failed = standing(Outcome::KeptLastGood(&error));
        let second = patch(&seen, &failed, at(9)).unwrap();
        assert!(second["status"].get("properties").is_none(), "{second}");
    }

    #[test]
    fn a_moved_tag_is_a_condition_of_its_own() {
        let moved = ratify_core::executor::testing::digest(9);
        let standing = Standing {
            plugin: Some(plugin("pod")),
            moved_to: Some(moved),
            ..standing(Outcome::Active)
        };
        let patch = patch(&resource(Role::Verifier, json!({})), &standing, at(0)).unwrap();
        let condition = &patch["status"]["conditions"][1];
        assert_eq!((&condition["type"], &condition["status"]), (&json!(CURRENT), &json!("False")));
        assert!(condition["message"].as_str().unwrap().contains("r/p:1 stands for sha256:0909"));
    }

    #[test]
    fn who_signed_is_taken_away_where_nobody_is_trusted_any_more() {
        let signed = PluginStatus { signers: Some(vec!["a".into()]), ..plugin("pod") };
        let of = |plugin| Standing { plugin: Some(plugin), ..standing(Outcome::Active) };
        let first =
            patch(&resource(Role::Verifier, json!({})), &of(signed.clone()), at(0)).unwrap();
        let seen = resource(Role::Verifier, applied(&first));
        assert_eq!(patch(&seen, &of(signed), at(9)), None);
        let second = patch(&seen, &of(plugin("pod")), at(9)).unwrap();
        let plugin = second["status"]["plugin"].as_object().unwrap();
        assert_eq!(plugin.get("signers"), Some(&Value::Null), "{second}");
        assert_eq!(plugin.get("version"), None, "{second}");
    }

    #[test]
    fn a_claim_is_made_against_the_state_that_was_read() {
        let claim = claim(&resource(Role::Verifier, json!({"issuccess": true})), &plugin("pod"));
        assert_eq!(claim["metadata"]["resourceVersion"], "7");
        assert_eq!(claim["status"]["issuccess"], true);
        assert_eq!(claim["status"]["plugin"]["program"], Value::Null);
    }
}
