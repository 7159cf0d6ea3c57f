//! PKCS#12 (RFC 7292) as a key vault keeps certificates: of all that is in it only the certificates
//! are taken.

use p12_keystore::Pkcs12Archive;

/// A chain and its key are no longer.
const MAX_BYTES: usize = 1 << 20;

/// The certificates of an archive without a password, in their order, and whether a private key was
/// beside them.
///
/// # Errors
/// Where it is no such archive, or has a password.
pub(super) fn certificates(archive: &[u8]) -> Result<(Vec<Vec<u8>>, bool), String> {
    if archive.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let read = Pkcs12Archive::from_pkcs12(archive, "")
        .map_err(|error| ratify_core::capped_line(&error.to_string(), 200))?;
    let certificates = read.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    Ok((certificates, !read.keys.is_empty()))
}
