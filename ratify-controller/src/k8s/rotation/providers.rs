//! The `caBundle` of Gatekeeper's Providers: written where it differs, by our field manager, and
//! nothing else of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch},
    core::{ApiResource, GroupVersionKind, PartialObjectMeta},
};
use serde_json::json;

use super::{NAME, pace::Pace, why};
use crate::k8s::build::{by_us, within};

/// v1's names.
pub(crate) const PROVIDERS: [&str; 2] = ["ratify-mutation-provider", "ratify-provider"];
/// When a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

pub(super) struct Providers {
    api: Api<DynamicObject>,
    paces: BTreeMap<&'static str, Pace>,
    /// What was last said of each, so that it is said once.
    said: BTreeMap<&'static str, String>,
    is_injected: bool,
}

/// What happens to Providers.
pub(super) fn watched(client: &Client) -> Api<PartialObjectMeta<DynamicObject>> {
    Api::all_with(client.clone(), &resource())
}

fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("externaldata.gatekeeper.sh", "v1beta1", "Provider");
    ApiResource::from_gvk_with_plural(&kind, "providers")
}

impl Providers {
    pub(super) fn new(client: Client) -> Self {
        let api = Api::all_with(client, &resource());
        Self { api, paces: BTreeMap::new(), said: BTreeMap::new(), is_injected: false }
    }

    /// Makes all of them trust this; when to look again comes back, where something is left to do.
    pub(super) async fn ensure(&mut self, bundle: &[u8]) -> Option<Duration> {
        let bundle = STANDARD.encode(bundle);
        let mut again: Option<Duration> = None;
        for name in PROVIDERS {
            let left = self.ensure_one(name, &bundle).await;
            again = [again, left].into_iter().flatten().min();
        }
        if again.is_none() && !std::mem::replace(&mut self.is_injected, true) {
            tracing::info!(name = NAME, "[{NAME}] CA certs are injected to webhooks");
        }
        again
    }

    async fn ensure_one(&mut self, name: &'static str, bundle: &str) -> Option<Duration> {
        let found = match within(self.api.get_opt(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let error =
                    format!("Error getting webhook for certificate update: {}", why(&error));
                return self.failed(name, error);
            }
            Err(late) => return self.failed(name, late),
        };
        let Some(provider) = found else {
            // Mutation may be switched off; a Provider that is made later is seen.
            self.say_error(name, "Webhook not found. Unable to update certificate.".to_owned());
            return None;
        };
        if provider.metadata.deletion_timestamp.is_some() {
            self.say_error(
                name,
                "Webhook is being deleted. Unable to update certificate".to_owned(),
            );
            return None;
        }
        let Some(spec) = provider.data.get("spec").filter(|spec| spec.is_object()) else {
            self.say_error(name, "`spec` field not found in Provider".to_owned());
            return None;
        };
        if spec["caBundle"] == bundle {
            self.said.remove(name);
            return None;
        }
        let pace = self.paces.entry(name).or_default();
        let wait = pace.wait(Instant::now());
        if !wait.is_zero() {
            return Some(wait);
        }
        pace.wrote(Instant::now());
        self.said.remove(name);
        tracing::info!(
            name,
            gvk = "externaldata.gatekeeper.sh/v1beta1, Kind=Provider",
            "[{NAME}] Ensuring CA cert"
        );
        let patch = json!({"spec": {"caBundle": bundle}});
        match within(self.api.patch(name, &by_us(), &Patch::Merge(&patch))).await {
            Ok(Ok(_)) => None,
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                let missing =
                    "the right to patch providers of externaldata.gatekeeper.sh is missing";
                self.failed(name, format!("Error updating webhook with certificate: {missing}"))
            }
            Ok(Err(error)) => {
                let error = why(&error);
                self.failed(name, format!("Error updating webhook with certificate: {error}"))
            }
            Err(late) => self.failed(name, late),
        }
    }

    fn failed(&mut self, name: &'static str, why: String) -> Option<Duration> {
        self.say_error(name, why);
        Some(RETRY)
    }

    fn say_error(&mut self, name: &'static str, text: String) {
        if self.said.get(name) != Some(&text) {
            tracing::error!(name, "[{NAME}] {text}");
            self.said.insert(name, text);
        }
    }
}
