//! Keys, images and signatures of foreign programs: openssl makes the keys, cosign signs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    super::{
        lab::Lab,
        layout::{Layout, MANIFEST, digest_of, sha256},
    },
    sigstore::{self, Log},
};

/// The kinds of keys, as openssl calls them.
const KINDS: [(&str, &[&str]); 5] = [
    ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("p521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
    ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]),
    ("ed25519", &["-algorithm", "ED25519"]),
];
/// The type that cosign's signatures have as referrers.
pub(super) const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// Signed images in registries.
pub(super) struct Signed {
    keys: PathBuf,
    /// With the Referrers API.
    pub(super) api: String,
    /// Without it, with a password.
    pub(super) tags: String,
    /// The transparency log.
    pub(super) log: Log,
    /// Ours, with the Referrers API as the specification has it.
    pub(super) ours: RunningRegistry,
}

/// Which program signs, and how.
struct Signing<'a> {
    program: &'a str,
    key: &'a str,
    image: &'a str,
    more: &'a [&'a str],
}

impl Signed {
    /// Makes all of it.
    pub(super) async fn make(lab: &Lab) -> Self {
        let keys = lab.folder.join("keys");
        fs::create_dir_all(&keys).unwrap();
        for (kind, options) in KINDS {
            make_key(lab, &keys, kind, options).await;
        }
        make_key(lab, &keys, "other", KINDS[0].1).await;
        fs::write(keys.join("empty.pub"), "").unwrap();
        fs::write(keys.join("bad.pub"), "no PEM").unwrap();
        sigstore::certify(&keys);
        import_key(lab, &keys, "leaf").await;
        let log = Log::start(&keys).await;
        let ours = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        let signed =
            Self { keys, api: lab.api.address.clone(), tags: lab.tags.address.clone(), log, ours };
        signed.sign_all(lab).await;
        signed
    }

    /// The file of a public key.
    pub(super) fn key(&self, name: &str) -> String {
        self.keys.join(format!("{name}.pub")).to_str().unwrap().to_owned()
    }

    async fn sign_all(&self, lab: &Lab) {
        let folder = lab.layouts();
        let image = |name: &str| Layout::new(&folder, name);
        let names: Vec<String> = KINDS.iter().map(|(kind, _)| format!("by-{kind}")).collect();
        let mut images: Vec<Layout> = names.iter().map(|name| image(name)).collect();
        images.extend(["older-p384", "older-p521", "older-ed25519"].map(image));
        images.extend(["logged", "certified", "certified-logged"].map(image));
        images.extend(["unsigned", "good-bad", "bad-good", "moved", "attached"].map(image));
        let all: Vec<&Layout> = images.iter().collect();
        lab.push(&all, &lab.api).await;
        lab.push(&all[..1], &lab.tags).await;
        let digest = |name: &str| {
            let is_it = |image: &&Layout| image.folder.file_name().unwrap() == name;
            digest_of(&images.iter().find(is_it).unwrap().image).to_owned()
        };
        let api = |name: &str| format!("{}/{name}@{}", self.api, digest(name));
        for (kind, _) in KINDS {
            let image = api(&format!("by-{kind}"));
            self.sign(lab, Signing { program: "cosign", key: kind, image: &image, more: &[] })
                .await;
        }
        let tags = format!("{}/by-p256@{}", self.tags, digest("by-p256"));
        self.sign(lab, Signing { program: "cosign", key: "p256", image: &tags, more: &[] }).await;
        for (name, keys) in [("good-bad", ["p256", "other"]), ("bad-good", ["other", "p256"])] {
            for key in keys {
                self.sign(lab, Signing { program: "cosign", key, image: &api(name), more: &[] })
                    .await;
            }
        }
        for (key, digest) in [("p384", "-sha256"), ("p521", "-sha256"), ("ed25519", "")] {
            self.sign_by_openssl(lab, key, digest, &api(&format!("older-{key}"))).await;
        }
        let certificate = self.keys.join("leaf.crt").to_str().unwrap().to_owned();
        let root = self.keys.join("root.pem").to_str().unwrap().to_owned();
        let log = ["--rekor-url", self.log.url.as_str()];
        let certified = ["--certificate", &certificate, "--certificate-chain", &root];
        let both = [&log[..], &certified].concat();
        for (name, key, more) in [
            ("logged", "p256", &log[..]),
            ("certified", "leaf", &certified),
            ("certified-logged", "leaf", &both),
        ] {
            self.sign(lab, Signing { program: "cosign", key, image: &api(name), more }).await;
        }
        let referrer = ["--registry-referrers-mode=oci-1-1"];
        let image = api("attached");
        self.sign(lab, Signing { program: "cosign", key: "p256", image: &image, more: &referrer })
            .await;
        self.move_signature(&digest("by-p256"), &digest("moved"), &digest("unsigned")).await;
        self.sign_bundles(lab, &folder).await;
    }

