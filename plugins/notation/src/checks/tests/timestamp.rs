//! Timestamps of a signature, in both forms of an envelope: real ones of `openssl ts`, those that it
//! would not make, and all that is wrong with them.

use std::fs;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use coset::{CoseSign1, Label};
use ratify_core::executor::testing::openssl::signed_anew;
use rcgen::{CertificateRevocationListParams, ExtendedKeyUsagePurpose};

use super::*;
use crate::testing::{
    Issued, for_timestamps, has_openssl, list, openssl, purpose, revoked, signed_list,
    timestamp_authority, token,
};

const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";

/// Who signs, who says when, and who trusts both.
struct Lab {
    root: Authority,
    leaf: Issued,
    clocks: Authority,
    between: Authority,
    host: MemoryHost,
}

/// A signature in each form, without a timestamp.
struct Signed {
    document: Value,
    signature: Vec<u8>,
    message: CoseSign1,
}

impl Signed {
    fn signatures(&self) -> [&[u8]; 2] {
        [&self.signature, &self.message.signature]
    }

    fn stamped(&self, timestamps: &[Vec<u8>; 2]) -> [(&'static str, Vec<u8>); 2] {
        let [of_jws, of_cose] = timestamps;
        let (mut document, mut message) = (self.document.clone(), self.message.clone());
        document["header"][TIMESTAMP] = BASE64_STANDARD.encode(of_jws).into();
        let of_cose = coset::cbor::Value::Bytes(of_cose.clone());
        message.unprotected.rest.push((Label::Text(TIMESTAMP.to_owned()), of_cose));
        let bytes = document.to_string().into_bytes();
        [(envelope::JWS, bytes), (envelope::COSE, message.to_tagged_vec().unwrap())]
    }
}

impl Lab {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(leaf: impl FnOnce(&mut CertificateParams)) -> Self {
        let (root, clocks) = (Authority::root("root"), Authority::root("clocks"));
        let (leaf, between) = (root.issue("leaf", leaf), clocks.authority("between"));
        let host = host_trusting(&[&root.certificate])
            .with_certificates("clocks", [clocks.certificate.der()]);
        Self { root, leaf, clocks, between, host }
    }

    fn clock(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.between.issue("clock", change)
    }

    /// A token of a clock over a signature.
    fn token(&self, clock: &Issued, signature: &[u8]) -> Vec<u8> {
        token(clock, &[&self.between.certificate], signature)
    }

    fn signed(&self) -> Signed {
        let chain = [&self.leaf.certificate, &self.root.certificate];
        let [(_, of_jws), (_, of_cose)] = both(&self.leaf.key, &chain, None);
        let document: Value = serde_json::from_slice(&of_jws).unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(document["signature"].as_str().unwrap());
        Signed {
            document,
            signature: signature.unwrap(),
            message: CoseSign1::from_tagged_slice(&of_cose).unwrap(),
        }
    }

    fn trial<'a>(&self, host: &'a MemoryHost) -> Trial<'a> {
        Trial::of(host, json!({"trustStores": ["ca:certs", "tsa:clocks"]}))
    }

    /// What becomes of a signature with what `stamp` makes of its bytes.
    fn told_of(&self, host: &MemoryHost, stamp: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let signed = self.signed();
        let timestamps = signed.signatures().map(stamp);
        self.trial(host).told(&signed.stamped(&timestamps))
    }

    fn told(&self, stamp: impl Fn(&[u8]) -> Vec<u8>) -> String {
        self.told_of(&self.host, stamp)
    }

    /// What becomes of a signature with a real token of a clock with these changes.
    fn told_by(&self, change: impl FnOnce(&mut CertificateParams)) -> String {
        let clock = self.clock(change);
        self.told(|signature| self.token(&clock, signature))
    }
}

/// Signed data of `openssl cms` over what a real token says with another time, by whoever signs. It
/// names the certificate as a token does.
fn signed_by(signer: &Issued, chain: &[&Certificate], token: &[u8], time: Option<&str>) -> Vec<u8> {
    let authority = timestamp_authority(signer, chain);
    signed_anew(authority.path(), authority.path(), token, time)
}

