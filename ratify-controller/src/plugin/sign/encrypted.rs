//! The form in which cosign keeps a private key: PKCS#8 in a NaCl secret box, whose key scrypt makes of a
//! password (cosign's `pkg/cosign/keys.go`, the encrypted form of go-securesystemslib).

use std::{ffi::OsString, fmt};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use poly1305::{Poly1305, universal_hash::KeyInit as _};
use salsa20::{
    XSalsa20,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use scrypt::{Params, scrypt};
use serde::Deserialize;

use super::key::KeyError;

/// What scrypt may take, in bytes. cosign's own take 32 or 64 MiB.
const MAX_MEMORY: u64 = 256 << 20;
/// How often it may take that.
const MAX_PASSES: u32 = 16;
/// The authenticator that a box begins with.
const TAG: usize = 16;

/// A password. It is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(OsString);

impl Password {
    /// A password, which may be empty. One that is no UTF-8 opens nothing, and the error says so.
    pub fn new(text: impl Into<OsString>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(..)")
    }
}

#[derive(Deserialize)]
struct Sealed {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Derivation {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// The PKCS#8 in a box.
///
/// # Errors
/// When it is no such box, or the password is another.
pub(super) fn open(sealed: &[u8], password: &Password) -> Result<Vec<u8>, KeyError> {
    let malformed = |why: &str| KeyError::Malformed(why.to_owned());
    let password = password.0.to_str().ok_or(KeyError::PasswordEncoding)?;
    let sealed: Sealed =
        serde_json::from_slice(sealed).map_err(|error| KeyError::Malformed(error.to_string()))?;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        return Err(malformed("it is encrypted in another way than by scrypt and nacl/secretbox"));
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| malformed("its base64 is none"));
    let (salt, nonce) = (decode(&sealed.kdf.salt)?, decode(&sealed.cipher.nonce)?);
    let mut sealed_bytes = decode(&sealed.ciphertext)?;
    let nonce: [u8; 24] = nonce.try_into().map_err(|_| malformed("its nonce has not 24 bytes"))?;
    let params = params(&sealed.kdf.params).ok_or_else(|| {
        malformed("what scrypt is to take for it is out of bounds, or is no power of two")
    })?;
    let mut key = [0; 32];
    scrypt(password.as_bytes(), &salt, &params, &mut key)
        .map_err(|error| KeyError::Malformed(error.to_string()))?;
    if sealed_bytes.len() < TAG {
        return Err(malformed("it ends too early"));
    }
    // The first half of the first block keys the authenticator; the text begins behind it.
    let mut stream = XSalsa20::new(&key.into(), &nonce.into());
    let mut of_tag = [0; 32];
    stream.apply_keystream(&mut of_tag);
    let mut text = sealed_bytes.split_off(TAG);
    let tag = Poly1305::new(&of_tag.into()).compute_unpadded(&text);
    if verify_slices_are_equal(&tag, &sealed_bytes).is_err() {
        return Err(KeyError::Password);
    }
    stream.apply_keystream(&mut text);
    Ok(text)
}

fn params(cost: &Cost) -> Option<Params> {
    let memory = cost.n.checked_mul(u64::from(cost.r))?.checked_mul(128)?;
    // All passes' blocks lie in memory at once, beside that (RFC 7914, section 6).
    let blocks = u64::from(cost.p).checked_mul(u64::from(cost.r))?.checked_mul(128)?;
    let is_bounded = memory.checked_add(blocks)? <= MAX_MEMORY
        && cost.p <= MAX_PASSES
        && cost.n.is_power_of_two();
    let log = u8::try_from(cost.n.checked_ilog2()?).ok()?;
    is_bounded.then(|| Params::new(log, cost.r, cost.p).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sealed(n: u64, r: u32, p: u32) -> Vec<u8> {
        let of = |length: usize| STANDARD.encode(vec![0; length]);
        let cost = json!({"N": n, "r": r, "p": p});
        json!({
            "kdf": {"name": "scrypt", "params": cost, "salt": of(32)},
            "cipher": {"name": "nacl/secretbox", "nonce": of(24)},
            "ciphertext": of(40),
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_password_that_is_no_text_is_not_one_that_is_not_set() {
        use std::os::unix::ffi::OsStringExt as _;
        let password = Password::new(OsString::from_vec(b"p\xff".to_vec()));
        let refused = open(&sealed(4, 8, 1), &password).unwrap_err();
        insta::assert_snapshot!(refused, @"the key is encrypted, and the password in COSIGN_PASSWORD is not UTF-8");
    }

    #[test]
    fn what_would_take_the_machine_is_refused_before_it_is_tried() {
        let refused = |bytes: &[u8]| open(bytes, &Password::new("x")).unwrap_err().to_string();
        for (n, p) in [(1 << 40, 1), (u64::MAX, 1), (1 << 14, u32::MAX), (0, 1), (3, 1), (4, 0)] {
            assert!(refused(&sealed(n, 8, p)).contains("out of bounds"), "{n} {p}");
        }
        // What N and r take is let through, and what r and p do is not.
        assert!(refused(&sealed(2, 1 << 18, 16)).contains("out of bounds"));
        assert!(refused(&sealed(4, 8, 1)).contains("another password"));
        for text in ["", "{}", "null", r#"{"kdf":1}"#] {
            assert!(refused(text.as_bytes()).starts_with("the key cannot be read: "), "{text}");
        }
        assert_eq!(format!("{:?}", Password::new("secret")), "Password(..)");
    }
}
