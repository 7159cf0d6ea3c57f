//! Bundles of Sigstore's own, good and bad, as its crates and Go modules carry them, under each root of
//! trust that comes with them. What comes of each stands in a snapshot: a file that is new, gone or judged
//! otherwise changes it.
//!
//! Most of them are about files or are other statements than that an image is signed. The digest of what
//! they are about stands for the image, and they are judged twice: as the verifier does, and without
//! looking at what they say.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use ratify_core::Host;
use serde_json::{Value, json};

use super::*;
use crate::{
    config::{Environment, Fields},
    keys::PublicKey,
    rekor::Questions,
    testing::host_of,
    trust::{Material, TrustSource, Wanted},
};

/// Where the files are: the name of a part, and folders of it.
const FOLDERS: [(&str, &[&str]); 7] = [
    ("cosign-module", &["pkg/cosign/testdata"]),
    ("sigstore-bundle-crate", &["tests/fixtures"]),
    ("sigstore-go-module", &["examples", "pkg/testing/data"]),
    ("sigstore-trust-root-crate", &["src"]),
    ("sigstore-tsa-crate", &["test_data"]),
    ("sigstore-types-crate", &["test_data"]),
    ("sigstore-verify-crate", &["test_data"]),
];

/// A document, by what it is called in the snapshot.
type Documents = BTreeMap<String, PathBuf>;

/// All documents that come with the parts that `cargo xtask tools` brings.
fn documents() -> Option<Documents> {
    let Some(list) = std::env::var_os("RATIFY_TOOLS") else {
        assert!(std::env::var_os("CI").is_none(), "RATIFY_TOOLS is not set, and this is CI");
        eprintln!("SKIPPED: RATIFY_TOOLS is not set; run `cargo xtask tools`");
        return None;
    };
    let list: Value = serde_json::from_slice(&fs::read(list).unwrap()).unwrap();
    let mut found = Documents::new();
    for (part, folders) in FOLDERS {
        let root = list[part].as_str().unwrap_or_else(|| panic!("RATIFY_TOOLS has no {part}"));
        for folder in folders {
            walk(&Path::new(root).join(folder), &mut |path| {
                let name = path.strip_prefix(root).unwrap().display();
                found.insert(format!("{part}/{name}"), path.to_owned());
            });
        }
    }
    Some(found)
}

fn walk(folder: &Path, found: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, found),
            false => found(&path),
        }
    }
}

fn is_root(name: &str) -> bool {
    let is_named = name.contains("trusted_root") || name.contains("trusted-root");
    is_named && name.ends_with(".json")
}

fn is_bundle_file(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap();
    !is_root(name)
        && (file.contains(".sigstore") || (file.contains("bundle") && file.ends_with(".json")))
}

/// What a root of trust trusts, by our own reader.
fn material(path: &Path) -> Result<Arc<Material>, String> {
    let entry = json!({"trustedRoot": path});
    let fields = Fields::new(entry.as_object().unwrap());
    let source = TrustSource::read(&fields, None, &Environment::default());
    let source = source.map_err(|error| error.to_string())?;
    let wanted = Wanted { log: true, authorities: true, certificate_log: true };
    let mut read = Box::pin(async move {
        let host: Arc<dyn Host> = Arc::new(host_of(&[]));
        source.material(wanted, &host, jiff::Timestamp::now()).await
    });
    match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(material) => material.map_err(|error| error.to_string()),
        Poll::Pending => panic!("it waits"),
    }
}

/// What a bundle says that it is about.
fn subject(bundle: &SignedBundle) -> Option<Digest> {
    let digest = match &bundle.0.content {
        SignatureContent::MessageSignature(signed) => {
            format!("sha256:{}", hex::encode(signed.message_digest.as_ref()?.digest.as_bytes()))
        }
        SignatureContent::DsseEnvelope(envelope) => {
            let payload = serde_json::from_slice::<Value>(envelope.payload.as_bytes());
            let digests = payload.ok()?["subject"][0]["digest"].clone();
            let known = ["sha256", "sha512"].map(|name| (name, digests[name].as_str()));
            let (name, hex) = known.into_iter().find_map(|(name, hex)| Some((name, hex?)))?;
            format!("{name}:{hex}")
        }
        _ => return None,
    };
    digest.parse().ok()
}

type Check = fn(&SignedBundle, By<'_>, &Checks<'_>) -> Result<Found, Refusal>;

/// The check without a look at what the bundle says.
fn check_part(bundle: &SignedBundle, by: By<'_>, checks: &Checks<'_>) -> Result<Found, Refusal> {
    match by {
        By::Key(key) => bundle.check_key(key, checks),
        By::Certificate(keyless) => bundle.check_certificate(keyless, checks),
    }
}

/// What comes of a bundle.
struct Judge<'a> {
    host: Arc<dyn Host>,
    roots: &'a BTreeMap<String, Arc<Material>>,
    keys: &'a [Key],
}

