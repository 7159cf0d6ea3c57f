//! SubjectPublicKeyInfo (RFC 5280, section 4.1): made of other forms of public keys, and looked at.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use x509_cert::{
    der::{
        Decode as _, Encode as _, Header, Tag,
        asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef},
    },
    spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef},
};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// The curves of keys that sign, by their names in JSON (RFC 7518, section 6.2.1.1), and the bytes
/// of a coordinate.
const CURVES: [(&str, ObjectIdentifier, usize); 3] = [
    ("P-256", ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), 32),
    ("P-384", ObjectIdentifier::new_unwrap("1.3.132.0.34"), 48),
    ("P-521", ObjectIdentifier::new_unwrap("1.3.132.0.35"), 66),
];
/// A larger modulus is no key that anybody signs with, and takes long to compute with.
const MAX_RSA_BYTES: usize = 2048;

/// A public key in JSON (RFC 7517), as far as it is one that signs.
#[derive(Debug, Deserialize)]
pub(super) struct JsonWebKey {
    kty: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// Whether something is a public key of a kind that signs.
///
/// # Errors
/// Says why not.
pub(super) fn check(spki: &[u8]) -> Result<(), &'static str> {
    let read = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| "it is no public key")?;
    let parameters = read.algorithm.parameters;
    let bits = read.subject_public_key.as_bytes().ok_or("it is no public key")?;
    match read.algorithm.oid {
        RSA => check_rsa(bits),
        ED25519 if bits.len() == 32 => Ok(()),
        EC => {
            let curve = parameters.and_then(|of| of.decode_as::<ObjectIdentifier>().ok());
            let known = CURVES.iter().find(|(_, oid, _)| Some(*oid) == curve);
            let (_, _, bytes) = known.ok_or("its curve is not one of P-256, P-384 and P-521")?;
            match bits.split_first() {
                Some((4, coordinates)) if coordinates.len() == 2 * bytes => Ok(()),
                _ => Err("it is no point of its curve"),
            }
        }
        ED25519 => Err("it is no public key"),
        _ => Err("unknown public key algorithm"),
    }
}

fn check_rsa(der: &[u8]) -> Result<(), &'static str> {
    let is_key = |der: &[u8]| -> Option<usize> {
        let outer = AnyRef::from_der(der).ok()?;
        let bytes = outer.sequence(|reader| {
            let modulus = UintRef::decode(reader)?;
            let _exponent = UintRef::decode(reader)?;
            Ok(modulus.as_bytes().len())
        });
        bytes.ok()
    };
    match is_key(der) {
        Some(1..=MAX_RSA_BYTES) => Ok(()),
        Some(_) => Err("its modulus is too large, or empty"),
        None => Err("it is no RSA public key"),
    }
}

/// Of an RSAPublicKey (RFC 8017, appendix A.1.1).
///
/// # Errors
/// Where it is none.
pub(super) fn of_rsa(der: &[u8]) -> Result<Vec<u8>, &'static str> {
    check_rsa(der)?;
    encode(RSA, Some(AnyRef::NULL), der).ok_or("it is no RSA public key")
}

impl JsonWebKey {
    /// The same in DER. A key that is kept in hardware is a key like another.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub(super) fn to_spki(&self) -> Result<Vec<u8>, &'static str> {
        let kty = self.kty.as_deref().ok_or("it has no key type")?;
        let spki = match kty {
            "EC" | "EC-HSM" => self.elliptic()?,
            "RSA" | "RSA-HSM" => self.rsa()?,
            _ => return Err("its key type is neither EC nor RSA"),
        };
        check(&spki)?;
        Ok(spki)
    }

    fn elliptic(&self) -> Result<Vec<u8>, &'static str> {
        let curve = self.crv.as_deref().unwrap_or_default();
        let known = CURVES.iter().find(|(name, ..)| *name == curve);
        let (_, oid, bytes) = known.ok_or("its curve is not one of P-256, P-384 and P-521")?;
        let mut point = vec![4];
        for coordinate in [&self.x, &self.y] {
            let coordinate = decoded(coordinate.as_deref()).ok_or("it has no point")?;
            if coordinate.len() != *bytes {
                return Err("its point is not as long as its curve wants it");
            }
            point.extend(coordinate);
        }
        encode(EC, Some(AnyRef::from(oid)), &point).ok_or("it is no public key")
    }

    fn rsa(&self) -> Result<Vec<u8>, &'static str> {
        let modulus = decoded(self.n.as_deref()).ok_or("it has no modulus")?;
        let exponent = decoded(self.e.as_deref()).ok_or("it has no exponent")?;
        let inner = sequence(&[&modulus, &exponent]).ok_or("it is no RSA public key")?;
        of_rsa(&inner)
    }
}

