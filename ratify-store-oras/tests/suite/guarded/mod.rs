//! Real registries that let nobody in unasked: distribution's with tokens of an [`issuer`] of
//! ours, which it knows by a key set or by a certificate, over HTTPS with a private authority, and go-containerregistry's behind a password.
//!
//! The certificates of loopback hosts are not checked. So the former runs in a network of its
//! own, in which another address is this machine too.

mod door;
mod issuer;

use std::{path::Path, process::Command, sync::Arc};

use ratify_core::Reference;
use ratify_store_oras::{
    BlobPush, Client, Connections, Credential, OrasError, Secret, Section, TlsRoots, Transport,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::{
    fake::{basic, client_over, fixed, options},
    real::{Registry, distribution, fill, read_back, section_of, tool},
};
use issuer::{Certified, Issuer, NAME, REFRESH, SERVICE};

/// An address of this machine that is no loopback address, in the network of [`child`].
const ADDRESS: &str = "10.99.0.1";

/// A registry, its issuer, and a client's options.
struct Guarded {
    registry: Registry,
    issuer: Issuer,
    roots: TlsRoots,
}

/// By what the registry knows the issuer's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    ByKeySet,
    ByCertificate,
    /// Not at all: the certificate is of an authority that the registry does not know.
    Unknown,
}

impl Guarded {
    async fn start(known: Known) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let (acceptor, authority) = certificates(path);
        let certified = match known {
            Known::ByKeySet => None,
            Known::ByCertificate => Some(certified(&authority)),
            Known::Unknown => Some(certified(&self::authority().0)),
        };
        let issuer = Issuer::start(ADDRESS, acceptor, certified).await;
        issuer.write_keys(&path.join("jwks.json"));
        let trusts = match known {
            Known::ByKeySet => format!("jwks: {}/jwks.json", path.display()),
            _ => format!("rootcertbundle: {}/ca.pem", path.display()),
        };
        let auth = format!(
            "  token:\n    realm: {}\n    service: {SERVICE}\n    issuer: {NAME}\n    {trusts}\n    \
             signingalgorithms: [ES256]\n",
            issuer.realm
        );
        let tls = section_of(&(path.join("cert.pem"), path.join("key.pem")));
        let roots = TlsRoots { file: Some(path.join("ca.pem")), directories: Vec::new() };
        let registry = distribution(directory, ADDRESS, &tls, &auth)?;
        Some(Self { registry, issuer, roots })
    }

    fn client(&self, credential: Credential, roots: &TlsRoots) -> Client {
        let mut options = options();
        options.transport = Transport::Https;
        options.auth = fixed(credential);
        options.connections = Connections::new(roots.clone());
        Client::new(options).unwrap()
    }

    fn image(&self, name: &str) -> Reference {
        Reference::parse(&format!("{}/{name}:1", self.registry.address)).unwrap()
    }
}

type Authority = rcgen::Issuer<'static, KeyPair>;

/// An authority, and its certificate in PEM.
fn authority() -> (Authority, String) {
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&key).unwrap().pem();
    (rcgen::Issuer::new(authority, key), root)
}

/// A key that signs tokens, certified by an authority.
fn certified(authority: &Authority) -> Certified {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["issuer.example.com".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, authority).unwrap();
    Certified { key: key.serialize_der(), certificate: leaf.der().to_vec() }
}