impl Judge<'_> {
    /// Where a bundle is good, by its name; else why not, under one root.
    fn outcome(&self, name: &str, bundle: &SignedBundle) -> Result<Vec<String>, String> {
        let image = subject(bundle).ok_or("it does not say what it is about")?;
        let other: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let (mut good, mut why) = (Vec::new(), BTreeMap::new());
        for (root, trust) in self.roots {
            for (log, what) in [(Some("https://log.example.com"), ""), (None, ", without logs")] {
                let of_other = self.verdict(bundle, &other, trust, log, SignedBundle::check);
                assert!(of_other.is_err(), "{name}: good for something else under {root}");
                match self.verdict(bundle, &image, trust, log, check_part) {
                    // Without logs it is as well, then.
                    Ok(()) => {
                        good.push(format!("{root}{what}"));
                        break;
                    }
                    Err(refusal) => drop(why.insert((log.is_none(), root), refusal)),
                }
            }
        }
        if !good.is_empty() {
            return Ok(good);
        }
        // The reason that is nearest: under the root beside it, or Sigstore's own.
        let folder = name.rsplit_once('/').unwrap().0;
        let beside = why.iter().find(|((_, root), _)| root.starts_with(folder));
        let own = |root: &str| root.ends_with("trust-root-crate/src/trusted_root.json");
        let nearest = beside.or_else(|| why.iter().find(|((_, root), _)| own(root)));
        Err(nearest.expect("there is a root").1.clone())
    }

    /// Whether a bundle is good under a root: by any certificate, or by one of the keys.
    fn verdict(
        &self,
        bundle: &SignedBundle,
        image: &Digest,
        trust: &Arc<Material>,
        rekor_url: Option<&str>,
        check: Check,
    ) -> Result<(), String> {
        let trust = Some(Arc::clone(trust));
        let now = jiff::Timestamp::now();
        let questions = Questions::of_an_artifact();
        let checks = Checks { host: &self.host, image, rekor_url, trust, now, questions };
        let verify_sct = rekor_url.is_some();
        let anyone = Keyless { subject: None, issuer: None, verify_sct };
        let by: Vec<By<'_>> = match bundle.0.signing_certificate() {
            Some(_) => vec![By::Certificate(&anyone)],
            None => self.keys.iter().map(By::Key).collect(),
        };
        let refusals = by.into_iter().map(|by| check(bundle, by, &checks).err());
        match refusals.min_by_key(Option::is_some) {
            Some(None) => Ok(()),
            Some(Some(refusal)) => Err(refusal.text()),
            None => Err("there is no key".to_owned()),
        }
    }

    /// As the verifier judges it; `None` where it says of an image that it is signed.
    fn says(bundle: &SignedBundle) -> Option<String> {
        let image = subject(bundle)?;
        bundle.check_statement(&image).err().map(|refusal| refusal.text())
    }
}

#[test]
fn each_bundle_of_sigstores_is_good_or_refused_with_a_reason() {
    let Some(documents) = documents() else { return };
    let mut text = String::new();
    let (mut roots, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for (name, path) in
        documents.iter().filter(|(name, _)| is_root(name) || name.contains("roots/"))
    {
        let bytes = fs::read(path).unwrap();
        if let Some(same) = seen.get(&bytes) {
            writeln!(text, "root {name}: as {same}").unwrap();
            continue;
        }
        seen.insert(bytes, name);
        match material(path) {
            Ok(material) => {
                roots.insert(name.clone(), material);
                writeln!(text, "root {name}").unwrap();
            }
            Err(error) => writeln!(text, "root {name}: {error}").unwrap(),
        }
    }
    let is_key = |name: &&String| name.ends_with(".pub") || name.ends_with("validity.pem");
    let keys: Vec<Key> = documents
        .iter()
        .filter(|(name, _)| is_key(name))
        .map(|(_, path)| Key {
            key: PublicKey::from_pem(&fs::read(path).unwrap()).unwrap(),
            is_of_key_vault: false,
        })
        .collect();
    writeln!(text, "keys: {}", keys.len()).unwrap();
    let host: Arc<dyn Host> = Arc::new(host_of(&[]));
    let judge = Judge { host, roots: &roots, keys: &keys };
    let (mut good, mut refused) = (0, 0);
    for (name, path) in documents.iter().filter(|(name, _)| is_bundle_file(name)) {
        let read = SignedBundle::read(&fs::read(path).unwrap());
        let read = read.map_err(|refusal| refusal.text());
        let outcome = read.as_ref().map_err(Clone::clone);
        let outcome = outcome.and_then(|bundle| judge.outcome(name, bundle));
        match outcome {
            Ok(under) => {
                good += 1;
                writeln!(text, "{name}: good under\n        {}", under.join("\n        ")).unwrap();
            }
            Err(why) => {
                refused += 1;
                writeln!(text, "{name}: {why}").unwrap();
            }
        }
        if let Some(says) = read.ok().as_ref().and_then(Judge::says) {
            writeln!(text, "    {says}").unwrap();
        }
    }
    write!(text, "good {good}, refused {refused}").unwrap();
    insta::assert_snapshot!(text);
}
