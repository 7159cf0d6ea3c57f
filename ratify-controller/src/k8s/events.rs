//! Events of a resource (`kubectl describe`): what changed with it, once, when its status is
//! written. What is said is decided on values; an event that cannot be written loses nothing.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams};
use ratify_core::capped_line;

use serde_json::Value;

use super::{
    FIELD_MANAGER,
    build::{Shared, within},
    crd::{GROUP, PluginStatus},
    kind::VERSION,
    resource::Resource,
    status::{self, CURRENT, READY, Standing},
};

/// The API server takes a note of at most 1 kB.
const MAX_NOTE: usize = 1000;
/// Where events about resources of the whole cluster are kept.
const DEFAULT_NAMESPACE: &str = "default";

/// What is worth an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    is_warning: bool,
    reason: &'static str,
    text: String,
}

/// What changes for a resource with this standing, against what its status said and what ran before.
pub(super) fn notes(
    resource: &Resource,
    standing: &Standing<'_>,
    ran_before: Option<&PluginStatus>,
) -> Vec<Note> {
    let outcome = &standing.outcome;
    let reason = outcome.reason();
    let is_new = said(resource, READY).is_none_or(|(known, _)| known != reason);
    let first = match (outcome.error(), &standing.plugin) {
        (Some(error), _) => {
            let known = resource.status.get("error").and_then(Value::as_str);
            let is_told = !is_new && known == Some(&*status::full_text(error));
            (!is_told).then(|| Note { is_warning: true, reason, text: outcome.message() })
        }
        (None, Some(plugin)) => running(resource, plugin, ran_before, is_new),
        (None, None) => is_new.then(|| Note {
            is_warning: false,
            reason,
            text: "it is in force as its spec says".to_owned(),
        }),
    };
    first.into_iter().chain(moved(resource, standing)).collect()
}

/// Which digest runs, where that is news.
fn running(
    resource: &Resource,
    plugin: &PluginStatus,
    ran_before: Option<&PluginStatus>,
    is_new: bool,
) -> Option<Note> {
    let other = ran_before.filter(|before| before.digest != plugin.digest);
    let is_known = resource.plugin_status().is_some_and(|known| known.program == plugin.program);
    let (reason, text) = match other {
        Some(before) => {
            ("PluginUpdated", format!("{} runs in the place of {}", plugin.digest, before.digest))
        }
        None if is_known && !is_new => return None,
        None => ("PluginInstalled", format!("{} runs", plugin.digest)),
    };
    let text = match plugin.signers.as_deref() {
        None | Some([]) => text,
        Some(signers) => format!("{text}, signed by {}", signers.join(", ")),
    };
    Some(Note { is_warning: false, reason, text })
}

fn moved(resource: &Resource, standing: &Standing<'_>) -> Option<Note> {
    let text = status::moved_text(standing.plugin.as_ref()?, standing.moved_to.as_ref()?);
    let is_told = said(resource, CURRENT).is_some_and(|(_, known)| known == text);
    (!is_told).then_some(Note { is_warning: true, reason: "TagMoved", text })
}

/// The reason and message of a condition.
fn said(resource: &Resource, type_: &str) -> Option<(String, String)> {
    let conditions = resource.status.get("conditions")?.as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    Some((text("reason"), text("message")))
}

