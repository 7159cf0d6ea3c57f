//! What tests are made of: keys that sign, signatures, and a way to ask.

pub(crate) mod authority;
pub(crate) mod bundles;
pub(crate) mod changes;
pub(crate) mod clock;
pub(crate) mod log;
pub(crate) mod repository;

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::{
    digest::SHA256,
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
        ECDSA_P521_SHA256_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::{
    Binding, Context, Descriptor, Digest, Host, Reference, Referrer, Request, RingKey, StoreConfig,
    Verifier, VerifierReport, config::VerifierPluginConfig, executor::testing::MemoryHost,
    media_type,
};
use serde_json::Value;

use crate::{CosignVerifier, Environment};

/// The image that tests ask about.
pub(crate) fn image() -> Digest {
    format!("sha256:{}", "ab".repeat(32)).parse().unwrap()
}

/// The digest of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let hash = sigstore_verify::crypto::sha256(bytes).to_hex();
    format!("sha256:{hash}").parse().unwrap()
}

/// What cosign signs of an image.
pub(crate) fn payload(image: &str) -> Vec<u8> {
    format!(r#"{{"critical":{{"identity":{{"docker-reference":"r.io/a"}},"image":{{"docker-manifest-digest":"{image}"}},"type":"cosign container image signature"}},"optional":null}}"#).into_bytes()
}

/// A key that signs.
pub(crate) enum Signer {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair, usize),
    Ed25519(Ed25519KeyPair),
}

/// The kinds of keys that cosign signs with, by name. (Of P-384 see the tests of keys.)
pub(crate) const KINDS: [&str; 5] = ["p256", "p521", "rsa2048", "rsa3072", "ed25519"];

impl Signer {
    pub(crate) fn new(kind: &str) -> Self {
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
            Self::Ecdsa(EcdsaKeyPair::generate(algorithm).unwrap())
        };
        match kind {
            "p256" => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            "p384" => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
            "p521" => ecdsa(&ECDSA_P521_SHA256_ASN1_SIGNING),
            "p521-sha512" => ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING),
            "rsa2048" => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), 256),
            "rsa3072" => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa3072).unwrap(), 256),
            "rsa3072-sha384" => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa3072).unwrap(), 384),
            _ => Self::Ed25519(Ed25519KeyPair::generate().unwrap()),
        }
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ecdsa(pair) => pair.public_key().as_der().unwrap(),
            Self::Rsa(pair, _) => pair.public_key().as_der().unwrap(),
            Self::Ed25519(pair) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub(crate) fn pem(&self) -> String {
        pem::encode(&pem::Pem::new("PUBLIC KEY", self.spki()))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ecdsa(pair) => {
                pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
            Self::Rsa(pair, bits) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding = if *bits == 384 { &RSA_PKCS1_SHA384 } else { &RSA_PKCS1_SHA256 };
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A signature of what has this digest of SHA-256; of an elliptic curve alone.
    pub(crate) fn sign_digest(&self, digest: &[u8]) -> Vec<u8> {
        let Self::Ecdsa(pair) = self else { panic!("it signs no digests") };
        let digest = aws_lc_rs::digest::Digest::import_less_safe(digest, &SHA256).unwrap();
        pair.sign_digest(&digest).unwrap().as_ref().to_vec()
    }

    /// The key as a key management provider holds it.
    pub(crate) fn ring_key(&self, provider_type: &str, name: &str, version: &str) -> RingKey {
        RingKey {
            name: name.into(),
            version: version.into(),
            provider_type: provider_type.into(),
            spki: self.spki().into(),
        }
    }
}

/// A signature as cosign attaches it: the layer and its bytes.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Layer {
    pub(crate) fn new(bytes: Vec<u8>, signature: &[u8]) -> Self {
        let signature = STANDARD.encode(signature);
        let annotations = [("dev.cosignproject.cosign/signature".to_owned(), signature)].into();
        let media_type = "application/vnd.dev.cosign.simplesigning.v1+json".to_owned();
        Self { bytes, media_type, annotations }
    }

    /// The image, signed by a key.
    pub(crate) fn signed(by: &Signer) -> Self {
        let payload = payload(image().as_str());
        let signature = by.sign(&payload);
        Self::new(payload, &signature)
    }

    pub(crate) fn bundle(json: impl Into<Vec<u8>>) -> Self {
        let media_type = "application/vnd.dev.sigstore.bundle.v0.3+json".to_owned();
        Self { bytes: json.into(), media_type, annotations: BTreeMap::new() }
    }

    /// The same with another signature.
    #[must_use]
    pub(crate) fn signed_with(self, signature: &[u8]) -> Self {
        self.with("dev.cosignproject.cosign/signature", STANDARD.encode(signature))
    }

    #[must_use]
    pub(crate) fn with(mut self, annotation: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(annotation.to_owned(), value.into());
        self
    }
}

/// A host that has an artifact of these signatures.
pub(crate) fn host_of(layers: &[Layer]) -> MemoryHost {
    let add = |host: MemoryHost, layer: &Layer| {
        let size = layer.bytes.len() as u64;
        let mut blob = Descriptor::new(layer.media_type.clone(), digest_of(&layer.bytes), size);
        blob.annotations = layer.annotations.clone();
        host.with_blob(blob, layer.bytes.clone())
    };
    layers.iter().fold(MemoryHost::default(), add)
}

/// A verifier of an entry without its name and types.
pub(crate) fn verifier(mut entry: Value, environment: &Environment) -> CosignVerifier {
    entry["name"] = "cosign".into();
    entry["artifactTypes"] = media_type::COSIGN_SIGNATURE.into();
    let entry = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
    CosignVerifier::new(entry, environment).unwrap()
}

/// What a verifier answers about a host's artifact.
pub(crate) fn ask(verifier: &CosignVerifier, host: &Arc<MemoryHost>) -> VerifierReport {
    ask_for("r.io/a:v1", verifier, host)
}

/// The same where the image is asked for by another name.
pub(crate) fn ask_for(
    name: &str,
    verifier: &CosignVerifier,
    host: &Arc<MemoryHost>,
) -> VerifierReport {
    let subject = Reference::parse_subject(name).unwrap().with_digest(image());
    let descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest_of(b"artifact"), 1)
        .with_artifact_type(media_type::COSIGN_SIGNATURE);
    let referrer = Arc::new(Referrer::new(descriptor, Binding::Payload));
    let resolved = Arc::new(Descriptor::new(media_type::OCI_MANIFEST, image(), 7));
    let host: Arc<dyn Host> = Arc::clone(host) as _;
    let store = StoreConfig::new("1.0.0", None, serde_json::Map::new());
    let request = Request::new(subject, resolved, referrer, Context::until(None), store, host);
    // Nothing here waits for anything.
    let mut answer = verifier.verify(&request);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match answer.as_mut().poll(&mut context) {
        std::task::Poll::Ready(report) => report.unwrap(),
        std::task::Poll::Pending => panic!("it waits"),
    }
}

/// What a verifier of an entry answers about these signatures.
pub(crate) fn ask_about(entry: Value, layers: &[Layer]) -> VerifierReport {
    ask(&verifier(entry, &Environment::default()), &Arc::new(host_of(layers)))
}
