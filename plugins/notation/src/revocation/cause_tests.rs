//! Why it is not known whether a certificate is revoked: what a report says to whoever has to mend it.

use bytes::Bytes;
use futures_util::FutureExt as _;
use ratify_core::{ErrorCode, FetchRequest, executor::testing::MemoryHost};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CrlScope, ExtendedKeyUsagePurpose, date_time_ymd,
};

use super::{
    tests::{LIST, NOW, Responder, moment, now, serving, with_list, with_responder},
    *,
};
use crate::testing::{Authority, Issued, has_openssl, list, revoked, signed_list};

/// What is to be done about a leaf of which nothing is known.
fn remediation(host: &MemoryHost, leaf: &Issued, root: &Authority, now: Moment) -> String {
    let lists = ListCache::default();
    let revocation = Revocation { host: &host.shared(), lists: &lists, now };
    let chain = [leaf.certificate.clone(), root.certificate.clone()];
    let whose = Whose { purpose: Purpose::CodeSigning, anchor: 1, signing_time: None };
    let refusal = revocation.check(&chain, whose).now_or_never().unwrap().unwrap_err();
    assert!(refusal.to_string().ends_with(" revocation status is unknown"));
    let words = "Mend what keeps revocation from being known: ";
    refusal.remediation().strip_prefix(words).unwrap().to_owned()
}

struct Lab {
    root: Authority,
    leaf: Issued,
}

impl Lab {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let root = Authority::root("root");
        Self { leaf: root.issue("leaf", change), root }
    }

    fn of_host(&self, host: &MemoryHost) -> String {
        remediation(host, &self.leaf, &self.root, moment(NOW))
    }

    fn of_list(&self, bytes: Bytes) -> String {
        self.of_host(&serving(bytes))
    }

    fn at(&self, now: &str) -> String {
        let host = serving(signed_list(list(), &self.root));
        remediation(&host, &self.leaf, &self.root, moment(now))
    }
}

fn failing(error: fn() -> Error) -> MemoryHost {
    MemoryHost::default().fetching(move |_: &FetchRequest| Err(error()))
}

#[test]
fn a_list_that_cannot_be_had() {
    let lab = Lab::new(with_list);
    let of = |error| lab.of_host(&failing(error));
    insta::assert_snapshot!(of(|| ErrorCode::ReferrerStoreFailure.detail("connection refused").passing(true)), @"failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: REFERRER_STORE_FAILURE: connection refused");
    insta::assert_snapshot!(of(|| ErrorCode::ResourceNotFound.detail("404")), @"failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: RESOURCE_NOT_FOUND: 404");
    insta::assert_snapshot!(of(|| ErrorCode::ReferrerStoreFailure.detail("it has more than 33554431 bytes")), @"failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: REFERRER_STORE_FAILURE: it has more than 33554431 bytes");
    insta::assert_snapshot!(of(|| ErrorCode::ReferrerStoreFailure.detail("it took longer than 5s")), @"failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: REFERRER_STORE_FAILURE: it took longer than 5s");
    insta::assert_snapshot!(lab.of_host(&MemoryHost::default()), @"failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: OPERATION_FORBIDDEN: nothing is fetched here");
    // Nothing in it is more than a line, or long, whoever wrote it.
    let shouted = of(|| ErrorCode::ReferrerStoreFailure.detail("\u{1b}[2J\r\n".repeat(1_000)));
    assert!(shouted.len() <= 512 && shouted.ends_with("..."), "{shouted}");
    assert!(!shouted.chars().any(char::is_control), "{shouted}");
    let at = |url: &'static str| {
        let point = CrlDistributionPoint { uris: vec![url.into()] };
        Lab::new(|leaf| leaf.crl_distribution_points = vec![point]).of_list(Bytes::new())
    };
    insta::assert_snapshot!(at("https://list.example.com/a"), @"failed to download CRL from https://list.example.com/a: unsupported scheme. Only supports CRL URL in HTTP protocol");
    insta::assert_snapshot!(at("file:///etc/passwd"), @"failed to download CRL from file:///etc/passwd: unsupported scheme. Only supports CRL URL in HTTP protocol");
    let many = Lab::new(|leaf| {
        let point = |number| CrlDistributionPoint { uris: vec![format!("{LIST}{number}")] };
        leaf.crl_distribution_points = (0..11).map(point).collect();
    });
    insta::assert_snapshot!(many.of_list(Bytes::new()), @"it names more than 10 lists");
}

