//! Certificates in all orders but the right one, of strangers, at the wrong time and revoked, in both forms
//! of an envelope.

use rcgen::CertificateRevocationListParams;

use super::*;
use crate::testing::{Issued, list, revoked, signed_list};

/// A root, an authority between it and a leaf, and who trusts the root.
struct Lab {
    root: Authority,
    between: Authority,
    leaf: Issued,
    host: MemoryHost,
}

impl Lab {
    fn new() -> Self {
        Self::with(|_| (), |_| ())
    }

    fn with(
        between: impl FnOnce(&mut CertificateParams),
        leaf: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let root = Authority::root("root");
        let between = root.issue_authority("between", between);
        let leaf = between.issue("leaf", leaf);
        let host = host_trusting(&[&root.certificate]);
        Self { root, between, leaf, host }
    }

    fn whole(&self) -> [&Certificate; 3] {
        [&self.leaf.certificate, &self.between.certificate, &self.root.certificate]
    }

    fn trial(&self) -> Trial<'_> {
        Trial::of(&self.host, json!({}))
    }

    /// What becomes of a signature of the leaf with these certificates.
    fn told(&self, chain: &[&Certificate]) -> String {
        self.trial().told(&both(&self.leaf.key, chain, None))
    }
}

#[test]
fn a_chain_that_is_reordered_doubled_or_not_whole_is_refused() {
    let lab = Lab::new();
    let [leaf, between, root] = lab.whole();
    assert_eq!(lab.told(&[leaf, between, root]), "good");
    insta::assert_snapshot!(lab.told(&[leaf, root, between]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is not issued by "CN=root,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
    insta::assert_snapshot!(lab.told(&[leaf, between]), @r#"certificate-chain is invalid, root certificate with subject "CN=between,O=Lab,ST=WA,C=US" is invalid or not self-signed. Certificate chain must end with a valid self-signed root certificate. Error: x509: ECDSA verification failure"#);
    insta::assert_snapshot!(lab.told(&[leaf, root]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is not issued by "CN=root,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
    insta::assert_snapshot!(lab.told(&[leaf]), @r#"certificate-chain is invalid, invalid self-signed certificate. subject: "CN=leaf,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
    insta::assert_snapshot!(lab.told(&[leaf, leaf, between, root]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is not issued by "CN=leaf,O=Lab,ST=WA,C=US". Error: x509: invalid signature: parent certificate cannot sign this kind of certificate"#);
    insta::assert_snapshot!(lab.told(&[leaf, between, between, root]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=between,O=Lab,ST=WA,C=US" is not issued by "CN=between,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
    insta::assert_snapshot!(lab.told(&[leaf, between, root, root]), @r#"certificate-chain is invalid, intermediate certificate with subject "CN=root,O=Lab,ST=WA,C=US" is self-signed. Certificate chain must not contain self-signed intermediate certificate"#);
    insta::assert_snapshot!(lab.told(&[leaf, between, root, leaf, between, root]), @r#"certificate-chain is invalid, intermediate certificate with subject "CN=root,O=Lab,ST=WA,C=US" is self-signed. Certificate chain must not contain self-signed intermediate certificate"#);
    // Who signed comes first; where it does not, another's key did not sign, or is not for that.
    for first in [between, root] {
        for (media_type, bytes) in both(&lab.leaf.key, &[first, leaf, root], None) {
            let refusal = Trial { media_type, ..lab.trial() }.run(&bytes).unwrap_err();
            assert!(refusal.starts_with("signature is invalid. Error: "), "{refusal}");
        }
    }
    let by_authority =
        |chain: &[&Certificate]| lab.trial().told(&both(lab.between.issuer.key(), chain, None));
    insta::assert_snapshot!(by_authority(&[between, leaf, root]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=between,O=Lab,ST=WA,C=US" is not issued by "CN=leaf,O=Lab,ST=WA,C=US". Error: x509: invalid signature: parent certificate cannot sign this kind of certificate"#);
    insta::assert_snapshot!(by_authority(&[between, root]), @r#"certificate-chain is invalid, certificate with subject "CN=between,O=Lab,ST=WA,C=US": if the basic constraints extension is present, the ca field must be set to false"#);
}

#[test]
fn a_leaf_that_signed_itself_stands_alone_and_is_trusted_itself() {
    let lab = Lab::new();
    let alone = Issued::self_signed("leaf");
    let told =
        |trial: Trial<'_>, chain: &[&Certificate]| trial.told(&both(&alone.key, chain, None));
    let host = host_trusting(&[&alone.certificate]);
    let trusting = || Trial::of(&host, json!({}));
    assert_eq!(told(trusting(), &[&alone.certificate]), "good");
    insta::assert_snapshot!(told(lab.trial(), &[&alone.certificate]), @"signature is not produced by a trusted signer");
    let [_, between, root] = lab.whole();
    insta::assert_snapshot!(told(lab.trial(), &[&alone.certificate, between, root]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is not issued by "CN=between,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
    insta::assert_snapshot!(told(trusting(), &[&alone.certificate, between, root]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is not issued by "CN=between,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
    insta::assert_snapshot!(told(trusting(), &[&alone.certificate, &alone.certificate]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is not issued by "CN=leaf,O=Lab,ST=WA,C=US". Error: x509: invalid signature: parent certificate cannot sign this kind of certificate"#);
}

#[test]
fn a_stranger_is_not_trusted_for_the_names_or_certificates_that_it_brings() {
    let lab = Lab::new();
    let [_, between, root] = lab.whole();
    let stranger = Lab::new();
    let told = |chain: &[&Certificate]| lab.trial().told(&both(&stranger.leaf.key, chain, None));
    let [leaf, own_between, own_root] = stranger.whole();
    insta::assert_snapshot!(told(&[leaf, own_between, own_root]), @"signature is not produced by a trusted signer");
    insta::assert_snapshot!(told(&[leaf, between, root]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is not issued by "CN=between,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
    insta::assert_snapshot!(told(&[leaf, own_between, root]), @r#"certificate-chain is invalid, invalid certificates or certificate with subject "CN=between,O=Lab,ST=WA,C=US" is not issued by "CN=root,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
    insta::assert_snapshot!(told(&[leaf, own_between, own_root, root]), @r#"certificate-chain is invalid, intermediate certificate with subject "CN=root,O=Lab,ST=WA,C=US" is self-signed. Certificate chain must not contain self-signed intermediate certificate"#);
}

#[test]
fn a_signature_that_has_expired_is_refused_in_each_form() {
    let lab = Lab::new();
    let signed = both(&lab.leaf.key, &lab.whole(), Some(moment("2024-06-01T08:00:00Z")));
    assert_eq!(lab.trial().told(&signed), "good");
    assert_eq!(lab.trial().at("2024-06-01T07:59:59Z").told(&signed), "good");
    insta::assert_snapshot!(lab.trial().at("2024-06-01T08:00:00Z").told(&signed), @r#"digital signature has expired on "Sat, 01 Jun 2024 08:00:00 +0000""#);
}

#[test]
fn certificates_that_ended_or_are_not_valid_yet_are_refused_in_each_form() {
    let year = |of: &mut CertificateParams| {
        of.not_before = date_time_ymd(2024, 1, 1);
        of.not_after = date_time_ymd(2025, 1, 1);
    };
    let of_leaf = Lab::with(|_| (), year);
    let told =
        |lab: &Lab, now: &str| lab.trial().at(now).told(&both(&lab.leaf.key, &lab.whole(), None));
    assert_eq!(told(&of_leaf, "2024-01-01T00:00:00Z"), "good");
    assert_eq!(told(&of_leaf, "2025-01-01T00:00:00Z"), "good");
    insta::assert_snapshot!(told(&of_leaf, "2023-12-31T23:59:59Z"), @r#"verification time is before certificate "CN=leaf,O=Lab,ST=WA,C=US" validity period, it will be valid from "Mon, 01 Jan 2024 00:00:00 +0000""#);
    insta::assert_snapshot!(told(&of_leaf, "2025-01-01T00:00:01Z"), @r#"verification time is after certificate "CN=leaf,O=Lab,ST=WA,C=US" validity period, it was expired at "Wed, 01 Jan 2025 00:00:00 +0000""#);
    let of_between = Lab::with(year, |_| ());
    insta::assert_snapshot!(told(&of_between, "2023-12-31T23:59:59Z"), @r#"verification time is before certificate "CN=between,O=Lab,ST=WA,C=US" validity period, it will be valid from "Mon, 01 Jan 2024 00:00:00 +0000""#);
    insta::assert_snapshot!(told(&of_between, "2025-01-01T00:00:01Z"), @r#"verification time is after certificate "CN=between,O=Lab,ST=WA,C=US" validity period, it was expired at "Wed, 01 Jan 2025 00:00:00 +0000""#);
}

#[test]
fn certificates_that_are_revoked_are_refused_in_each_form() {
    const UPPER: &str = "http://list.example.com/upper.crl";
    let upper = |of: &mut CertificateParams| {
        of.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![UPPER.into()] }];
    };
    let lab = Lab::with(upper, lists);
    let told = |of_between: &[&Certificate], of_root: &[&Certificate]| {
        let list = |by: &Authority, all: &[&Certificate]| {
            let revoked_certs = all.iter().map(|one| revoked(one)).collect();
            signed_list(CertificateRevocationListParams { revoked_certs, ..list() }, by)
        };
        let (lower, upper) = (list(&lab.between, of_between), list(&lab.root, of_root));
        let host = host_trusting(&[&lab.root.certificate]).fetching(move |request| {
            Ok(if request.url == UPPER { upper.clone() } else { lower.clone() })
        });
        Trial::of(&host, json!({})).told(&both(&lab.leaf.key, &lab.whole(), None))
    };
    let [leaf, between, root] = lab.whole();
    assert_eq!(told(&[], &[]), "good");
    assert_eq!(told(&[between, root], &[leaf]), "good", "others of that authority");
    insta::assert_snapshot!(told(&[leaf], &[]), @r#"signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is revoked"#);
    insta::assert_snapshot!(told(&[], &[between]), @r#"signing certificate with subject "CN=between,O=Lab,ST=WA,C=US" is revoked"#);
    insta::assert_snapshot!(told(&[leaf], &[between]), @r#"signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is revoked"#);
    let host = host_trusting(&[root]).fetching(nobody_answers);
    let of_nobody = Trial::of(&host, json!({})).told(&both(&lab.leaf.key, &lab.whole(), None));
    insta::assert_snapshot!(of_nobody, @r#"signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" revocation status is unknown"#);
}
