//! Signatures that are really made by a key, by an algorithm that is not the one of its kind. Each is as it
//! must be, but for that: what refuses it is the algorithm, and the verifier's report says the same.

use std::fs;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{self, Ed25519KeyPair, RsaEncoding, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coset::{RegisteredLabelWithPrivate, TaggedCborSerializable as _, cbor::Value as Cbor, iana};
use ratify_core::Certainty;
use rcgen::{
    KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SignatureAlgorithm,
};
use serde_json::json;

use super::*;
use crate::{
    testing::{
        Authority, Issued, PAYLOAD as SIGNED, cose, epoch, has_openssl, headers, jws, openssl,
    },
    verifier::tests::{ask, store, verifier},
};

/// Who signs, with a key of any kind.
struct Signer {
    leaf: Issued,
    root: Authority,
}

impl Signer {
    fn new(key: KeyPair) -> Self {
        let root = Authority::root("root");
        Self { leaf: root.issue_for("leaf", key, |_| ()), root }
    }

    fn of(algorithm: &'static SignatureAlgorithm) -> Self {
        Self::new(KeyPair::generate_for(algorithm).unwrap())
    }

    fn of_rsa(size: RsaKeySize) -> Self {
        Self::new(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap())
    }

    /// What comes of an envelope in each form that names an algorithm and is signed by `sign`.
    fn open(
        &self,
        name: &str,
        number: iana::Algorithm,
        sign: &dyn Fn(&[u8]) -> Vec<u8>,
    ) -> [String; 2] {
        let chain = [&self.leaf.certificate, &self.root.certificate];
        // The signatures of the helpers, by another key, are taken away.
        let other = KeyPair::generate().unwrap();
        let mut headers = headers();
        headers["alg"] = json!(name);
        let envelope = jws(&other, &chain, &headers, SIGNED);
        let mut envelope: Value = serde_json::from_slice(&envelope).unwrap();
        let part = |key: &str| envelope[key].as_str().unwrap().to_owned();
        let message = format!("{}.{}", part("protected"), part("payload"));
        envelope["signature"] = URL_SAFE_NO_PAD.encode(sign(message.as_bytes())).into();
        let scheme = Cbor::Text("notary.x509".to_owned());
        let labels = vec![(SCHEME, scheme), (SIGNING_TIME, epoch(1_714_979_289))];
        let mut message = cose(&other, &chain, &[SCHEME], labels);
        message.protected.header.alg = Some(RegisteredLabelWithPrivate::Assigned(number));
        message.signature = sign(&message.tbs_data(&[]));
        [
            self.told(JWS, envelope.to_string().as_bytes()),
            self.told(COSE, &message.to_tagged_vec().unwrap()),
        ]
    }

    /// What an envelope is refused for, which the report of a verifier that trusts the signer says too.
    fn told(&self, media_type: &str, bytes: &[u8]) -> String {
        let layer = [(media_type, bytes.len() as u64, bytes)];
        let report = ask(&verifier(&json!({})), store(&layer), &self.root).unwrap();
        assert_eq!(report.standing.certainty, Certainty::Decided, "{report:?}");
        let opened = open(media_type, bytes);
        assert_eq!(report.is_success, opened.is_ok(), "{report:?}");
        let told = opened.map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(report.error_reason, told, "{report:?}");
        if told.is_empty() { "good".to_owned() } else { told }
    }

    fn sign_by_rsa(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let key = RsaKeyPair::from_pkcs8(&self.leaf.key.serialize_der()).unwrap();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    /// A signature by the real `openssl dgst`, with more options.
    fn sign_by_openssl(&self, options: &str, message: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key.pem"), self.leaf.key.serialize_pem()).unwrap();
        fs::write(folder.path().join("message"), message).unwrap();
        let arguments = format!("dgst {options} -sign key.pem -out signature message");
        openssl(folder.path(), &arguments);
        fs::read(folder.path().join("signature")).unwrap()
    }
}

/// Two numbers of so many bytes, of a signature in DER.
fn halves(der: &[u8], size: usize) -> Vec<u8> {
    use x509_cert::der::{
        Decode as _, Reader as _,
        asn1::{AnyRef, UintRef},
    };
    let numbers = AnyRef::from_der(der).unwrap().sequence(|reader| {
        let numbers: [UintRef<'_>; 2] = [reader.decode()?, reader.decode()?];
        Ok(numbers)
    });
    let padded = |number: &UintRef<'_>| {
        let bytes = number.as_bytes();
        [&vec![0; size - bytes.len()][..], bytes].concat()
    };
    numbers.unwrap().iter().flat_map(padded).collect()
}

#[test]
fn the_smaller_algorithm_of_an_elliptic_curve_is_not_that_of_a_larger_key() {
    if !has_openssl() {
        return;
    }
    let signer = Signer::of(&PKCS_ECDSA_P384_SHA384);
    let sign = |hash: &'static str| {
        let signer = &signer;
        move |message: &[u8]| halves(&signer.sign_by_openssl(hash, message), 48)
    };
    assert_eq!(signer.open("ES384", iana::Algorithm::ES384, &sign("-sha384")), ["good", "good"]);
    let by_smaller = signer.sign_by_openssl("-sha256", b"message");
    let key = &signer.leaf.certificate.key;
    assert!(
        key.verifies(&signature::ECDSA_P384_SHA256_ASN1, b"message", &by_smaller),
        "it is whole"
    );
    let [of_jws, of_cose] = signer.open("ES256", iana::Algorithm::ES256, &sign("-sha256"));
    insta::assert_snapshot!(of_jws, @"signature is invalid. Error: crypto/ecdsa: verification error");
    insta::assert_snapshot!(of_cose, @"signature is invalid. Error: algorithm mismatch: the key of the certificate signs by Es384, and the header says Es256");
    let [of_jws, of_cose] = signer.open("ES384", iana::Algorithm::ES384, &sign("-sha256"));
    insta::assert_snapshot!(of_jws, @"signature is invalid. Error: crypto/ecdsa: verification error");
    insta::assert_snapshot!(of_cose, @"signature is invalid. Error: verification error");
}

#[test]
fn the_algorithm_of_rsa_is_that_of_the_keys_size() {
    let [smaller, larger] = [RsaKeySize::_2048, RsaKeySize::_3072].map(Signer::of_rsa);
    let of = |signer: &Signer, name, number, encoding: &'static dyn RsaEncoding| {
        signer.open(name, number, &|message| signer.sign_by_rsa(encoding, message))
    };
    let by_256 = |signer| of(signer, "PS256", iana::Algorithm::PS256, &signature::RSA_PSS_SHA256);
    let by_384 = |signer| of(signer, "PS384", iana::Algorithm::PS384, &signature::RSA_PSS_SHA384);
    assert_eq!(by_256(&smaller), ["good", "good"]);
    assert_eq!(by_384(&larger), ["good", "good"]);
    let [of_jws, of_cose] = by_256(&larger);
    insta::assert_snapshot!(of_jws, @"mismatch between signature algorithm derived from signing certificate (2) and signing algorithm specified (1s)");
    insta::assert_snapshot!(of_cose, @"signature is invalid. Error: algorithm mismatch: the key of the certificate signs by Ps384, and the header says Ps256");
    let [of_jws, of_cose] = by_384(&smaller);
    insta::assert_snapshot!(of_jws, @"mismatch between signature algorithm derived from signing certificate (1) and signing algorithm specified (2s)");
    insta::assert_snapshot!(of_cose, @"signature is invalid. Error: algorithm mismatch: the key of the certificate signs by Ps256, and the header says Ps384");
    // The older padding, under either name.
    let encoding = &signature::RSA_PKCS1_SHA256;
    let [of_jws, of_cose] = of(&smaller, "PS256", iana::Algorithm::PS256, encoding);
    insta::assert_snapshot!(of_jws, @"signature is invalid. Error: crypto/rsa: verification error");
    insta::assert_snapshot!(of_cose, @"signature is invalid. Error: verification error");
    let [of_jws, of_cose] = of(&smaller, "RS256", iana::Algorithm::RS256, encoding);
    insta::assert_snapshot!(of_jws, @"signature is invalid. Error: signing method RS256 is invalid");
    insta::assert_snapshot!(of_cose, @"signature is invalid. Error: signature algorithm not supported: -257");
    let [of_jws, of_cose] = of(&smaller, "ES256", iana::Algorithm::ES256, encoding);
    insta::assert_snapshot!(of_jws, @"signature is invalid. Error: key is of invalid type");
    insta::assert_snapshot!(of_cose, @"signature is invalid. Error: algorithm mismatch: the key of the certificate signs by Ps256, and the header says Es256");
}

