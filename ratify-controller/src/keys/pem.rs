//! PEM (RFC 7468) as key management providers give it: certificates, and public keys. What may stand
//! around blocks, and the texts of what is refused, are v1's.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ratify_core::{ComponentType, Error, ErrorCode, Result};
use x509_cert::{Certificate, der::Decode as _};

use super::spki;

/// A certificate chain is no longer, nor a set of roots.
const MAX_BYTES: usize = 4 << 20;
/// A certificate of more bytes is not read: the time to put the sets in it in order grows with the square of
/// its length.
const MAX_CERTIFICATE_BYTES: usize = 64 << 10;

/// One block: its label, and what is in it, which may be a private key and is shown to nobody.
#[derive(PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) der: Vec<u8>,
}

impl fmt::Debug for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Block").field("label", &self.label).finish_non_exhaustive()
    }
}

/// The certificates of a text, in their order. Blocks of another label are passed over.
///
/// # Errors
/// `CERT_INVALID`, with v1's texts: where something is no block, no certificate, or there is none.
pub(crate) fn certificates(text: &str) -> Result<Vec<Bytes>> {
    let invalid = |detail: &str| {
        ErrorCode::CertInvalid.detail(detail).from_component(ComponentType::CertProvider, "")
    };
    let blocks = blocks(text).ok_or_else(|| invalid("failed to decode pem block"))?;
    let mut certificates = Vec::new();
    for block in blocks.into_iter().filter(|block| block.label == "CERTIFICATE") {
        check_certificate(&block.der)?;
        certificates.push(block.der.into());
    }
    if certificates.is_empty() {
        return Err(invalid("no certificates found in the pem block"));
    }
    Ok(certificates)
}

/// Whether something is a certificate.
///
/// # Errors
/// `CERT_INVALID`, with v1's text.
pub(super) fn check_certificate(der: &[u8]) -> Result<()> {
    let is_one = der.len() <= MAX_CERTIFICATE_BYTES && Certificate::from_der(der).is_ok();
    match is_one {
        true => Ok(()),
        false => Err(ErrorCode::CertInvalid
            .detail("error parsing x509 certificate")
            .from_component(ComponentType::CertProvider, "")),
    }
}

/// The public key in the first block of a text, as SubjectPublicKeyInfo. What follows is not looked
/// at, as in v1.
///
/// # Errors
/// `KEY_INVALID`, with v1's text and what is wrong.
pub(super) fn public_key(text: &str) -> Result<Bytes> {
    let invalid = |why: String| -> Error {
        ErrorCode::KeyInvalid
            .detail("error parsing public key")
            .with_source(why)
            .from_component(ComponentType::KeyManagementProvider, "")
    };
    let (block, _) = first_block(text).ok_or_else(|| invalid("PEM decoding failed".into()))?;
    let spki = match block.label.as_str() {
        "PUBLIC KEY" => block.der,
        "RSA PUBLIC KEY" => spki::of_rsa(&block.der).map_err(|why| invalid(why.into()))?,
        label => {
            let label = ratify_core::capped_line(label, 100);
            return Err(invalid(format!(
                "unknown Public key PEM file type: {label}. Are you passing the correct public key?"
            )));
        }
    };
    spki::check(&spki).map_err(|why| invalid(why.into()))?;
    Ok(spki.into())
}

/// All blocks of a text; `None` where there is something else behind one, or no block in what is not
/// empty. White space at the end is nothing: v1 refuses a second line break there.
pub(super) fn blocks(text: &str) -> Option<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while !rest.trim_ascii().is_empty() {
        let (block, after) = first_block(rest)?;
        blocks.push(block);
        rest = after;
    }
    Some(blocks)
}

/// The first block of a text, wherever it begins, and what is behind it.
pub(crate) fn first_block(text: &str) -> Option<(Block, &str)> {
    const BEGIN: &str = "-----BEGIN ";
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut from = 0;
    loop {
        let at = from + text[from..].find(BEGIN)?;
        from = at + BEGIN.len();
        // A block begins where a line does.
        let is_line = at == 0 || text.as_bytes()[at - 1] == b'\n';
        if let Some(found) = is_line.then(|| block_at(&text[from..])).flatten() {
            return Some(found);
        }
    }
}

