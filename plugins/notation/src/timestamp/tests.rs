//! Tokens of `openssl ts`, and what happens to those that are changed, cut, of another or of nobody.

use std::{fs, process::Command};

use rcgen::{CertificateParams, CustomExtension, date_time_ymd};
use x509_cert::der::{Decode as _, Reader as _, SliceReader, Tagged as _, asn1::AnyRef};

use super::*;
use crate::{
    certificate::{Certificate, Purpose, check_chain},
    moment::Moment,
    testing::{Authority, Issued, has_openssl, pem_of},
};

const MESSAGE: &[u8] = b"the bytes of a signature";

fn now() -> Moment {
    Moment::of_clock(std::time::SystemTime::now())
}

/// The extension of who says what time it is; the purpose after its last number.
fn purpose(last: u8, is_critical: bool) -> CustomExtension {
    let purposes = vec![0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, last];
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], purposes);
    extension.set_criticality(is_critical);
    extension
}

fn for_timestamps(of: &mut CertificateParams) {
    of.custom_extensions.push(purpose(8, true));
}

/// A token over the message, with these certificates in it.
fn token(signer: &Issued, chain: &[&Certificate]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("signer.pem"), pem_of(&[&signer.certificate])).unwrap();
    fs::write(at("chain.pem"), pem_of(chain)).unwrap();
    fs::write(at("key.pem"), signer.key.serialize_pem()).unwrap();
    fs::write(at("message"), MESSAGE).unwrap();
    let config = "[t]\nserial = serial\nsigner_cert = signer.pem\ncerts = chain.pem\nsigner_key = key.pem\nsigner_digest = sha256\ndefault_policy = 1.2.3\ndigests = sha256\naccuracy = secs:1, millisecs:2, microsecs:3\ness_cert_id_alg = sha256\n";
    fs::write(at("ts.cnf"), config).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").current_dir(&folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(&["ts", "-query", "-data", "message", "-sha256", "-cert", "-out", "query"]);
    run(&[
        "ts",
        "-reply",
        "-config",
        "ts.cnf",
        "-section",
        "t",
        "-queryfile",
        "query",
        "-token_out",
        "-out",
        "token",
    ]);
    fs::read(at("token")).unwrap()
}

fn proven(
    token: &[u8],
    trusted: &[&Certificate],
    time: Moment,
) -> Result<Vec<Certificate>, String> {
    let trusted: Vec<Certificate> = trusted.iter().map(|one| (*one).clone()).collect();
    Token::parse(token)?.prove(&trusted, time)
}

#[test]
fn a_real_token_names_a_time_and_whose_it_is() {
    if !has_openssl() {
        return;
    }
    let root = Authority::root("root");
    let between = root.authority("between");
    let signer = between.issue("tsa", for_timestamps);
    let bytes = token(&signer, &[&between.certificate, &signer.certificate]);
    let chain = proven(&bytes, &[&root.certificate], now()).unwrap();
    assert_eq!(chain, [signer.certificate, between.certificate.clone(), root.certificate]);
    assert_eq!(check_chain(&chain, Purpose::Timestamping), Ok(()));
    let time = Token::parse(&bytes).unwrap().time_of(MESSAGE).unwrap();
    assert!(time.earliest() < now() && now() < time.latest().plus_nanos(600_000_000_000));
    assert_eq!(time.latest(), time.earliest().plus_nanos(2 * 1_002_003_000));
    let other = Token::parse(&bytes).unwrap().time_of(b"other").unwrap_err();
    assert_eq!(other, "invalid TSTInfo: mismatched message");
    // One that is trusted itself ends the way, and then it is no chain to a root.
    let short = proven(&bytes, &[&between.certificate], now()).unwrap();
    assert_eq!(short.len(), 2);
    assert!(check_chain(&short, Purpose::Timestamping).is_err());
}

#[test]
fn a_token_of_nobody_who_is_trusted_then_or_for_that_is_refused() {
    if !has_openssl() {
        return;
    }
    let root = Authority::root("root");
    let of = |change: fn(&mut CertificateParams)| {
        let signer = root.issue("tsa", change);
        token(&signer, &[&root.certificate])
    };
    let good = of(for_timestamps);
    let refusal =
        |bytes: &[u8], trusted: &Certificate| proven(bytes, &[trusted], now()).unwrap_err();
    let stranger = Authority::root("root");
    insta::assert_snapshot!(refusal(&good, &stranger.certificate), @"cms verification failure: x509: certificate signed by unknown authority");
    let ended = of(|of| {
        for_timestamps(of);
        of.not_after = date_time_ymd(2024, 1, 1);
    });
    insta::assert_snapshot!(refusal(&ended, &root.certificate), @"cms verification failure: x509: certificate has expired or is not yet valid");
    assert!(proven(&good, &[&root.certificate], Moment::from_unix(0)).is_err(), "not yet");
}

/// A value with its length in four bytes, which BER allows and DER does not.
fn lengthened(der: &[u8]) -> Vec<u8> {
    let mut reader = SliceReader::new(der).unwrap();
    let mut written = Vec::new();
    while !reader.is_finished() {
        let value: AnyRef<'_> = reader.decode().unwrap();
        let tag = u8::from(value.tag());
        let content = match tag & 0x20 {
            0 => value.value().to_vec(),
            _ => lengthened(value.value()),
        };
        written.extend([tag, 0x84]);
        written.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        written.extend(content);
    }
    written
}

#[test]
fn lengths_may_be_longer_than_they_need_be_but_not_open() {
    if !has_openssl() {
        return;
    }
    let root = Authority::root("root");
    let signer = root.issue("tsa", for_timestamps);
    let bytes = token(&signer, &[&root.certificate]);
    let long = lengthened(&bytes);
    assert!(long.len() > bytes.len() + 100);
    let chain = proven(&long, &[&root.certificate], now()).unwrap();
    assert_eq!(chain, [signer.certificate, root.certificate.clone()]);
    assert_eq!(
        Token::parse(&long).unwrap().time_of(MESSAGE),
        Token::parse(&bytes).unwrap().time_of(MESSAGE)
    );
    // The whole as a sequence that ends with two zeros.
    let body = AnyRef::from_der(&bytes).unwrap();
    let open = [&[0x30, 0x80], body.value(), &[0, 0]].concat();
    insta::assert_snapshot!(proven(&open, &[&root.certificate], now()).unwrap_err(), @"cms: syntax error: invalid signed data: failed to convert from BER to DER: asn1: structure error: decoding BER length octets: indefinite length not supported");
}

#[test]
fn no_byte_of_a_token_that_is_changed_or_cut_off_makes_it_panic_or_another_time() {
    if !has_openssl() {
        return;
    }
    let root = Authority::root("root");
    let signer = root.issue("tsa", for_timestamps);
    let bytes = token(&signer, &[&root.certificate]);
    let time = Token::parse(&bytes).unwrap().time_of(MESSAGE).unwrap();
    let mut good = 0;
    for at in 0..bytes.len() {
        assert!(proven(&bytes[..at], &[&root.certificate], now()).is_err(), "{at}");
        let mut changed = bytes.clone();
        changed[at] ^= 0x11;
        if proven(&changed, &[&root.certificate], now()).is_ok() {
            good += 1;
            let same = Token::parse(&changed).unwrap().time_of(MESSAGE);
            assert_eq!(same, Ok(time), "{at}");
        }
    }
    // The list of digest algorithms and a certificate that is not needed are not signed.
    assert!(good < bytes.len() / 2, "{good}");
}
