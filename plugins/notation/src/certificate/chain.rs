//! The Notary Project's rules for the certificates of a signature and of a timestamp (signature
//! specification, "Certificate Requirements"), in notation-core-go's words.

use x509_cert::{der::asn1::ObjectIdentifier, ext::pkix::KeyUsage};

use super::Certificate;
use crate::{envelope::Algorithm, go::quoted};

const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const EMAIL_PROTECTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");

/// What no certificate that signs images is for.
const EXCLUDED: [(ObjectIdentifier, &str); 5] = [
    (SERVER_AUTH, "ServerAuth"),
    (CLIENT_AUTH, "ClientAuth"),
    (EMAIL_PROTECTION, "EmailProtection"),
    (TIME_STAMPING, "Timestamping"),
    (OCSP_SIGNING, "OCSPSigning"),
];

/// What a chain of certificates is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Signing images.
    CodeSigning,
    /// Saying what time it is.
    Timestamping,
}

/// Whether the certificates are in order, from the leaf to the root that signed itself, and each is
/// what it must be in its place. When they are valid is not asked here.
///
/// # Errors
/// The text of why not.
pub(crate) fn check_chain(chain: &[Certificate], purpose: Purpose) -> Result<(), String> {
    match chain {
        [] => Err("certificate chain must contain at least one certificate".to_owned()),
        [alone] => check_alone(alone, purpose),
        _ => chain.iter().enumerate().try_for_each(|(at, certificate)| {
            match chain.get(at + 1) {
                Some(parent) => check_issued(certificate, parent, at == 0)?,
                None => check_root(certificate)?,
            }
            if at == 0 {
                check_leaf(certificate, purpose)
            } else {
                check_authority(certificate, at - 1, purpose)
            }
        }),
    }
}

/// A certificate that signed itself and is no authority.
fn check_alone(certificate: &Certificate, purpose: Purpose) -> Result<(), String> {
    let subject = quoted(&certificate.subject);
    certificate.check_own_signature().map_err(|error| {
        format!("invalid self-signed certificate. subject: {subject}. Error: {error}")
    })?;
    if certificate.subject_der != certificate.issuer_der {
        let space = if purpose == Purpose::Timestamping { " " } else { "" };
        return Err(format!(
            "invalid self-signed certificate. subject: {subject}. Error: issuer{space}({}) and subject{space}({}) are not the same",
            certificate.issuer, certificate.subject
        ));
    }
    check_leaf(certificate, purpose)
        .map_err(|error| format!("invalid self-signed certificate. Error: {error}"))
}

fn check_root(root: &Certificate) -> Result<(), String> {
    let subject = quoted(&root.subject);
    let must = "Certificate chain must end with a valid self-signed root certificate";
    root.check_signature_from(root).map_err(|error| format!("root certificate with subject {subject} is invalid or not self-signed. {must}. Error: {error}"))?;
    if root.subject_der != root.issuer_der {
        return Err(format!("root certificate with subject {subject} is not self-signed. {must}"));
    }
    Ok(())
}

fn check_issued(
    certificate: &Certificate,
    parent: &Certificate,
    is_leaf: bool,
) -> Result<(), String> {
    let subject = quoted(&certificate.subject);
    let is_self_signed = certificate.subject_der == certificate.issuer_der
        && certificate.check_signature_from(certificate).is_ok();
    if is_self_signed {
        let place = if is_leaf { "leaf" } else { "intermediate" };
        return Err(format!(
            "{place} certificate with subject {subject} is self-signed. Certificate chain must not contain self-signed {place} certificate"
        ));
    }
    let issuer = quoted(&parent.subject);
    certificate.check_signature_from(parent).map_err(|error| format!("invalid certificates or certificate with subject {subject} is not issued by {issuer}. Error: {error}"))?;
    if certificate.issuer_der != parent.subject_der {
        return Err(format!("certificate with subject {subject} is not issued by {issuer}"));
    }
    Ok(())
}

/// An authority, with so many others between it and the leaf.
fn check_authority(
    certificate: &Certificate,
    between: usize,
    purpose: Purpose,
) -> Result<(), String> {
    let subject = quoted(&certificate.subject);
    let constraints = certificate.constraints.as_ref().filter(|constraints| constraints.ca);
    let Some(constraints) = constraints else {
        return Err(format!(
            "certificate with subject {subject}: ca field in basic constraints must be present, critical, and set to true"
        ));
    };
    if let Some(most) = constraints.path_len_constraint
        && usize::from(most) < between
    {
        return Err(format!(
            "certificate with subject {subject}: expected path length of {between} but certificate has path length {most} instead"
        ));
    }
    if !usage(certificate, purpose)?.key_cert_sign() {
        return Err(format!(
            "certificate with subject {subject}: key usage must have the bit positions for key cert sign set"
        ));
    }
    Ok(())
}

