//! Manifests: pull, push and delete (OCI distribution specification, "Pulling manifests",
//! "Pushing Manifests", "Deleting tags" and "Deleting Manifests").

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ratify_core::Algorithm;
use serde_json::Value;

use super::{
    answer::{Answer, CONTENT_DIGEST, OCI_SUBJECT, OCI_TAG, Refusal, empty, set, with_bytes},
    referrers::Facts,
    route::{ManifestReference, checked_tag},
    storage::{Storage, StoredManifest, digest_of},
};

/// The largest manifest taken: what the specification asks a registry to accept at least.
const MAXIMUM_MANIFEST: usize = 4 << 20;

/// end-3: a manifest by tag or digest.
pub(super) fn get(storage: &Storage, name: &str, reference: &ManifestReference) -> Answer {
    let manifest = find(storage, name, reference).ok_or_else(|| unknown(reference))?;
    let mut response = with_bytes(StatusCode::OK, &manifest.media_type, manifest.bytes.clone());
    set(response.headers_mut(), CONTENT_DIGEST, manifest.digest.as_str());
    Ok(response)
}

/// end-7: keeps a manifest. Blobs and children it names need not be here.
pub(super) async fn put(
    storage: &Storage,
    name: &str,
    reference: &ManifestReference,
    query: &[(String, String)],
    headers: &HeaderMap,
    body: Body,
    announce_subject: bool,
) -> Answer {
    let media_type = media_type(headers)?;
    let bytes = read(body).await?;
    check_document(&media_type, &bytes)?;
    let (tags, algorithm) = match reference {
        ManifestReference::Tag(tag) => (vec![tag.clone()], Algorithm::Sha256),
        ManifestReference::Digest(digest) => {
            let actual = digest_of(digest.algorithm(), &bytes);
            if actual != *digest {
                let text = format!("the manifest received has the digest {actual}");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", text));
            }
            (tags_of(query)?, digest.algorithm())
        }
    };
    let subject = Facts::read(&media_type, &bytes).subject;
    let kept = storage.put_manifest(name, &tags, &media_type, bytes, algorithm)?;
    let mut response = empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    set(headers, header::LOCATION, &format!("/v2/{name}/manifests/{}", kept.digest));
    set(headers, CONTENT_DIGEST, kept.digest.as_str());
    if let Some(subject) = subject.filter(|_| announce_subject) {
        set(headers, OCI_SUBJECT, subject.as_str());
    }
    if matches!(reference, ManifestReference::Digest(_)) && !tags.is_empty() {
        for tag in &tags {
            if let Ok(tag) = tag.parse() {
                headers.append(OCI_TAG, tag);
            }
        }
    }
    Ok(response)
}

/// end-9: a tag is removed, or a manifest with all its tags.
pub(super) fn delete(storage: &Storage, name: &str, reference: &ManifestReference) -> Answer {
    let gone = match reference {
        ManifestReference::Tag(tag) => storage.delete_tag(name, tag),
        ManifestReference::Digest(digest) => storage.delete_manifest(name, digest),
    };
    if gone { Ok(empty(StatusCode::ACCEPTED)) } else { Err(unknown(reference)) }
}

fn find(
    storage: &Storage,
    name: &str,
    reference: &ManifestReference,
) -> Option<Arc<StoredManifest>> {
    match reference {
        ManifestReference::Tag(tag) => storage.tagged(name, tag),
        ManifestReference::Digest(digest) => storage.manifest(name, digest),
    }
}

fn media_type(headers: &HeaderMap) -> Result<String, Refusal> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match value.map(|value| value.split(';').next().unwrap_or_default().trim()) {
        Some(media_type) if !media_type.is_empty() => Ok(media_type.to_owned()),
        _ => Err(invalid("a manifest is pushed with its media type as Content-Type")),
    }
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAXIMUM_MANIFEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("a manifest has at most {MAXIMUM_MANIFEST} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", text))
        }
        Err(error) => Err(invalid(format!("the body ended early: {error}"))),
    }
}

/// A manifest is a JSON object; if it says its media type, that is the one it is pushed with.
fn check_document(media_type: &str, bytes: &[u8]) -> Result<(), Refusal> {
    let document: Value = serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("a manifest is JSON: {error}")))?;
    let Value::Object(document) = document else {
        return Err(invalid("a manifest is a JSON object"));
    };
    match document.get("mediaType") {
        None => Ok(()),
        Some(Value::String(own)) if own == media_type => Ok(()),
        Some(_) => Err(invalid("the manifest's mediaType is not its Content-Type")),
    }
}

/// The tags of `?tag=a&tag=b` in a push by digest.
fn tags_of(query: &[(String, String)]) -> Result<Vec<String>, Refusal> {
    query.iter().filter(|(key, _)| key == "tag").map(|(_, tag)| checked_tag(tag)).collect()
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
}

fn unknown(reference: &ManifestReference) -> Refusal {
    let text = match reference {
        ManifestReference::Tag(tag) => format!("no tag {tag} in this repository"),
        ManifestReference::Digest(digest) => format!("no manifest {digest} in this repository"),
    };
    Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushed_document_is_an_object_of_the_type_it_is_pushed_as() {
        assert!(check_document("m", b"{}").is_ok());
        assert!(check_document("m", br#"{"mediaType":"m"}"#).is_ok());
        let bad: [&[u8]; 5] =
            [b"", b"<html>", b"[]", br#"{"mediaType":"n"}"#, br#"{"mediaType":1}"#];
        for bytes in bad {
            let refusal = check_document("m", bytes).unwrap_err();
            assert_eq!(refusal.code, "MANIFEST_INVALID");
        }
    }
}
