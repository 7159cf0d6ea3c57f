//! Against registries that are not ours: distribution's (no Referrers API, with a password) and
//! go-containerregistry's (with the API), in clear and over TLS. `RATIFY_TOOLS` names the list of
//! tools that `cargo xtask tools` writes; without it these tests are skipped, and say so.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use ratify_core::{Descriptor, Manifest, Reference, media_type};
use ratify_store_oras::{
    Artifact, Client, ClientOptions, Credential, EMPTY_CONFIG, OrasError, Transport,
    auth::{self, DockerConfig},
};

use crate::{
    fake::{basic, client_over, index, options},
    secrets::{self, Cluster},
    transport,
};

/// A registry process, ended with the test.
pub(crate) struct Registry {
    process: Child,
    pub(crate) address: String,
    pub(crate) directory: tempfile::TempDir,
}

impl Registry {
    /// The protocols that distribution's access log has, in order and each once in a row.
    #[cfg(feature = "http2")]
    pub(crate) fn protocols(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("access.log")).unwrap();
        let mut protocols: Vec<String> = log
            .lines()
            .filter_map(|line| line.split('"').nth(1)?.split(' ').nth(2))
            .map(str::to_owned)
            .collect();
        protocols.dedup();
        protocols
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The path of a tool, or `None` and a loud line.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let Some(list) = std::env::var_os("RATIFY_TOOLS") else {
        assert!(std::env::var_os("CI").is_none(), "RATIFY_TOOLS is not set, and this is CI");
        eprintln!("SKIPPED: RATIFY_TOOLS is not set; run `cargo xtask tools`");
        return None;
    };
    let list: serde_json::Value = serde_json::from_slice(&fs::read(list).unwrap()).unwrap();
    let path = list[name].as_str().unwrap_or_else(|| panic!("RATIFY_TOOLS has no {name}"));
    Some(path.into())
}

fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    certificate_for(directory, &["localhost"])
}

/// Writes a certificate for some names and its key; returns their paths.
pub(crate) fn certificate_for(directory: &Path, names: &[&str]) -> (PathBuf, PathBuf) {
    let (certificate, key) = transport::certificate(names);
    let paths = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&paths.0, certificate).unwrap();
    fs::write(&paths.1, key).unwrap();
    paths
}

/// go-containerregistry's: prints its address.
pub(crate) fn with_api(tls: bool) -> Option<Registry> {
    let mut command = Command::new(tool("registry-referrers")?);
    let directory = tempfile::tempdir().unwrap();
    if tls {
        let (certificate, key) = certificate(directory.path());
        command.arg("-cert").arg(certificate).arg("-key").arg(key);
    }
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Some(Registry { process, address: line.trim().to_owned(), directory })
}

/// distribution's: says in its log what it listens on. The password is `hunter2`.
pub(crate) fn with_tag_schema(tls: bool) -> Option<Registry> {
    with_tag_schema_and(|path| match tls {
        true => section_of(&certificate(path)),
        false => String::new(),
    })
}

/// The same with the lines of its section `tls`, for files in a directory; none for none.
pub(crate) fn with_tag_schema_and(tls: impl FnOnce(&Path) -> String) -> Option<Registry> {
    with_tag_schema_at("127.0.0.1", tls)
}

/// The same at an address of this machine.
pub(crate) fn with_tag_schema_at(
    host: &str,
    tls: impl FnOnce(&Path) -> String,
) -> Option<Registry> {
    tool("registry")?;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let hashed = Command::new(tool("htpasswd")?)
        .args(["-Bbn", "-C", "4", "user", "hunter2"])
        .output()
        .unwrap();
    fs::write(path.join("htpasswd"), hashed.stdout).unwrap();
    let lines = tls(path);
    let auth = format!("  htpasswd:\n    realm: r\n    path: {}/htpasswd\n", path.display());
    distribution(directory, host, &lines, &auth)
}

/// The lines of the section `tls` for a certificate and its key.
pub(crate) fn section_of((certificate, key): &(PathBuf, PathBuf)) -> String {
    format!("    certificate: {}\n    key: {}\n", certificate.display(), key.display())
}

/// distribution's at an address, with the lines of the sections `tls` and `auth`.
pub(crate) fn distribution(
    directory: tempfile::TempDir,
    host: &str,
    tls: &str,
    auth: &str,
) -> Option<Registry> {
    let registry = tool("registry")?;
    let path = directory.path();
    let tls = if tls.is_empty() { String::new() } else { format!("  tls:\n{tls}") };
    let config = format!(
        "version: 0.1\nlog:\n  level: info\n  formatter: json\nstorage:\n  filesystem:\n    \
         rootdirectory: {}/data\nhttp:\n  addr: \"{host}:0\"\n{tls}auth:\n{auth}",
        path.display()
    );
    fs::write(path.join("config.yml"), config).unwrap();
    let mut process = Command::new(registry)
        .arg("serve")
        .arg(path.join("config.yml"))
        .env("OTEL_TRACES_EXPORTER", "none")
        .stderr(Stdio::piped())
        .stdout(fs::File::create(path.join("access.log")).unwrap())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the registry ended");
        if let Some((_, rest)) = line.split_once("listening on ") {
            break rest.split([',', '"']).next().unwrap().to_owned();
        }
    };
    // Its log goes on; nobody reading it would end it.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Some(Registry { process, address, directory })
}

