//! Tokens of `openssl ts`, and what happens to those that are changed, cut, of another or of nobody.

use rcgen::{CertificateParams, date_time_ymd};
use x509_cert::der::{Decode as _, Reader as _, SliceReader, Tagged as _, asn1::AnyRef};

use super::*;
use crate::{
    certificate::{Certificate, Purpose, check_chain},
    moment::Moment,
    testing::{Authority, for_timestamps, has_openssl, token},
};

const MESSAGE: &[u8] = b"the bytes of a signature";

fn now() -> Moment {
    Moment::of_clock(std::time::SystemTime::now())
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
    let bytes = token(&signer, &[&between.certificate, &signer.certificate], MESSAGE);
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
        token(&signer, &[&root.certificate], MESSAGE)
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
    let bytes = token(&signer, &[&root.certificate], MESSAGE);
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
fn what_is_longer_than_any_token_is_not_read() {
    let refused = Token::parse(&vec![0x30; (64 << 10) + 1]).err().unwrap();
    assert_eq!(refused, "the timestamp has more than 65536 bytes");
}

#[test]
fn no_byte_of_a_token_that_is_changed_or_cut_off_makes_it_panic_or_another_time() {
    if !has_openssl() {
        return;
    }
    let root = Authority::root("root");
    let signer = root.issue("tsa", for_timestamps);
    let bytes = token(&signer, &[&root.certificate], MESSAGE);
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
