//! Which artifacts of a list count (`latestPerType`, `maxAge`), and that of the
//! others the manifests alone are fetched, by which they are dated.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use ratify_core::{
    Algorithm, Descriptor, Digest, Request, Verifier, VerifierReport, VerifyResult,
    config::{Config, StorePluginConfig},
    executor::{Executor, VerifyParameters, testing::FunctionVerifier},
    media_type,
    policy::Policy,
};
use ratify_store_oras::{Artifact, OrasStore, OrasStoreOptions, RetryPolicy, digest_of};
use serde_json::{Value, json};

use crate::fake::{Fake, Reply, Seen, index};

const CREATED: &str = "org.opencontainers.image.created";
const REPORT: &str = "application/report";
const REVIEW: &str = "application/review";

/// Where an artifact says when it was made.
#[derive(Clone, Copy, PartialEq)]
enum Dated {
    InTheList,
    InTheManifest,
    Nowhere,
}

/// An image and what is attached to it.
#[derive(Default)]
struct Repository {
    objects: BTreeMap<String, (String, Bytes)>,
    subject: Option<Descriptor>,
    /// By what they are attached to.
    listed: Vec<(Digest, Descriptor)>,
    broken: Vec<String>,
}

impl Repository {
    fn new() -> Self {
        let mut repository = Self::default();
        let image = Artifact::new("", vec![]).to_bytes().unwrap();
        repository.subject = Some(repository.add("manifests", media_type::OCI_MANIFEST, image));
        repository
    }

    /// Attaches a report that was made so many hours ago, and that says `text`.
    fn attach(self, text: &str, hours: i64, dated: Dated) -> Self {
        let image = self.subject.clone().unwrap();
        self.attach_to(image, REPORT, text, hours, dated)
    }

    /// Attaches a review to the report that was attached first.
    fn review(self, text: &str, hours: i64) -> Self {
        let report = self.listed[0].1.clone();
        self.attach_to(report, REVIEW, text, hours, Dated::InTheList)
    }

    fn attach_to(
        mut self,
        subject: Descriptor,
        type_: &str,
        text: &str,
        hours: i64,
        dated: Dated,
    ) -> Self {
        let blob = self.add("blobs", "text/plain", text.to_owned().into());
        let made = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        let annotation = (CREATED.to_owned(), made.to_string());
        let mut artifact = Artifact::new(type_, vec![blob]);
        let at = subject.digest.clone();
        artifact.subject = Some(Descriptor::new(subject.media_type, subject.digest, subject.size));
        if dated != Dated::Nowhere {
            artifact.annotations.extend([annotation.clone()]);
        }
        let bytes = artifact.to_bytes().unwrap();
        let added = self.add("manifests", media_type::OCI_MANIFEST, bytes);
        let mut listed = added.with_artifact_type(type_);
        if dated == Dated::InTheList {
            listed.annotations.extend([annotation]);
        }
        self.listed.push((at, listed));
        self
    }

    /// The list says that what was attached last was made so many hours ago.
    fn redated(mut self, hours: i64) -> Self {
        let made = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        let listed = &mut self.listed.last_mut().unwrap().1;
        listed.annotations.insert(CREATED.into(), made.to_string());
        self
    }

    /// The list says that what was attached last is no manifest.
    fn retyped(mut self) -> Self {
        self.listed.last_mut().unwrap().1.media_type = media_type::OCI_INDEX.into();
        self
    }

    /// The manifest that was attached last cannot be had.
    fn broken(mut self) -> Self {
        self.broken.push(format!("manifests/{}", self.listed.last().unwrap().1.digest));
        self
    }

