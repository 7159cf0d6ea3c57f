//! Policies over an embedded registry, with verifiers that are functions.

use std::{path::Path, sync::Mutex, time::Duration};

use ratify_core::{
    BoxFuture, ErrorCode, FetchRequest, Host, Platform, UrlSource,
    executor::testing::FunctionVerifier,
};
use ratify_store_oras::{Client, ClientOptions, OrasStore, RetryPolicy, Transport};
use serde_json::json;

use super::*;
use crate::{
    dev::{RegistryOptions, RunningRegistry},
    plugin::{
        install::{
            InstallOptions, InstallRequest, Installation, Outcome, PluginConfig, PushRequest,
            install, push,
        },
        inventory::{Inventory, Kind},
        trust::this_platform,
    },
};

const SIGNATURE: &str = "application/vnd.cncf.notary.signature";

/// A registry with a plugin, and a directory to install into.
struct Site {
    /// Until it is away.
    registry: Option<RunningRegistry>,
    host: String,
    folder: tempfile::TempDir,
    root: Digest,
    manifest: Digest,
    /// What verifiers were asked about.
    asked: Arc<Mutex<Vec<String>>>,
}

/// What the verifier of a test says.
#[derive(Clone, Copy)]
enum Says {
    Yes,
    No,
    /// The registry is away.
    Later,
    /// Until some seconds from now.
    YesFor(i64),
    /// A responder is away, or answers what is no answer.
    Unasked {
        is_passing: bool,
    },
}

/// Nobody outside of registries answers.
struct Away;

impl ratify_core::Fetch for Away {
    fn fetch<'a>(
        &'a self,
        _: &'a FetchRequest,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<bytes::Bytes>> {
        Box::pin(async { Err(ErrorCode::ReferrerStoreFailure.detail("no responder")) })
    }
}

async fn ask(host: Arc<dyn Host>, is_passing: bool) -> Result<VerifierReport> {
    let minute = Duration::from_secs(60);
    let responder = FetchRequest::new("http://r.example.com", UrlSource::Document, 10, minute);
    let asked = host.fetch(&responder).await;
    let asked = asked.map_err(|error| ErrorCode::VerifyReferenceFailure.error().with_source(error));
    Err(asked.unwrap_err().passing(is_passing))
}

fn client() -> Result<Client> {
    let mut options = ClientOptions::default();
    options.transport = Transport::HttpsOrLoopbackHttp;
    options.retry = RetryPolicy::fast(1);
    Ok(Client::new(options)?)
}

fn policy(mode: &str) -> TrustPolicy {
    let section =
        json!({"plugins": {"trustPolicy": {"mode": mode, "verifiers": [{"name": "notation"}]}}});
    Config::from_json(section.to_string().as_bytes()).unwrap().plugins.trust_policy.unwrap()
}

/// The smallest program for this node.
fn program(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("program");
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    path
}

impl Site {
    async fn start() -> Self {
        let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let request = PushRequest {
            reference: Reference::parse_exact(&format!("{}/p:1", registry.host())).unwrap(),
            config: PluginConfig::new("sample", Kind::Verifier, "1"),
            programs: vec![(this_platform(), program(folder.path()))],
        };
        let pushed = push(&client().unwrap(), &request).await.unwrap();
        let (root, manifest) = (pushed.index.clone(), pushed.manifests[0].digest.clone());
        let host = registry.host();
        registry.forget_requests();
        Self { registry: Some(registry), host, folder, root, manifest, asked: Arc::default() }
    }

    fn source(&self) -> PluginSource {
        let entry = json!({"source": {"artifact": format!("{}/p:1", self.host)}});
        PluginSource::from_entry(entry.as_object().unwrap()).unwrap().unwrap()
    }

    /// Attaches what is called a signature to a digest.
    async fn sign(&self, digest: &Digest) {
        let reference = Reference::parse_exact(&format!("{}/p:1", self.host)).unwrap();
        let subject = client().unwrap().resolve(&reference.sibling(digest), None).await.unwrap();
        self.registry.as_ref().unwrap().put_artifact("p", &subject, SIGNATURE, &[]).unwrap();
    }