/// A sequence of numbers that are not negative.
fn sequence(numbers: &[&[u8]]) -> Option<Vec<u8>> {
    let mut inner = Vec::new();
    for number in numbers {
        UintRef::new(number).ok()?.encode_to_vec(&mut inner).ok()?;
    }
    let mut outer = Vec::new();
    Header::new(Tag::Sequence, inner.len()).ok()?.encode_to_vec(&mut outer).ok()?;
    outer.extend(inner);
    Some(outer)
}

fn encode(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, bits: &[u8]) -> Option<Vec<u8>> {
    let algorithm = AlgorithmIdentifierRef { oid, parameters };
    let subject_public_key = BitStringRef::from_bytes(bits).ok()?;
    SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der().ok()
}

fn decoded(text: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData as _;
    use serde_json::json;
    use x509_cert::der::SliceReader;

    use super::*;

    fn of(json: serde_json::Value) -> Result<Vec<u8>, &'static str> {
        serde_json::from_value::<JsonWebKey>(json).unwrap().to_spki()
    }

    fn b64(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    #[test]
    fn a_key_in_json_is_the_key_that_a_library_writes() {
        for (name, algorithm, bytes) in [
            ("P-256", &rcgen::PKCS_ECDSA_P256_SHA256, 32),
            ("P-384", &rcgen::PKCS_ECDSA_P384_SHA384, 48),
            ("P-521", &rcgen::PKCS_ECDSA_P521_SHA512, 66),
        ] {
            let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let spki = pair.subject_public_key_info();
            let (x, y) = spki[spki.len() - 2 * bytes..].split_at(bytes);
            for kty in ["EC", "EC-HSM"] {
                let key = json!({"kty": kty, "crv": name, "x": b64(x), "y": b64(y), "kid": "k"});
                assert_eq!(of(key).unwrap(), spki, "{name}");
            }
            assert_eq!(check(&spki), Ok(()));
            let short = json!({"kty": "EC", "crv": name, "x": b64(&x[1..]), "y": b64(y)});
            assert!(of(short).is_err());
        }
    }

    #[test]
    fn an_rsa_key_in_json_is_the_key_that_a_library_writes() {
        let pair =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
        let spki = pair.unwrap().subject_public_key_info();
        assert_eq!(check(&spki), Ok(()));
        let read = SubjectPublicKeyInfoRef::from_der(&spki).unwrap();
        let inner = read.subject_public_key.as_bytes().unwrap();
        assert_eq!(of_rsa(inner).unwrap(), spki);
        let mut reader = SliceReader::new(inner).unwrap();
        let header = Header::decode(&mut reader).unwrap();
        assert_eq!(header.tag, Tag::Sequence);
        let (n, e) = (UintRef::decode(&mut reader).unwrap(), UintRef::decode(&mut reader).unwrap());
        for kty in ["RSA", "RSA-HSM"] {
            let key = json!({"kty": kty, "n": b64(n.as_bytes()), "e": b64(e.as_bytes())});
            assert_eq!(of(key).unwrap(), spki);
        }
    }

    #[test]
    fn what_is_no_key_that_signs_is_refused() {
        for key in [
            json!({}),
            json!({"kty": "oct", "k": "AA"}),
            json!({"kty": "EC", "crv": "P-256K", "x": "AA", "y": "AA"}),
            json!({"kty": "EC", "crv": "P-256"}),
            json!({"kty": "RSA", "n": "AQAB"}),
            json!({"kty": "RSA", "n": "", "e": "AQAB"}),
            json!({"kty": "RSA", "n": b64(&[0xff; MAX_RSA_BYTES + 1]), "e": "AQAB"}),
            json!({"kty": "RSA", "n": "!", "e": "AQAB"}),
        ] {
            assert!(of(key.clone()).is_err(), "{key}");
        }
        let spki = rcgen::KeyPair::generate().unwrap().subject_public_key_info();
        for at in 0..spki.len() {
            let _ = check(&spki[..at]);
            let mut other = spki.clone();
            other[at] ^= 0xff;
            let _ = check(&other);
        }
        assert!(of_rsa(&spki).is_err());
    }
}
