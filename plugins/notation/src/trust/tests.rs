//! Trust stores in files and in providers, against a host in memory.

use std::{fs, os::unix::fs::symlink};

use super::*;
use crate::testing::{Authority, Issued, pem_of};
use ratify_core::{KeyRing, KeyRings, executor::testing::MemoryHost};
use serde_json::json;

fn stores(value: &serde_json::Value) -> CertificateStores {
    CertificateStores::read(value.as_object().unwrap()).unwrap()
}

fn ring(certificates: &[&Certificate]) -> KeyRing {
    let certificate = |one: &&Certificate| RingCertificate {
        name: String::new(),
        version: String::new(),
        der: one.der().to_vec().into(),
    };
    KeyRing { certificates: certificates.iter().map(certificate).collect(), keys: [].into() }
}

#[test]
fn files_are_found_below_a_directory_and_through_links_each_once() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (Authority::root("one"), Authority::root("two"));
    let data = home.path().join("certs/..2024");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("one.pem"), pem_of(&[&one.certificate])).unwrap();
    fs::write(data.join("two.der"), two.certificate.der()).unwrap();
    symlink("..2024", home.path().join("certs/..data")).unwrap();
    symlink("..data/one.pem", home.path().join("certs/one.pem")).unwrap();
    fs::write(home.path().join("certs/empty"), "").unwrap();
    let default = home.path().join(DEFAULT_PATH);
    fs::create_dir_all(&default).unwrap();
    fs::write(default.join("own.crt"), pem_of(&[&two.certificate])).unwrap();
    let trust =
        TrustStores::new(&["~/certs".into(), "/nowhere".into()], stores(&json!({})), home.path());
    let host = MemoryHost::default();
    let found = trust.certificates(TrustStoreType::Tsa, "any", &host).unwrap();
    assert_eq!(found, [one.certificate, two.certificate.clone(), two.certificate]);
}

#[test]
fn a_file_that_is_no_certificate_spoils_its_path() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("x"), "no certificate").unwrap();
    let path = home.path().join("x").to_string_lossy().into_owned();
    let trust = TrustStores::new(&[path], stores(&json!({})), home.path());
    let refusal =
        trust.certificates(TrustStoreType::Ca, "any", &MemoryHost::default()).unwrap_err();
    let shown = refusal.to_string();
    assert!(shown.ends_with("/x: x509: malformed certificate"), "{shown}");
    assert!(shown.starts_with("error reading certificate file "), "{shown}");
}

#[test]
fn a_leaf_of_somebody_else_is_no_anchor() {
    let root = Authority::root("root");
    let leaf = root.leaf("leaf").certificate;
    let alone = Issued::self_signed("alone").certificate;
    let mut rings = KeyRings::new("");
    rings.insert("one", Ok(ring(&[&leaf, &alone])));
    rings.insert("leaf", Ok(ring(&[&leaf])));
    let mut host = MemoryHost::default();
    host.rings = rings;
    let trust = TrustStores::new(
        &[],
        stores(&json!({"ca": {"certs": ["one"], "leaf": ["leaf"]}})),
        "/nowhere".as_ref(),
    );
    assert_eq!(trust.certificates(TrustStoreType::Ca, "certs", &host).unwrap(), [alone]);
    let refusal = trust.certificates(TrustStoreType::Ca, "leaf", &host).unwrap_err();
    insta::assert_snapshot!(refusal, @"valid certificates must be provided, only CA certificates or self-signed signing certificates are supported");
}

#[test]
fn a_certificate_store_stands_in_for_a_provider_that_has_nothing() {
    let root = Authority::root("root").certificate;
    let mut rings = KeyRings::new("own");
    rings.insert("empty", Ok(KeyRing::default()));
    rings.insert("broken", Err(ErrorCode::CertInvalid.detail("no PEM")));
    rings.insert_store("own/old", Ok(ring(&[&root]).certificates.to_vec()));
    rings.insert_store("own/bad", Err(ErrorCode::KeyVaultOperationFailure.detail("vault")));
    let mut host = MemoryHost::default();
    host.rings = rings;
    let by_name = json!({"ca": {
        "old": ["old"], "empty": ["empty"], "absent": ["absent"], "broken": ["broken"], "bad": ["bad"],
    }});
    let trust = TrustStores::new(&[], stores(&by_name), "/nowhere".as_ref());
    let found = |name: &str| trust.certificates(TrustStoreType::Ca, name, &host);
    assert_eq!(found("old").unwrap(), [root]);
    let refusal = |name: &str| found(name).unwrap_err();
    insta::assert_snapshot!(refusal("empty"), @"no certificates fetched in namedStore: empty");
    insta::assert_snapshot!(refusal("absent"), @"RESOURCE_NOT_FOUND: unable to fetch certificates from Key Management Provider and Certificate Store: absent: The key management provider [absent] does not exist: Make sure the key management provider: absent is created in the namespace: [] or as a cluster-wide resource.");
    insta::assert_snapshot!(refusal("broken"), @"CERT_INVALID: unable to fetch certificates from Key Management Provider and Certificate Store: broken: no PEM");
    insta::assert_snapshot!(refusal("bad"), @"KEY_VAULT_OPERATION_FAILURE: unable to fetch certificates from Key Management Provider and Certificate Store: bad: vault");
}

#[test]
fn what_is_in_the_files_is_part_of_what_decides() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x");
    let trust =
        TrustStores::new(&[path.to_string_lossy().into_owned()], stores(&json!({})), home.path());
    let basis = || {
        let mut basis = Basis::default();
        trust.add_basis(&mut basis);
        basis.bytes().unwrap().to_vec()
    };
    let none = basis();
    fs::write(&path, Authority::root("a").certificate.der()).unwrap();
    let one = basis();
    fs::write(&path, Authority::root("a").certificate.der()).unwrap();
    let another = basis();
    fs::write(&path, "x").unwrap();
    let broken = basis();
    let all = [&none, &one, &another, &broken];
    assert!((0..4).all(|at| all[at + 1..].iter().all(|other| *other != all[at])));
}