    fn signatures(&self, policy: &TrustPolicy, says: Says, basis: &'static str) -> Signatures {
        let asked = Arc::clone(&self.asked);
        let make = move |entry: VerifierPluginConfig, _| {
            let asked = Arc::clone(&asked);
            let answer = FunctionVerifier::new(
                &entry.name,
                SIGNATURE,
                Arc::new(move |request| {
                    asked.lock().unwrap().push(request.subject.digest().unwrap().to_string());
                    let signed = VerifierReport::success("signed")
                        .with_extensions(json!({"SN": "CN=release"}));
                    let answer = match says {
                        Says::Yes => Ok(signed),
                        Says::YesFor(seconds) => {
                            let until = jiff::Timestamp::now().as_second() + seconds;
                            let until = jiff::Timestamp::from_second(until).unwrap();
                            Ok(signed.valid_until(until.into()))
                        }
                        Says::Unasked { is_passing } => {
                            return Box::pin(ask(request.host.clone(), is_passing));
                        }
                        Says::No => Ok(VerifierReport::failure("by somebody else")),
                        Says::Later => Err(ErrorCode::VerifyReferenceFailure
                            .detail("no responder")
                            .passing(true)),
                    };
                    Box::pin(std::future::ready(answer))
                }),
            );
            Ok(Arc::new(answer.resting_on(basis)) as Arc<dyn Verifier>)
        };
        let home = self.folder.path().to_owned();
        let open = move |origin: &Origin| match origin {
            Origin::Registry(client) => {
                Ok(Arc::new(OrasStore::over(client.clone(), &home)?) as Arc<dyn ReferrerStore>)
            }
            Origin::Layout(_) => Err(ErrorCode::ReferrerStoreFailure.detail("a layout")),
        };
        let (make, open) = (Arc::new(make), Arc::new(open));
        let doors = Doors::default().with_fetch(Arc::new(Away));
        Signatures::of(&self.source(), Some(policy), "", make, open, doors).unwrap()
    }

    async fn judge(&self, signatures: &Signatures) -> Result<Admission, InstallError> {
        let origin = Origin::from(client().unwrap());
        let reference = Reference::parse_exact(&self.source().artifact).unwrap();
        let root = client().unwrap().resolve(&reference, None).await.unwrap();
        let at = Some(Instant::now() + Duration::from_secs(30));
        signatures.judge(&origin, &reference, &root.digest, &self.manifest, at).await
    }

