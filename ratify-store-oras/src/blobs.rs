//! Blobs: into memory, or streamed into a sink and hashed on the way. Either way the rest is asked
//! for where the connection is cut.

use std::{io::Write, time::Instant};

use bytes::Bytes;
use ratify_core::{Descriptor, Digest, Reference};
use reqwest::{Method, StatusCode};

use crate::{
    Client, OrasError,
    answer::{Answer, reserved},
    client::{PULL, Target},
    manifests::{DOCKER_CONTENT_DIGEST, check_claimed},
    patience::within,
    proof,
    resume::Download,
    route::Purpose,
    stream,
};

/// Blobs of at most this many bytes are asked for over connections that others share. It is what one
/// body may have under way in HTTP/2.
const SHORT: u64 = 1 << 20;

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
            let mut targets = self.targets(&reference, Purpose::Pull, PULL, give_up_at).await?;
            loop {
                let target = targets.next(self).await?;
                match self.blob_at(target, digest, size).await {
                    Err(error) => targets.pass(error)?,
                    read => return read,
                }
            }
        };
        within(give_up_at, what, Box::pin(work)).await
    }

    /// Streams a blob into a sink and gives it back, full and proven; the sink is written to on a
    /// thread that may block. `progress` is told how many bytes have been received so far. At most
    /// the descriptor's size is ever written.
    ///
    /// # Errors
    /// As [`Client::blob_bytes`], and when the sink fails. The sink is dropped then: it held
    /// unproven bytes.
    pub async fn blob_into<S: Write + Send + 'static>(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: S,
        progress: &mut (dyn FnMut(u64) + Send),
        give_up_at: Option<Instant>,
    ) -> Result<S, OrasError> {
        let reference = reference.sibling(&descriptor.digest);
        let what = reference.as_str();
        let (digest, size) = (&descriptor.digest, (Some(descriptor.size), u64::MAX));
        let work = async {
            let mut targets = self.targets(&reference, Purpose::Pull, PULL, give_up_at).await?;
            loop {
                let target = targets.next(self).await?;
                match self.download(target, digest, size).await {
                    Err(error) => targets.pass(error)?,
                    begun => return begun,
                }
            }
        };
        let download = within(give_up_at, what, Box::pin(work)).await?;
        stream::into_sink(download, descriptor, sink, progress, give_up_at).await
    }

    async fn blob_at(
        &self,
        target: Target<'_>,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<Bytes, OrasError> {
        let limit = self.limits().blob_bytes;
        let mut download = self.download(target, digest, (size, limit)).await?;
        let mut body = reserved(download.expected(), size.unwrap_or(limit));
        while let Some(piece) = download.next().await? {
            body.extend_from_slice(&piece);
        }
        let body = body.freeze();
        proof::check(download.what(), &body, digest, size)?;
        Ok(body)
    }

    /// Asks for a blob of this size, or of this limit.
    async fn download<'a>(
        &'a self,
        target: Target<'a>,
        digest: &'a Digest,
        size: (Option<u64>, u64),
    ) -> Result<Download<'a>, OrasError> {
        let answer = self.ask_blob(&target, digest, size.0).await?;
        Download::begin(self, target, digest, size, answer)
    }

    async fn ask_blob(
        &self,
        target: &Target<'_>,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<Answer, OrasError> {
        let what = target.reference.as_str();
        let mut call = self.call(Method::GET, target, &format!("blobs/{digest}"));
        call.is_long = is_long(size);
        let answer = self.ask(target, &call).await?;
        if answer.status() != StatusCode::OK {
            return Err(answer.into_error(what).await);
        }
        let claimed = answer.single(&DOCKER_CONTENT_DIGEST)?.and_then(|text| text.parse().ok());
        check_claimed(what, digest, claimed.as_ref())?;
        Ok(answer)
    }
}

/// Whether a blob of this size is better received over a connection of its own. What is short waits
/// in memory whoever reads it, so that it stops no other on its connection.
pub(crate) fn is_long(size: Option<u64>) -> bool {
    size.is_none_or(|size| size > SHORT)
}