    async fn sign(&self, lab: &Lab, signing: Signing<'_>) {
        let mut cosign = Command::new(lab.machines.tool(signing.program));
        cosign.arg("sign").arg("--key").arg(self.keys.join(format!("{}.key", signing.key)));
        if !signing.more.contains(&"--rekor-url") {
            cosign.arg("--tlog-upload=false");
        }
        cosign.args(["--allow-http-registry", "--yes"]);
        cosign.env("SIGSTORE_REKOR_PUBLIC_KEY", self.keys.join("log.pub"));
        cosign.args(signing.more).arg(signing.image);
        cosign.env("COSIGN_PASSWORD", "").env("COSIGN_EXPERIMENTAL", "1");
        cosign.env("DOCKER_CONFIG", lab.folder.join("docker"));
        lab.must(&mut cosign).await;
    }

    /// Signs as cosign 2.2 does, where newer ones hash otherwise: openssl signs what cosign says is to
    /// be signed, and cosign attaches it.
    async fn sign_by_openssl(&self, lab: &Lab, key: &str, digest: &str, image: &str) {
        let file = |name: &str| self.keys.join(format!("{key}.{name}"));
        let cosign = || {
            let mut cosign = Command::new(lab.machines.tool("cosign"));
            cosign.env("DOCKER_CONFIG", lab.folder.join("docker"));
            cosign
        };
        let payload = lab.must(cosign().args(["generate", "--allow-http-registry", image])).await;
        fs::write(file("payload"), payload).unwrap();
        let mut openssl = Command::new(lab.machines.tool("openssl"));
        match digest {
            "" => openssl.args(["pkeyutl", "-sign", "-rawin", "-inkey"]).arg(file("pem")),
            digest => openssl.args(["dgst", digest, "-sign"]).arg(file("pem")),
        };
        openssl.arg("-out").arg(file("raw"));
        if digest.is_empty() {
            openssl.arg("-in");
        }
        lab.must(openssl.arg(file("payload"))).await;
        let mut openssl = Command::new(lab.machines.tool("openssl"));
        openssl.args(["base64", "-A", "-in"]).arg(file("raw")).arg("-out").arg(file("signature"));
        lab.must(&mut openssl).await;
        let mut attach = cosign();
        attach.args(["attach", "signature", "--allow-http-registry", "--signature"]);
        attach.arg(file("signature")).arg("--payload").arg(file("payload")).arg(image);
        lab.must(&mut attach).await;
    }