    fn add(&mut self, kind: &str, media_type: &str, bytes: Bytes) -> Descriptor {
        let digest = digest_of(Algorithm::Sha256, &bytes);
        let size = bytes.len() as u64;
        self.objects.insert(format!("{kind}/{digest}"), (media_type.to_owned(), bytes));
        Descriptor::new(media_type, digest, size)
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let path = seen.path.split('?').next().unwrap();
        let rest = path.strip_prefix("/v2/app/").unwrap();
        if let Some(subject) = rest.strip_prefix("referrers/") {
            let is_meant = |(at, _): &&(Digest, Descriptor)| at.as_str() == subject;
            let all: Vec<_> = self.listed.iter().filter(is_meant).map(|(_, one)| one).collect();
            return Reply::ok(index(&all)).with("content-type", media_type::OCI_INDEX);
        }
        if self.broken.iter().any(|broken| broken == rest) {
            return Reply::error(500, "UNKNOWN");
        }
        match self.objects.get(rest) {
            None => Reply::error(404, "MANIFEST_UNKNOWN"),
            Some((media_type, bytes)) => Reply::ok(bytes.clone())
                .with("content-type", media_type)
                .with("docker-content-digest", digest_of(Algorithm::Sha256, bytes).as_str()),
        }
    }
}

/// Is satisfied with reports that say `good`; all of them must.
fn executor(cache: &Path, keys: &Value, is_nested: bool) -> Executor {
    let mut entry = json!({"name": "oras", "useHttp": true, "localCachePath": cache});
    entry.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let config = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
    let mut options = OrasStoreOptions::default();
    options.retry = RetryPolicy::fast(0);
    let store = OrasStore::new(&config, options).unwrap();
    let policy = json!({"policy": {"plugin": {
        "name": "configPolicy", "artifactVerificationPolicies": {"default": "all"}
    }}});
    let policy = Config::from_json(policy.to_string().as_bytes()).unwrap().policy.unwrap();
    let policy = Policy::from_config(&policy).unwrap();
    let read = |type_| {
        FunctionVerifier::new(
            type_,
            type_,
            Arc::new(|request: &Request| {
                let request = request.clone();
                Box::pin(async move {
                    let manifest = request
                        .host
                        .manifest(&request.subject, &request.referrer.descriptor)
                        .await?;
                    let text = request.host.blob(&request.subject, &manifest.blobs[0]).await?;
                    Ok(match &text[..] {
                        b"good" => VerifierReport::success("good"),
                        _ => VerifierReport::failure("bad"),
                    })
                })
            }),
        )
    };
    let reports = if is_nested { read(REPORT).nested() } else { read(REPORT) };
    let verifiers: Vec<Arc<dyn Verifier>> = vec![Arc::new(reports), Arc::new(read(REVIEW))];
    Executor::new(vec![Arc::new(store)], verifiers, Some(policy))
}

/// The verdict, and how many requests it took besides the first two: is it there, what is attached.
async fn verify(repository: Repository, keys: Value) -> (VerifyResult, usize) {
    verify_all(repository, keys, false).await
}

async fn verify_all(repository: Repository, keys: Value, is_nested: bool) -> (VerifyResult, usize) {
    let subject = repository.subject.clone().unwrap().digest;
    let fake = Fake::start(move |seen: &Seen| repository.answer(seen)).await;
    let cache = tempfile::tempdir().unwrap();
    let executor = executor(cache.path(), &keys, is_nested);
    let image = format!("{}/app@{subject}", fake.registry());
    let verdict = executor.verify(&VerifyParameters::new(image), &|_| {}).await.unwrap();
    (verdict, fake.seen().len() - 2)
}

fn reason(verdict: &VerifyResult) -> String {
    assert!(!verdict.is_success, "{verdict:?}");
    format!("{:?}", verdict.verifier_reports)
}

#[tokio::test]
async fn only_the_latest_of_a_type_counts_and_of_the_others_the_manifests_alone_are_fetched() {
    let reports = || {
        Repository::new()
            .attach("bad", 48, Dated::InTheList)
            .attach("good", 1, Dated::InTheList)
            .attach("bad, too", 24, Dated::InTheList)
    };
    let (all, requests) = verify(reports(), json!({})).await;
    assert_eq!((all.is_success, requests), (false, 6), "without the key all count");
    let (latest, requests) = verify(reports(), json!({"latestPerType": 1})).await;
    assert_eq!((latest.is_success, requests), (true, 4), "{latest:?}");
    assert_eq!(latest.verifier_reports.len(), 1);
    let (two, requests) = verify(reports(), json!({"latestPerType": 2})).await;
    assert_eq!((two.is_success, requests), (false, 5));
    let (young, requests) = verify(reports(), json!({"maxAge": "12h"})).await;
    assert_eq!((young.is_success, requests), (true, 4), "{young:?}");
}

