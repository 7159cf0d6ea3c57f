//! Whether an artifact belongs to the subject it is listed for. A list alone proves nothing: v1
//! lets an artifact of image A, listed under image B, speak for B.

use crate::{
    Binding, ComponentType, Context, Descriptor, Error, ErrorCode, Manifest, Reference, Referrer,
    ReferrerStore, Result, simple_signing,
};

/// A payload is a few hundred bytes.
const MAX_PAYLOAD_BYTES: u64 = 1 << 20;
/// cosign adds a layer for each signature.
const MAX_PAYLOADS: usize = 128;

/// Reads the manifest of an artifact and checks that it belongs to `subject`, which is resolved.
///
/// # Errors
/// When it does not, or it cannot be told. The text is for a report: what failed, and why.
pub(super) async fn bind(
    store: &dyn ReferrerStore,
    subject: &Reference,
    referrer: &Referrer,
    context: &Context,
) -> Result<Manifest> {
    let descriptor = &referrer.descriptor;
    let read = store.manifest(subject, descriptor, context).await;
    let manifest = read.map_err(|error| unread(store, subject, descriptor, error))?;
    let bound = match referrer.binding {
        Binding::Manifest => by_manifest(subject, descriptor, &manifest),
        Binding::Payload => by_payload(store, subject, &manifest, context).await,
        Binding::Store => by_store(subject, &manifest),
    };
    bound.map_err(|reason| unbound(store, subject, descriptor, reason))?;
    Ok(manifest)
}

/// The manifest names its subject and has the listed type (OCI image specification 1.1,
/// manifest.md, `subject` and `artifactType`).
fn by_manifest(
    subject: &Reference,
    listed: &Descriptor,
    manifest: &Manifest,
) -> Result<(), String> {
    match &manifest.subject {
        None => return Err("its manifest names no subject".into()),
        Some(named) => is_subject(subject, named)?,
    }
    if manifest.listed_type() == listed.artifact_type {
        return Ok(());
    }
    Err(format!(
        "it is listed as {:?}, but its manifest is of the type {:?}",
        crate::capped_line(&listed.artifact_type, 100),
        crate::capped_line(manifest.listed_type(), 100)
    ))
}

/// The administrator trusts the store's list, but not against the manifest itself.
fn by_store(subject: &Reference, manifest: &Manifest) -> Result<(), String> {
    manifest.subject.as_ref().map_or(Ok(()), |named| is_subject(subject, named))
}

fn is_subject(subject: &Reference, named: &Descriptor) -> Result<(), String> {
    if subject.digest() == Some(&named.digest) {
        return Ok(());
    }
    Err(format!("its manifest is attached to {}", named.digest))
}

/// One signed payload that names the subject's digest is enough; none is not.
async fn by_payload(
    store: &dyn ReferrerStore,
    subject: &Reference,
    manifest: &Manifest,
    context: &Context,
) -> Result<(), String> {
    let payloads =
        manifest.blobs.iter().filter(|blob| blob.media_type == simple_signing::MEDIA_TYPE);
    let mut reason = "it has no signature payload".to_owned();
    for (index, payload) in payloads.enumerate() {
        if index == MAX_PAYLOADS {
            return Err(format!("none of its first {MAX_PAYLOADS} payloads names the subject"));
        }
        match named_digest(store, subject, payload, context).await {
            Ok(named) if subject.digest().is_some_and(|digest| digest.as_str() == named) => {
                return Ok(());
            }
            Ok(named) => {
                let named = crate::capped_line(&named, 150);
                reason = format!("its payload {} names {named}", payload.digest);
            }
            Err(why) => reason = why,
        }
    }
    Err(reason)
}

/// The image that a payload says it signs.
async fn named_digest(
    store: &dyn ReferrerStore,
    subject: &Reference,
    payload: &Descriptor,
    context: &Context,
) -> Result<String, String> {
    let at = &payload.digest;
    if payload.size > MAX_PAYLOAD_BYTES {
        return Err(format!("its payload {at} has more than {MAX_PAYLOAD_BYTES} bytes"));
    }
    let bytes = store
        .blob(subject, at, Some(payload.size), context)
        .await
        .map_err(|error| format!("its payload {at} could not be read: {error}"))?;
    simple_signing::named_digest(&bytes)
        .map_err(|error| format!("its payload {at} is malformed: {error}"))?
        .ok_or_else(|| format!("its payload {at} names no image"))
}

fn unbound(
    store: &dyn ReferrerStore,
    subject: &Reference,
    artifact: &Descriptor,
    reason: String,
) -> Error {
    failure(store).with_source(
        ErrorCode::ManifestInvalid
            .detail(format!("{} is no artifact of {subject}", artifact.digest))
            .with_source(reason)
            .with_remediation(
                "look at who pushed to the repository: the list shows what was never attached",
            ),
    )
}

fn unread(
    store: &dyn ReferrerStore,
    subject: &Reference,
    artifact: &Descriptor,
    error: Error,
) -> Error {
    failure(store).with_source(
        ErrorCode::GetReferrerManifestFailure
            .detail(format!(
                "could not tell whether {} is an artifact of {subject}",
                artifact.digest
            ))
            .with_source(error),
    )
}

fn failure(store: &dyn ReferrerStore) -> Error {
    ErrorCode::VerifyReferenceFailure
        .error()
        .from_component(ComponentType::ReferrerStore, store.name())
}
