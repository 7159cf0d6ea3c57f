//! Lists as long as any may be, really signed: nearly a million entries, or one long extension.

use std::ops::Range;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use ratify_core::{ErrorCode, executor::testing::MemoryHost};
use rcgen::CrlDistributionPoint;

use super::{
    tests::{LIST, NOW, moment, with_list},
    *,
};
use crate::testing::{Authority, Issued};

/// One byte less than v1 refuses.
const LONGEST: usize = (32 << 20) - 1;
/// An entry of a certificate whose serial number has 16 bytes, and where in it that is.
const ENTRY: usize = 35;
const SERIAL: Range<usize> = 4..20;

/// A value of DER.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut value = vec![tag];
    ratify_core::ber::push_length(content.len(), &mut value);
    value.extend_from_slice(content);
    value
}

fn entry(serial: &[u8]) -> Vec<u8> {
    value(0x30, &[value(2, serial), value(0x17, b"240502000000Z")].concat())
}

/// So many entries of certificates that there are not.
fn entries(count: usize) -> Vec<u8> {
    let first = entry(&[0x40; 16]);
    assert_eq!((first.len(), &first[SERIAL]), (ENTRY, &[0x40; 16][..]));
    let mut all = first.repeat(count);
    for (number, entry) in all.chunks_mut(ENTRY).enumerate() {
        entry[SERIAL.end - 8..SERIAL.end].copy_from_slice(&number.to_be_bytes());
    }
    all
}

/// A list of May 2024 with these entries and an extension that says nothing in so many bytes.
fn list(by: &Authority, entries: &[u8], padding: usize) -> Bytes {
    // ecdsa-with-SHA256
    let algorithm = value(0x30, &value(6, b"\x2a\x86\x48\xce\x3d\x04\x03\x02"));
    let extension = [value(6, b"\x2a\x03\x04"), value(4, &vec![0; padding])].concat();
    let extensions = value(0xa0, &value(0x30, &value(0x30, &extension)));
    let body = [
        value(2, &[1]),
        algorithm.clone(),
        by.certificate.subject_der.clone(),
        value(0x17, b"240501000000Z"),
        value(0x17, b"240601000000Z"),
        value(0x30, entries),
        extensions,
    ];
    let body = value(0x30, &body.concat());
    let key = by.issuer.key().serialize_der();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key).unwrap();
    let sign = || key.sign(&SystemRandom::new(), &body).unwrap();
    // Of the usual length, so that a list has one length.
    let signature = std::iter::repeat_with(sign).find(|signature| signature.as_ref().len() == 71);
    let signature = value(3, &[&[0][..], signature.unwrap().as_ref()].concat());
    value(0x30, &[body, algorithm, signature].concat()).into()
}

/// A host that keeps the bound of what it is asked.
fn host(list: Bytes) -> MemoryHost {
    MemoryHost::default().fetching(move |request| {
        match u64::try_from(list.len()).unwrap() > request.max_bytes {
            true => Err(ErrorCode::ReferrerStoreFailure.detail("it is too long")),
            false => Ok(list.clone()),
        }
    })
}

fn check(host: &MemoryHost, lists: &ListCache, leaf: &Issued, root: &Authority) -> String {
    let revocation = Revocation { host: &host.shared(), lists, now: moment(NOW) };
    let chain = [leaf.certificate.clone(), root.certificate.clone()];
    let whose = Whose { purpose: Purpose::CodeSigning, anchor: 1, signing_time: None };
    match revocation.check(&chain, whose).now_or_never().unwrap() {
        Ok(until) => format!("good until {}", until.unwrap().rfc3339()),
        Err(refusal) => format!("{refusal}; {}", refusal.remediation()),
    }
}

#[test]
fn the_longest_list_is_walked_through_to_its_last_entry() {
    let root = Authority::root("root");
    let leaf = root.issue("leaf", with_list);
    let of = |bytes: Bytes| check(&host(bytes), &ListCache::default(), &leaf, &root);
    let mut all = entries(958_000);
    let good = list(&root, &all, 0);
    assert!((LONGEST - 100_000..LONGEST).contains(&good.len()), "{}", good.len());
    insta::assert_snapshot!(of(good.clone()), @"good until 2024-06-01T00:00:00Z");
    all.extend(entry(&leaf.certificate.serial));
    let last = list(&root, &all, 0);
    insta::assert_snapshot!(of(last.clone()), @r#"signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is revoked;"#);
    // The serial number of the last entry, which would be nobody's then.
    let mut changed = last.to_vec();
    let serial = &leaf.certificate.serial;
    let at = changed.windows(serial.len()).rposition(|part| part == serial).unwrap();
    changed[at + 8] ^= 1;
    insta::assert_snapshot!(of(changed.into()), @r#"signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" revocation status is unknown; Mend what keeps revocation from being known: the CRL from http://list.example.com/a.crl: CRL is not signed by CA CN=root,O=Lab,ST=WA,C=US: x509: ECDSA verification failure"#);
    for length in [last.len() - 1, last.len() / 2] {
        let cut = of(last.slice(..length));
        assert!(cut.contains("x509: malformed crl: ASN.1 DER message is incomplete: "), "{cut}");
    }
}

#[test]
fn a_list_that_reaches_32_mib_is_refused_as_by_v1_and_a_byte_less_is_not() {
    let root = Authority::root("root");
    let leaf = root.issue("leaf", with_list);
    let around = list(&root, &entries(1), 1 << 24).len() - (1 << 24);
    let of = |length: usize| {
        let bytes = list(&root, &entries(1), length - around);
        assert_eq!(bytes.len(), length);
        check(&host(bytes), &ListCache::default(), &leaf, &root)
    };
    insta::assert_snapshot!(of(LONGEST), @"good until 2024-06-01T00:00:00Z");
    insta::assert_snapshot!(of(LONGEST + 1), @r#"signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" revocation status is unknown; Mend what keeps revocation from being known: failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: REFERRER_STORE_FAILURE: it is too long"#);
}

#[test]
fn no_more_than_three_of_the_longest_lists_are_kept() {
    let root = Authority::root("root");
    let longest = list(&root, &entries(1), LONGEST - 1_000);
    let leaves: Vec<Issued> = (0..6)
        .map(|number| {
            let point = CrlDistributionPoint { uris: vec![format!("{LIST}?{number}")] };
            root.issue("leaf", |leaf| leaf.crl_distribution_points = vec![point])
        })
        .collect();
    let lists = ListCache::default();
    lists.keep(true);
    let good = host(longest.clone());
    for leaf in &leaves {
        assert!(check(&good, &lists, leaf, &root).starts_with("good"));
    }
    let nobody = MemoryHost::default();
    let is_kept = |leaf: &&Issued| check(&nobody, &lists, leaf, &root).starts_with("good");
    assert_eq!(leaves.iter().filter(is_kept).count(), 3);
    assert!(longest.len() * 4 > 96 << 20, "a fourth would be too much");
}
