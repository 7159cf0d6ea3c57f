//! Verification under trust policies.

use std::{collections::BTreeMap, sync::Arc};

use ratify_core::{Basis, Certainty, Descriptor, ErrorCode, Request, Result, VerifierReport};

use super::{earlier, image, layers, payload, refused};
use crate::{
    bundle::{self, SignedBundle},
    checks::{By, Checks, Found, Key},
    classic::{Signature, encoded_signature},
    config::{KeySource, Signer, TrustPolicy, policy_for},
    extensions::{KeyInformation, SignatureEntry, Verification, of_policy},
    keys::PublicKey,
    refusal::Refusal,
    rekor::Questions,
    trust::Material,
};

const SUCCESS: &str = "Verification success. Valid signatures found. Please refer to extensions field for verifications performed.";
/// The provider of keys that are files.
const FILE: &str = "file";
/// The type of provider whose keys have rules of their own.
const KEY_VAULT: &str = "azurekeyvault";

/// The keys of a policy, each with what a report calls it; why, where one cannot be used.
type Keys = BTreeMap<KeyInformation, Result<Key, String>>;

/// Judges an artifact under the policy of its image.
pub(super) async fn judge(
    all: &[TrustPolicy],
    request: &Request,
    now: jiff::Timestamp,
) -> Result<VerifierReport> {
    let policy = policy_for(all, &request.subject)?;
    let keys = match &policy.signer {
        Signer::Keys(sources) => Some(keys(policy, sources, request)?),
        Signer::Keyless(_) => None,
    };
    let trust = trust(policy, request, now).await?;
    let checks = Checks {
        host: &request.host,
        image: image(request)?,
        rekor_url: policy.rekor_url.as_deref(),
        trust,
        now,
        questions: Questions::of_an_artifact(),
    };
    let descriptor = &request.referrer.descriptor;
    let manifest = request.host.manifest(&request.subject, descriptor).await.map_err(|error| {
        ErrorCode::VerifyPluginFailure
            .detail(format!("Failed to get Cosign signature metadata for {}", descriptor.digest))
            .with_source(error)
    })?;
    let layers = layers(&manifest, "The artifact metadata is not an OCI image")?;
    let mut tally = Tally::default();
    for layer in &layers {
        match payload(request, layer).await {
            Ok(bytes) => tally.judge(layer, &bytes, &policy.signer, keys.as_ref(), &checks).await,
            Err(error) => tally.missing.push(
                ErrorCode::GetBlobContentFailure
                    .detail(format!("Failed to get Cosign signature with digest {}", layer.digest))
                    .with_source(error),
            ),
        }
    }
    tally.report(&policy.name, checks.trust.as_deref())
}

/// The keys of a policy: those of files, and what key management providers hold.
fn keys(policy: &TrustPolicy, sources: &[KeySource], request: &Request) -> Result<Keys> {
    let mut keys = Keys::new();
    let name = &policy.name;
    for source in sources {
        let (provider, wanted) = match source {
            KeySource::File { path, key } => {
                let information = KeyInformation {
                    provider: FILE.to_owned(),
                    name: path.clone(),
                    version: String::new(),
                };
                keys.insert(information, Ok(Key { key: key.clone(), is_of_key_vault: false }));
                continue;
            }
            KeySource::Provider { provider, name, version } => (provider, (name, version)),
        };
        let ring = request.host.keys(provider).map_err(|error| {
            ErrorCode::ConfigInvalid
                .detail(format!("Invalid trust policy [{name}]: failed to access key management provider {provider}"))
                .with_source(error)
        })?;
        let is_wanted = |wanted: &Option<String>, has: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == has)
        };
        let mut found = ring
            .iter()
            .filter(|key| is_wanted(wanted.0, &key.name) && is_wanted(wanted.1, &key.version))
            .peekable();
        if found.peek().is_none() {
            let what = match wanted {
                (Some(key), version) => {
                    let version = version.as_deref().unwrap_or_default();
                    format!(
                        "key {key} with version {version} not found in key management provider {provider}"
                    )
                }
                // v1 goes on without any key.
                (None, _) => format!("no key found in key management provider {provider}"),
            };
            return Err(
                ErrorCode::ConfigInvalid.detail(format!("Invalid trust policy [{name}]: {what}"))
            );
        }
        for key in found {
            let information = KeyInformation {
                provider: provider.clone(),
                name: key.name.clone(),
                version: key.version.clone(),
            };
            let is_of_key_vault = key.provider_type == KEY_VAULT;
            let read = PublicKey::from_spki(&key.spki)
                .map(|key| Key { key, is_of_key_vault })
                .map_err(|error| error.to_string());
            keys.insert(information, read);
        }
    }
    Ok(keys)
}

/// What is trusted besides keys, where the policy needs anything.
async fn trust(
    policy: &TrustPolicy,
    request: &Request,
    now: jiff::Timestamp,
) -> Result<Option<Arc<Material>>> {
    let wanted = policy.wanted();
    if wanted.nothing() {
        return Ok(None);
    }
    let material = policy.trust.material(wanted, &request.host, now).await;
    let material = material.map_err(|error| {
        let detail = match &policy.rekor_url {
            Some(_) => "Failed to fetch Rekor public keys",
            None => "Failed to get fulcio root",
        };
        ErrorCode::VerifyPluginFailure.detail(detail).with_source(error)
    })?;
    Ok(Some(material))
}

