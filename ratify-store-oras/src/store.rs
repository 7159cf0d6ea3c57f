//! [`OrasStore`]: the built-in `oras` referrer store, with v1's configuration and error texts.

mod build;
mod dates;
mod types;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use ratify_core::{
    Basis, Binding, BoxFuture, ComponentType, Context, Descriptor, Digest, Error, ErrorCode,
    Manifest, ManifestError, Reference, Referrer, ReferrerPage, ReferrerStore, Result, StoreConfig,
    media_type,
};

use crate::{
    BlobCache, Client, OrasError,
    deadline::Deadline,
    error::caused,
    flights::Flights,
    results::{Known, Pending, Question, Results},
    selection::Selection,
    trace,
};

const STORE_NAME: &str = "oras";
const DECODING_ADVICE: &str = "Please check if the artifact metadata was created correctly.";

/// The built-in referrer store.
#[derive(Clone)]
pub struct OrasStore {
    config: Arc<StoreConfig>,
    cosign_enabled: bool,
    selection: Selection,
    client: Client,
    /// Whose rights it has: what it caches is for those alone.
    tenant: Arc<str>,
    cache: BlobCache,
    /// What it was answered a moment ago; `None` where that is not kept.
    results: Option<Arc<Results>>,
    flights: Arc<UnderWay>,
}

/// What is being asked of registries with this store's rights.
#[derive(Default)]
struct UnderWay {
    resolved: Flights<For<Reference>, Shared<Descriptor>>,
    listed: Flights<For<ListOf>, Shared<Arc<[Referrer]>>>,
    /// The signatures that cosign keeps of a subject, which the reference names.
    cosign: Flights<For<Reference>, Shared<Option<Descriptor>>>,
    manifests: Flights<For<ManifestOf>, Shared<Bytes>>,
    blobs: Flights<For<BlobOf>, Shared<Bytes>>,
}

/// For a request's tenant, in whose queue the work waits: who joined another's would wait behind
/// all that the other asks for.
type For<T> = (Arc<str>, T);

/// A subject by its digest, and the one type that is looked at; empty for all.
type ListOf = (Reference, String);
/// By what a descriptor says and is checked: media type, digest, size.
type ManifestOf = (Reference, String, Digest, u64);
type BlobOf = (Reference, Digest, Option<u64>);

/// A failure is everybody's who waits for it.
type Shared<T> = std::result::Result<T, Arc<OrasError>>;

impl OrasStore {
    async fn resolve_subject(&self, subject: &Reference, context: &Context) -> Result<Descriptor> {
        // What a tag stands for is asked each time.
        let question = subject.digest().cloned().map(Question::Subject);
        let known = question.as_ref().and_then(|question| self.recall(subject, question));
        let answer = match known {
            Some(Known::Described(descriptor)) => Ok(*descriptor),
            Some(_) => Err(Arc::new(OrasError::NotFound { what: subject.to_string() })),
            None => {
                let key = (context.tenant.clone(), subject.clone());
                let flight = self.flights.resolved.join(key, context.give_up_at, |deadline| {
                    let (client, subject) =
                        (self.client.for_work(context, deadline), subject.clone());
                    let pending = question.and_then(|question| self.asking(&subject, &question));
                    Box::pin(async move {
                        let resolved = client.resolve(&subject, None).await;
                        match &resolved {
                            Ok(found) => keep(pending, described(found)),
                            Err(error) if error.is_not_found() => keep(pending, Known::Absent),
                            Err(_) => {}
                        }
                        resolved.map_err(Arc::new)
                    })
                });
                self.wait(subject, flight).await
            }
        };
        answer.map_err(|error| {
            let outer = of_store(ErrorCode::RepositoryOperationFailure)
                .with_detail(format!("Unable to resolve the reference: {subject}"));
            caused(outer, error)
        })
    }

    async fn list(
        &self,
        subject: &Reference,
        descriptor: &Descriptor,
        artifact_types: &[String],
        context: &Context,
    ) -> Result<ReferrerPage> {
        // The API filters by one type only.
        let only = match artifact_types {
            [only] if only != "*" => only.as_str(),
            _ => "",
        };
        let listed = self.list_of_type(subject, &descriptor.digest, only, context).await;
        // v1 passes the bare error on, which its executor shows under this code.
        let listed = listed.map_err(|e| caused(of_store(ErrorCode::ListReferrersFailure), e))?;
        let mut referrers = listed.to_vec();
        self.name_types(subject, &mut referrers, context).await?;
        let is_wanted = |type_: &String| type_ == "*" || type_ == media_type::COSIGN_SIGNATURE;
        if self.cosign_enabled
            && (artifact_types.is_empty() || artifact_types.iter().any(is_wanted))
        {
            let signature = self.cosign_signature(subject, context).await?;
            referrers.extend(signature.map(|entry| Referrer::new(entry, Binding::Payload)));
        }
        if self.selection.is_off() {
            return Ok(ReferrerPage::new(referrers, ""));
        }
        self.select(subject, referrers, artifact_types, context).await
    }

