//! Pushing blobs: one POST, POST and PUT, or POST, PATCHes and PUT; mounting; cancelling
//! (OCI distribution specification, "Pushing Blobs").

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body_util::BodyExt;
use ratify_core::Digest;

use super::{
    answer::{Answer, CONTENT_DIGEST, Refusal, empty, set},
    route::{checked_digest, checked_name},
    storage::{Claim, Full, Storage, digest_of, lock},
};

/// After this long without a request an upload is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// The uploads under way.
#[derive(Default)]
pub(super) struct Uploads(Mutex<HashMap<String, Shared>>);

type Shared = Arc<tokio::sync::Mutex<Upload>>;

/// One upload: the bytes received so far, and the claim that covers them.
pub(super) struct Upload {
    name: String,
    bytes: Vec<u8>,
    claim: Claim,
    touched: Instant,
}

impl Uploads {
    fn insert(&self, id: &str, upload: Upload) {
        let mut uploads = lock(&self.0);
        uploads.retain(|_, upload| match upload.try_lock() {
            Ok(upload) => upload.touched.elapsed() < FORGOTTEN_AFTER,
            Err(_) => true,
        });
        uploads.insert(id.to_owned(), Arc::new(tokio::sync::Mutex::new(upload)));
    }

    fn get(&self, id: &str) -> Result<Shared, Refusal> {
        lock(&self.0).get(id).cloned().ok_or_else(unknown_upload)
    }

    fn remove(&self, id: &str) {
        lock(&self.0).remove(id);
    }
}

impl Upload {
    /// An upload without bytes into the repository `name`.
    pub(super) fn new(name: &str, claim: Claim) -> Self {
        Self { name: name.to_owned(), bytes: Vec::new(), claim, touched: Instant::now() }
    }

    /// Appends a request's body. What arrived before a cut stays: the client can ask for the
    /// range received and go on from there.
    async fn receive(&mut self, mut body: Body) -> Result<(), Refusal> {
        self.touched = Instant::now();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let text = format!("the body ended early: {error}");
                Refusal::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", text)
            })?;
            if let Some(data) = frame.data_ref() {
                self.claim.grow(data.len() as u64)?;
                self.bytes.extend_from_slice(data);
            }
        }
        Ok(())
    }

    fn truncate(&mut self, length: usize) {
        self.claim.shrink((self.bytes.len() - length) as u64);
        self.bytes.truncate(length);
    }

    /// `0-<last>`; by custom also `0-0` when nothing was received yet.
    fn range(&self) -> String {
        format!("0-{}", self.bytes.len().saturating_sub(1))
    }
}

/// end-4a, end-4b and end-11: starts an upload, or finishes one at once.
pub(super) async fn post(
    storage: &Storage,
    name: &str,
    query: &[(String, String)],
    body: Body,
) -> Answer {
    if let Some(mount) = value(query, "mount") {
        let digest = checked_digest(mount)?;
        let from = value(query, "from").map(checked_name).transpose()?;
        if storage.mount(name, from.as_deref(), &digest) {
            return Ok(created(name, &digest));
        }
    }
    let upload = storage.new_upload(name)?;
    if let Some(digest) = value(query, "digest") {
        let digest = checked_digest(digest)?;
        let mut upload = upload;
        upload.receive(body).await?;
        return finish(storage, upload, digest);
    }
    let id = uuid::Uuid::new_v4().to_string();
    let answer = progress(StatusCode::ACCEPTED, &upload, &id);
    storage.uploads.insert(&id, upload);
    Ok(answer)
}

/// end-5: the next chunk, or all bytes as a stream.
pub(super) async fn patch(
    storage: &Storage,
    name: &str,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    let shared = storage.uploads.get(id)?;
    let mut upload = shared.lock().await;
    of_repository(&upload, name)?;
    append(&mut upload, id, headers, body).await?;
    Ok(progress(StatusCode::ACCEPTED, &upload, id))
}

/// end-6: the last chunk, all bytes, or none; then the digest is checked and the blob kept.
pub(super) async fn put(
    storage: &Storage,
    name: &str,
    id: &str,
    query: &[(String, String)],
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    let shared = storage.uploads.get(id)?;
    let mut upload = shared.lock().await;
    of_repository(&upload, name)?;
    let digest = value(query, "digest").ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the query has no digest")
    })?;
    let digest = checked_digest(digest)?;
    append(&mut upload, id, headers, body).await?;
    storage.uploads.remove(id);
    let spent = Upload {
        name: name.to_owned(),
        bytes: std::mem::take(&mut upload.bytes),
        claim: upload.claim.take(),
        touched: upload.touched,
    };
    finish(storage, spent, digest)
}