fn check_leaf(certificate: &Certificate, purpose: Purpose) -> Result<(), String> {
    let subject = quoted(&certificate.subject);
    if certificate.is_authority() {
        return Err(format!(
            "certificate with subject {subject}: if the basic constraints extension is present, the ca field must be set to false"
        ));
    }
    check_leaf_usage(&subject, usage(certificate, purpose)?)?;
    match purpose {
        Purpose::CodeSigning => check_code_signing(certificate, &subject)?,
        Purpose::Timestamping => check_timestamping(certificate, &subject)?,
    }
    Algorithm::of_key(&certificate.key)
        .map(drop)
        .map_err(|error| format!("certificate with subject {subject}: {error}"))
}

/// What the key may be used for; it must be said, and where images are signed, critically.
fn usage(certificate: &Certificate, purpose: Purpose) -> Result<&KeyUsage, String> {
    let subject = || quoted(&certificate.subject);
    match &certificate.usage {
        None => Err(format!(
            "certificate with subject {}: key usage extension must be present",
            subject()
        )),
        Some((false, _)) if purpose == Purpose::CodeSigning => Err(format!(
            "certificate with subject {}: key usage extension must be marked critical",
            subject()
        )),
        Some((_, usage)) => Ok(usage),
    }
}

fn check_leaf_usage(subject: &str, usage: &KeyUsage) -> Result<(), String> {
    if !usage.digital_signature() {
        return Err(format!(
            "the certificate with subject {subject} is invalid. The key usage must have the bit positions for \"Digital Signature\" set"
        ));
    }
    let others = [
        (usage.key_encipherment(), "KeyEncipherment"),
        (usage.data_encipherment(), "DataEncipherment"),
        (usage.key_agreement(), "KeyAgreement"),
        (usage.key_cert_sign(), "CertSign"),
        (usage.crl_sign(), "CRLSign"),
        (usage.encipher_only(), "EncipherOnly"),
        (usage.decipher_only(), "DecipherOnly"),
    ];
    let others: Vec<String> =
        others.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| quoted(name)).collect();
    if !others.is_empty() {
        return Err(format!(
            "the certificate with subject {subject} is invalid. The key usage must be \"Digital Signature\" only, but found {}",
            others.join(", ")
        ));
    }
    Ok(())
}

fn check_code_signing(certificate: &Certificate, subject: &str) -> Result<(), String> {
    let purposes = certificate.extended_usage().unwrap_or_default();
    let excluded = purposes
        .iter()
        .find_map(|purpose| EXCLUDED.iter().find(|(excluded, _)| excluded == purpose));
    match excluded {
        Some((_, name)) => Err(format!(
            "certificate with subject {subject}: extended key usage must not contain {name} eku"
        )),
        None => Ok(()),
    }
}

