//! Rotation: the controller makes its own authority and server certificate, keeps them in v1's
//! secret, and tells Gatekeeper's Providers which authority to trust. The kubelet brings the secret
//! to where TLS is served from.
//!
//! Each replica does all of it: a write names the version it was decided on, and who is too late
//! takes what the other one made. The most important item is [`rotate`].
//!
//! - `decide`: what is to be done with the secret, by v1's checks;
//! - `issue`: certificates in v1's form;
//! - `counts`: what was done, for whoever shows it;
//! - `providers`: the `caBundle` of Gatekeeper's Providers; `pace`: nobody is fought with.
//!
//! A former authority stays beside the new one for a day, in `ca.crt` itself: that is what v1, too,
//! copies to the Providers, so that replicas of both agree on every byte.

mod counts;
mod decide;
mod issue;
mod pace;
mod providers;

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client, Resource,
    api::PostParams,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use super::{FIELD_MANAGER, build::within, watch::Soon};
pub use counts::RotationCounts;
use decide::{AUTHORITY, Data, Decision, OVERLAP_ENDS, decide, overlap_left, renew};
use pace::Pace;
pub(crate) use providers::PROVIDERS;
use providers::Providers;

/// What the log calls this, as v1's library does.
const NAME: &str = "cert-rotation";
/// How often the secret is looked at though nothing happened to it (v1).
const INTERVAL: Duration = Duration::from_secs(12 * 60 * 60);
/// How often a write is tried against others at once.
const ATTEMPTS: usize = 5;
/// The waits after failures.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After a failure nothing that happens is looked at for this long: keys are made for each try.
const PAUSE: Duration = Duration::from_secs(5);
/// What happens within this time is looked at once.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// Where certificates are kept and whom they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationOptions {
    /// The namespace that this runs in.
    pub namespace: String,
    /// The service that Gatekeeper asks. The secret is `<service>-tls`, the name in the
    /// certificates `<service>.<namespace>`.
    pub service: String,
}

impl RotationOptions {
    /// The options of a service in a namespace.
    pub fn new(namespace: impl Into<String>, service: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), service: service.into() }
    }

    /// The name of the secret.
    pub(crate) fn secret(&self) -> String {
        format!("{}-tls", self.service)
    }

    fn host(&self) -> String {
        format!("{}.{}", self.service, self.namespace)
    }
}

struct Rotator {
    secrets: Api<Secret>,
    options: RotationOptions,
    providers: Providers,
    pace: Pace,
    /// What was last said of the secret, so that it is said once.
    said: String,
    /// Why the last try failed; empty where it did not.
    failure: String,
    counts: Arc<RotationCounts>,
}

/// Keeps the secret and the Providers as they should be. Runs until it is dropped: no failure ends
/// it, each is told and tried again.
pub async fn rotate(client: Client, options: RotationOptions, counts: Arc<RotationCounts>) {
    tracing::info!(name = NAME, "[{NAME}] starting cert rotator controller");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &options.namespace);
    let (sender, mut nudges) = mpsc::channel(1);
    let mut watches = JoinSet::new();
    let of_secret: Api<PartialObjectMeta<Secret>> =
        Api::namespaced(client.clone(), &options.namespace);
    let only = watcher::Config::default().fields(&format!("metadata.name={}", options.secret()));
    watches.spawn(watch(of_secret, only, "secrets", sender.clone()));
    let (of_providers, all) = (providers::watched(&client), watcher::Config::default());
    watches.spawn(watch(of_providers, all, "providers", sender));
    let mut rotator = Rotator {
        secrets,
        options,
        providers: Providers::new(client),
        pace: Pace::default(),
        said: String::new(),
        failure: String::new(),
        counts,
    };
    let mut failures = 0u32;
    loop {
        let wait = match rotator.round().await {
            Ok(wait) => {
                failures = 0;
                rotator.failure.clear();
                wait
            }
            Err(why) => {
                rotator.counts.failed();
                rotator.say_failure(why);
                failures = failures.saturating_add(1);
                let wait = FIRST_WAIT * 2u32.saturating_pow(failures.min(10) - 1);
                let wait = wait.min(LONGEST_WAIT);
                sleep(wait.min(PAUSE)).await;
                wait.saturating_sub(PAUSE)
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            Some(()) = nudges.recv() => sleep(DEBOUNCE).await,
        }
        while nudges.try_recv().is_ok() {}
    }
}

/// Nudges whenever something happens to what is watched.
async fn watch<K>(
    api: Api<PartialObjectMeta<K>>,
    config: watcher::Config,
    what: &str,
    nudge: mpsc::Sender<()>,
) where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    PartialObjectMeta<K>: Resource<DynamicType = K::DynamicType>,
{
    let mut events = pin!(watcher(api, config).backoff(Soon::default()));
    let mut said = String::new();
    while let Some(event) = events.next().await {
        match event {
            // Only that it is tried.
            Ok(watcher::Event::Init) => {}
            Ok(_) => {
                said.clear();
                // A nudge that waits already is enough.
                let _ = nudge.try_send(());
            }
            Err(error) => {
                let error = ratify_core::capped_line(&error.to_string(), 300);
                if said != error {
                    tracing::warn!(
                        name = NAME,
                        "[{NAME}] cannot watch {what}: {error}; trying again"
                    );
                    said = error;
                }
            }
        }
    }
}