#[test]
fn a_timestamp_that_is_none_or_of_something_else_is_refused() {
    if !has_openssl() {
        return;
    }
    let lab = Lab::new();
    let clock = lab.clock(for_timestamps);
    assert_eq!(lab.told(|signature| lab.token(&clock, signature)), "good");
    insta::assert_snapshot!(lab.told(|_| Vec::new()), @"no timestamp countersignature was found in the signature envelope");
    insta::assert_snapshot!(lab.told(|_| b"a time".to_vec()), @"failed to parse timestamp countersignature with error: cms: syntax error: invalid signed data: failed to convert from BER to DER: it ends before its length");
    insta::assert_snapshot!(lab.told(|_| clock.certificate.der().to_vec()), @"failed to parse timestamp countersignature with error: cms: syntax error: invalid signed data: unexpected ASN.1 DER tag: expected OBJECT IDENTIFIER, got SEQUENCE at DER byte 4");
    insta::assert_snapshot!(lab.told(|_| lab.token(&clock, b"of another")), @"failed to get timestamp from timestamp countersignature with error: invalid TSTInfo: mismatched message");
    let cut = |signature: &[u8]| {
        let token = lab.token(&clock, signature);
        token[..token.len() / 2].to_vec()
    };
    insta::assert_snapshot!(lab.told(cut), @"failed to parse timestamp countersignature with error: cms: syntax error: invalid signed data: failed to convert from BER to DER: it ends before its length");
    let signed = lab.signed();
    let twice = signed.signatures().map(|signature| lab.token(&clock, signature).repeat(2));
    for (media_type, bytes) in signed.stamped(&twice) {
        let refusal = Trial { media_type, ..lab.trial(&lab.host) }.run(&bytes).unwrap_err();
        assert!(refusal.contains("trailing data at end of DER message"), "{refusal}");
    }
    let folder = timestamp_authority(&clock, &[]);
    let other = |options: &str| {
        let sign = "cms -sign -binary -nodetach -signer signer.pem -inkey key.pem -in key.pem";
        openssl(folder.path(), &format!("{sign} -outform DER -out signed{options}"));
        let signed = fs::read(folder.path().join("signed")).unwrap();
        lab.told(|_| signed.clone())
    };
    insta::assert_snapshot!(other(""), @"failed to parse timestamp countersignature with error: cms: syntax error: unsupported signed data version: want 3");
    insta::assert_snapshot!(other(" -econtent_type 1.2.3.4"), @"failed to parse timestamp countersignature with error: unexpected content type: 1.2.3.4. Expected to be id-ct-TSTInfo (1.2.840.113549.1.9.16.1.4)");
    insta::assert_snapshot!(other(" -econtent_type 1.2.840.113549.1.9.16.1.4"), @"failed to get timestamp from timestamp countersignature with error: cannot unmarshal TSTInfo from timestamp token: unknown/unsupported ASN.1 DER tag: 0x2d");
}

#[test]
fn a_timestamp_of_nobody_who_is_trusted_then_and_for_that_is_refused() {
    if !has_openssl() {
        return;
    }
    let lab = Lab::new();
    let stranger = Lab::new();
    let clock = stranger.clock(for_timestamps);
    insta::assert_snapshot!(lab.told(|signature| stranger.token(&clock, signature)), @"failed to verify the timestamp countersignature with error: failed to verify signed token: cms verification failure: x509: certificate signed by unknown authority");
    let ended = |of: &mut CertificateParams| {
        for_timestamps(of);
        of.not_after = date_time_ymd(2024, 6, 1);
    };
    insta::assert_snapshot!(lab.told_by(ended), @"failed to verify the timestamp countersignature with error: failed to verify signed token: cms verification failure: x509: certificate has expired or is not yet valid");
    let later = |of: &mut CertificateParams| {
        for_timestamps(of);
        of.not_before = date_time_ymd(2090, 1, 1);
    };
    insta::assert_snapshot!(lab.told_by(later), @"failed to verify the timestamp countersignature with error: failed to verify signed token: cms verification failure: x509: certificate has expired or is not yet valid");
    // Of an authority for images, not one for times.
    let of_images = lab.root.issue("clock", for_timestamps);
    insta::assert_snapshot!(lab.told(|signature| token(&of_images, &[&lab.root.certificate], signature)), @"failed to verify the timestamp countersignature with error: failed to verify signed token: cms verification failure: x509: certificate signed by unknown authority");
    let nobody = host_trusting(&[&lab.root.certificate]);
    let nobody = lab.told_of(&nobody, |signature| lab.token(&lab.clock(for_timestamps), signature));
    insta::assert_snapshot!(nobody, @"failed to load tsa trust store with error: RESOURCE_NOT_FOUND: unable to fetch certificates from Key Management Provider and Certificate Store: clocks: The key management provider [clocks] does not exist: Make sure the key management provider: clocks is created in the namespace: [] or as a cluster-wide resource.");
}