fn check_timestamping(certificate: &Certificate, subject: &str) -> Result<(), String> {
    match &certificate.extended_usage {
        Some((is_critical, purposes)) if *purposes == [TIME_STAMPING] => {
            if *is_critical {
                return Ok(());
            }
            Err(format!(
                "timestamp signing certificate with subject {subject} must have extended key usage extension marked as critical"
            ))
        }
        _ => Err(format!(
            "timestamp signing certificate with subject {subject} must have and only have Timestamping as extended key usage"
        )),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

    use super::*;
    use crate::testing::{Authority, Issued};

    fn code_signing(chain: &[&Certificate]) -> Result<(), String> {
        let chain: Vec<Certificate> = chain.iter().map(|one| (*one).clone()).collect();
        check_chain(&chain, Purpose::CodeSigning)
    }

    #[test]
    fn a_chain_in_order_is_accepted_and_so_is_a_leaf_that_signed_itself() {
        let root = Authority::root("root");
        let between = root.authority("between");
        let leaf = between.leaf("leaf").certificate;
        assert_eq!(code_signing(&[&leaf, &between.certificate, &root.certificate]), Ok(()));
        let alone = Issued::self_signed("alone").certificate;
        assert_eq!(code_signing(&[&alone]), Ok(()));
        assert!(code_signing(&[]).is_err());
    }

    #[test]
    fn a_chain_that_is_reordered_cut_or_longer_than_it_is_is_refused() {
        let root = Authority::root("root");
        let between = root.authority("between");
        let leaf = between.leaf("leaf").certificate;
        let (root, between) = (&root.certificate, &between.certificate);
        let refusal = |chain: &[&Certificate]| code_signing(chain).unwrap_err();
        insta::assert_snapshot!(refusal(&[&leaf, root, between]), @r#"invalid certificates or certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is not issued by "CN=root,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
        insta::assert_snapshot!(refusal(&[between, &leaf, root]), @r#"invalid certificates or certificate with subject "CN=between,O=Lab,ST=WA,C=US" is not issued by "CN=leaf,O=Lab,ST=WA,C=US". Error: x509: invalid signature: parent certificate cannot sign this kind of certificate"#);
        insta::assert_snapshot!(refusal(&[&leaf, between]), @r#"root certificate with subject "CN=between,O=Lab,ST=WA,C=US" is invalid or not self-signed. Certificate chain must end with a valid self-signed root certificate. Error: x509: ECDSA verification failure"#);
        insta::assert_snapshot!(refusal(&[&leaf]), @r#"invalid self-signed certificate. subject: "CN=leaf,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
        insta::assert_snapshot!(refusal(&[&leaf, between, root, root]), @r#"intermediate certificate with subject "CN=root,O=Lab,ST=WA,C=US" is self-signed. Certificate chain must not contain self-signed intermediate certificate"#);
        insta::assert_snapshot!(refusal(&[root]), @r#"invalid self-signed certificate. Error: certificate with subject "CN=root,O=Lab,ST=WA,C=US": if the basic constraints extension is present, the ca field must be set to false"#);
        insta::assert_snapshot!(refusal(&[root, root]), @r#"leaf certificate with subject "CN=root,O=Lab,ST=WA,C=US" is self-signed. Certificate chain must not contain self-signed leaf certificate"#);
    }

    #[test]
    fn keys_are_for_signing_images_alone() {
        let root = Authority::root("root");
        let refusal = |change: fn(&mut rcgen::CertificateParams)| {
            let leaf = root.issue("leaf", change).certificate;
            code_signing(&[&leaf, &root.certificate]).unwrap_err()
        };
        insta::assert_snapshot!(refusal(|leaf| leaf.key_usages.clear()), @r#"certificate with subject "CN=leaf,O=Lab,ST=WA,C=US": key usage extension must be present"#);
        insta::assert_snapshot!(refusal(|leaf| leaf.key_usages = vec![KeyUsagePurpose::ContentCommitment]), @r#"the certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is invalid. The key usage must have the bit positions for "Digital Signature" set"#);
        insta::assert_snapshot!(refusal(|leaf| leaf.key_usages.extend([KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DataEncipherment])), @r#"the certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" is invalid. The key usage must be "Digital Signature" only, but found "DataEncipherment", "CertSign""#);
        insta::assert_snapshot!(refusal(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning, ExtendedKeyUsagePurpose::TimeStamping]), @r#"certificate with subject "CN=leaf,O=Lab,ST=WA,C=US": extended key usage must not contain Timestamping eku"#);
        insta::assert_snapshot!(refusal(|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), @r#"certificate with subject "CN=leaf,O=Lab,ST=WA,C=US": if the basic constraints extension is present, the ca field must be set to false"#);
    }

    #[test]
    fn authorities_are_what_they_must_be() {
        let root = Authority::root("root");
        let refusal = |change: fn(&mut rcgen::CertificateParams)| {
            let first = root.issue_authority("first", change);
            let second = first.authority("second");
            let leaf = second.leaf("leaf").certificate;
            let chain = [&leaf, &second.certificate, &first.certificate, &root.certificate];
            code_signing(&chain).unwrap_err()
        };
        insta::assert_snapshot!(refusal(|first| first.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))), @r#"certificate with subject "CN=first,O=Lab,ST=WA,C=US": expected path length of 1 but certificate has path length 0 instead"#);
        insta::assert_snapshot!(refusal(|first| first.key_usages.clear()), @r#"certificate with subject "CN=first,O=Lab,ST=WA,C=US": key usage extension must be present"#);
        insta::assert_snapshot!(refusal(|first| first.is_ca = IsCa::ExplicitNoCa), @r#"invalid certificates or certificate with subject "CN=second,O=Lab,ST=WA,C=US" is not issued by "CN=first,O=Lab,ST=WA,C=US". Error: x509: invalid signature: parent certificate cannot sign this kind of certificate"#);
    }

    #[test]
    fn a_timestamps_certificate_is_for_that_alone() {
        let root = Authority::root("root");
        let check = |purposes: Vec<ExtendedKeyUsagePurpose>| {
            let leaf = root.issue("tsa", |leaf| leaf.extended_key_usages = purposes).certificate;
            check_chain(&[leaf, root.certificate.clone()], Purpose::Timestamping).unwrap_err()
        };
        // rcgen marks the extension as not critical.
        insta::assert_snapshot!(check(vec![ExtendedKeyUsagePurpose::TimeStamping]), @r#"timestamp signing certificate with subject "CN=tsa,O=Lab,ST=WA,C=US" must have extended key usage extension marked as critical"#);
        insta::assert_snapshot!(check(vec![ExtendedKeyUsagePurpose::TimeStamping, ExtendedKeyUsagePurpose::CodeSigning]), @r#"timestamp signing certificate with subject "CN=tsa,O=Lab,ST=WA,C=US" must have and only have Timestamping as extended key usage"#);
        insta::assert_snapshot!(check(Vec::new()), @r#"timestamp signing certificate with subject "CN=tsa,O=Lab,ST=WA,C=US" must have and only have Timestamping as extended key usage"#);
    }
}