fn client(transport: Transport, credential: Option<Credential>) -> Client {
    client_over(transport, credential.unwrap_or(Credential::Anonymous))
}

/// Pushes an image and `artifacts` signatures of it; returns the subject and the signatures.
pub(crate) async fn fill(
    client: &Client,
    image: &Reference,
    artifacts: u8,
) -> (Descriptor, Vec<Descriptor>) {
    client.push_blob(image, Bytes::from_static(EMPTY_CONFIG)).await.unwrap();
    let subject = push(client, image, &Artifact::new("", vec![])).await;
    let mut pushed = Vec::new();
    for number in 0..artifacts {
        let blob = Bytes::from(format!("signature {number} of {image}"));
        let size = blob.len() as u64;
        let digest = client.push_blob(image, blob).await.unwrap();
        let layer = Descriptor::new("text/plain", digest, size);
        let mut artifact = Artifact::new("application/x", vec![layer]);
        // Typed by its configuration: go-containerregistry lists that type and not the
        // manifest's own.
        artifact.config.media_type = "application/x".into();
        artifact.subject = Some(subject.clone());
        let bytes = artifact.to_bytes().unwrap();
        let digest = ratify_store_oras::digest_of(ratify_core::Algorithm::Sha256, &bytes);
        let descriptor = push(client, &image.sibling(&digest), &artifact).await;
        pushed.push(descriptor.with_artifact_type("application/x"));
    }
    (subject, pushed)
}

async fn push(client: &Client, reference: &Reference, artifact: &Artifact) -> Descriptor {
    let bytes = artifact.to_bytes().unwrap();
    let size = bytes.len() as u64;
    let digest = client.push_manifest(reference, media_type::OCI_MANIFEST, bytes).await.unwrap();
    Descriptor::new(media_type::OCI_MANIFEST, digest, size)
}

/// Where the registry keeps no list, whoever attaches writes the tag.
pub(crate) async fn write_tag(
    client: &Client,
    image: &Reference,
    subject: &Descriptor,
    pushed: &[Descriptor],
) {
    let tag = subject.digest.as_str().replace(':', "-");
    let list = index(&pushed.iter().collect::<Vec<_>>());
    let tagged = image.sibling_tag(&tag).unwrap();
    client.push_manifest(&tagged, media_type::OCI_INDEX, list).await.unwrap();
}

/// Resolves, lists, and reads everything back.
pub(crate) async fn read_back(
    client: &Client,
    image: &Reference,
    subject: &Descriptor,
    pushed: &[Descriptor],
) {
    assert_eq!(client.resolve(image, None).await.unwrap(), *subject);
    let pinned = image.sibling(&subject.digest);
    assert_eq!(client.resolve(&pinned, None).await.unwrap(), *subject);
    let mut listed = client.referrers(image, &subject.digest, None).await.unwrap();
    let mut expected = pushed.to_vec();
    for list in [&mut listed, &mut expected] {
        list.sort_by(|a, b| a.digest.cmp(&b.digest));
    }
    let digests = |list: &[Descriptor]| -> Vec<_> {
        list.iter().map(|entry| (entry.digest.clone(), entry.artifact_type.clone())).collect()
    };
    assert_eq!(digests(&listed), digests(&expected));
    for descriptor in &listed {
        let bytes = client.manifest_bytes(image, descriptor, None).await.unwrap();
        let manifest = Manifest::from_bytes(&descriptor.media_type, &bytes).unwrap();
        assert_eq!(manifest.subject.unwrap().digest, subject.digest);
        let blob = &manifest.blobs[0];
        let bytes = client.blob_bytes(image, &blob.digest, Some(blob.size), None).await.unwrap();
        assert!(bytes.starts_with(b"signature "));
        let sink = client.blob_into(image, blob, Vec::new(), &mut |_| {}, None).await.unwrap();
        assert_eq!(sink, bytes);
    }
    let missing = image.sibling_tag("missing").unwrap();
    assert!(client.resolve(&missing, None).await.unwrap_err().is_not_found());
    let other = crate::fake::digest("0e");
    assert_eq!(client.referrers(image, &other, None).await.unwrap(), []);
    assert_eq!(client.cosign_signature(image, &subject.digest, None).await.unwrap(), None);
}

pub(crate) fn image(registry: &Registry) -> Reference {
    Reference::parse(&format!("{}/a/app:1", registry.address)).unwrap()
}