#[test]
fn a_timestamp_by_a_certificate_for_something_else_is_refused() {
    if !has_openssl() {
        return;
    }
    let lab = Lab::new();
    let clock = lab.clock(for_timestamps);
    let by = |change: &dyn Fn(&mut CertificateParams)| {
        let signer = lab.clock(change);
        lab.told(|signature| {
            let token = lab.token(&clock, signature);
            signed_by(&signer, &[&lab.between.certificate], &token, None)
        })
    };
    assert_eq!(by(&for_timestamps), "good");
    insta::assert_snapshot!(by(&|_| ()), @r#"failed to validate the timestamping certificate chain with error: timestamp signing certificate with subject "CN=clock,O=Lab,ST=WA,C=US" must have and only have Timestamping as extended key usage"#);
    insta::assert_snapshot!(by(&|of| of.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]), @"failed to verify the timestamp countersignature with error: failed to verify signed token: cms verification failure: x509: certificate specifies an incompatible key usage");
    insta::assert_snapshot!(by(&|of| of.custom_extensions.push(purpose(8, false))), @r#"failed to validate the timestamping certificate chain with error: timestamp signing certificate with subject "CN=clock,O=Lab,ST=WA,C=US" must have extended key usage extension marked as critical"#);
    let of_two = vec![ExtendedKeyUsagePurpose::TimeStamping, ExtendedKeyUsagePurpose::CodeSigning];
    insta::assert_snapshot!(by(&|of| of.extended_key_usages = of_two.clone()), @r#"failed to validate the timestamping certificate chain with error: timestamp signing certificate with subject "CN=clock,O=Lab,ST=WA,C=US" must have and only have Timestamping as extended key usage"#);
    let no_signer = |of: &mut CertificateParams| {
        for_timestamps(of);
        of.key_usages = vec![rcgen::KeyUsagePurpose::ContentCommitment];
    };
    insta::assert_snapshot!(by(&no_signer), @r#"failed to validate the timestamping certificate chain with error: the certificate with subject "CN=clock,O=Lab,ST=WA,C=US" is invalid. The key usage must have the bit positions for "Digital Signature" set"#);
    insta::assert_snapshot!(lab.told(|signature| {
        let token = lab.token(&clock, signature);
        signed_by(&lab.leaf, &[&lab.between.certificate], &token, None)
    }), @"failed to verify the timestamp countersignature with error: failed to verify signed token: cms verification failure: x509: certificate signed by unknown authority");
}

#[test]
fn a_timestamp_outside_of_what_it_is_about_is_refused() {
    if !has_openssl() {
        return;
    }
    let from_to = |from, to| {
        let lab = Lab::with(|of| {
            of.not_before = date_time_ymd(from, 1, 1);
            of.not_after = date_time_ymd(to, 1, 1);
        });
        lab.told_by(for_timestamps)
    };
    assert_eq!(from_to(2024, 2090), "good");
    insta::assert_snapshot!(from_to(2024, 2025), @r#"timestamp can be after certificate "CN=leaf,O=Lab,ST=WA,C=US" validity period, it was expired at "Wed, 01 Jan 2025 00:00:00 +0000""#);
    insta::assert_snapshot!(from_to(2090, 2091), @r#"timestamp can be before certificate "CN=leaf,O=Lab,ST=WA,C=US" validity period, it will be valid from "Sun, 01 Jan 2090 00:00:00 +0000""#);
    // The accuracy of these is a bit more than a second.
    let lab = Lab::with(|of| {
        of.not_before = date_time_ymd(2024, 1, 1);
        of.not_after = date_time_ymd(2024, 6, 1);
    });
    let clock = lab.clock(for_timestamps);
    let at = |time: &str| {
        lab.told(|signature| {
            let token = lab.token(&clock, signature);
            signed_by(&clock, &[&lab.between.certificate], &token, Some(time))
        })
    };
    assert_eq!(at("20240506070811Z"), "good", "two seconds after the signature");
    assert_eq!(at("20240531235958Z"), "good", "two seconds before the end");
    insta::assert_snapshot!(at("20240506070810Z"), @r#"timestamp [2024-05-06T07:08:08Z, 2024-05-06T07:08:11Z] is not bounded after the signing time "2024-05-06 07:08:09 +0000 UTC""#);
    insta::assert_snapshot!(at("20240505070809Z"), @r#"timestamp [2024-05-05T07:08:07Z, 2024-05-05T07:08:10Z] is not bounded after the signing time "2024-05-06 07:08:09 +0000 UTC""#);
    insta::assert_snapshot!(at("20240531235959Z"), @r#"timestamp can be after certificate "CN=leaf,O=Lab,ST=WA,C=US" validity period, it was expired at "Sat, 01 Jun 2024 00:00:00 +0000""#);
    insta::assert_snapshot!(at("20241301000000Z"), @"failed to get timestamp from timestamp countersignature with error: cannot unmarshal TSTInfo from timestamp token: malformed ASN.1 DER value for GeneralizedTime");
}

#[test]
fn a_timestamp_of_a_revoked_certificate_or_one_of_which_nobody_knows_is_refused() {
    if !has_openssl() {
        return;
    }
    let lab = Lab::new();
    let clock = lab.clock(|of| {
        for_timestamps(of);
        lists(of);
    });
    let hosting = |all: &[&Certificate]| {
        let revoked_certs = all.iter().map(|one| revoked(one)).collect();
        let list = CertificateRevocationListParams { revoked_certs, ..list() };
        let list = signed_list(list, &lab.between);
        let host = host_trusting(&[&lab.root.certificate]);
        let host = host.with_certificates("clocks", [lab.clocks.certificate.der()]);
        host.fetching(move |_| Ok(list.clone()))
    };
    let told = |host: &MemoryHost| lab.told_of(host, |signature| lab.token(&clock, signature));
    assert_eq!(told(&hosting(&[])), "good");
    insta::assert_snapshot!(told(&hosting(&[&clock.certificate])), @r#"timestamping certificate with subject "CN=clock,O=Lab,ST=WA,C=US" is revoked"#);
    insta::assert_snapshot!(told(&hosting(&[]).fetching(nobody_answers)), @r#"timestamping certificate with subject "CN=clock,O=Lab,ST=WA,C=US" revocation status is unknown"#);
}

#[test]
fn a_byte_of_a_timestamp_that_is_changed_is_refused_where_it_is_read() {
    if !has_openssl() {
        return;
    }
    let lab = Lab::new();
    let clock = lab.clock(for_timestamps);
    let refusals = [
        "failed to parse timestamp countersignature with error: ",
        "failed to get timestamp from timestamp countersignature with error: ",
        "failed to verify the timestamp countersignature with error: failed to verify signed token: ",
    ];
    let signed = lab.signed();
    let tokens = signed.signatures().map(|signature| lab.token(&clock, signature));
    let shortest = tokens[0].len().min(tokens[1].len());
    for at in (0..shortest).step_by(3) {
        let mut changed = tokens.clone();
        changed.iter_mut().for_each(|token| token[at] ^= 0x11);
        for ((media_type, bytes), token) in signed.stamped(&changed).iter().zip(&tokens) {
            match (Trial { media_type, ..lab.trial(&lab.host) }).run(bytes) {
                Ok(_) => assert!(is_unread(token, at), "{at}"),
                Err(told) => {
                    assert!(refusals.iter().any(|of| told.starts_with(of)), "{at}: {told}");
                }
            }
        }
    }
}

/// Whether a place in a token may be changed without harm. SHA-256 is named in the list of all digests,
/// which nobody reads, and by the signer, whose algorithm has no parameters that count.
fn is_unread(token: &[u8], at: usize) -> bool {
    let sha256 = b"\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00";
    let is_it = |at: &usize| token[*at..].starts_with(sha256);
    let places: Vec<usize> = (0..token.len()).filter(is_it).collect();
    let (first, last) = (places[0], places[places.len() - 1]);
    (first - 2..first + 15).contains(&at) || (last + 13..last + 15).contains(&at)
}