#[test]
fn a_key_of_no_kind_that_may_sign_signs_nothing() {
    let signer = Signer::of(&PKCS_ED25519);
    let key = Ed25519KeyPair::from_pkcs8(&signer.leaf.key.serialize_der()).unwrap();
    let sign = |message: &[u8]| key.sign(message).as_ref().to_vec();
    let [of_jws, of_cose] = signer.open("EdDSA", iana::Algorithm::EdDSA, &sign);
    insta::assert_snapshot!(of_jws, @"signature is invalid. Error: signing method EdDSA is invalid");
    insta::assert_snapshot!(of_cose, @"unsupported public key type");
    let [of_jws, of_cose] = signer.open("ES256", iana::Algorithm::ES256, &sign);
    insta::assert_snapshot!(of_jws, @"signature is invalid. Error: crypto/ecdsa: verification error");
    insta::assert_snapshot!(of_cose, @"unsupported public key type");
    let nothing = |_: &[u8]| Vec::new();
    let [of_jws, of_cose] = signer.open("none", iana::Algorithm::Reserved, &nothing);
    insta::assert_snapshot!(of_jws, @"signature is invalid. Error: signing method none is invalid");
    insta::assert_snapshot!(of_cose, @"unable to parse the digital signature, error : empty signature");
}

#[test]
fn a_key_of_rsa_of_another_size_signs_nothing() {
    if !has_openssl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    openssl(folder.path(), "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2560 -out key.pem");
    let pem = fs::read_to_string(folder.path().join("key.pem")).unwrap();
    let signer = Signer::new(KeyPair::from_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).unwrap());
    let sign = |message: &[u8]| signer.sign_by_rsa(&signature::RSA_PSS_SHA256, message);
    let [of_jws, of_cose] = signer.open("PS256", iana::Algorithm::PS256, &sign);
    insta::assert_snapshot!(of_jws, @r#"certificate-chain is invalid, certificate with subject "CN=leaf,O=Lab,ST=WA,C=US": rsa key size 2560 bits is not supported"#);
    insta::assert_snapshot!(of_cose, @"rsa key size 2560 bits is not supported");
}
