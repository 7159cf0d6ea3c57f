//! PKCS#12 (RFC 7292) as a key vault keeps certificates: of all that is in it only the certificates
//! are taken.

use p12_keystore::Pkcs12Archive;
use ratify_core::ber;

/// A chain and its key are no longer; a vault's secret has at most 25 KB.
const MAX_BYTES: usize = 64 << 10;
/// Keys are derived by so many rounds, all those that can be seen before any is. Usual archives ask
/// for some thousand, careful ones for some hundred thousand; two million take a second.
const MAX_ROUNDS: u64 = 2_000_000;
/// And so many times, each with a salt of its own: for all certificates, for each key, and to find out
/// whether the archive is whole.
const MAX_DERIVATIONS: u64 = 16;
/// Deeper than any archive.
const MAX_DEPTH: usize = 24;
/// The object identifier of scrypt (RFC 7914, section 7: 1.3.6.1.4.1.11591.4.11), in DER. What it takes
/// is no number of rounds, and no vault writes it.
const SCRYPT: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];

/// The certificates of an archive without a password, in their order, and whether a private key was
/// beside them. It computes for as long as the bounds allow; what is encrypted may hold more keys, of
/// which the library bounds each, so that it belongs on a thread on which nobody else waits.
///
/// # Errors
/// Where it is no such archive, or has a password, or asks for too much.
pub(super) fn certificates(archive: &[u8]) -> Result<(Vec<Vec<u8>>, bool), String> {
    if archive.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    if archive.windows(SCRYPT.len()).any(|window| window == SCRYPT) {
        return Err("its keys are derived by scrypt, which is not read".to_owned());
    }
    let Derived { rounds, times } = derived(archive, MAX_DEPTH);
    if times > MAX_DERIVATIONS {
        return Err(format!("keys are derived for it more than {MAX_DERIVATIONS} times"));
    }
    if rounds > MAX_ROUNDS {
        return Err(format!("its keys are derived by more than {MAX_ROUNDS} rounds"));
    }
    let read = Pkcs12Archive::from_pkcs12(archive, "")
        .map_err(|error| ratify_core::capped_line(&error.to_string(), 200))?;
    let certificates = read.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    Ok((certificates, !read.keys.is_empty()))
}

/// How keys are derived for what can be read without one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Derived {
    /// By how many rounds, all together.
    rounds: u64,
    /// How many times.
    times: u64,
}

/// Each number that stands behind a salt is one of rounds (RFC 7292, appendix C and `MacData`; RFC 8018,
/// A.2). What is encrypted may hold more.
fn derived(mut der: &[u8], depth: usize) -> Derived {
    const INTEGER: u8 = 2;
    const OCTETS: u8 = 4;
    const CONSTRUCTED: u8 = 0x20;
    let mut total = Derived::default();
    let mut before = 0;
    while let Some((tag, content, rest)) = element(der) {
        let own = match tag {
            INTEGER if before == OCTETS => Derived { rounds: number(content), times: 1 },
            _ if depth == 0 => Derived::default(),
            _ if tag & CONSTRUCTED != 0 || tag == OCTETS => derived(content, depth - 1),
            _ => Derived::default(),
        };
        total.rounds = total.rounds.saturating_add(own.rounds);
        total.times = total.times.saturating_add(own.times);
        (before, der) = (tag, rest);
    }
    total
}

/// The first element: its tag, what is in it, and what is behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (length, rest) = ber::length(rest)?;
    // What has none is walked through as if it were behind it.
    let (content, rest) = rest.split_at_checked(length.unwrap_or(0))?;
    Some((*tag, content, rest))
}

/// A number, or the greatest there is.
fn number(content: &[u8]) -> u64 {
    let bytes = content.iter();
    bytes.fold(0, |number: u64, byte| number.saturating_mul(256).saturating_add((*byte).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element of a tag.
    fn of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], &content].concat()
    }

    /// An archive whose only content asks for so many rounds, in the form of what openssl writes
    /// with `-legacy`, and whose bytes are nonsense.
    fn archive(number: &[u8]) -> Vec<u8> {
        let oid = |bytes: &[u8]| of(6, &[bytes]);
        let data = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1]);
        let encrypted = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6]);
        let scheme = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 3]);
        let parameters = of(0x30, &[&of(4, &[&[7; 8]]), &of(2, &[number])]);
        let algorithm = of(0x30, &[&scheme, &parameters]);
        let content = of(0x30, &[&data, &algorithm, &of(0x80, &[&[0; 16]])]);
        let safe = of(0x30, &[&encrypted, &of(0xa0, &[&of(0x30, &[&of(2, &[&[0]]), &content])])]);
        let safes = of(4, &[&of(0x30, &[&safe])]);
        of(0x30, &[&of(2, &[&[3]]), &of(0x30, &[&data, &of(0xa0, &[&safes])])])
    }

    #[test]
    fn too_many_rounds_are_refused_before_the_first() {
        let expected = Derived { rounds: 2048, times: 1 };
        assert_eq!(derived(&archive(&[8, 0]), MAX_DEPTH), expected);
        for many in [&[0x7f, 0xff, 0xff, 0xff][..], &[0x1e, 0x84, 0x81], &[0x7f; 40]] {
            let refused = certificates(&archive(many)).unwrap_err();
            assert_eq!(refused, "its keys are derived by more than 2000000 rounds");
        }
        let twice = [archive(&[0x0f, 0x42, 0x41]), archive(&[0x0f, 0x42, 0x41])].concat();
        assert!(certificates(&twice).unwrap_err().ends_with("rounds"), "together");
        let usual = certificates(&archive(&[8, 0])).unwrap_err();
        assert!(!usual.ends_with("rounds"), "{usual}");
        assert!(certificates(&vec![0; MAX_BYTES + 1]).unwrap_err().starts_with("it is larger"));
    }

    #[test]
    fn too_many_keys_and_scrypt_are_refused_before_the_first() {
        let refused = |count: usize| certificates(&archive(&[1]).repeat(count)).unwrap_err();
        assert_eq!(refused(17), "keys are derived for it more than 16 times");
        assert!(!refused(16).ends_with("times"));
        // As openssl writes it: one pass over 16 KiB, which counts as nothing else does.
        let parameters = of(0x30, &[&of(4, &[&[7; 8]]), &of(2, &[&[16]]), &of(2, &[&[8]])]);
        let kdf = of(0x30, &[SCRYPT, &parameters]);
        let scheme = of(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13]]);
        let hidden = of(4, &[&of(0x30, &[&scheme, &of(0x30, &[&kdf])])]);
        let refused = certificates(&hidden).unwrap_err();
        assert_eq!(refused, "its keys are derived by scrypt, which is not read");
    }

    #[test]
    fn what_is_cut_or_too_deep_has_an_end() {
        let whole = archive(&[8, 0]);
        for length in 0..whole.len() {
            assert!(derived(&whole[..length], MAX_DEPTH).rounds <= 2048);
        }
        let deep = (0..1000).fold(Vec::new(), |inner, _| of(0x30, &[&inner]));
        assert_eq!(derived(&deep, MAX_DEPTH), Derived::default());
        let cut = [0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(derived(&cut, MAX_DEPTH), Derived::default());
    }
}
