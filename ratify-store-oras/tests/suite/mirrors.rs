//! Where a registry's content is asked for by a `hosts.toml`: which mirror may say what, who sees
//! which credentials, and real registries behind an authority and client certificates of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use ratify_core::{BoxFuture, Reference, media_type};
use ratify_store_oras::{
    AddressRules, Artifact, AuthProvider, Client, ClientOptions, ConnectionRules, Connections,
    Credential, CredentialUse, Granted, OrasError, TlsRoots, Transport,
    auth::{self, Asked},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::json;

use crate::{
    fake::{Content, Fake, Reply, Seen, basic, client_over, options},
    real,
};

pub(crate) const REGISTRY: &str = "registry.example.com";

/// A directory of `hosts.toml` files.
pub(crate) struct Directory(tempfile::TempDir);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Says something of a registry.
    pub(crate) fn put(&self, registry: &str, text: &str) -> PathBuf {
        let folder = self.0.path().join(registry);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("hosts.toml"), text).unwrap();
        folder
    }

    /// A client that goes by it, in a server: no loopback address is asked that no file names.
    pub(crate) fn client(&self, auth: Arc<dyn AuthProvider>) -> Client {
        Client::new(self.options(auth)).unwrap()
    }

    pub(crate) fn options(&self, auth: Arc<dyn AuthProvider>) -> ClientOptions {
        let path = self.0.path().to_owned();
        let mut options: ClientOptions = options();
        options.transport = Transport::Https;
        options.auth = auth;
        options.connections = Connections::with_rules(TlsRoots::default(), move || {
            let mut rules = ConnectionRules::new(AddressRules::for_anybody(Arc::default()));
            rules.hosts_path = Some(path.clone());
            rules
        });
        options
    }

    fn anonymous(&self) -> Client {
        self.client(crate::fake::fixed(Credential::Anonymous))
    }
}

/// Remembers for whom it was asked, and has the password of one host.
struct Known {
    host: String,
    asked: Mutex<Vec<String>>,
}

impl AuthProvider for Known {
    fn name(&self) -> &str {
        "known"
    }

    fn credential<'a>(
        &'a self,
        asked: &'a Asked<'a>,
    ) -> BoxFuture<'a, ratify_core::Result<Granted>> {
        let host = asked.host.to_string();
        let credential = if host == self.host { basic() } else { Credential::Anonymous };
        self.asked.lock().unwrap().push(host);
        Box::pin(std::future::ready(Ok(Granted { credential, good_until: None })))
    }
}

pub(crate) fn image(rest: &str) -> Reference {
    Reference::parse(&format!("{REGISTRY}/{rest}")).unwrap()
}

fn answers() -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let content = Content::new();
    move |seen: &Seen| content.answer(seen)
}

/// Serves another image under the tag, and another list.
fn moved() -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let content = Content::new();
    let other = Artifact::new("application/other", vec![]).to_bytes().unwrap();
    move |seen: &Seen| {
        if seen.path.contains("/manifests/1") {
            return Reply::ok(other.clone()).with("content-type", media_type::OCI_MANIFEST);
        }
        if seen.path.contains("/referrers/") || seen.path.contains("/manifests/sha256-") {
            let empty = crate::fake::index(&[]);
            return Reply::ok(empty).with("content-type", media_type::OCI_INDEX);
        }
        content.answer(seen)
    }
}

