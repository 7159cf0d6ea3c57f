//! Which digest a plugin is pinned to: what its spec says, what the status says, what this replica
//! knows, or else what the tag stands for now, claimed in the status so that every replica runs the
//! same (T13).

use std::time::{Duration, Instant};

use kube::api::Patch;
use ratify_core::{Digest, Error, ErrorCode, Reference, Result, config::PluginSource};

use super::{
    build::{Shared, api, by_us, scope, within},
    crd::PluginStatus,
    pins::Choice,
    resource::{Pin, Resource},
    status,
};

/// How long a registry may take to say what a tag stands for.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(30);
/// How often a claim is tried against others.
const CLAIMS: usize = 5;

/// The digest that a source stands for in this generation.
pub(super) async fn pin(
    shared: &Shared,
    resource: &Resource,
    source: &PluginSource,
) -> Result<Pin> {
    let reference = Reference::parse_exact(&source.artifact)
        .map_err(|error| ErrorCode::ReferenceInvalid.detail(error.to_string()))?;
    let pin = match shared.pins.known(resource, reference.digest().cloned()).choose() {
        Choice::Settled(pin) => return Ok(pin),
        Choice::Claim(pin) => pin,
        Choice::Resolve => {
            let client = shared.runtime.plugin_client(Some(source), &scope(resource))?;
            let root = client.resolve(&reference, Some(Instant::now() + RESOLVE_PATIENCE)).await?;
            let (uid, generation) = (resource.uid.clone(), resource.generation);
            Pin { uid, generation, digest: root.digest }
        }
    };
    claim(shared, resource, pin, &source.artifact, None).await
}

/// Writes a pin against the state that was read. Where another replica was first, its pin counts;
/// the one that is to be replaced does not.
pub(super) async fn claim(
    shared: &Shared,
    resource: &Resource,
    pin: Pin,
    artifact: &str,
    over: Option<&Digest>,
) -> Result<Pin> {
    let kind = resource.key.kind;
    let api = api(&shared.client, kind, &resource.key.namespace);
    let plugin = PluginStatus {
        digest: pin.digest.to_string(),
        generation: pin.generation,
        artifact: Some(artifact.to_owned()),
        ..PluginStatus::default()
    };
    let mut seen = resource.clone();
    for _ in 0..CLAIMS {
        if let Some(theirs) = seen.pin().filter(|theirs| Some(&theirs.digest) != over) {
            return Ok(theirs);
        }
        let body = status::claim(&seen, &plugin);
        let error =
            match within(api.patch_status(&seen.key.name, &by_us(), &Patch::Merge(&body))).await {
                Ok(Ok(written)) => {
                    if Resource::read(kind, written).pin().is_none() {
                        shared.pins.say_that_status_keeps_none();
                    }
                    shared.pins.note_claim(&seen.key, &pin);
                    return Ok(pin);
                }
                Ok(Err(kube::Error::Api(answer))) if answer.code == 409 => None,
                // Without the right to write, this process agrees with itself alone; but it does
                // not leave what others agreed on.
                Ok(Err(kube::Error::Api(answer))) if answer.is_forbidden() && over.is_none() => {
                    return Ok(pin);
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(late) => Some(late),
            };
        if let Some(error) = error {
            return Err(claim_error(&error));
        }
        let now = within(api.get(&seen.key.name)).await.map_err(|late| claim_error(&late))?;
        seen = Resource::read(kind, now.map_err(|error| claim_error(&error.to_string()))?);
        if seen.uid != pin.uid || seen.generation != pin.generation {
            return Err(claim_error("the resource changed meanwhile"));
        }
    }
    Err(claim_error("others write its status all the time"))
}

fn claim_error(why: &str) -> Error {
    ErrorCode::GetClusterResourceFailure.detail(format!(
        "cannot record the plugin's digest in the status: {}",
        ratify_core::capped_line(why, 300)
    ))
}