    /// What was signed of one image, attached to another as a referrer, and kept under the tag of a
    /// third.
    async fn move_signature(&self, from: &str, to: &str, under: &str) {
        // Another test may have been faster.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let client = Client::new();
        let repository = |name: &str| format!("http://{}/v2/{name}", self.api);
        let tag = |digest: &str| format!("{}.sig", digest.replace(':', "-"));
        let url = format!("{}/manifests/{}", repository("by-p256"), tag(from));
        let manifest = client.get(url).header("accept", MANIFEST).send().await.unwrap();
        let manifest: Value = serde_json::from_str(&manifest.text().await.unwrap()).unwrap();
        for target in ["moved", "unsigned"] {
            for part in [&manifest["config"], &manifest["layers"][0]] {
                let url = format!("{}/blobs/{}", repository("by-p256"), digest_of(part));
                let bytes = client.get(url).send().await.unwrap().bytes().await.unwrap();
                let url =
                    format!("{}/blobs/uploads/?digest={}", repository(target), digest_of(part));
                let pushed = client.post(url).body(bytes).send().await.unwrap();
                assert!(pushed.status().is_success(), "{pushed:?}");
            }
        }
        let mut attached = manifest.clone();
        attached["config"]["mediaType"] = SIGNATURE.into();
        attached["subject"] = json!({"mediaType": MANIFEST, "digest": to, "size": 1});
        for (name, at, manifest) in [
            ("moved", sha256(attached.to_string().as_bytes()), &attached),
            ("unsigned", tag(under), &manifest),
        ] {
            let url = format!("{}/manifests/{at}", repository(name));
            let put = client.put(url).header("content-type", MANIFEST).body(manifest.to_string());
            let pushed = put.send().await.unwrap();
            assert!(pushed.status().is_success(), "{pushed:?}");
        }
    }

    /// Bundles: by cosign 2 where it is told to, and by cosign 3.
    async fn sign_bundles(&self, lab: &Lab, folder: &Path) {
        let more = ["--new-bundle-format"];
        for (key, name) in [("p256", "bundle-of-2"), ("ed25519", "bundle-of-2-ed25519")] {
            let image = self.push_to_ours(lab, &Layout::new(folder, name)).await;
            self.sign(lab, Signing { program: "cosign", key, image: &image, more: &more }).await;
        }
        let more = ["--use-signing-config=false"];
        for (key, _) in KINDS {
            let image = Layout::new(folder, &format!("bundle-{key}"));
            let image = self.push_to_ours(lab, &image).await;
            self.sign(lab, Signing { program: "cosign3", key, image: &image, more: &more }).await;
        }
        let image = Layout::new(folder, "bundle");
        lab.push(&[&image], &lab.tags).await;
        let image = format!("{}/bundle@{}", self.tags, digest_of(&image.image));
        self.sign(lab, Signing { program: "cosign3", key: "p256", image: &image, more: &more })
            .await;
    }

    /// Pushes an image to the registry that is ours, and says where it is.
    async fn push_to_ours(&self, lab: &Lab, image: &Layout) -> String {
        let name = image.folder.file_name().unwrap().to_str().unwrap();
        let mut oras = Command::new(lab.machines.tool("oras"));
        oras.args(["cp", "--no-tty", "--to-plain-http", "--from-oci-layout"]);
        oras.arg(format!("{}:v1", image.folder.display()));
        lab.must(oras.arg(format!("{}/{name}:v1", self.ours.address()))).await;
        format!("{}/{name}@{}", self.ours.address(), digest_of(&image.image))
    }
}

pub(super) async fn make_key(lab: &Lab, folder: &Path, name: &str, options: &[&str]) {
    let pem = folder.join(format!("{name}.pem"));
    let mut openssl = Command::new(lab.machines.tool("openssl"));
    lab.must(openssl.arg("genpkey").args(options).arg("-out").arg(&pem)).await;
    import_key(lab, folder, name).await;
}

/// Makes of `<name>.pem` what cosign signs with.
pub(super) async fn import_key(lab: &Lab, folder: &Path, name: &str) {
    let pem = folder.join(format!("{name}.pem"));
    let mut cosign = Command::new(lab.machines.tool("cosign"));
    cosign.args(["import-key-pair", "--yes", "--key"]).arg(&pem);
    cosign.arg("--output-key-prefix").arg(folder.join(name)).env("COSIGN_PASSWORD", "");
    lab.must(&mut cosign).await;
}