impl Rotator {
    /// Looks once and does what is to be done; how long until the next look comes back.
    async fn round(&mut self) -> Result<Duration, String> {
        for _ in 0..ATTEMPTS {
            let secret = self.secret().await?;
            let overlap_ends = overlap_ends(&secret);
            let (data, host) = (data_of(&secret), self.options.host());
            let decision = decide(&data, overlap_ends.as_deref(), &host, Timestamp::now());
            if decision == Decision::Keep {
                self.counts.note_authority(data.get(AUTHORITY).map_or(&[][..], Vec::as_slice));
                self.say("no cert refresh needed");
                let bundle = data.get(AUTHORITY).map_or(&[][..], Vec::as_slice);
                let again = self.providers.ensure(bundle).await;
                let end = overlap_left(overlap_ends.as_deref(), Timestamp::now());
                return Ok([again, end].into_iter().flatten().fold(INTERVAL, Duration::min));
            }
            let wait = self.pace.wait(Instant::now());
            if !wait.is_zero() {
                return Ok(wait);
            }
            // Only a write that was made counts: who was too late adopts what is there.
            if self.write(secret, data, overlap_ends, decision).await? {
                self.pace.wrote(Instant::now());
            }
        }
        Err("others write the secret all the time".to_owned())
    }

    async fn secret(&self) -> Result<Secret, String> {
        let name = self.options.secret();
        let acquiring = "acquiring secret to update certificates";
        match within(self.secrets.get_opt(&name)).await {
            Ok(Ok(Some(secret))) if secret.metadata.deletion_timestamp.is_some() => {
                Err(format!("{acquiring}: secrets {name:?} is being deleted"))
            }
            Ok(Ok(Some(secret))) => Ok(secret),
            Ok(Ok(None)) => Err(format!("{acquiring}: secrets {name:?} not found")),
            Ok(Err(error)) => Err(format!("{acquiring}: {}", why(&error))),
            Err(late) => Err(format!("{acquiring}: {late}")),
        }
    }

    /// Writes what is new against the version it was decided on. False where somebody was faster.
    async fn write(
        &mut self,
        mut secret: Secret,
        data: Data,
        overlap_ends: Option<String>,
        decision: Decision,
    ) -> Result<bool, String> {
        let (what, done) = match decision {
            Decision::RefreshAll => ("refreshing CA and server certs", "server certs refreshed"),
            Decision::RefreshServer => ("refreshing server certs", "server certs refreshed"),
            _ => ("the former CA is trusted no more", "former CA removed"),
        };
        self.say(what);
        let host = self.options.host();
        let renewing = move || renew(data, overlap_ends, decision, &host, Timestamp::now());
        let renewed = tokio::task::spawn_blocking(renewing).await;
        let renewed = renewed.map_err(|error| error.to_string())?;
        let renewed = renewed.map_err(|error| format!("could not refresh certs: {error}"))?;
        let data = renewed.data.into_iter().map(|(key, value)| (key, ByteString(value)));
        secret.data = Some(data.collect());
        let annotations = secret.metadata.annotations.get_or_insert_default();
        match renewed.overlap_ends {
            Some(until) => annotations.insert(OVERLAP_ENDS.to_owned(), until),
            None => annotations.remove(OVERLAP_ENDS),
        };
        let by_us =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match within(self.secrets.replace(&self.options.secret(), &by_us, &secret)).await {
            Ok(Ok(_)) => {
                self.counts.wrote(decision);
                self.say(done);
                Ok(true)
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                self.say("another replica was faster: taking its certs");
                Ok(false)
            }
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Err(format!(
                "could not refresh certs: the right to update secrets in namespace {} is missing",
                self.options.namespace
            )),
            Ok(Err(error)) => Err(format!("could not refresh certs: {}", why(&error))),
            Err(late) => Err(format!("could not refresh certs: {late}")),
        }
    }

    /// Says it, unless it is what was said before: another try is.
    fn say(&mut self, text: &str) {
        if self.said != text {
            tracing::info!(name = NAME, "[{NAME}] {text}");
            text.clone_into(&mut self.said);
        }
    }

    fn say_failure(&mut self, text: String) {
        if self.failure != text {
            tracing::error!(name = NAME, "[{NAME}] error rotating certs: {text}; trying again");
            self.failure = text;
        }
    }
}

fn overlap_ends(secret: &Secret) -> Option<String> {
    secret.metadata.annotations.as_ref()?.get(OVERLAP_ENDS).cloned()
}

fn data_of(secret: &Secret) -> Data {
    let data: &BTreeMap<String, ByteString> = match &secret.data {
        Some(data) => data,
        None => return Data::new(),
    };
    data.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Why a request failed, in words that quote nothing of a secret.
fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!(
            "the API server answered {} {}",
            status.code,
            ratify_core::capped_line(&status.reason, 60)
        ),
        kube::Error::SerdeError(_) => "the API server's answer cannot be read".to_owned(),
        _ => "the API server cannot be reached".to_owned(),
    }
}
