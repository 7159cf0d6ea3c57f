//! Which digest a plugin is pinned to: what the status says, what this volume recorded, or else
//! what the tag stands for now, claimed in the status so that every replica runs the same (T13).

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use kube::api::Patch;
use ratify_core::{Digest, Error, ErrorCode, Reference, Result, config::PluginSource};

use super::{
    build::{Shared, api, by_us, scope, within},
    crd::PluginStatus,
    kind::Role,
    resource::{Key, Pin, Resource},
    status,
};
use crate::plugin::inventory::{self, Inventory};

/// How long a registry may take to say what a tag stands for.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(30);
/// How often a claim is tried against others.
const CLAIMS: usize = 5;
/// The digest that a source names itself, whatever any status says.
pub(super) fn exact(resource: &Resource, source: &PluginSource) -> Option<Pin> {
    let digest = Reference::parse_exact(&source.artifact).ok()?.digest()?.clone();
    Some(Pin { uid: resource.uid.clone(), generation: resource.generation, digest })
}

/// The digest that a source's tag stands for, as the registry says now. A tag's is claimed in the status,
/// so that every replica runs it.
pub(super) async fn resolve(
    shared: &Shared,
    resource: &Resource,
    source: &PluginSource,
) -> Result<Pin> {
    let reference = Reference::parse_exact(&source.artifact)
        .map_err(|error| ErrorCode::ReferenceInvalid.detail(error.to_string()))?;
    let of = |digest| Pin { uid: resource.uid.clone(), generation: resource.generation, digest };
    let provider = source.auth_provider.as_ref();
    let client = shared.runtime.plugin_client(provider, &scope(resource))?;
    let root = client.resolve(&reference, Some(Instant::now() + RESOLVE_PATIENCE)).await?;
    claim(shared, resource, of(root.digest), &source.artifact, None).await
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
                    told_if_pruned(shared, &Resource::read(kind, written));
                    return Ok(pin);
                }
                Ok(Err(kube::Error::Api(answer))) if answer.code == 409 => None,
                // Without the right to write, this process agrees with itself alone.
                Ok(Err(kube::Error::Api(answer))) if answer.is_forbidden() => return Ok(pin),
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

fn told_if_pruned(shared: &Shared, written: &Resource) {
    if written.pin().is_none() && shared.status_pruned.first() {
        tracing::warn!(
            "the definitions of this cluster lose what a status says of a plugin: digests are agreed on by each replica for itself, on its volume (ratify crds apply brings the definitions)"
        );
    }
}

fn claim_error(why: &str) -> Error {
    ErrorCode::GetClusterResourceFailure.detail(format!(
        "cannot record the plugin's digest in the status: {}",
        ratify_core::capped_line(why, 300)
    ))
}

/// The pin that an earlier process of this volume recorded, where the status has none: v1's
/// definitions have no room for it, and v1 overwrites it.
pub(super) fn recorded(resource: &Resource, dirs: &[PathBuf]) -> Option<Pin> {
    let record = Inventory::of(dirs.first()?).record(&recorded_as(&resource.key)?)?;
    let pinned_for = record.pinned_for?;
    let is_this = pinned_for.uid == resource.uid && pinned_for.generation == resource.generation;
    is_this.then_some(Pin {
        uid: pinned_for.uid,
        generation: pinned_for.generation,
        digest: record.root.digest,
    })
}

/// Under which name a resource's plugin is recorded.
pub(super) fn recorded_as(key: &Key) -> Option<inventory::Resource> {
    let kind = match key.kind.role {
        Role::Verifier => inventory::Kind::Verifier,
        Role::Store => inventory::Kind::Store,
        Role::Policy | Role::Keys | Role::CertificateStore => return None,
    };
    Some(inventory::Resource { name: key.name.clone(), kind })
}