    async fn install(&self, signatures: Signatures) -> Result<Installation> {
        let (source, directory) = (self.source(), self.folder.path().join("plugins"));
        let request = InstallRequest {
            kind: Kind::Verifier,
            name: "sample",
            type_: "sample",
            source: &source,
            directory: &directory,
            pin: None,
            ran: None,
        };
        let platform: Platform = this_platform();
        let give_up_at = Some(Instant::now() + Duration::from_secs(30));
        let signatures = Some(signatures);
        let options =
            InstallOptions { platform, give_up_at, signatures, ..InstallOptions::default() };
        install(&request, &options, &|_| client().map(Into::into), &mut |_, _| {}).await
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn signed_by_release() -> Admission {
    Admission { signers: vec!["notation CN=release".into()], ..Admission::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_of_the_index_or_of_the_platforms_manifest_admits() {
    for of_manifest in [false, true] {
        let site = Site::start().await;
        let signatures = site.signatures(&policy("enforce"), Says::Yes, "b");
        let Err(InstallError::Denied(denial)) = site.judge(&signatures).await else { panic!() };
        let text = denial.to_string();
        assert!(text.contains(&site.root.to_string()), "{text}");
        assert!(text.contains("plugins.trustPolicy") && text.contains("Sign it"), "{text}");
        assert_eq!(site.asked(), Vec::<String>::new(), "nothing is attached");
        let signed = if of_manifest { &site.manifest } else { &site.root };
        site.sign(signed).await;
        assert_eq!(site.judge(&signatures).await.unwrap(), signed_by_release());
        assert_eq!(site.asked(), [signed.to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_does_what_it_says() {
    let site = Site::start().await;
    site.sign(&site.root).await;
    let bad = |mode| site.signatures(&policy(mode), Says::No, "b");
    let Err(InstallError::Denied(denial)) = site.judge(&bad("enforce")).await else { panic!() };
    assert!(denial.to_string().contains("notation says by somebody else"), "{denial}");
    let warned = site.judge(&bad("warn")).await.unwrap();
    assert!(warned.signers.is_empty(), "{warned:?}");
    assert!(warned.warnings[0].starts_with("it runs, for the mode is warn: "), "{warned:?}");
    site.asked();
    let unasked = site.judge(&bad("none")).await.unwrap();
    assert!(unasked.warnings[0].contains("the mode of plugins.trustPolicy is none"), "{unasked:?}");
    assert!(site.asked().is_empty());
    // What could not be found out is no denial, and no admission, under either mode.
    for mode in ["enforce", "warn"] {
        let later = site.judge(&site.signatures(&policy(mode), Says::Later, "b")).await;
        let Err(InstallError::Registry(why)) = later else { panic!("{later:?}") };
        assert!(why.contains("was not found out"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_signed_is_not_fetched_and_what_was_admitted_outlives_the_registry() {
    let mut site = Site::start().await;
    let enforced = |site: &Site, says, basis| site.signatures(&policy("enforce"), says, basis);
    let denied = site.install(enforced(&site, Says::Yes, "keys 1")).await.unwrap_err();
    assert!(denied.to_string().contains("no signature of "), "{denied}");
    let requests = site.registry.as_ref().unwrap().requests();
    let is_read = |path: &str| path.contains("/blobs/");
    let programs = requests.iter().filter(|request| is_read(&request.path));
    // The configuration of the artifact alone.
    assert_eq!(programs.count(), 1, "{requests:?}");
    let inventory = Inventory::of(site.folder.path().join("plugins"));
    assert!(inventory.loads().unwrap().loads.is_empty());

    site.sign(&site.root).await;
    let installed = site.install(enforced(&site, Says::Yes, "keys 1")).await.unwrap();
    assert_eq!(installed.plugin.record().signers, ["notation CN=release"]);
    let load = inventory.loads().unwrap().loads.remove(0);
    assert_eq!(load.signers, ["notation CN=release"]);
    // A key that is revoked takes it out.
    let revoked = site.install(enforced(&site, Says::No, "keys 2")).await.unwrap_err();
    assert!(revoked.to_string().contains("no signature of "), "{revoked}");

    site.registry.take().unwrap().shutdown().await;
    let kept = site.install(enforced(&site, Says::Yes, "keys 1")).await.unwrap();
    assert!(matches!(kept.outcome, Outcome::KeptLastGood(_)));
    assert_eq!(kept.plugin.record().signers, ["notation CN=release"]);
    assert!(site.install(enforced(&site, Says::Yes, "keys 2")).await.is_err(), "by other keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_outside_says_is_no_finding_and_the_last_answer_counts_until_it_ends() {
    let site = Site::start().await;
    site.sign(&site.root).await;
    let install = async |says| site.install(site.signatures(&policy("enforce"), says, "b")).await;
    let away = [true, false].map(|is_passing| Says::Unasked { is_passing });
    for says in away {
        let nobody = site.judge(&site.signatures(&policy("enforce"), says, "b")).await;
        assert!(matches!(nobody, Err(InstallError::Unasked(_))), "{nobody:?}");
        assert!(install(says).await.is_err(), "it never ran");
    }
    let installed = install(Says::YesFor(3600)).await.unwrap();
    assert!(installed.plugin.record().admitted_until.is_some());
    for says in away {
        let kept = install(says).await.unwrap();
        assert!(matches!(kept.outcome, Outcome::KeptLastGood(_)));
        assert_eq!(kept.plugin.record().admitted_until, installed.plugin.record().admitted_until);
    }
    install(Says::YesFor(-1)).await.unwrap();
    for says in away {
        let error = install(says).await.unwrap_err().to_string();
        assert!(error.contains("whether it is signed was not found out"), "{error}");
    }
    assert!(install(Says::Later).await.is_ok(), "a registry says nothing about signers");
    install(Says::Yes).await.unwrap();
    assert!(install(away[0]).await.is_ok(), "it rests on nothing that ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_denied_is_not_run_because_nobody_can_be_asked_any_more() {
    let site = Site::start().await;
    site.sign(&site.root).await;
    let install = async |says| site.install(site.signatures(&policy("enforce"), says, "b")).await;
    install(Says::YesFor(3600)).await.unwrap();
    install(Says::Later).await.unwrap();
    assert!(install(Says::No).await.unwrap_err().to_string().contains("by somebody else"));
    for says in [Says::Later, Says::Unasked { is_passing: true }] {
        assert!(install(says).await.is_err());
    }
    install(Says::YesFor(3600)).await.unwrap();
    install(Says::Later).await.unwrap();
}