#[test]
fn a_list_that_does_not_stand_for_the_certificate() {
    let lab = Lab::new(with_list);
    insta::assert_snapshot!(lab.of_list(signed_list(list(), &Authority::root("root"))), @"the CRL from http://list.example.com/a.crl: CRL is not signed by CA CN=root,O=Lab,ST=WA,C=US: x509: ECDSA verification failure");
    insta::assert_snapshot!(lab.of_list(signed_list(list(), &Authority::root("other"))), @"the CRL from http://list.example.com/a.crl: CRL is not signed by CA CN=root,O=Lab,ST=WA,C=US: it is another issuer's");
    insta::assert_snapshot!(lab.at("2024-06-01T00:00:01Z"), @"the CRL from http://list.example.com/a.crl: expired CRL. Current time 2024-06-01T00:00:01Z is after CRL NextUpdate 2024-06-01T00:00:00Z");
    insta::assert_snapshot!(lab.at("2024-04-30T00:00:00Z"), @"the CRL from http://list.example.com/a.crl: the CRL is of a time that is not yet");
    let of_places = |uris, scope| {
        let distribution_point = CrlDistributionPoint { uris };
        let part = CrlIssuingDistributionPoint { distribution_point, scope };
        let issuing_distribution_point = Some(part);
        let list = CertificateRevocationListParams { issuing_distribution_point, ..list() };
        lab.of_list(signed_list(list, &lab.root))
    };
    let part = |uri: &str, scope| of_places(vec![uri.to_owned()], scope);
    insta::assert_snapshot!(of_places(vec![LIST.to_owned(); 3000], None), @"the CRL from http://list.example.com/a.crl: an issuing distribution point of more than 65536 bytes");
    insta::assert_snapshot!(part("http://list.example.com/b.crl", None), @"the CRL from http://list.example.com/a.crl: the CRL is of a distribution point that the certificate does not name");
    insta::assert_snapshot!(part(LIST, Some(CrlScope::CaCertsOnly)), @"the CRL from http://list.example.com/a.crl: the CRL is not about certificates of this kind");
}

#[test]
fn a_list_that_is_none() {
    let lab = Lab::new(with_list);
    insta::assert_snapshot!(lab.of_list(Bytes::new()), @"failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: CERT_INVALID: x509: malformed crl: ASN.1 DER message is incomplete: expected 1, actual 0 at DER byte 0");
    insta::assert_snapshot!(lab.of_list(Bytes::from_static(b"<html>")), @"failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: CERT_INVALID: x509: malformed crl: unknown/unsupported ASN.1 DER tag: 0x3c");
    insta::assert_snapshot!(lab.of_list(lab.leaf.certificate.der().to_vec().into()), @"failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: CERT_INVALID: x509: malformed crl: unexpected ASN.1 DER tag: expected SEQUENCE, got CONTEXT-SPECIFIC [0] (constructed) at DER byte 2");
    let of_one = || {
        let revoked_certs = vec![revoked(&lab.root.certificate)];
        signed_list(CertificateRevocationListParams { revoked_certs, ..list() }, &lab.root)
    };
    let half = of_one().slice(..of_one().len() / 2);
    assert!(lab.of_list(half).contains("x509: malformed crl: "));
    let mut changed = of_one().to_vec();
    *changed.last_mut().unwrap() ^= 1;
    insta::assert_snapshot!(lab.of_list(changed.into()), @"the CRL from http://list.example.com/a.crl: CRL is not signed by CA CN=root,O=Lab,ST=WA,C=US: x509: ECDSA verification failure");
}

#[test]
fn an_answer_of_a_responder() {
    let lab = Lab::new(|leaf| with_responder(leaf, &[]));
    let of = |error| lab.of_host(&failing(error));
    insta::assert_snapshot!(of(|| ErrorCode::ReferrerStoreFailure.detail("connection refused").passing(true)), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: REFERRER_STORE_FAILURE: connection refused");
    let of = |bytes: &'static [u8]| {
        lab.of_host(&MemoryHost::default().fetching(move |_| Ok(Bytes::from_static(bytes))))
    };
    insta::assert_snapshot!(of(b""), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: malformed: ASN.1 DER message is incomplete: expected 1, actual 0 at DER byte 0");
    insta::assert_snapshot!(of(b"<html>"), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: malformed: unknown/unsupported ASN.1 DER tag: 0x3c");
    // OCSPResponse of a status alone: malformedRequest, tryLater, unauthorized.
    insta::assert_snapshot!(of(b"\x30\x03\x0a\x01\x01"), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: OCSP MalformedRequest");
    insta::assert_snapshot!(of(b"\x30\x03\x0a\x01\x03"), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: OCSP TryLater");
    insta::assert_snapshot!(of(b"\x30\x03\x0a\x01\x06"), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: OCSP Unauthorized");
    let either = Lab::new(|leaf| with_responder(leaf, &[LIST]));
    let host = failing(|| ErrorCode::ResourceNotFound.detail("404"));
    insta::assert_snapshot!(either.of_host(&host), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: RESOURCE_NOT_FOUND: 404; failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: RESOURCE_NOT_FOUND: 404");
    if !has_openssl() {
        return;
    }
    let real = |signer: Option<&Issued>, status: &str, now: Moment| {
        let host = Responder::new(&lab.root, signer, &lab.leaf.certificate, status).host();
        remediation(&host, &lab.leaf, &lab.root, now)
    };
    insta::assert_snapshot!(real(None, "", now()), @"certificate has unknown status via OCSP");
    let later = now().plus_nanos(2 * 86_400 * 1_000_000_000);
    insta::assert_snapshot!(real(None, "good", later), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: expired OCSP response");
    insta::assert_snapshot!(real(Some(&lab.root.leaf("anybody")), "good", now()), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: bad OCSP signature: the responder's certificate is not for that");
    let ended = lab.root.issue("ended", |of| {
        of.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        of.not_after = date_time_ymd(2024, 1, 1);
    });
    insta::assert_snapshot!(real(Some(&ended), "good", now()), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: bad OCSP signature: the responder's certificate is not valid now");
    insta::assert_snapshot!(real(Some(&Authority::root("root").leaf("x")), "good", now()), @"OCSP at http://ocsp.example.com: error checking revocation status via OCSP: bad OCSP signature: x509: ECDSA verification failure");
}
