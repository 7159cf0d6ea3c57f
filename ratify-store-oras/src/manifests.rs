//! Manifests: what a tag stands for, and the proven bytes.

use std::time::Instant;

use bytes::Bytes;
use ratify_core::{Algorithm, Descriptor, Digest, Reference, capped_line, media_type};
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, ETAG, HeaderName, HeaderValue},
};

use crate::{
    Client, OrasError,
    client::{PULL, Target},
    exchange::Answer,
    patience::within,
    proof,
    route::Purpose,
};

pub(crate) const DOCKER_CONTENT_DIGEST: HeaderName =
    HeaderName::from_static("docker-content-digest");

/// What a subject may be, in v1's order.
pub(crate) const MANIFEST_TYPES: [&str; 5] = [
    media_type::DOCKER_MANIFEST,
    media_type::DOCKER_LIST,
    media_type::OCI_MANIFEST,
    media_type::OCI_INDEX,
    media_type::OCI_ARTIFACT,
];

/// What the headers of a manifest's answer claim.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    media_type: String,
    digest: Option<Digest>,
    size: Option<u64>,
    /// A strong `ETag`: the same bytes, and no others, have it.
    mark: Option<HeaderValue>,
}

impl Client {
    /// Finds out what a tag stands for, or whether a digest is there, by a HEAD; by a GET where
    /// the answer to the HEAD says too little. Only the bytes of a GET prove anything; what a tag
    /// stands for is the registry's to say.
    ///
    /// # Errors
    /// [`OrasError::NotFound`] where there is none; any other failure as what it is.
    pub async fn resolve(
        &self,
        reference: &Reference,
        give_up_at: Option<Instant>,
    ) -> Result<Descriptor, OrasError> {
        let work = async {
            let purpose = match reference.digest() {
                Some(_) => Purpose::Pull,
                None => Purpose::Resolve,
            };
            let mut targets = self.targets(reference, purpose, PULL, give_up_at).await?;
            loop {
                let target = targets.next(self).await?;
                match self.resolve_at(&target).await {
                    Err(error) => targets.pass(error)?,
                    found => return found,
                }
            }
        };
        within(give_up_at, reference.as_str(), Box::pin(work)).await
    }

    /// Reads the manifest of a descriptor from the reference's repository. Size, digest and media
    /// type are the descriptor's; an empty media type in the descriptor matches any.
    ///
    /// # Errors
    /// Among others when the registry serves anything else than the descriptor says.
    pub async fn manifest_bytes(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        give_up_at: Option<Instant>,
    ) -> Result<Bytes, OrasError> {
        let reference = reference.sibling(&descriptor.digest);
        let (what, limit) = (reference.as_str(), self.limits().manifest_bytes);
        if descriptor.size > limit {
            return Err(OrasError::TooLarge { what: what.to_owned(), limit, unit: "bytes" });
        }
        let work = async {
            let mut targets = self.targets(&reference, Purpose::Pull, PULL, give_up_at).await?;
            loop {
                let target = targets.next(self).await?;
                match self.manifest_at(&target, descriptor).await {
                    Err(error) => targets.pass(error)?,
                    read => return read,
                }
            }
        };
        within(give_up_at, what, Box::pin(work)).await
    }

    async fn manifest_at(
        &self,
        target: &Target<'_>,
        descriptor: &Descriptor,
    ) -> Result<Bytes, OrasError> {
        let (what, limit) = (target.reference.as_str(), self.limits().manifest_bytes);
        let asked = [descriptor.media_type.as_str()];
        let types: &[&str] = if asked[0].is_empty() { &MANIFEST_TYPES } else { &asked };
        let answer = self.ask_manifest(Method::GET, target, types).await?;
        if answer.status() != StatusCode::OK {
            return Err(answer.into_error(what).await);
        }
        answer.refuse_encoding()?;
        let claim = claim_of(&answer)?;
        if !asked[0].is_empty() && claim.media_type != asked[0].to_ascii_lowercase() {
            return Err(OrasError::media_type(what, asked[0], &claim.media_type));
        }
        check_claimed(what, &descriptor.digest, claim.digest.as_ref())?;
        let body = answer.read(what, Some(descriptor.size), limit).await?;
        proof::check(what, &body, &descriptor.digest, Some(descriptor.size))?;
        Ok(body)
    }

