//! Keys of every kind, their signatures, and what is none.

use super::*;
use crate::testing::{KINDS, Signer};

#[test]
fn a_signature_counts_by_its_own_key_and_of_its_own_message_alone() {
    for kind in KINDS {
        let signer = Signer::new(kind);
        let key = PublicKey::from_pem(signer.pem().as_bytes()).unwrap();
        let signature = signer.sign(b"message");
        key.verify(Hash::Sha256, b"message", &signature).unwrap();
        key.verify(Hash::Sha256, b"massage", &signature).unwrap_err();
        let other = PublicKey::from_spki(&Signer::new(kind).spki()).unwrap();
        other.verify(Hash::Sha256, b"message", &signature).unwrap_err();
        for cut in [0, 1, signature.len() / 2, signature.len() - 1] {
            key.verify(Hash::Sha256, b"message", &signature[..cut]).unwrap_err();
        }
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut flipped = signature.clone();
            flipped[at] ^= 1;
            key.verify(Hash::Sha256, b"message", &flipped).unwrap_err();
        }
        let longer = [&signature[..], &[0]].concat();
        key.verify(Hash::Sha256, b"message", &longer).unwrap_err();
    }
}

#[test]
fn refusals_are_in_cosigns_words() {
    let refused = |kind: &str| {
        let key = PublicKey::from_spki(&Signer::new(kind).spki()).unwrap();
        key.verify(Hash::Sha256, b"m", b"").unwrap_err().to_string()
    };
    assert_eq!(refused("p521"), "ecdsa: Invalid IEEE_P1363 encoded bytes");
    assert_eq!(refused("rsa2048"), "crypto/rsa: verification error");
    assert_eq!(refused("ed25519"), "failed to verify signature");
    assert!(decode_signature("no base64").is_err());
}

#[test]
fn a_key_of_pkcs1_is_the_same_key() {
    let signer = Signer::new("rsa2048");
    let key = PublicKey::from_spki(&signer.spki()).unwrap();
    let pkcs1 = pem::encode(&pem::Pem::new("RSA PUBLIC KEY", key.raw.clone()));
    assert_eq!(PublicKey::from_pem(pkcs1.as_bytes()).unwrap(), key);
}

#[test]
fn keys_that_nothing_is_signed_with_are_refused() {
    let spki = Signer::new("p256").spki();
    let ed25519 = Signer::new("ed25519").spki();
    // secp256k1 in the place of P-256, and a point that is compressed.
    let at =
        spki.windows(8).position(|bytes| bytes == [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]).unwrap();
    let mut other_curve = spki.clone();
    other_curve[at + 7] = 8;
    let mut compressed = spki.clone();
    let point = compressed.len() - 65;
    compressed[point] = 2;
    for (der, reason) in [
        (other_curve, "unsupported public key: an elliptic curve"),
        (compressed, "unsupported public key: a point that is compressed"),
        (ed25519[..ed25519.len() - 1].to_vec(), "the public key is malformed"),
        ([&spki[..], &[0]].concat(), "the public key is malformed"),
        (Vec::new(), "the public key is malformed"),
    ] {
        let refused = PublicKey::from_spki(&der).unwrap_err().to_string();
        assert!(refused.starts_with(reason), "{refused}");
    }
}

#[test]
fn no_cut_or_flipped_key_panics() {
    for kind in KINDS {
        let spki = Signer::new(kind).spki();
        for cut in 0..spki.len() {
            PublicKey::from_spki(&spki[..cut]).unwrap_err();
        }
        for at in 0..spki.len() {
            let mut flipped = spki.clone();
            flipped[at] ^= 0x10;
            if let Ok(key) = PublicKey::from_spki(&flipped) {
                key.verify(Hash::Sha256, b"m", b"s").unwrap_err();
            }
        }
    }
}

#[test]
fn a_key_vault_hashes_as_its_keys_are_strong() {
    let hash =
        |kind: &str| PublicKey::from_spki(&Signer::new(kind).spki()).unwrap().key_vault_hash();
    assert_eq!(hash("p256"), Ok(Hash::Sha256));
    assert_eq!(hash("p384"), Ok(Hash::Sha384));
    assert_eq!(hash("p521"), Ok(Hash::Sha512));
    assert_eq!(hash("rsa2048"), Ok(Hash::Sha256));
    assert_eq!(hash("rsa3072"), Ok(Hash::Sha384));
    let refused = hash("ed25519").unwrap_err().to_string();
    assert_eq!(refused, "unsupported public key type [ed25519.PublicKey]");
}

