//! [`Waits`]: how long those in front of this server wait for an answer: the API server for
//! Gatekeeper's webhooks, and Gatekeeper for its Providers. They are looked at every half minute;
//! what is decided by them is `gatekeeper::times`.
//!
//! No more is needed than `get` on four objects by name. Without it the configured times count, and
//! one line says so.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde_json::Value;
use tokio::sync::watch;

use super::build::within;
use crate::gatekeeper::times::{Decision, Times, Waiter, answer_within};

/// How often they are looked at.
const INTERVAL: Duration = Duration::from_secs(30);
/// What the API server waits where a webhook says nothing.
const WEBHOOK_SECONDS: u64 = 10;

/// Keeps the times of answers as those who wait are configured.
pub struct Waits {
    apis: Vec<Api<DynamicObject>>,
    configured: Times,
    told: watch::Sender<Times>,
    /// What was last seen of each source; it stays while the API server is away.
    seen: Vec<Vec<Waiter>>,
    said: BTreeSet<String>,
}

/// One object, and what of it says how long somebody waits.
#[derive(Debug)]
pub(crate) struct Source {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    pub(crate) name: &'static str,
    /// The webhook within; empty for a Provider.
    pub(crate) webhook: &'static str,
    pub(crate) is_mutation: bool,
}

/// Gatekeeper's names are those of its chart and manifests, the Providers' those of ours and v1's.
pub(crate) static SOURCES: [Source; 4] = [
    Source {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
        name: "gatekeeper-validating-webhook-configuration",
        webhook: "validation.gatekeeper.sh",
        is_mutation: false,
    },
    Source {
        group: "externaldata.gatekeeper.sh",
        version: "v1beta1",
        kind: "Provider",
        plural: "providers",
        name: "ratify-provider",
        webhook: "",
        is_mutation: false,
    },
    Source {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        name: "gatekeeper-mutating-webhook-configuration",
        webhook: "mutation.gatekeeper.sh",
        is_mutation: true,
    },
    Source {
        group: "externaldata.gatekeeper.sh",
        version: "v1beta1",
        kind: "Provider",
        plural: "providers",
        name: "ratify-mutation-provider",
        webhook: "",
        is_mutation: true,
    },
];

impl Source {
    pub(crate) fn api(&self, client: Client) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(self.group, self.version, self.kind);
        Api::all_with(client, &ApiResource::from_gvk_with_plural(&kind, self.plural))
    }

    /// Who waits, by an object of this name.
    pub(crate) fn waiters(&self, object: &Value) -> Vec<Waiter> {
        let name = self.name;
        if self.webhook.is_empty() {
            let seconds = object["spec"]["timeout"].as_u64().unwrap_or(0);
            let waits = Duration::from_secs(seconds);
            let name = format!("spec.timeout of the Provider {name}");
            // Gatekeeper refuses by itself then.
            return vec![Waiter { name, waits, admits_then: false }];
        }
        let webhooks = object["webhooks"].as_array().into_iter().flatten();
        let ours = webhooks.filter(|webhook| webhook["name"] == self.webhook);
        let waiter = |webhook: &Value| Waiter {
            name: format!("timeoutSeconds of the webhook {} in {name}", self.webhook),
            waits: Duration::from_secs(
                webhook["timeoutSeconds"].as_u64().unwrap_or(WEBHOOK_SECONDS),
            ),
            admits_then: webhook["failurePolicy"] == "Ignore",
        };
        ours.map(waiter).collect()
    }
}

impl Waits {
    /// Nothing is known yet; who answers listens to the other part.
    pub fn new(client: &Client, configured: Times) -> (Self, watch::Receiver<Times>) {
        let (told, times) = watch::channel(configured);
        let apis = SOURCES.iter().map(|source| source.api(client.clone())).collect();
        let seen = vec![Vec::new(); SOURCES.len()];
        (Self { apis, configured, told, seen, said: BTreeSet::new() }, times)
    }