/// An authority, and a certificate of it for [`ADDRESS`].
fn certificates(path: &Path) -> (tokio_rustls::TlsAcceptor, Authority) {
    let (authority, root) = authority();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![ADDRESS.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    for (name, text) in
        [("ca.pem", root), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(path.join(name), text).unwrap();
    }
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (tokio_rustls::TlsAcceptor::from(Arc::new(config)), authority)
}

/// Runs [`child`] where [`ADDRESS`] is this machine and nothing else can be reached.
#[tokio::test]
async fn distribution_with_tokens_over_https_with_a_private_authority() {
    if tool("registry").is_none() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let script = format!(
        r#"ip link set lo up && ip addr add {ADDRESS}/32 dev lo && echo alone && exec "$0" "$@""#
    );
    let ran = tokio::task::spawn_blocking(move || {
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", &script]).arg(program);
        command.args(["--ignored", "--exact", "--nocapture", "guarded::child"]).output().unwrap()
    });
    let ran = ran.await.unwrap();
    let said = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if !said[0].starts_with("alone") {
        assert!(std::env::var_os("CI").is_none(), "no network of its own: {said:?}");
        eprintln!("SKIPPED: no network of its own: {said:?}");
        return;
    }
    assert!(ran.status.success(), "{} {}", said[0], said[1]);
}

#[tokio::test]
#[ignore = "started by the test above"]
async fn child() {
    for known in [Known::ByKeySet, Known::ByCertificate] {
        let Some(guarded) = Guarded::start(known).await else { return };
        Box::pin(everything(&guarded)).await;
    }
    let Some(guarded) = Guarded::start(Known::Unknown).await else { return };
    let client = guarded.client(basic(), &guarded.roots);
    let refused = client.resolve(&guarded.image("a/app"), None).await;
    assert!(matches!(refused, Err(OrasError::Denied { status: 401, .. })), "{refused:?}");
    assert!(!guarded.issuer.granted().is_empty());
}

async fn everything(guarded: &Guarded) {
    let image = guarded.image("a/app");
    let client = guarded.client(basic(), &guarded.roots);
    let (subject, mut pushed) = fill(&client, &image, 0).await;
    for number in 0..3 {
        let text = format!("signature {number}");
        pushed.push(crate::attaching::attach(&client, &image, &subject, text).await);
    }
    read_back(&client, &image, &subject, &pushed).await;
    let refresh = Credential::RefreshToken(Secret::new(REFRESH));
    read_back(&guarded.client(refresh, &guarded.roots), &image, &subject, &pushed).await;
    who_may_only_read_does_not_write(guarded, &image).await;
    nobody_else_comes_in(guarded, &image).await;
    a_mount_asks_for_both_repositories(guarded, &client, &image).await;
    let untrusted = guarded.client(basic(), &TlsRoots::default());
    let untrusted = untrusted.resolve(&image, None).await.unwrap_err();
    assert!(untrusted.to_string().contains("certificate"), "{untrusted}");
}

async fn who_may_only_read_does_not_write(guarded: &Guarded, image: &Reference) {
    let password = Secret::new("hunter2");
    let reader = Credential::Basic { username: "reader".into(), password };
    let reader = guarded.client(reader, &guarded.roots);
    reader.resolve(image, None).await.unwrap();
    let refused = reader.push_blob(image, "new".into()).await.unwrap_err();
    assert!(matches!(refused, OrasError::Denied { .. }), "{refused}");
    let granted = guarded.issuer.granted();
    assert!(granted.contains(&"reader repository:a/app:pull".to_owned()), "{granted:?}");
}

async fn nobody_else_comes_in(guarded: &Guarded, image: &Reference) {
    let password = Secret::new("wrong");
    let wrong = Credential::Basic { username: "user".into(), password };
    let stale = Credential::RefreshToken(Secret::new("stale"));
    for credential in [Credential::Anonymous, wrong, stale] {
        let refused = guarded.client(credential, &guarded.roots).resolve(image, None).await;
        assert!(matches!(refused, Err(OrasError::Denied { status: 401, .. })), "{refused:?}");
    }
}

async fn a_mount_asks_for_both_repositories(guarded: &Guarded, client: &Client, image: &Reference) {
    let bytes = bytes::Bytes::from_static(b"to be mounted");
    let digest = client.push_blob(image, bytes.clone()).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let section = || Section::whole(std::fs::File::open(file.path()).unwrap()).unwrap();
    let blob = ratify_core::Descriptor::new("text/plain", digest, bytes.len() as u64);
    let other = guarded.image("b/other");
    let before = guarded.issuer.granted().len();
    let pushed = client.push_file(&other, &blob, section(), Some("a/app")).await.unwrap();
    assert_eq!(pushed, BlobPush::Mounted);
    let granted = guarded.issuer.granted().split_off(before);
    let expected = ["user repository:b/other:pull,push", "user repository:a/app:pull"];
    assert!(expected.iter().all(|one| granted.contains(&(*one).to_owned())), "{granted:?}");
}

/// go-containerregistry's registry knows no passwords, so something in front of it does.
#[tokio::test]
async fn a_registry_with_the_referrers_api_and_a_password() {
    let Some(registry) = crate::real::with_api(false) else { return };
    let door = door::Door::start(&registry.address).await;
    let image = Reference::parse(&format!("{}/a/app:1", door.address)).unwrap();
    let client = client_over(Transport::PlainHttp, basic());
    let (subject, pushed) = fill(&client, &image, 3).await;
    read_back(&client, &image, &subject, &pushed).await;
    let nobody = client_over(Transport::PlainHttp, Credential::Anonymous);
    let refused = nobody.resolve(&image, None).await.unwrap_err();
    assert!(matches!(refused, OrasError::Denied { status: 401, .. }), "{refused}");
    let listed = nobody.referrers(&image, &subject.digest, None).await;
    assert!(matches!(listed, Err(OrasError::Denied { status: 401, .. })), "{listed:?}");
}
