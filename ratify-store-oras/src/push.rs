//! Pushing blobs and manifests.

use bytes::Bytes;
use ratify_core::{Algorithm, Digest, Reference};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, LOCATION},
};

use crate::{
    Client, OrasError,
    client::{PUSH, Target},
    digest_of,
    exchange::{Answer, redirect_target},
    manifests::{DOCKER_CONTENT_DIGEST, check_claimed},
};

impl Client {
    /// Pushes a blob into the reference's repository, unless it is there already.
    ///
    /// # Errors
    /// When the registry refuses any step.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        bytes: Bytes,
    ) -> Result<Digest, OrasError> {
        let digest = digest_of(Algorithm::Sha256, &bytes);
        let reference = reference.sibling(&digest);
        Box::pin(async {
            let target = self.target(&reference, PUSH, None).await?;
            if !self.has_blob(&target, &digest).await? {
                self.upload(&target, &digest, bytes).await?;
            }
            Ok(digest.clone())
        })
        .await
    }

    /// Pushes a manifest under the reference's tag or digest; returns its digest.
    ///
    /// # Errors
    /// When the reference has a digest that is not that of the bytes, or the registry refuses.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, OrasError> {
        let what = reference.as_str();
        let algorithm = reference.digest().map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = digest_of(algorithm, &bytes);
        check_claimed(what, &digest, reference.digest())?;
        let content_type = HeaderValue::from_str(media_type)
            .map_err(|_| OrasError::invalid(what, "the media type is no header value"))?;
        Box::pin(async {
            let target = self.target(reference, PUSH, None).await?;
            let rest = format!("manifests/{}", reference.tag_or_digest());
            let mut call =
                self.call(Method::PUT, &target, &rest).header(CONTENT_TYPE, content_type);
            call.body = bytes;
            let answer = self.ask(&target, &call).await?;
            if answer.status() != StatusCode::CREATED {
                return Err(answer.into_error(what).await);
            }
            check_stored(what, &digest, &answer)?;
            Ok(digest.clone())
        })
        .await
    }

    async fn has_blob(&self, target: &Target<'_>, digest: &Digest) -> Result<bool, OrasError> {
        let call = self.call(Method::HEAD, target, &format!("blobs/{digest}"));
        let answer = self.ask(target, &call).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.into_error(target.reference.as_str()).await),
        }
    }

    /// A POST that opens an upload, and a PUT of all bytes to where it says (OCI distribution
    /// specification, "POST then PUT").
    async fn upload(
        &self,
        target: &Target<'_>,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), OrasError> {
        let what = target.reference.as_str();
        let open = self.call(Method::POST, target, "blobs/uploads/");
        let answer = self.ask(target, &open).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(answer.into_error(what).await);
        }
        let location = answer.single(&LOCATION)?.ok_or_else(|| {
            OrasError::invalid(what, "the registry opened an upload and did not say where")
        })?;
        let mut url = redirect_target(&answer.url, location, self.transport())
            .map_err(|why| OrasError::Forbidden { request: answer.request.clone(), why })?;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let octets = HeaderValue::from_static("application/octet-stream");
        let is_elsewhere = url.origin() != target.base.origin();
        let mut call = self.call_url(Method::PUT, url).header(CONTENT_TYPE, octets);
        call.body = bytes;
        // Storage elsewhere has its own signature in the URL and gets no credentials.
        let answer = if is_elsewhere {
            self.send_anonymously(&call).await?
        } else {
            self.ask(target, &call).await?
        };
        if answer.status() != StatusCode::CREATED {
            return Err(answer.into_error(what).await);
        }
        check_stored(what, digest, &answer)
    }
}

/// What the registry says it stored must be what was sent.
fn check_stored(what: &str, digest: &Digest, answer: &Answer) -> Result<(), OrasError> {
    let stored = answer.single(&DOCKER_CONTENT_DIGEST)?.and_then(|text| text.parse().ok());
    check_claimed(what, digest, stored.as_ref())
}