/// The block whose label begins here.
fn block_at(text: &str) -> Option<(Block, &str)> {
    let (label, body) = text.split_once("-----")?;
    let body = body.trim_start_matches([' ', '\t', '\r']).strip_prefix('\n')?;
    if label.contains('\n') {
        return None;
    }
    let (body, rest) = body.split_once(&format!("-----END {label}-----"))?;
    let rest = match rest.find('\n') {
        Some(end) if rest[..end].trim_ascii().is_empty() => &rest[end + 1..],
        None if rest.trim_ascii().is_empty() => "",
        _ => return None,
    };
    let encoded: String = without_headers(body).split_ascii_whitespace().collect();
    let der = STANDARD.decode(encoded).ok()?;
    Some((Block { label: label.to_owned(), der }, rest))
}

/// The headers of RFC 1421 that may stand before what is encoded.
fn without_headers(body: &str) -> &str {
    let first = body.lines().next().unwrap_or_default();
    if !first.contains(':') {
        return body;
    }
    ["\n\n", "\n\r\n"].into_iter().find_map(|end| body.split_once(end)).map_or(body, |all| all.1)
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData as _;

    use super::*;

    fn certificate() -> (String, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        (made.cert.pem(), made.cert.der().to_vec())
    }

    fn refused(text: &str) -> String {
        certificates(text).unwrap_err().to_string()
    }

    #[test]
    fn certificates_come_in_their_order_and_other_blocks_are_passed_over() {
        let [(one, first), (two, second)] = [(); 2].map(|()| certificate());
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let found = certificates(&format!("# a bundle\n{one}{key}{two}\n\n")).unwrap();
        assert_eq!(found, [first.clone(), second]);
        let windows = one.replace('\n', "\r\n");
        assert_eq!(certificates(&windows).unwrap(), std::slice::from_ref(&first));
        let (block, _) = first_block(&key).unwrap();
        assert_eq!(format!("{block:?}"), "Block { label: \"PRIVATE KEY\", .. }");
        let line = one.lines().filter(|line| !line.starts_with("--")).collect::<String>();
        let other =
            format!("-----BEGIN CERTIFICATE-----\nA: b\n\n{line}\n-----END CERTIFICATE-----");
        assert_eq!(certificates(&other).unwrap(), [first]);
    }

    #[test]
    fn what_is_longer_than_any_certificate_is_not_read() {
        let of = |bytes: usize| {
            let mut params = rcgen::CertificateParams::default();
            let unknown = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![4; bytes]);
            params.custom_extensions.push(unknown);
            let key = rcgen::KeyPair::generate().unwrap();
            check_certificate(params.self_signed(&key).unwrap().der())
        };
        assert!(of(MAX_CERTIFICATE_BYTES - 1000).is_ok());
        let refused = of(MAX_CERTIFICATE_BYTES).unwrap_err().to_string();
        assert_eq!(refused, "CERT_INVALID: error parsing x509 certificate");
    }

    #[test]
    fn what_is_no_certificate_is_refused_in_v1s_words() {
        let (one, _) = certificate();
        assert_eq!(refused("no PEM"), "CERT_INVALID: failed to decode pem block");
        assert_eq!(refused(&format!("{one}x\n")), "CERT_INVALID: failed to decode pem block");
        let cut = &one[..one.len() - 20];
        assert_eq!(refused(cut), "CERT_INVALID: failed to decode pem block");
        let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert_eq!(refused(empty), "CERT_INVALID: error parsing x509 certificate");
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for text in ["", "\n", key.as_str()] {
            assert_eq!(refused(text), "CERT_INVALID: no certificates found in the pem block");
        }
    }

    #[test]
    fn a_public_key_is_the_first_block_whatever_follows() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let pem = pair.public_key_pem();
        let spki = public_key(&format!("{pem}{pem}x")).unwrap();
        assert_eq!(spki, pair.subject_public_key_info());
        let of = |text: &str| public_key(text).unwrap_err().to_string();
        assert_eq!(of("x"), "KEY_INVALID: error parsing public key: PEM decoding failed");
        insta::assert_snapshot!(of(&pair.serialize_pem()), @"KEY_INVALID: error parsing public key: unknown Public key PEM file type: PRIVATE KEY. Are you passing the correct public key?");
        let bad = "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----";
        assert!(of(bad).starts_with("KEY_INVALID: error parsing public key: "), "{}", of(bad));
    }

    #[test]
    fn no_text_makes_it_panic_or_hang() {
        let (one, _) = certificate();
        for at in 0..one.len() {
            let _ = blocks(&one[..at]);
            let _ = blocks(&one[at..]);
            let _ = public_key(&format!("{}ä{}", &one[..at], &one[at..]));
        }
        let many = "-----BEGIN A-----\n".repeat(20_000);
        assert_eq!(blocks(&many), None);
    }
}