/// What was found out so far.
#[derive(Default)]
struct Tally {
    entries: Vec<SignatureEntry>,
    is_success: bool,
    valid_until: Option<std::time::SystemTime>,
    /// Whether a refusal may be gone a moment later.
    is_transient: bool,
    /// Why signatures were not had.
    missing: Vec<ratify_core::Error>,
}

impl Tally {
    async fn judge(
        &mut self,
        layer: &Descriptor,
        bytes: &[u8],
        signer: &Signer,
        keys: Option<&Keys>,
        checks: &Checks<'_>,
    ) {
        let read = ReadLayer::read(layer, bytes);
        let mut verifications = Vec::new();
        match (read.signature, signer) {
            (Err(refusal), _) => {
                let text = format!("Failed to parse Cosign signature with digest {}", layer.digest);
                let refused = Err(refusal.within(&text));
                verifications.push(self.verification(KeyInformation::default(), refused, None));
            }
            (Ok(signature), Signer::Keyless(keyless)) => {
                let by = By::Certificate(keyless);
                let checked = signature.check(by, checks).await;
                verifications.push(self.verification(KeyInformation::default(), checked, Some(by)));
            }
            (Ok(signature), Signer::Keys(_)) => {
                for (information, key) in keys.into_iter().flatten() {
                    let verification = match key {
                        Ok(key) => {
                            let checked = signature.check(By::Key(key), checks).await;
                            self.verification(information.clone(), checked, Some(By::Key(key)))
                        }
                        Err(text) => {
                            let refused = Err(Refusal::other(text.clone()));
                            self.verification(information.clone(), refused, None)
                        }
                    };
                    verifications.push(verification);
                }
            }
        }
        self.entries.push(SignatureEntry { signature: read.encoded, verifications });
    }

    fn verification(
        &mut self,
        key_information: KeyInformation,
        checked: Result<Found, Refusal>,
        by: Option<By<'_>>,
    ) -> Verification {
        match checked {
            Ok(found) => {
                self.is_success = true;
                self.valid_until = earlier(self.valid_until, found.valid_until);
                Verification {
                    is_success: true,
                    bundle_verified: found.is_logged_offline,
                    key_information,
                    summary: by.map(|by| found.summary(by)).unwrap_or_default(),
                    ..Verification::default()
                }
            }
            Err(refusal) => {
                self.is_transient |= refusal.is_transient();
                Verification { error: refusal.text(), key_information, ..Verification::default() }
            }
        }
    }

    /// Any one valid signature is enough. Without one, what was not had stands in the way of a
    /// verdict.
    fn report(mut self, policy: &str, trust: Option<&Material>) -> Result<VerifierReport> {
        let extensions = of_policy(&self.entries, policy);
        if self.is_success {
            let report = VerifierReport::success(SUCCESS).with_extensions(extensions);
            let end = earlier(self.valid_until, trust.and_then(|trust| trust.valid_until));
            return Ok(match end {
                Some(end) => report.valid_until(end),
                None => report,
            });
        }
        if !self.missing.is_empty() {
            return Err(self.missing.swap_remove(0));
        }
        let moment = self.is_transient.then_some(Certainty::Passing);
        Ok(refused("no valid Cosign signatures found", extensions, moment))
    }
}

/// A layer as it was read.
pub(super) struct ReadLayer<'a> {
    /// The signature, in base64; empty where there is none.
    pub(super) encoded: String,
    pub(super) signature: Result<AnySignature<'a>, Refusal>,
}

/// A signature of either form.
pub(super) enum AnySignature<'a> {
    Classic(Box<Signature<'a>>),
    Bundle(Box<SignedBundle>),
}

impl<'a> ReadLayer<'a> {
    pub(super) fn read(layer: &'a Descriptor, bytes: &'a [u8]) -> Self {
        if bundle::is_bundle(&layer.media_type) {
            let read = SignedBundle::read(bytes);
            let encoded = read.as_ref().map(SignedBundle::encoded_signature).unwrap_or_default();
            let signature = read.map(|bundle| AnySignature::Bundle(Box::new(bundle)));
            return Self { encoded, signature };
        }
        let read = Signature::read(bytes, &layer.annotations);
        let signature = read.map(|signature| AnySignature::Classic(Box::new(signature)));
        Self { encoded: encoded_signature(layer).to_owned(), signature }
    }
}

impl AnySignature<'_> {
    pub(super) async fn check(&self, by: By<'_>, checks: &Checks<'_>) -> Result<Found, Refusal> {
        match self {
            Self::Classic(signature) => signature.check(by, checks).await,
            Self::Bundle(bundle) => bundle.check(by, checks),
        }
    }
}

/// The key management providers whose keys policies use.
pub(super) fn named_keys(all: &[TrustPolicy]) -> Vec<String> {
    let sources = all.iter().filter_map(|policy| match &policy.signer {
        Signer::Keys(sources) => Some(sources),
        Signer::Keyless(_) => None,
    });
    let provider = |source: &KeySource| match source {
        KeySource::Provider { provider, .. } => Some(provider.clone()),
        KeySource::File { .. } => None,
    };
    sources.flatten().filter_map(provider).collect()
}

/// Adds what policies rest on besides the entry: what was in their key files, and what is trusted.
pub(super) fn add_basis(all: &[TrustPolicy], basis: &mut Basis) {
    for policy in all {
        basis.add("policy", &policy.name);
        if let Signer::Keys(sources) = &policy.signer {
            for source in sources {
                if let KeySource::File { path, key } = source {
                    basis.add(path, key.spki());
                }
            }
        }
        policy.trust.add_basis(basis);
    }
}
