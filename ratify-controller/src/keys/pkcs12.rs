//! PKCS#12 (RFC 7292) as a key vault keeps certificates: of all that is in it only the certificates
//! are taken.

use p12_keystore::Pkcs12Archive;

/// A chain and its key are no longer; a vault's secret has at most 25 KB.
const MAX_BYTES: usize = 64 << 10;
/// Keys are derived by so many rounds, all those that can be seen before any is. Usual archives ask
/// for some thousand, careful ones for some hundred thousand; two million take a second.
const MAX_ROUNDS: u64 = 2_000_000;
/// Deeper than any archive.
const MAX_DEPTH: usize = 24;

/// The certificates of an archive without a password, in their order, and whether a private key was
/// beside them.
///
/// # Errors
/// Where it is no such archive, or has a password, or asks for too much.
pub(super) fn certificates(archive: &[u8]) -> Result<(Vec<Vec<u8>>, bool), String> {
    if archive.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let rounds = rounds(archive, MAX_DEPTH);
    if rounds > MAX_ROUNDS {
        return Err(format!("its keys are derived by more than {MAX_ROUNDS} rounds"));
    }
    let read = Pkcs12Archive::from_pkcs12(archive, "")
        .map_err(|error| ratify_core::capped_line(&error.to_string(), 200))?;
    let certificates = read.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    Ok((certificates, !read.keys.is_empty()))
}

/// By how many rounds keys are derived for what can be read without one: each number that stands
/// behind a salt (RFC 7292, appendix C and `MacData`; RFC 8018, A.2). What is encrypted may hold more.
fn rounds(mut der: &[u8], depth: usize) -> u64 {
    const INTEGER: u8 = 2;
    const OCTETS: u8 = 4;
    const CONSTRUCTED: u8 = 0x20;
    let mut total = 0_u64;
    let mut before = 0;
    while let Some((tag, content, rest)) = element(der) {
        let own = match tag {
            INTEGER if before == OCTETS => number(content),
            _ if depth == 0 => 0,
            _ if tag & CONSTRUCTED != 0 || tag == OCTETS => rounds(content, depth - 1),
            _ => 0,
        };
        total = total.saturating_add(own);
        (before, der) = (tag, rest);
    }
    total
}

/// The first element: its tag, what is in it, and what is behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(*first), rest),
        _ => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().try_fold(0_usize, |length, byte| {
                length.checked_mul(256)?.checked_add(usize::from(*byte))
            });
            (length?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
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
        assert_eq!(rounds(&archive(&[8, 0]), MAX_DEPTH), 2048);
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
    fn what_is_cut_or_too_deep_has_an_end() {
        let whole = archive(&[8, 0]);
        for length in 0..whole.len() {
            assert!(rounds(&whole[..length], MAX_DEPTH) <= 2048);
        }
        let deep = (0..1000).fold(Vec::new(), |inner, _| of(0x30, &[&inner]));
        assert_eq!(rounds(&deep, MAX_DEPTH), 0);
        assert_eq!(rounds(&[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1], MAX_DEPTH), 0);
    }
}