/// Whoever may write the list has no key, and each manifest is signed.
#[tokio::test]
async fn a_list_cannot_make_an_artifact_young_or_old() {
    let old = || Repository::new().attach("good", 720, Dated::InTheManifest);
    let bad = |repository: Repository| repository.attach("bad", 1, Dated::InTheManifest);
    for (edited, expected) in [
        (bad(old().redated(0)), "is listed with the date"),
        (bad(old()).redated(9000), "is listed with the date"),
        (bad(Repository::new().attach("good", 0, Dated::Nowhere).redated(0)), "is listed with"),
        (bad(old()).retyped(), "could not tell how old sha256:"),
    ] {
        let (verdict, _) = verify(edited, json!({"latestPerType": 1})).await;
        let reason = reason(&verdict);
        assert!(reason.contains(expected), "{reason}");
    }
    let (verdict, _) = verify(old().redated(0), json!({"maxAge": "12h"})).await;
    assert!(reason(&verdict).contains("is listed with the date"), "{verdict:?}");
}

#[tokio::test]
async fn what_is_attached_to_artifacts_is_chosen_the_same_way() {
    let reviewed = || {
        let report = Repository::new().attach("good", 1, Dated::InTheList);
        report.review("bad", 48).review("good", 24)
    };
    let passes = async |keys| verify_all(reviewed(), keys, true).await.0.is_success;
    assert!(!passes(json!({})).await);
    assert!(passes(json!({"latestPerType": 1})).await);
    assert!(passes(json!({"maxAge": "36h"})).await);
    let (verdict, _) = verify_all(reviewed(), json!({"maxAge": "12h"}), true).await;
    let reason = reason(&verdict);
    assert!(reason.contains("2 artifacts are older than maxAge"), "{reason}");
}

#[tokio::test]
async fn where_all_are_too_old_the_verdict_says_so() {
    let reports = Repository::new()
        .attach("good", 48, Dated::InTheList)
        .attach("good, too", 24, Dated::InTheList)
        .attach("good, when?", 0, Dated::Nowhere);
    let (verdict, requests) = verify(reports, json!({"maxAge": "12h"})).await;
    let reason = reason(&verdict);
    let expected = "in the store oras, 3 artifacts are older than maxAge (43200s), 1 of them without a date that can be read";
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(requests, 3, "the manifests");
}

#[tokio::test]
async fn a_date_is_read_in_the_manifest_where_it_is_needed() {
    let reports = || {
        Repository::new().attach("bad", 48, Dated::InTheManifest).attach(
            "good",
            1,
            Dated::InTheManifest,
        )
    };
    for keys in [json!({"latestPerType": 1}), json!({"maxAge": "12h"})] {
        let (verdict, requests) = verify(reports(), keys.clone()).await;
        assert_eq!((verdict.is_success, requests), (true, 3), "{keys} {verdict:?}");
    }
    let (verdict, requests) = verify(reports(), json!({"latestPerType": 2})).await;
    assert_eq!((verdict.is_success, requests), (false, 4));
}

#[tokio::test]
async fn what_cannot_be_read_is_not_left_out_unseen() {
    let reports = Repository::new()
        .attach("good", 1, Dated::InTheList)
        .attach("bad", 48, Dated::InTheManifest)
        .broken();
    let (verdict, _) = verify(reports, json!({"latestPerType": 1})).await;
    let reason = reason(&verdict);
    assert!(reason.contains("could not tell how old sha256:"), "{reason}");
}

#[tokio::test]
async fn too_many_to_be_dated_are_a_deny() {
    let many = (0..1001).fold(Repository::new(), |repository, number| {
        repository.attach(&format!("good {number}"), 1, Dated::Nowhere)
    });
    let (verdict, requests) = verify(many, json!({"latestPerType": 1})).await;
    let reason = reason(&verdict);
    assert!(reason.contains("the dates of 1001 artifacts of "), "{reason}");
    assert_eq!(requests, 0);
}