    /// Looks again and again, until it is dropped.
    pub async fn watch(mut self) {
        loop {
            self.look().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn look(&mut self) {
        let asked = SOURCES.iter().zip(&self.apis);
        let found = join_all(asked.map(|(source, api)| within(api.get_opt(source.name)))).await;
        let (mut lines, mut missing) = (Vec::new(), BTreeSet::new());
        for ((source, seen), found) in SOURCES.iter().zip(&mut self.seen).zip(found) {
            let what = format!("{}.{}", source.plural, source.group);
            match found {
                Ok(Ok(found)) => {
                    let found = found.and_then(|found| serde_json::to_value(found).ok());
                    *seen = found.map(|found| source.waiters(&found)).unwrap_or_default();
                }
                Ok(Err(kube::Error::Api(answer))) if answer.is_forbidden() => {
                    seen.clear();
                    missing.insert(what);
                }
                // A kind that the cluster does not have, such as where Gatekeeper comes later.
                Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => seen.clear(),
                Ok(Err(_)) => {}
                Err(late) => lines.push(format!("{what}: {late}")),
            }
        }
        if !missing.is_empty() {
            let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
            lines.push(format!("the right to get {missing} is missing: how long Gatekeeper waits for an answer is not known, so that the timeouts of the section executor count alone"));
        }
        let verify = self.decide(false, &mut lines);
        let mutate = self.decide(true, &mut lines);
        self.say(lines);
        let times = Times::new(verify.within, mutate.within);
        self.told.send_if_modified(|told| std::mem::replace(told, times) != times);
    }

    fn decide(&self, is_mutation: bool, lines: &mut Vec<String>) -> Decision {
        let (configured, key) = if is_mutation {
            (self.configured.mutate, "mutationRequestTimeout")
        } else {
            (self.configured.verify, "verificationRequestTimeout")
        };
        let of_ours =
            SOURCES.iter().zip(&self.seen).filter(|(of, _)| of.is_mutation == is_mutation);
        let waiters: Vec<_> = of_ours.flat_map(|(_, seen)| seen.iter().cloned()).collect();
        let decided = answer_within(configured, key, &waiters);
        lines.extend(decided.cut.iter().chain(&decided.warnings).cloned());
        decided
    }

    /// Says what was not said last time.
    fn say(&mut self, lines: Vec<String>) {
        let lines: BTreeSet<_> = lines.into_iter().collect();
        for line in lines.difference(&self.said) {
            tracing::warn!(component_type = "server", "{line}");
        }
        self.said = lines;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_who_waits_and_what_happens_then() {
        let [validating, provider, ..] = &SOURCES;
        let webhook = |name: &str, more: Value| {
            let mut webhook = json!({"name": name, "clientConfig": {}});
            webhook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            webhook
        };
        let object = json!({"webhooks": [
            webhook("validation.gatekeeper.sh", json!({"timeoutSeconds": 3, "failurePolicy": "Ignore"})),
            webhook("check-ignore-label.gatekeeper.sh", json!({"timeoutSeconds": 1})),
        ]});
        let [waiter] = &validating.waiters(&object)[..] else { panic!("not one") };
        assert_eq!((waiter.waits.as_secs(), waiter.admits_then), (3, true));
        assert_eq!(
            waiter.name,
            "timeoutSeconds of the webhook validation.gatekeeper.sh in gatekeeper-validating-webhook-configuration"
        );
        let plain = json!({"webhooks": [webhook("validation.gatekeeper.sh", json!({}))]});
        let [waiter] = &validating.waiters(&plain)[..] else { panic!("not one") };
        assert_eq!((waiter.waits.as_secs(), waiter.admits_then), (10, false));
        for nothing in [json!({}), json!({"webhooks": null}), json!({"webhooks": [1]})] {
            assert_eq!(validating.waiters(&nothing), []);
        }
        let waits = |spec: Value| provider.waiters(&json!({ "spec": spec }))[0].waits.as_secs();
        assert_eq!((waits(json!({"timeout": 5})), waits(json!({}))), (5, 0));
    }
}
