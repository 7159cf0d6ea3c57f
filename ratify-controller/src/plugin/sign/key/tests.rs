//! Keys and certificates as files have them, and those that cannot sign.

use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};

use super::*;

fn refused(text: &str) -> String {
    PrivateKey::from_pem(text, None).unwrap_err().to_string()
}

fn key(text: &str) -> PrivateKey {
    PrivateKey::from_pem(text, None).unwrap()
}

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

#[test]
fn what_is_no_key_is_refused_with_what_it_is() {
    let block = |label: &str, body: &str| {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    insta::assert_snapshot!(refused(""), @"the key cannot be read: there is no PEM block of a key in it");
    insta::assert_snapshot!(refused(&block("CERTIFICATE", "MAA=")), @"the key cannot be read: there is no PEM block of a key in it");
    assert!(refused(&block("PRIVATE KEY", "MAA=")).starts_with("the key cannot be read: "));
    insta::assert_snapshot!(refused(&block("OPENSSH PRIVATE KEY", "MAA=")), @"the key cannot be read: its PEM block is a OPENSSH PRIVATE KEY");
    insta::assert_snapshot!(refused(&block("ENCRYPTED PRIVATE KEY", "MAA=")), @"the key cannot be read: it is encrypted PKCS#8: decrypt it with `openssl pkcs8`, or have cosign import it");
    insta::assert_snapshot!(refused(&block("ENCRYPTED SIGSTORE PRIVATE KEY", "e30=")), @"the key is encrypted: its password is the environment variable COSIGN_PASSWORD, which may be empty and is not set");
    let good = KeyPair::generate().unwrap().serialize_pem();
    for at in 0..good.len() {
        let _ = PrivateKey::from_pem(&good[..at], Some(&Password::new("")));
    }
    assert_eq!(format!("{:?}", key(&good)), "PrivateKey(..)");
}

#[test]
fn each_format_takes_the_keys_that_its_tools_read() {
    let names = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some("ES256"), true),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some("ES384"), false),
        (&rcgen::PKCS_ECDSA_P521_SHA512, Some("ES512"), false),
        (&rcgen::PKCS_ED25519, None, false),
    ];
    for (algorithm, notation, is_cosigns) in names {
        let key = key(&KeyPair::generate_for(algorithm).unwrap().serialize_pem());
        let found = key.notation_algorithm().ok();
        assert_eq!(found.map(|found| found.name), notation);
        assert_eq!(key.sign_as_cosign(b"payload").is_ok(), is_cosigns);
        if let Some(algorithm) = found {
            let length = 2 * algorithm.number.unwrap();
            assert_eq!(key.sign_as(&algorithm, b"text").unwrap().len(), length);
        }
    }
    let ed25519 = key(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem());
    insta::assert_snapshot!(ed25519.sign_as_cosign(b"").unwrap_err(), @"cosign signs with an ECDSA key over P-256 or an RSA key: this key is another");
    for (bits, name) in [(2048, "PS256"), (3072, "PS384")] {
        let size = match bits {
            2048 => rcgen::RsaKeySize::_2048,
            _ => rcgen::RsaKeySize::_3072,
        };
        let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
        let rsa = key(&rsa.serialize_pem());
        assert_eq!((rsa.rsa_bits(), rsa.notation_algorithm().unwrap().name), (Some(bits), name));
        assert!(rsa.sign_as_cosign(b"payload").is_ok());
    }
}

#[test]
fn a_number_that_is_short_is_padded_and_one_that_is_long_is_none() {
    // SEQUENCE { INTEGER 1, INTEGER 0x80 }
    let signature = [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80];
    assert_eq!(side_by_side(&signature, 2), Some(vec![0, 1, 0, 0x80]));
    assert_eq!(side_by_side(&signature, 0), None);
    assert_eq!(side_by_side(b"\x30\x03\x02\x01\x01", 2), None);
}

#[test]
fn certificates_are_those_of_the_key_up_to_a_root_and_in_force() {
    let root = CertifiedIssuer::self_signed(named("root"), KeyPair::generate().unwrap()).unwrap();
    let pair = KeyPair::generate().unwrap();
    let own = named("leaf").signed_by(&pair, &root).unwrap();
    let mut over = named("leaf");
    over.not_after = rcgen::date_time_ymd(2000, 1, 1);
    over.not_before = rcgen::date_time_ymd(1999, 1, 1);
    let over = over.signed_by(&pair, &root).unwrap();
    let other = named("other").signed_by(&KeyPair::generate().unwrap(), &root).unwrap();
    let key = key(&pair.serialize_pem());
    let check = |parts: &[&str]| {
        let chain = Chain::from_pem(&parts.concat())?;
        chain.check(&key, Timestamp::now())
    };
    let said = |parts: &[&str]| check(parts).unwrap_err().to_string();
    let (own, root, over, other) = (own.pem(), root.pem(), over.pem(), other.pem());
    check(&[&own, &root]).unwrap();
    insta::assert_snapshot!(said(&[&other, &root]), @"the certificates cannot be used: the first is not that of the key");
    insta::assert_snapshot!(said(&[&own]), @"the certificates cannot be used: they end with CN=leaf: add those up to the root");
    insta::assert_snapshot!(said(&[&own, &other, &root]), @"the certificates cannot be used: that of CN=leaf is followed by CN=other, who did not issue it: write them from the key's own to the root");
    insta::assert_snapshot!(said(&[&over, &root]), @"the certificates cannot be used: that of CN=leaf is not in force now");
    insta::assert_snapshot!(said(&[]), @"the certificates cannot be used: CERT_INVALID: no certificates found in the pem block");
    let many = own.repeat(MAX_CERTIFICATES + 1);
    insta::assert_snapshot!(said(&[&many]), @"the certificates cannot be used: there are 11, more than 10");
}