/// end-13: how far an upload has come.
pub(super) async fn status(storage: &Storage, name: &str, id: &str) -> Answer {
    let shared = storage.uploads.get(id)?;
    let upload = shared.lock().await;
    of_repository(&upload, name)?;
    Ok(progress(StatusCode::NO_CONTENT, &upload, id))
}

/// end-14: an upload is given up.
pub(super) async fn cancel(storage: &Storage, name: &str, id: &str) -> Answer {
    let shared = storage.uploads.get(id)?;
    of_repository(&*shared.lock().await, name)?;
    storage.uploads.remove(id);
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Appends a body, checked against `Content-Range` where the request has one.
async fn append(
    upload: &mut Upload,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), Refusal> {
    let before = upload.bytes.len();
    let range = headers.get(header::CONTENT_RANGE).map(|value| parse_range(value.as_bytes()));
    let expected = match range {
        None => None,
        Some(Some((first, last))) if first == before as u64 => Some(last - first + 1),
        Some(_) => return Err(out_of_order(upload, id)),
    };
    upload.receive(body).await?;
    let received = (upload.bytes.len() - before) as u64;
    if expected.is_some_and(|expected| expected != received) {
        upload.truncate(before);
        let text = format!("the chunk has {received} bytes, which is not what Content-Range says");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", text));
    }
    Ok(())
}

/// `<first>-<last>`, both inclusive.
fn parse_range(value: &[u8]) -> Option<(u64, u64)> {
    let (first, last) = std::str::from_utf8(value).ok()?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<u64>().ok()?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

/// Checks the digest of what was received and keeps it.
fn finish(storage: &Storage, upload: Upload, digest: Digest) -> Answer {
    // A boxed slice: what is held is what is claimed, without the room a growing vector keeps.
    let bytes = Bytes::from(upload.bytes.into_boxed_slice());
    let actual = digest_of(digest.algorithm(), &bytes);
    if actual != digest {
        let text = format!("the {} bytes received have the digest {actual}", bytes.len());
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", text));
    }
    let answer = created(&upload.name, &digest);
    storage.keep_blob(&upload.name, digest, bytes, upload.claim);
    Ok(answer)
}

fn created(name: &str, digest: &Digest) -> Response<Body> {
    let mut response = empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    set(headers, header::LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    set(headers, CONTENT_DIGEST, digest.as_str());
    response
}

fn progress(status: StatusCode, upload: &Upload, id: &str) -> Response<Body> {
    let mut response = empty(status);
    let headers = response.headers_mut();
    set(headers, header::LOCATION, &location(upload, id));
    set(headers, header::RANGE, &upload.range());
    set(headers, UPLOAD_UUID, id);
    response
}

fn location(upload: &Upload, id: &str) -> String {
    format!("/v2/{}/blobs/uploads/{id}", upload.name)
}

fn out_of_order(upload: &Upload, id: &str) -> Refusal {
    let text = format!("the next byte is {}", upload.bytes.len());
    Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", text)
        .with_header(header::LOCATION, location(upload, id))
        .with_header(header::RANGE, upload.range())
}

fn of_repository(upload: &Upload, name: &str) -> Result<(), Refusal> {
    if upload.name == name { Ok(()) } else { Err(unknown_upload()) }
}

fn unknown_upload() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload, or it has ended")
}

/// The first value of a key of a query.
pub(super) fn value<'a>(query: &'a [(String, String)], key: &str) -> Option<&'a str> {
    query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "STORAGE_FULL", full.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::storage::ENTRY_COST;

    #[test]
    fn a_content_range_is_two_ordered_numbers() {
        assert_eq!(parse_range(b"0-0"), Some((0, 0)));
        assert_eq!(parse_range(b"10-19"), Some((10, 19)));
        for bad in ["", "-", "5-", "-5", "9-3", "a-b", "0-18446744073709551615", "bytes 0-1/2"] {
            assert_eq!(parse_range(bad.as_bytes()), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_gives_its_bytes_back() {
        let storage = Storage::new(10_000);
        let answer = post(&storage, "a", &[], Body::empty()).await.unwrap();
        let id = answer.headers()["docker-upload-uuid"].to_str().unwrap().to_owned();
        let chunk = || Body::from(vec![7; 5000]);
        patch(&storage, "a", &id, &HeaderMap::new(), chunk()).await.unwrap();
        assert_eq!(storage.used(), 5000 + ENTRY_COST);
        let full = patch(&storage, "a", &id, &HeaderMap::new(), chunk()).await.unwrap_err();
        assert_eq!(
            (full.status, full.code.as_str()),
            (StatusCode::PAYLOAD_TOO_LARGE, "STORAGE_FULL")
        );
        assert!(status(&storage, "b", &id).await.is_err(), "another repository's upload");
        cancel(&storage, "a", &id).await.unwrap();
        assert_eq!(storage.used(), 0);
        assert!(status(&storage, "a", &id).await.is_err());
    }
}