#[tokio::test]
async fn a_mirror_that_may_not_resolve_serves_digests_and_decides_nothing() {
    let content = Content::new();
    let mirror = Fake::start(moved()).await;
    let honest = Content::new();
    let origin = Fake::start(move |seen: &Seen| honest.answer(seen)).await;
    let directory = Directory::new();
    let write = |capabilities: &str| {
        directory.put(
            REGISTRY,
            &format!(
                "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = {capabilities}\n",
                origin.registry(),
                mirror.registry()
            ),
        )
    };
    write(r#"["pull"]"#);
    let client = directory.anonymous();
    let subject = &content.subject;
    assert_eq!(client.resolve(&image("app:1"), None).await.unwrap(), *subject);
    let listed = client.referrers(&image("app:1"), &subject.digest, None).await.unwrap();
    assert_eq!(listed[0].digest, content.manifest.digest);
    client.cosign_signature(&image("app:1"), &subject.digest, None).await.unwrap();
    assert_eq!(mirror.lines(), [""; 0], "the mirror was asked for what it must not decide");
    client.manifest_bytes(&image("app:1"), &content.manifest, None).await.unwrap();
    let blob = &content.blob;
    client.blob_bytes(&image("app:1"), &blob.digest, Some(blob.size), None).await.unwrap();
    client.blob_into(&image("app:1"), blob, Vec::new(), &mut |_| {}, None).await.unwrap();
    let pinned = image("app:1").sibling(&subject.digest);
    client.resolve(&pinned, None).await.unwrap();
    let ns = format!("?ns={REGISTRY}");
    let seen = mirror.lines();
    assert!(seen.len() == 4 && seen.iter().all(|line| line.ends_with(&ns)), "{seen:?}");
    // Where an administrator lets it resolve, it decides; the change counts within a second. What is
    // attached it does not say, since another host may list.
    write(r#"["pull", "resolve"]"#);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_ne!(client.resolve(&image("app:1"), None).await.unwrap(), *subject);
    let listed = client.referrers(&image("app:1"), &subject.digest, None).await.unwrap();
    assert_eq!(listed.len(), 1);
    // Its empty list is the last word where it may list.
    write(r#"["pull", "referrers"]"#);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(client.resolve(&image("app:1"), None).await.unwrap(), *subject);
    let listed = client.referrers(&image("app:1"), &subject.digest, None).await.unwrap();
    assert_eq!(listed, []);
    // Nothing but the tag's registry may say so: without one, nobody is asked.
    write(r#"["pull"]"#);
    let only = directory.put(
        "only.example.com",
        &format!("capabilities = [\"pull\"]\nserver = \"http://{}\"\n", mirror.registry()),
    );
    let other = Reference::parse("only.example.com/app:1").unwrap();
    let error = client.resolve(&other, None).await.unwrap_err();
    assert!(matches!(error, OrasError::Registry { .. }), "{} {error}", only.display());
}

#[tokio::test]
async fn that_nothing_is_attached_is_not_for_a_mirror_to_say() {
    let content = Content::new();
    let honest = Content::new();
    let origin = Fake::start(move |seen: &Seen| honest.answer(seen)).await;
    let mirror = Fake::start(|_: &Seen| Reply::new(404)).await;
    let directory = Directory::new();
    let (origin, mirror_host) = (origin.registry(), mirror.registry());
    let capabilities = r#"["pull", "resolve", "referrers"]"#;
    directory.put(
        REGISTRY,
        &format!(
            "server = \"http://{origin}\"\n[host.\"http://{mirror_host}\"]\ncapabilities = {capabilities}\n"
        ),
    );
    let client = directory.anonymous();
    let listed = client.referrers(&image("app:1"), &content.subject.digest, None).await.unwrap();
    assert_eq!(listed[0].digest, content.manifest.digest);
    assert_eq!(mirror.seen().len(), 2, "the API and the tag");
}

#[tokio::test]
async fn a_mirrors_next_page_is_of_the_same_list_of_the_same_registry() {
    let content = Content::new();
    let subject = content.subject.digest.clone();
    for (link, pages) in [("?last=1", 2), ("/v2/other/referrers/x?last=1", 1)] {
        let honest = Content::new();
        let origin = Fake::start(move |seen: &Seen| honest.answer(seen)).await;
        let mirror = Fake::start(move |seen: &Seen| {
            let page = Reply::ok(crate::fake::index(&[]));
            let page = page.with("content-type", media_type::OCI_INDEX);
            match seen.path.contains("last=1") {
                true => page,
                false => page.with("link", &format!("<{link}>; rel=next")),
            }
        })
        .await;
        let directory = Directory::new();
        let (origin_host, mirror_host) = (origin.registry(), mirror.registry());
        directory.put(
            REGISTRY,
            &format!("server = \"http://{origin_host}\"\n[host.\"http://{mirror_host}\"]\n"),
        );
        let client = directory.anonymous();
        let listed = client.referrers(&image("app:1"), &subject, None).await.unwrap();
        assert_eq!(listed.is_empty(), pages == 2, "{link}");
        let seen = mirror.lines();
        let ns = format!("ns={REGISTRY}");
        assert!(seen.len() == pages && seen.iter().all(|line| line.contains(&ns)), "{seen:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_fails_or_lies_is_passed_by() {
    let content = Content::new();
    let honest = Content::new();
    let origin = Fake::start(move |seen: &Seen| honest.answer(seen)).await;
    for status in [200, 401, 403, 404, 429, 500] {
        let mirror = Fake::start(move |_: &Seen| match status {
            200 => Reply::ok("other bytes!!").with("content-type", media_type::OCI_MANIFEST),
            status => Reply::error(status, "DENIED"),
        })
        .await;
        let directory = Directory::new();
        let (server, host) = (origin.registry(), mirror.registry());
        directory
            .put(REGISTRY, &format!("server = \"http://{server}\"\n[host.\"http://{host}\"]\n"));
        let client = directory.anonymous();
        let blob = &content.blob;
        client.blob_bytes(&image("app:1"), &blob.digest, Some(blob.size), None).await.unwrap();
        client.manifest_bytes(&image("app:1"), &content.manifest, None).await.unwrap();
        if status != 200 {
            assert_eq!(client.resolve(&image("app:1"), None).await.unwrap(), content.subject);
            let image = image("app:1");
            client.blob_into(&image, blob, Vec::new(), &mut |_| {}, None).await.unwrap();
        }
        assert!(!mirror.seen().is_empty(), "{status}");
    }
}

#[tokio::test]
async fn each_host_sees_its_own_credentials_and_headers_and_no_others() {
    let content = Content::new();
    let elsewhere = Fake::start({
        let content = Content::new();
        move |seen: &Seen| content.answer(seen)
    })
    .await;
    let away = format!("http://{}/v2/app/blobs/{}", elsewhere.registry(), content.blob.digest);
    let mirror = Fake::start(move |seen: &Seen| match seen.header("authorization") {
        None => Reply::new(401).with("www-authenticate", "Basic realm=\"m\""),
        Some(_) if seen.path.contains("/blobs/") => Reply::new(307).with("location", &away),
        Some(_) => Reply::error(404, "MANIFEST_UNKNOWN"),
    })
    .await;
    let honest = Content::new();
    let origin = Fake::start(move |seen: &Seen| match seen.header("authorization") {
        None => Reply::new(401).with("www-authenticate", "Basic realm=\"o\""),
        Some(_) => honest.answer(seen),
    })
    .await;
    let directory = Directory::new();
    directory.put(
        REGISTRY,
        &format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\n[host.\"http://{1}\".header]\nx-key = \"s3cret\"\n",
            origin.registry(),
            mirror.registry()
        ),
    );
    for (owner, other) in [(&mirror, &origin), (&origin, &mirror)] {
        let known = Arc::new(Known { host: owner.registry(), asked: Mutex::default() });
        let client = directory.client(known.clone());
        let asked_before = [owner, other].map(|fake| fake.seen().len());
        let result = client.resolve(&image("app:1"), None).await;
        assert_eq!(result.is_ok(), owner.address == origin.address, "{result:?}");
        let shows = |fake: &Fake, from: usize| {
            fake.seen()[from..].iter().any(|seen| seen.header("authorization").is_some())
        };
        assert!(shows(owner, asked_before[0]) && !shows(other, asked_before[1]));
        let asked = known.asked.lock().unwrap();
        assert!(asked.iter().all(|host| host != REGISTRY), "{asked:?}");
    }
    let known = Arc::new(Known { host: mirror.registry(), asked: Mutex::default() });
    let client = directory.client(known);
    // A redirect to an address that no file names is refused, and nothing of the mirror's goes on.
    let blob = &content.blob;
    let read = client.blob_bytes(&image("app:1"), &blob.digest, Some(blob.size), None).await;
    assert!(matches!(read, Err(OrasError::Denied { .. })), "{read:?}");
    assert!(elsewhere.seen().is_empty());
    assert!(mirror.seen().iter().all(|seen| seen.header("x-key") == Some("s3cret")));
    assert!(origin.seen().iter().all(|seen| seen.header("x-key").is_none()));
}

#[tokio::test]
async fn a_mirror_that_no_rule_covers_is_not_asked() {
    let [mirror, origin] = [Fake::start(answers()).await, Fake::start(answers()).await];
    let directory = Directory::new();
    let (host, server) = (mirror.registry(), origin.registry());
    directory.put(REGISTRY, &format!("server = \"http://{server}\"\n[host.\"http://{host}\"]\n"));
    for (covered, asked) in [(vec![&server], [0, 1]), (vec![&server, &host], [1, 0])] {
        let rules = json!([{"match": covered, "anonymous": true}]);
        let connections = Connections::default();
        let environment = auth::Environment::default();
        let provider = auth::from_entry(None, Some(&rules), &environment, &connections);
        let mut options = directory.options(provider.unwrap());
        options.credential_use = CredentialUse::Required;
        let before = [&mirror, &origin].map(|fake| fake.seen().len());
        Client::new(options).unwrap().resolve(&image("app:1"), None).await.unwrap();
        let after = [&mirror, &origin].map(|fake| fake.seen().len());
        assert_eq!([after[0] - before[0], after[1] - before[1]], asked, "{rules}");
    }
}

#[tokio::test]
async fn a_path_is_as_the_file_says() {
    let content = Content::new();
    let honest = Content::new();
    let fake = Fake::start(move |seen: &Seen| honest.answer(seen)).await;
    let directory = Directory::new();
    for (server, lines, path) in [
        ("prefix", "", "/prefix/v2/app/manifests/1"),
        ("as/is", "override_path = true", "/as/is/app/manifests/1"),
        ("", "override_path = true", "/app/manifests/1"),
    ] {
        directory
            .put(REGISTRY, &format!("server = \"http://{}/{server}\"\n{lines}\n", fake.registry()));
        let client = directory.anonymous();
        assert_eq!(client.resolve(&image("app:1"), None).await.unwrap(), content.subject);
        assert_eq!(fake.lines().last().unwrap(), &format!("HEAD {path}?ns={REGISTRY}"));
    }
    directory.put(REGISTRY, "skip_verify = true");
    let error = directory.anonymous().resolve(&image("app:1"), None).await.unwrap_err();
    assert!(matches!(error, OrasError::Registry { .. }), "{error}");
}

#[tokio::test]
async fn real_registries_stand_for_another_as_mirror_and_as_origin() {
    let (Some(api), Some(tags)) = (real::with_api(false), real::with_tag_schema(false)) else {
        return;
    };
    for [mirror, origin] in [[&api, &tags], [&tags, &api]] {
        let direct = client_over(Transport::PlainHttp, basic());
        let at = Reference::parse(&format!("{}/a/app:1", origin.address)).unwrap();
        let (subject, pushed) = real::fill(&direct, &at, 2).await;
        if origin.address == tags.address {
            real::write_tag(&direct, &at, &subject, &pushed).await;
        }
        // The mirror has the image and not what is attached.
        let mirrored = Reference::parse(&format!("{}/a/app:1", mirror.address)).unwrap();
        real::fill(&direct, &mirrored, 0).await;
        let directory = Directory::new();
        directory.put(
            REGISTRY,
            &format!(
                "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
                origin.address, mirror.address
            ),
        );
        let client = directory.client(crate::fake::fixed(basic()));
        real::read_back(&client, &image("a/app:1"), &subject, &pushed).await;
    }
}

/// An authority, and a certificate of it for this machine and one for a client, as PEM files.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for (name, purpose) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn a_registry_with_an_authority_of_its_own_wants_a_client_certificate() {
    let made = tempfile::tempdir().unwrap();
    certificates(made.path());
    let strangers = tempfile::tempdir().unwrap();
    certificates(strangers.path());
    let file = |name: &str| made.path().join(name).display().to_string();
    let registry = real::with_tag_schema_and(|_| {
        format!(
            "    certificate: {}\n    key: {}\n    clientcas:\n      - {}\n",
            file("server.pem"),
            file("server.key"),
            file("ca.pem")
        )
    });
    let Some(registry) = registry else { return };
    let directory = Directory::new();
    let server = format!("server = \"https://{}\"\n", registry.address);
    let folder = directory.put(&registry.address, &server);
    for name in ["ca.pem", "client.pem", "client.key"] {
        fs::copy(made.path().join(name), folder.join(name)).unwrap();
        fs::copy(strangers.path().join(name), folder.join(format!("other-{name}"))).unwrap();
    }
    let image = Reference::parse(&format!("{}/a/app:1", registry.address)).unwrap();
    let by = |lines: &str| {
        directory.put(&registry.address, &format!("{server}{lines}"));
        directory.client(crate::fake::fixed(basic()))
    };
    for lines in [
        "ca = \"ca.pem\"",
        "client = [[\"client.pem\", \"client.key\"]]\nca = \"other-ca.pem\"",
        "client = [[\"other-client.pem\", \"other-client.key\"]]\nca = \"ca.pem\"",
        "ca = \"ca.pem\"\nclient = [[\"client.pem\", \"other-client.key\"]]",
    ] {
        let error = by(lines).resolve(&image, None).await.unwrap_err();
        let is_refused =
            matches!(error, OrasError::Unreachable { .. } | OrasError::Registry { .. });
        assert!(is_refused, "{lines}: {error}");
    }
    let client =
        by("ca = \"ca.pem\"\nclient = [[\"client.pem\", \"client.key\"]]\ndial_timeout = \"3s\"");
    let (subject, pushed) = real::fill(&client, &image, 2).await;
    real::write_tag(&client, &image, &subject, &pushed).await;
    real::read_back(&client, &image, &subject, &pushed).await;
    let blob = client.push_blob(&image, Bytes::from_static(b"more")).await.unwrap();
    client.blob_bytes(&image, &blob, None, None).await.unwrap();
    // The certificate is shown on the connection of its own, too, that a blob of unknown size has.
    #[cfg(feature = "http2")]
    assert_eq!(registry.protocols(), ["HTTP/2.0", "HTTP/1.1"]);
}