    async fn resolve_at(&self, target: &Target<'_>) -> Result<Descriptor, OrasError> {
        let reference = target.reference;
        let answer = self.ask_manifest(Method::HEAD, target, &MANIFEST_TYPES).await?;
        match answer.status() {
            StatusCode::OK => {
                let claim = claim_of(&answer)?;
                if let Some(descriptor) = describe(reference, claim)? {
                    return Ok(descriptor);
                }
            }
            // Some registries know no HEAD here.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {}
            _ => return Err(answer.into_error(reference.as_str()).await),
        }
        self.resolve_by_body(target).await
    }

    async fn resolve_by_body(&self, target: &Target<'_>) -> Result<Descriptor, OrasError> {
        let (reference, limit) = (target.reference, self.limits().manifest_bytes);
        let what = reference.as_str();
        let (claim, body) = self.manifest_by_name(target, &MANIFEST_TYPES, limit).await?;
        let digest = prove_claim(what, reference.digest(), claim.digest.as_ref(), &body)?;
        Ok(Descriptor::new(claim.media_type, digest, body.len() as u64))
    }

    /// Reads the manifest a tag or digest names: the bytes and what the headers claim. The claimed
    /// digest is not compared yet.
    async fn manifest_by_name(
        &self,
        target: &Target<'_>,
        types: &[&str],
        limit: u64,
    ) -> Result<(Claim, Bytes), OrasError> {
        let what = target.reference.as_str();
        let answer = self.ask_manifest(Method::GET, target, types).await?;
        if answer.status() != StatusCode::OK {
            return Err(answer.into_error(what).await);
        }
        answer.refuse_encoding()?;
        let claim = claim_of(&answer)?;
        if claim.media_type.is_empty() {
            return Err(OrasError::invalid(what, "the registry sent no media type"));
        }
        let body = answer.read(what, None, limit).await?;
        Ok((claim, body))
    }

    /// Reads the index that a tag names, proven against the digest the registry claims for it; and
    /// the registry's mark of this state of the tag, where it has one.
    pub(crate) async fn index_by_tag(
        &self,
        target: &Target<'_>,
        limit: u64,
    ) -> Result<(Bytes, Option<HeaderValue>), OrasError> {
        self.document_by_tag(target, &[media_type::OCI_INDEX], media_type::OCI_INDEX, limit).await
    }

    /// The same of a document of one media type, where `types` are asked for: a registry may say of
    /// a tag that stands for something else that there is none.
    pub(crate) async fn document_by_tag(
        &self,
        target: &Target<'_>,
        types: &[&str],
        expected: &str,
        limit: u64,
    ) -> Result<(Bytes, Option<HeaderValue>), OrasError> {
        let what = target.reference.as_str();
        let (claim, body) = self.manifest_by_name(target, types, limit).await?;
        if claim.media_type != expected {
            return Err(OrasError::media_type(what, expected, &claim.media_type));
        }
        prove_claim(what, None, claim.digest.as_ref(), &body)?;
        Ok((body, claim.mark))
    }

    pub(crate) async fn ask_manifest(
        &self,
        method: Method,
        target: &Target<'_>,
        types: &[&str],
    ) -> Result<Answer, OrasError> {
        let accept = HeaderValue::from_str(&types.join(", ")).map_err(|_| {
            OrasError::invalid(target.reference.as_str(), "the media type is no header value")
        })?;
        let rest = format!("manifests/{}", target.reference.tag_or_digest());
        let call = self.call(method, target, &rest).header(ACCEPT, accept);
        self.ask(target, &call).await
    }
}

fn claim_of(answer: &Answer) -> Result<Claim, OrasError> {
    let digest = match answer.single(&DOCKER_CONTENT_DIGEST)? {
        None | Some("") => None,
        Some(text) => Some(text.parse().map_err(|error| {
            let text = capped_line(text, 80);
            OrasError::invalid(&answer.request, format!("claims the digest {text:?}: {error}"))
        })?),
    };
    let size = answer.single(&CONTENT_LENGTH)?.and_then(|length| length.parse().ok());
    let mark = answer.single(&ETAG)?.filter(|mark| mark.starts_with('"'));
    let mark = mark.and_then(|mark| HeaderValue::from_str(mark).ok());
    Ok(Claim { media_type: answer.media_type()?, digest, size, mark })
}

