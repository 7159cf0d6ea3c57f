//! How many requests a verification costs, as the registry counts them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use ratify_core::{
    Algorithm, Descriptor, Verifier, VerifierReport,
    config::{Config, StorePluginConfig},
    executor::{Executor, VerifyParameters, testing::FunctionVerifier},
    media_type,
    policy::Policy,
};
use ratify_store_oras::{Artifact, OrasStore, OrasStoreOptions, digest_of};
use serde_json::json;

use crate::fake::{Fake, Reply, Seen, index};

pub(crate) const READ: &str = "application/x";
const OTHER: &str = "application/y";

/// A repository with an image, so many artifacts of each type attached to it, and what is listed.
pub(crate) struct Repository {
    objects: BTreeMap<String, (String, Bytes)>,
    subject: Descriptor,
    listed: Vec<Descriptor>,
}

impl Repository {
    pub(crate) fn new(read: usize, others: usize) -> Self {
        let objects = BTreeMap::new();
        let subject = Artifact::new("", vec![]).to_bytes().unwrap();
        let nobody = Descriptor::new("", digest_of(Algorithm::Sha256, b""), 0);
        let mut repository = Self { objects, subject: nobody, listed: Vec::new() };
        repository.subject = repository.add("manifests", media_type::OCI_MANIFEST, subject);
        for number in 0..read + others {
            let type_ = if number < read { READ } else { OTHER };
            let blob = repository.add("blobs", "text/plain", format!("blob {number}").into());
            let mut artifact = Artifact::new(type_, vec![blob]);
            artifact.subject = Some(repository.subject.clone());
            let bytes = artifact.to_bytes().unwrap();
            let added = repository.add("manifests", media_type::OCI_MANIFEST, bytes);
            repository.listed.push(added.with_artifact_type(type_));
        }
        repository
    }

    fn add(&mut self, kind: &str, media_type: &str, bytes: Bytes) -> Descriptor {
        let digest = digest_of(Algorithm::Sha256, &bytes);
        let size = bytes.len() as u64;
        self.objects.insert(format!("{kind}/{digest}"), (media_type.to_owned(), bytes));
        Descriptor::new(media_type, digest, size)
    }

    pub(crate) fn answer(&self, seen: &Seen, has_api: bool) -> Reply {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let rest = path.strip_prefix("/v2/").unwrap().split_once('/').unwrap().1;
        let tag = self.subject.digest.as_str().replace(':', "-");
        if rest.starts_with("referrers/") && has_api {
            let only = query.strip_prefix("artifactType=").map(|type_| type_.replace("%2F", "/"));
            let is_listed =
                |one: &&Descriptor| only.as_ref().is_none_or(|only| one.artifact_type == *only);
            let listed: Vec<_> = self.listed.iter().filter(is_listed).collect();
            let reply = Reply::ok(index(&listed)).with("content-type", media_type::OCI_INDEX);
            return match only {
                Some(_) => reply.with("oci-filters-applied", "artifactType"),
                None => reply,
            };
        }
        if rest == format!("manifests/{tag}") {
            let all: Vec<_> = self.listed.iter().collect();
            return Reply::ok(index(&all)).with("content-type", media_type::OCI_INDEX);
        }
        match self.objects.get(rest) {
            None if rest.starts_with("referrers/") => Reply::new(404),
            None => Reply::error(404, "MANIFEST_UNKNOWN"),
            Some((media_type, bytes)) => Reply::ok(bytes.clone())
                .with("content-type", media_type)
                .with("docker-content-digest", digest_of(Algorithm::Sha256, bytes).as_str()),
        }
    }
}

/// Reads all blobs of an artifact, as the built-in verifiers do.
pub(crate) fn verifier(types: &str) -> Arc<dyn Verifier> {
    Arc::new(FunctionVerifier::new(
        "reader",
        types,
        Arc::new(|request| {
            let request = request.clone();
            Box::pin(async move {
                let manifest =
                    request.host.manifest(&request.subject, &request.referrer.descriptor);
                for blob in manifest.await?.blobs {
                    request.host.blob(&request.subject, &blob).await?;
                }
                Ok(VerifierReport::success("read"))
            })
        }),
    ))
}

fn executor(cache: &Path, verifiers: Vec<Arc<dyn Verifier>>) -> Executor {
    executor_with(cache, verifiers, json!({}), OrasStoreOptions::default())
}