/// A DER integer.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let mut value = bytes[start..].to_vec();
    if value.first().is_none_or(|byte| *byte >= 0x80) {
        value.insert(0, 0);
    }
    let length = u8::try_from(value.len()).unwrap();
    [if length < 0x80 { vec![2, length] } else { vec![2, 0x81, length] }, value].concat()
}

#[test]
fn a_key_vaults_rsa_signature_is_two_halves() {
    let signer = Signer::new("rsa2048");
    let key = PublicKey::from_spki(&signer.spki()).unwrap();
    let mut whole = signer.sign(b"m");
    assert_eq!(key.key_vault_signature(&whole), whole);
    for zeros in [0, 1, 3] {
        // Halves that begin with zeros: v1 loses these.
        whole[..zeros].fill(0);
        whole[128..128 + zeros].fill(0);
        let fields = [integer(&whole[..128]), integer(&whole[128..])].concat();
        let length = match u16::try_from(fields.len()).unwrap().to_be_bytes() {
            [0, low] => vec![0x30, 0x81, low],
            [high, low] => vec![0x30, 0x82, high, low],
        };
        let written = [length, fields].concat();
        assert_eq!(key.key_vault_signature(&written), whole);
    }
    let ecdsa = Signer::new("p256");
    let signature = ecdsa.sign(b"m");
    assert_eq!(
        PublicKey::from_spki(&ecdsa.spki()).unwrap().key_vault_signature(&signature),
        signature
    );
}

#[test]
fn a_key_of_p384_signs_with_sha256_as_cosigns_keys_do() {
    // Made by `openssl dgst -sha256 -sign`: the library that signs here has no such pair.
    let spki = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEhkfiQaLcLF8nS2qsBc8ldmGEu67v+1K4SACrvrr8Xqn6kbozb6pPDgJkn4ciU5Yy6xYP9LPU/Wx7DTJMcJb+jGZiJ9rwzPBaD9toSG+/Ukcpx41roytOnqIkLSvfnQnF";
    let signature = "MGQCMHm+aojFLccyxBbVQPkyIkiYxNvBackVnc8sp4q8vo8dJPVeD/AfyCkF/ItBNiAi2QIwO+FocSGDL2vRjrn12+5tYQETWL0CtD+7GLDrkVwTT2F+fbKLOFyxotuaACJ7z0yy";
    let key = PublicKey::from_spki(&STANDARD.decode(spki).unwrap()).unwrap();
    let signature = decode_signature(signature).unwrap();
    key.verify(Hash::Sha256, b"message", &signature).unwrap();
    key.verify(Hash::Sha384, b"message", &signature).unwrap_err();
    key.verify(Hash::Sha256, b"massage", &signature).unwrap_err();
}

#[test]
fn a_signature_of_a_curve_is_two_integers_or_two_halves() {
    for (kind, half) in [("p256", 32), ("p521", 66)] {
        let signer = Signer::new(kind);
        let key = PublicKey::from_spki(&signer.spki()).unwrap();
        let (first, second) = two_integers(&signer.sign(b"m")).unwrap();
        let mut halves = vec![0; 2 * half];
        halves[half - first.len()..half].copy_from_slice(&first);
        halves[2 * half - second.len()..].copy_from_slice(&second);
        key.verify(Hash::Sha256, b"m", &halves).unwrap();
        let refused = key.verify(Hash::Sha256, b"n", &halves).unwrap_err();
        assert_eq!(refused, SignatureError::EcdsaHalves);
        halves.push(0);
        assert_eq!(key.verify(Hash::Sha256, b"m", &halves), Err(SignatureError::EcdsaLength));
        assert_eq!(key.verify(Hash::Sha256, b"m", &[0; 134]), Err(SignatureError::EcdsaLength));
        let refused = key.verify(Hash::Sha256, b"n", &signer.sign(b"m")).unwrap_err();
        assert_eq!(refused, SignatureError::Ecdsa);
    }
}

#[test]
fn a_payload_is_hashed_with_sha256_or_as_the_curve_is_strong() {
    for kind in ["p256", "p384", "p521", "p521-sha512"] {
        let signer = Signer::new(kind);
        let key = PublicKey::from_spki(&signer.spki()).unwrap();
        key.verify_payload(b"m", &signer.sign(b"m")).unwrap();
        key.verify_payload(b"n", &signer.sign(b"m")).unwrap_err();
    }
    let rsa = Signer::new("rsa3072-sha384");
    let key = PublicKey::from_spki(&rsa.spki()).unwrap();
    key.verify_payload(b"m", &rsa.sign(b"m")).unwrap_err();
}
