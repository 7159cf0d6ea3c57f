//! Blobs: into memory, or streamed into a sink and hashed on the way.

use std::time::Instant;

use bytes::Bytes;
use ratify_core::{Descriptor, Digest, Reference};
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{
    Client, Hasher, OrasError,
    client::{PULL, Target},
    exchange::{Answer, within},
    manifests::{DOCKER_CONTENT_DIGEST, check_claimed},
    proof,
};

impl Client {
    /// Reads a blob of the reference's repository into memory. `size` is known where a manifest
    /// lists it; without it the client's bound on blobs holds.
    ///
    /// # Errors
    /// Among others when the bytes are not those of the digest, or more than the bound.
    pub async fn blob_bytes(
        &self,
        reference: &Reference,
        digest: &Digest,
        size: Option<u64>,
        give_up_at: Option<Instant>,
    ) -> Result<Bytes, OrasError> {
        let reference = reference.sibling(digest);
        let (what, limit) = (reference.as_str(), self.limits().blob_bytes);
        if size.is_some_and(|size| size > limit) {
            return Err(OrasError::TooLarge { what: what.to_owned(), limit, unit: "bytes" });
        }
        let work = async {
            let target = self.target(&reference, PULL, give_up_at).await?;
            let answer = self.ask_blob(&target, digest).await?;
            let body = answer.read(what, size, limit).await?;
            proof::check(what, &body, digest, size)?;
            Ok(body)
        };
        within(give_up_at, what, Box::pin(work)).await
    }

    /// Streams a blob into a sink. `progress` is told how many bytes have been written so far.
    /// At most the descriptor's size is ever written. After an error the sink holds unproven
    /// bytes, which the caller throws away.
    ///
    /// # Errors
    /// As [`Client::blob_bytes`], and when the sink fails.
    pub async fn blob_to(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: &mut (dyn AsyncWrite + Unpin + Send),
        progress: &mut (dyn FnMut(u64) + Send),
        give_up_at: Option<Instant>,
    ) -> Result<(), OrasError> {
        let reference = reference.sibling(&descriptor.digest);
        let what = reference.as_str();
        let work = async {
            let target = self.target(&reference, PULL, give_up_at).await?;
            let answer = self.ask_blob(&target, &descriptor.digest).await?;
            answer.check_length(what, Some(descriptor.size), u64::MAX)?;
            stream(answer, what, descriptor, sink, progress).await
        };
        within(give_up_at, what, Box::pin(work)).await
    }

    async fn ask_blob(&self, target: &Target<'_>, digest: &Digest) -> Result<Answer, OrasError> {
        let what = target.reference.as_str();
        let call = self.call(Method::GET, target, &format!("blobs/{digest}"));
        let answer = self.ask(target, &call).await?;
        if answer.status() != StatusCode::OK {
            return Err(answer.into_error(what).await);
        }
        let claimed = answer.single(&DOCKER_CONTENT_DIGEST)?.and_then(|text| text.parse().ok());
        check_claimed(what, digest, claimed.as_ref())?;
        Ok(answer)
    }
}

async fn stream(
    mut answer: Answer,
    what: &str,
    descriptor: &Descriptor,
    sink: &mut (dyn AsyncWrite + Unpin + Send),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), OrasError> {
    let sink_error = |source| OrasError::Sink { what: what.to_owned(), source };
    let wrong_size = |actual: String| OrasError::Size {
        what: what.to_owned(),
        expected: descriptor.size,
        actual,
    };
    let mut hasher = Hasher::new(descriptor.digest.algorithm());
    let mut written = 0;
    while let Some(chunk) = answer.chunk().await? {
        if written + chunk.len() as u64 > descriptor.size {
            return Err(wrong_size("more".into()));
        }
        hasher.update(&chunk);
        sink.write_all(&chunk).await.map_err(sink_error)?;
        written += chunk.len() as u64;
        progress(written);
    }
    if written != descriptor.size {
        return Err(wrong_size(written.to_string()));
    }
    sink.flush().await.map_err(sink_error)?;
    let actual = hasher.finish();
    if actual == descriptor.digest {
        return Ok(());
    }
    let expected = descriptor.digest.clone();
    Err(OrasError::Digest { what: what.to_owned(), expected, actual: actual.to_string() })
}
