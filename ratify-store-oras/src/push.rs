//! Pushing blobs and manifests.

use bytes::Bytes;
use ratify_core::{Algorithm, Descriptor, Digest, Reference};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION},
};

use crate::{
    Client, OrasError, Section,
    client::{PUSH, Target, is_refusal},
    digest_of,
    exchange::{Answer, Call, redirect_target},
    manifests::{DOCKER_CONTENT_DIGEST, check_claimed},
};

/// What a blob is sent from.
enum Content {
    Memory(Bytes),
    File(Section),
}

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobPush {
    /// It was there.
    WasThere,
    /// The registry took it from another repository of its own; nothing was sent.
    Mounted,
    /// It was sent.
    Sent,
}

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
        self.push_content(reference, &digest, Content::Memory(bytes), None).await?;
        Ok(digest)
    }

    /// Pushes a blob from a file, however large: it is never whole in memory. Where `from` names
    /// another repository of the same registry, the registry is asked to take it from there first.
    ///
    /// # Errors
    /// When the file is not as long as its descriptor says, or the registry refuses any step; it
    /// is the registry that finds out that the bytes have another digest.
    pub async fn push_file(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        file: Section,
        from: Option<&str>,
    ) -> Result<BlobPush, OrasError> {
        if file.length() != descriptor.size {
            return Err(OrasError::Size {
                what: descriptor.digest.to_string(),
                expected: descriptor.size,
                actual: file.length().to_string(),
            });
        }
        self.push_content(reference, &descriptor.digest, Content::File(file), from).await
    }

    async fn push_content(
        &self,
        reference: &Reference,
        digest: &Digest,
        content: Content,
        from: Option<&str>,
    ) -> Result<BlobPush, OrasError> {
        let reference = reference.sibling(digest);
        Box::pin(async {
            let target = self.target(&reference, PUSH, None).await?;
            if self.has_blob(&target, digest).await? {
                return Ok(BlobPush::WasThere);
            }
            self.upload(&target, digest, content, from).await
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
        let put = self.put_manifest(reference, media_type, bytes, None).await;
        put.map(|(digest, _)| digest)
    }

    /// Pushes a manifest; returns its digest and the registry's answer. A registry that knows of
    /// conditions refuses with 412 where `condition` is not met.
    pub(crate) async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
        condition: Option<(HeaderName, HeaderValue)>,
    ) -> Result<(Digest, Answer), OrasError> {
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
            call.headers.extend(condition);
            call.body = bytes;
            let answer = self.ask(&target, &call).await?;
            if answer.status() != StatusCode::CREATED {
                return Err(answer.into_error(what).await);
            }
            check_stored(what, &digest, &answer)?;
            Ok((digest.clone(), answer))
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

    async fn ask_for_upload(&self, target: &Target<'_>) -> Result<Answer, OrasError> {
        let open = self.call(Method::POST, target, "blobs/uploads/");
        self.ask(target, &open).await
    }

    /// Where the other repository may not be read, the blob is sent as if it were not there.
    async fn ask_for_mount(
        &self,
        target: &Target<'_>,
        digest: &Digest,
        from: &str,
    ) -> Result<Answer, OrasError> {
        let both = Target { also_pull: Some(from), ..target.clone() };
        let mut mount = self.call(Method::POST, target, "blobs/uploads/");
        let from = target.named_there(from);
        let pairs = [("mount", digest.as_str()), ("from", &from)];
        mount.url.query_pairs_mut().extend_pairs(pairs);
        match self.ask(&both, &mount).await {
            Ok(answer) if !is_refusal(&answer) => Ok(answer),
            Ok(_) | Err(OrasError::Denied { .. }) => self.ask_for_upload(target).await,
            Err(error) => Err(error),
        }
    }

    /// A POST that opens an upload, or takes the blob from elsewhere, and a PUT of all bytes to
    /// where it says (OCI distribution specification, "POST then PUT", "Mounting a blob from
    /// another repository").
    async fn upload(
        &self,
        target: &Target<'_>,
        digest: &Digest,
        content: Content,
        from: Option<&str>,
    ) -> Result<BlobPush, OrasError> {
        let what = target.reference.as_str();
        let answer = match from {
            Some(from) => self.ask_for_mount(target, digest, from).await?,
            None => self.ask_for_upload(target).await?,
        };
        match answer.status() {
            StatusCode::CREATED if from.is_some() => {
                check_stored(what, digest, &answer)?;
                return Ok(BlobPush::Mounted);
            }
            StatusCode::ACCEPTED => {}
            _ => return Err(answer.into_error(what).await),
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
        content.put_into(&mut call);
        // Storage elsewhere has its own signature in the URL and gets no credentials.
        let answer = if is_elsewhere {
            self.send_anonymously(&call).await?
        } else {
            self.ask(target, &call).await?
        };
        if answer.status() != StatusCode::CREATED {
            return Err(answer.into_error(what).await);
        }
        check_stored(what, digest, &answer)?;
        Ok(BlobPush::Sent)
    }
}

impl Content {
    fn put_into(self, call: &mut Call) {
        match self {
            Self::Memory(bytes) => call.body = bytes,
            Self::File(section) => call.file = Some(section),
        }
    }
}

/// What the registry says it stored must be what was sent.
fn check_stored(what: &str, digest: &Digest, answer: &Answer) -> Result<(), OrasError> {
    let stored = answer.single(&DOCKER_CONTENT_DIGEST)?.and_then(|text| text.parse().ok());
    check_claimed(what, digest, stored.as_ref())
}