    async fn list_of_type(
        &self,
        subject: &Reference,
        digest: &Digest,
        only: &str,
        context: &Context,
    ) -> Shared<Arc<[Referrer]>> {
        let question = Question::Referrers(digest.clone(), only.to_owned());
        if let Some(Known::Listed(listed)) = self.recall(subject, &question) {
            return Ok(listed);
        }
        let key = (context.tenant.clone(), (subject.sibling(digest), only.to_owned()));
        let flight = self.flights.listed.join(key, context.give_up_at, |deadline| {
            let (client, subject) = (self.client.for_work(context, deadline), subject.clone());
            let (digest, only) = (digest.clone(), only.to_owned());
            let pending = self.asking(&subject, &question);
            Box::pin(async move {
                let listed = client.referrers_of_type(&subject, &digest, &only, None).await;
                let listed = listed.map_err(Arc::new)?.into_iter();
                let listed: Arc<[Referrer]> =
                    listed.map(|entry| Referrer::new(entry, Binding::Manifest)).collect();
                keep(pending, Known::Listed(listed.clone()));
                Ok(listed)
            })
        });
        self.wait(subject, flight).await
    }

    async fn cosign_signature(
        &self,
        subject: &Reference,
        context: &Context,
    ) -> Result<Option<Descriptor>> {
        let digest = subject.digest().ok_or_else(|| {
            of_store(ErrorCode::ReferenceInvalid).with_detail("The digest of the artifact is empty")
        })?;
        let question = Question::CosignSignature(digest.clone());
        let found = match self.recall(subject, &question) {
            Some(Known::Described(descriptor)) => Ok(Some(*descriptor)),
            Some(_) => Ok(None),
            None => {
                let at = subject.sibling(digest);
                let key = (context.tenant.clone(), at.clone());
                let flight = self.flights.cosign.join(key, context.give_up_at, |deadline| {
                    let (client, digest) =
                        (self.client.for_work(context, deadline), digest.clone());
                    let pending = self.asking(&at, &question);
                    Box::pin(async move {
                        let found = client.cosign_signature(&at, &digest, None).await;
                        let found = found.map_err(Arc::new)?;
                        keep(pending, found.as_ref().map_or(Known::Absent, described));
                        Ok(found)
                    })
                });
                self.wait(subject, flight).await
            }
        };
        found.map_err(|error| {
            let outer = of_store(ErrorCode::RepositoryOperationFailure).with_detail(format!(
                "Failed to validate existence of Cosign signature of the artifact: {subject}"
            ));
            caused(outer, error)
        })
    }

    async fn read_manifest(
        &self,
        subject: &Reference,
        descriptor: &Descriptor,
        context: &Context,
    ) -> Result<Manifest> {
        // v1 finds this out after the download.
        let media_type = descriptor.media_type.as_str();
        if !matches!(media_type, media_type::OCI_MANIFEST | media_type::OCI_ARTIFACT) {
            return Err(unsupported(media_type));
        }
        let repository = subject.sibling(&descriptor.digest);
        let key =
            (repository.clone(), media_type.to_owned(), descriptor.digest.clone(), descriptor.size);
        let key = (context.tenant.clone(), key);
        let flight = self.flights.manifests.join(key, context.give_up_at, |deadline| {
            let (client, descriptor) =
                (self.client.for_work(context, deadline), descriptor.clone());
            let cache = self.cache.of(&self.tenant, subject);
            let repository = repository.clone();
            Box::pin(async move {
                let (digest, size) = (&descriptor.digest, descriptor.size);
                let limit = client.limits().manifest_bytes;
                if size <= limit {
                    let cached = cache.get(digest, Some(size), limit).await;
                    client.count_blob(cached.is_some());
                    if let Some(bytes) = cached {
                        return Ok(bytes);
                    }
                }
                let read = client.manifest_bytes(&repository, &descriptor, None).await;
                let bytes = read.map_err(Arc::new)?;
                cache.put(digest, &bytes).await;
                Ok(bytes)
            })
        });
        let bytes = self.wait(subject, flight).await.map_err(fetch_failure)?;
        Manifest::from_bytes(media_type, &bytes).map_err(|error| match error {
            ManifestError::Unsupported(media_type) => unsupported(&media_type),
            error => of_store(ErrorCode::DataDecodingFailure)
                .with_detail(format!(
                    "Failed to parse artifact metadata of mediatype `{media_type}`"
                ))
                .with_source(error)
                .with_remediation(DECODING_ADVICE),
        })
    }