#[tokio::test]
async fn a_registry_with_the_referrers_api_in_clear_and_over_tls() {
    for tls in [false, true] {
        let Some(registry) = with_api(tls) else { return };
        let configured = if tls { Transport::Https } else { Transport::PlainHttp };
        for transport in [configured, Transport::HttpsOrLoopbackHttp] {
            let client = client(transport, None);
            let image = image(&registry);
            let (subject, pushed) = fill(&client, &image, 3).await;
            read_back(&client, &image, &subject, &pushed).await;
        }
    }
}

#[tokio::test]
async fn a_registry_with_the_tag_schema_and_a_password_in_clear_and_over_tls() {
    for tls in [false, true] {
        let Some(registry) = with_tag_schema(tls) else { return };
        let transport = if tls { Transport::Https } else { Transport::PlainHttp };
        let client_of = |credential| client(transport, credential);
        let client = client_of(Some(basic()));
        let image = image(&registry);
        let (subject, pushed) = fill(&client, &image, 3).await;
        write_tag(&client, &image, &subject, &pushed).await;
        read_back(&client, &image, &subject, &pushed).await;
        let refused = client_of(None).resolve(&image, None).await.unwrap_err();
        assert!(matches!(refused, OrasError::Denied { status: 401, .. }), "{refused}");
        let listed = client_of(None).referrers(&image, &subject.digest, None).await;
        assert!(matches!(listed, Err(OrasError::Denied { status: 401, .. })), "{listed:?}");
    }
}

/// What the foreign client `oras` attaches is found, by the API and by the tag that it keeps.
#[tokio::test]
async fn what_oras_attaches_is_listed_and_read() {
    let Some(oras) = tool("oras") else { return };
    let (Some(api), Some(tags)) = (with_api(false), with_tag_schema(false)) else { return };
    for registry in [api, tags] {
        let client = client(Transport::PlainHttp, Some(basic()));
        let image = image(&registry);
        let (subject, _) = fill(&client, &image, 0).await;
        let directory = registry.directory.path();
        for number in 0..3 {
            fs::write(directory.join("sbom"), format!("sbom {number}")).unwrap();
            let attached = Command::new(&oras)
                .args(["attach", "--plain-http", "--username", "user", "--password", "hunter2"])
                .args(["--artifact-type", "application/x", image.as_str(), "sbom:text/plain"])
                .current_dir(directory)
                .env("HOME", directory)
                .output()
                .unwrap();
            assert!(attached.status.success(), "{attached:?}");
        }
        let listed = client.referrers(&image, &subject.digest, None).await.unwrap();
        assert_eq!(listed.len(), 3, "{listed:?}");
        for descriptor in listed {
            let bytes = client.manifest_bytes(&image, &descriptor, None).await.unwrap();
            let manifest = Manifest::from_bytes(&descriptor.media_type, &bytes).unwrap();
            assert_eq!(manifest.artifact_type, "application/x");
            let blob = &manifest.blobs[0];
            let bytes =
                client.blob_bytes(&image, &blob.digest, Some(blob.size), None).await.unwrap();
            assert!(bytes.starts_with(b"sbom "));
        }
    }
}

#[tokio::test]
async fn the_password_is_found_in_dockers_configuration() {
    let Some(registry) = with_tag_schema(false) else { return };
    let file = registry.directory.path().join("config.json");
    let auths = serde_json::json!({"auths": {(&registry.address): {"auth": "dXNlcjpodW50ZXIy"}}});
    fs::write(&file, auths.to_string()).unwrap();
    let environment = auth::Environment {
        docker_config: Some(registry.directory.path().to_owned()),
        ..auth::Environment::default()
    };
    let mut options: ClientOptions = options();
    options.auth = Arc::new(DockerConfig::new(None, &environment));
    let client = Client::new(options).unwrap();
    let (subject, pushed) = fill(&client, &image(&registry), 0).await;
    read_back(&client, &image(&registry), &subject, &pushed).await;
}

#[tokio::test]
async fn the_password_is_found_in_the_clusters_secrets_of_both_types() {
    let Some(registry) = with_tag_schema(false) else { return };
    let mut pushed = None;
    for kind in ["kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"] {
        let cluster = Arc::new(Cluster::default());
        cluster.put_password("team/pull", kind, &registry.address, "hunter2");
        cluster.put_account("team/default", &["pull"]);
        let environment = secrets::environment(&cluster).for_namespace("team");
        let mut options: ClientOptions = options();
        options.auth = secrets::provider(&serde_json::json!({}), &environment).unwrap();
        let client = Client::new(options).unwrap();
        if pushed.is_none() {
            pushed = Some(fill(&client, &image(&registry), 0).await);
        }
        let (subject, attached) = pushed.as_ref().unwrap();
        read_back(&client, &image(&registry), subject, attached).await;
    }
}