/// Writes events. A missing right (v1's role has none for events) is told once in the life of this
/// process.
pub(super) async fn publish(shared: &Shared, resource: &Resource, notes: Vec<Note>) {
    let field_manager = Some(FIELD_MANAGER.to_owned());
    let options = PostParams { field_manager, ..PostParams::default() };
    for note in notes {
        let event = event(resource, note, &shared.identity);
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(shared.client.clone(), &namespace);
        let why = match within(api.create(&options, &event)).await {
            Ok(Ok(_)) => continue,
            Ok(Err(kube::Error::Api(answer))) if answer.is_forbidden() => {
                if shared.events_forbidden.first() {
                    tracing::warn!(
                        "events are not written: the right to create events of events.k8s.io is missing"
                    );
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(late) => late,
        };
        tracing::warn!("an event of {} is lost: {}", resource.key, capped_line(&why, 300));
    }
}

fn event(resource: &Resource, note: Note, instance: &str) -> Event {
    let key = &resource.key;
    let namespace = if key.namespace.is_empty() { DEFAULT_NAMESPACE } else { &key.namespace };
    let instance = if instance.is_empty() { FIELD_MANAGER } else { instance };
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            generate_name: Some(format!("{}-", key.name)),
            ..ObjectMeta::default()
        },
        regarding: Some(ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(key.kind.name().to_owned()),
            name: Some(key.name.clone()),
            namespace: (!key.namespace.is_empty()).then(|| key.namespace.clone()),
            uid: Some(resource.uid.clone()),
            ..ObjectReference::default()
        }),
        type_: Some(if note.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.to_owned()),
        action: Some("Reconcile".to_owned()),
        note: Some(capped_line(&note.text, MAX_NOTE)),
        event_time: Some(MicroTime(Timestamp::now())),
        reporting_controller: Some("config.ratify.deislabs.io/ratify".to_owned()),
        reporting_instance: Some(capped_line(instance, 100)),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratify_core::{Error, ErrorCode};
    use serde_json::json;

    use super::*;
    use crate::k8s::{
        kind::{Kind, Role},
        resource::Key,
        status::Outcome,
    };

    fn resource(status: Value) -> Resource {
        let kind = Kind { role: Role::Verifier, namespaced: false };
        Resource {
            key: Key { kind, namespace: String::new(), name: "v".into() },
            uid: "u".into(),
            generation: 2,
            resource_version: "7".into(),
            spec: Arc::default(),
            status: Arc::new(status.as_object().cloned().unwrap_or_default()),
        }
    }

    fn standing<'a>(outcome: Outcome<'a>, program: Option<&str>) -> Standing<'a> {
        let plugin = program.map(|program| PluginStatus {
            digest: format!("index-of-{program}"),
            generation: 2,
            artifact: Some("r.example.com/p:1".into()),
            program: Some(program.into()),
            ..PluginStatus::default()
        });
        Standing { outcome, remark: None, plugin, moved_to: None, properties: None }
    }

    /// What is said, and what the status is after it.
    fn told(
        status: &Value,
        standing: &Standing<'_>,
        ran_before: Option<&PluginStatus>,
    ) -> (Vec<String>, Value) {
        let resource = resource(status.clone());
        let notes = notes(&resource, standing, ran_before);
        let said = notes.iter().map(|note| format!("{}: {}", note.reason, note.text));
        let patch = status::patch(&resource, standing, Timestamp::UNIX_EPOCH);
        let mut after = status.as_object().cloned().unwrap_or_default();
        for (key, value) in patch.unwrap_or_default()["status"].as_object().into_iter().flatten() {
            after.insert(key.clone(), value.clone());
        }
        (said.collect(), after.into())
    }

    #[test]
    fn each_change_is_told_once() {
        let error = |text: &str| -> Error { ErrorCode::ConfigInvalid.detail(text) };
        let (first, second) = (error("first"), error("second"));
        let moved = ratify_core::executor::testing::digest(9);
        let moving =
            || Standing { moved_to: Some(moved.clone()), ..standing(Outcome::Active, Some("b")) };
        let steps: Vec<(Standing<'_>, &[&str])> = vec![
            (standing(Outcome::Refused(&first), None), &["Refused: "]),
            (standing(Outcome::Refused(&first), None), &[]),
            (standing(Outcome::Refused(&second), None), &["Refused: "]),
            (standing(Outcome::Active, Some("a")), &["PluginInstalled: index-of-a runs"]),
            (standing(Outcome::Active, Some("a")), &[]),
            (
                standing(Outcome::Active, Some("b")),
                &["PluginUpdated: index-of-b runs in the place of index-of-a"],
            ),
            (moving(), &["TagMoved: r.example.com/p:1 stands for sha256:0909"]),
            (moving(), &[]),
            (standing(Outcome::KeptLastGood(&first), None), &["KeptLastGood: what was in force"]),
            (standing(Outcome::KeptLastGood(&first), None), &[]),
            (standing(Outcome::Active, None), &["Active: it is in force"]),
            (standing(Outcome::Active, None), &[]),
        ];
        let (mut status, mut ran_before) = (json!({}), None);
        for (number, (standing, expected)) in steps.iter().enumerate() {
            let (said, after) = told(&status, standing, ran_before);
            assert_eq!(said.len(), expected.len(), "{number}: {said:?}");
            for (said, expected) in said.iter().zip(*expected) {
                assert!(said.starts_with(expected), "{number}: {said}");
            }
            status = after;
            ran_before = standing.plugin.as_ref().or(ran_before);
        }
    }
}