/// The same with more keys of the store, and what it needs.
pub(crate) fn executor_with(
    cache: &Path,
    verifiers: Vec<Arc<dyn Verifier>>,
    keys: serde_json::Value,
    options: OrasStoreOptions,
) -> Executor {
    let mut entry = json!({
        "name": "oras", "useHttp": true, "cosignEnabled": true, "localCachePath": cache
    });
    entry.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let config = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
    let store = OrasStore::new(&config, options).unwrap();
    let policy = json!({"policy": {"plugin": {
        "name": "configPolicy", "artifactVerificationPolicies": {"default": "all"}
    }}});
    let policy = Config::from_json(policy.to_string().as_bytes()).unwrap().policy.unwrap();
    let policy = Policy::from_config(&policy).unwrap();
    Executor::new(vec![Arc::new(store)], verifiers, Some(policy))
}

async fn fake(has_api: bool) -> Fake {
    let repository = Repository::new(5, 3);
    Fake::start(move |seen: &Seen| repository.answer(seen, has_api)).await
}

async fn requests(fake: &Fake, executor: &Executor, reports: usize) -> Vec<String> {
    requests_for("app", fake, executor, reports).await
}

/// The requests of a verification of a repository's image that must succeed with so many reports.
pub(crate) async fn requests_for(
    repository: &str,
    fake: &Fake,
    executor: &Executor,
    reports: usize,
) -> Vec<String> {
    let before = fake.seen().len();
    let subject = Repository::new(0, 0).subject.digest;
    let image = format!("{}/{repository}@{subject}", fake.registry());
    let parameters = VerifyParameters::new(image);
    let verdict = executor.verify(&parameters, &|_| {}).await.unwrap();
    assert!(verdict.is_success, "{verdict:?}");
    assert_eq!(verdict.verifier_reports.len(), reports);
    let lines = fake.lines().split_off(before);
    let counted = parameters.context.requests.by_host();
    assert_eq!(counted, [(fake.registry(), lines.len() as u64)].into(), "{lines:#?}");
    lines
}

#[tokio::test]
async fn a_cold_verification_costs_two_requests_and_two_for_each_artifact_that_is_read() {
    let fake = fake(true).await;
    let cache = tempfile::tempdir().unwrap();
    let executor = executor(cache.path(), vec![verifier(READ)]);
    let lines = requests(&fake, &executor, 5).await;
    assert_eq!(lines.len(), 2 + 2 * 5, "{lines:#?}");
    assert!(lines[1].ends_with("?artifactType=application%2Fx"), "{}", lines[1]);
    // What is on disk is not asked for again.
    assert_eq!(requests(&fake, &executor, 5).await.len(), 2);
}

#[tokio::test]
async fn a_filter_is_asked_for_one_type_and_cosigns_tag_where_somebody_reads_it() {
    let fake = fake(true).await;
    let count = async |verifiers, reports| {
        let cache = tempfile::tempdir().unwrap();
        let lines = requests(&fake, &executor(cache.path(), verifiers), reports).await;
        let is_filtered = lines.iter().any(|line| line.contains("artifactType"));
        let asks_cosign = lines.iter().any(|line| line.ends_with(".sig"));
        (lines.len(), is_filtered, asks_cosign)
    };
    let cosign = media_type::COSIGN_SIGNATURE;
    assert_eq!(count(vec![verifier(READ), verifier(OTHER)], 8).await, (2 + 16, false, false));
    assert_eq!(count(vec![verifier("application/x,a")], 5).await, (2 + 10, false, false));
    assert_eq!(count(vec![verifier(READ), verifier(READ)], 5).await, (2 + 10, true, false));
    assert_eq!(count(vec![verifier(READ), verifier(cosign)], 5).await, (3 + 10, false, true));
    assert_eq!(count(vec![verifier(READ), verifier("*")], 8).await, (3 + 16, false, true));
}

#[tokio::test]
async fn a_registry_without_the_api_is_asked_for_it_once() {
    let fake = fake(false).await;
    let cache = tempfile::tempdir().unwrap();
    let executor = executor(cache.path(), vec![verifier(READ)]);
    assert_eq!(requests(&fake, &executor, 5).await.len(), 3 + 2 * 5);
    let again = requests(&fake, &executor, 5).await;
    assert_eq!(again.len(), 2, "{again:#?}");
    assert!(again[1].contains("/manifests/sha256-"), "{again:#?}");
}