    async fn read_blob(
        &self,
        subject: &Reference,
        digest: &Digest,
        size: Option<u64>,
        context: &Context,
    ) -> Result<Bytes> {
        let repository = subject.sibling(digest);
        let key = (context.tenant.clone(), (repository.clone(), digest.clone(), size));
        let flight = self.flights.blobs.join(key, context.give_up_at, |deadline| {
            let (client, digest) = (self.client.for_work(context, deadline), digest.clone());
            let cache = self.cache.of(&self.tenant, subject);
            Box::pin(async move {
                let limit = client.limits().blob_bytes;
                let cached = cache.get(&digest, size, limit).await;
                client.count_blob(cached.is_some());
                if let Some(bytes) = cached {
                    return Ok(bytes);
                }
                let read = client.blob_bytes(&repository, &digest, size, None).await;
                let bytes = read.map_err(Arc::new)?;
                cache.put(&digest, &bytes).await;
                Ok(bytes)
            })
        });
        self.wait(subject, flight).await.map_err(fetch_failure)
    }

    /// What is known of an answer that was given a moment ago.
    fn recall(&self, at: &Reference, question: &Question) -> Option<Known> {
        let known = self.results.as_ref()?.get(at, question, Instant::now());
        if known.is_some() {
            trace::cached();
        }
        known
    }

    /// What is to be told the answer to a question that is asked now.
    fn asking(&self, at: &Reference, question: &Question) -> Option<Pending> {
        self.results.as_ref().map(|results| results.asking(at, question, Instant::now()))
    }

    /// Waits for a flight as long as there is time. The flight itself lasts as long as anybody
    /// waits, so the one that has most time decides.
    async fn wait<T>(
        &self,
        subject: &Reference,
        flight: impl Future<Output = std::result::Result<Shared<T>, Deadline>>,
    ) -> Shared<T> {
        let answer = Box::pin(flight).await.unwrap_or_else(|deadline| {
            Err(Arc::new(deadline.gave_up(subject.as_str(), Instant::now())))
        });
        if let (Some(results), Err(error)) = (&self.results, &answer) {
            results.note(subject, error);
        }
        answer
    }
}

impl ReferrerStore for OrasStore {
    fn name(&self) -> &str {
        STORE_NAME
    }

    fn config(&self) -> &StoreConfig {
        &self.config
    }

    fn resolve<'a>(
        &'a self,
        subject: &'a Reference,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Descriptor>> {
        Box::pin(self.resolve_subject(subject, context))
    }

    fn lists_what_is_judged(&self) -> bool {
        true
    }

    fn add_basis(&self, basis: &mut Basis) {
        self.config.add_basis(basis);
        basis.add("tenant", self.tenant.as_bytes());
        self.client.add_basis(basis);
    }

    /// All pages at once: `next_token` is not looked at, as v1. Other types than those asked for
    /// may be listed, too.
    fn list_referrers<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
        artifact_types: &'a [String],
        _next_token: &'a str,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<ReferrerPage>> {
        Box::pin(self.list(subject, descriptor, artifact_types, context))
    }

    fn manifest<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Manifest>> {
        Box::pin(self.read_manifest(subject, descriptor, context))
    }

    fn blob<'a>(
        &'a self,
        subject: &'a Reference,
        digest: &'a Digest,
        size: Option<u64>,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.read_blob(subject, digest, size, context))
    }
}

fn described(descriptor: &Descriptor) -> Known {
    Known::Described(Box::new(descriptor.clone()))
}

fn keep(pending: Option<Pending>, known: Known) {
    if let Some(pending) = pending {
        pending.answer(known, Instant::now());
    }
}

fn fetch_failure(error: Arc<OrasError>) -> Error {
    let outer = of_store(ErrorCode::RepositoryOperationFailure)
        .with_detail("Failed to fetch the artifact metadata from the registry");
    caused(outer, error)
}

fn unsupported(media_type: &str) -> Error {
    let media_type = ratify_core::capped_line(media_type, 200);
    of_store(ErrorCode::GetReferrerManifestFailure)
        .with_detail(format!("Unsupported artifact metadata of media type {media_type}"))
        .with_remediation(DECODING_ADVICE)
}

pub(crate) fn of_store(code: ErrorCode) -> Error {
    code.error().from_component(ComponentType::ReferrerStore, STORE_NAME)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use ratify_core::config::StorePluginConfig;

    use super::*;
    use crate::OrasStoreOptions;

    #[test]
    fn construction_errors_have_v1s_texts() {
        let build = |entry: &Value| {
            let config = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0");
            match OrasStore::new(&config.unwrap(), OrasStoreOptions::default()) {
                Ok(_) => panic!("{entry} was taken"),
                Err(error) => error.to_string(),
            }
        };
        insta::assert_snapshot!(
            build(&json!({"name": "oras", "authProvider": {}})),
            @"AUTH_DENIED: failed to create auth provider from configuration: failed to find auth provider name in the auth providers config with key name"
        );
        insta::assert_snapshot!(
            build(&json!({"name": "oras", "localCachePath": "/proc/nowhere"})),
            @"PLUGIN_INIT_FAILURE: could not create local oras cache at path: /proc/nowhere: No such file or directory (os error 2)"
        );
    }
}
