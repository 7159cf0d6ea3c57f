//! What the fuzz targets `pkcs12` and `pem`, and the test that replays their corpora, call of this
//! crate. Of no use to anybody else.

use bytes::Bytes;

use super::{pem, pkcs12};

/// The certificates of a vault's archive, and whether a private key was beside them.
///
/// # Errors
/// Where it is refused.
pub fn of_archive(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, bool), String> {
    pkcs12::certificates(bytes)
}

/// The certificates of a text.
///
/// # Errors
/// Where it is refused.
pub fn certificates(text: &str) -> ratify_core::Result<Vec<Bytes>> {
    pem::certificates(text)
}

/// The public key of a text.
///
/// # Errors
/// Where it is refused.
pub fn public_key(text: &str) -> ratify_core::Result<Bytes> {
    pem::public_key(text)
}