/// The descriptor that the headers of a HEAD make, or `None` where they say too little.
///
/// # Errors
/// When a digest was asked for and another one is claimed.
fn describe(reference: &Reference, claim: Claim) -> Result<Option<Descriptor>, OrasError> {
    // No manifest is empty: a length of zero is what some proxies put for the missing body.
    let Claim { media_type, digest: Some(digest), size: Some(size @ 1..), .. } = claim else {
        return Ok(None);
    };
    if let Some(asked) = reference.digest() {
        check_claimed(reference.as_str(), asked, Some(&digest))?;
        // Another algorithm than was asked for: neither agrees nor disagrees.
        if *asked != digest {
            return Ok(None);
        }
    }
    Ok((!media_type.is_empty()).then(|| Descriptor::new(media_type, digest, size)))
}

/// Refuses a claim of another digest of the same algorithm.
pub(crate) fn check_claimed(
    what: &str,
    expected: &Digest,
    claimed: Option<&Digest>,
) -> Result<(), OrasError> {
    match claimed {
        Some(claimed) if claimed.algorithm() == expected.algorithm() && claimed != expected => {
            Err(OrasError::Digest {
                what: what.to_owned(),
                expected: expected.clone(),
                actual: claimed.to_string(),
            })
        }
        _ => Ok(()),
    }
}

/// The digest of a body, proven against the one asked for and the one claimed.
fn prove_claim(
    what: &str,
    asked: Option<&Digest>,
    claimed: Option<&Digest>,
    body: &[u8],
) -> Result<Digest, OrasError> {
    for expected in [asked, claimed].into_iter().flatten() {
        proof::check(what, body, expected, None)?;
    }
    let known = asked.or(claimed).cloned();
    Ok(known.unwrap_or_else(|| proof::digest_of(Algorithm::Sha256, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: &str) -> Digest {
        format!("sha256:{}", byte.repeat(32)).parse().unwrap()
    }

    fn claim(digest: Option<Digest>, size: Option<u64>) -> Claim {
        Claim { media_type: media_type::OCI_MANIFEST.into(), digest, size, mark: None }
    }

    #[test]
    fn a_head_that_says_everything_is_enough() {
        let tag = Reference::parse("a.io/b:1").unwrap();
        let found = describe(&tag, claim(Some(digest("aa")), Some(3))).unwrap().unwrap();
        assert_eq!(found, Descriptor::new(media_type::OCI_MANIFEST, digest("aa"), 3));
        assert_eq!(describe(&tag, claim(None, Some(3))).unwrap(), None);
        assert_eq!(describe(&tag, claim(Some(digest("aa")), None)).unwrap(), None);
        assert_eq!(describe(&tag, claim(Some(digest("aa")), Some(0))).unwrap(), None);
        let untyped = Claim { media_type: String::new(), ..claim(Some(digest("aa")), Some(3)) };
        assert_eq!(describe(&tag, untyped).unwrap(), None);
    }

    #[test]
    fn a_pinned_reference_is_never_answered_with_another_digest() {
        let pinned = Reference::parse(&format!("a.io/b@{}", digest("aa"))).unwrap();
        assert!(describe(&pinned, claim(Some(digest("aa")), Some(3))).unwrap().is_some());
        assert!(describe(&pinned, claim(Some(digest("bb")), Some(3))).is_err());
        let other: Digest = format!("sha512:{}", "bb".repeat(64)).parse().unwrap();
        assert_eq!(describe(&pinned, claim(Some(other), Some(3))).unwrap(), None);
    }

    #[test]
    fn a_body_must_have_the_digest_asked_for_and_the_one_claimed() {
        let good = proof::digest_of(Algorithm::Sha256, b"x");
        let bad = digest("aa");
        assert_eq!(prove_claim("w", None, None, b"x").unwrap(), good);
        assert_eq!(prove_claim("w", Some(&good), Some(&good), b"x").unwrap(), good);
        assert!(prove_claim("w", Some(&good), Some(&bad), b"x").is_err());
        assert!(prove_claim("w", Some(&bad), None, b"x").is_err());
        assert!(prove_claim("w", None, Some(&bad), b"x").is_err());
    }
}
