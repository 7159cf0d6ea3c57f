//! A document of a TUF repository: its path, and behind the first line its bytes. What is trusted comes
//! from the repository, so a signature is good only where the repository's key has signed the document.

use ratify_core::{Descriptor, ErrorCode, VerifierReport};
use serde_json::json;

use super::{
    cosign::{ENTRY, PAYLOAD, SIGNATURE, file_once, host, verifier},
    signed::{image, json_of, judge, told},
    split,
};

const URL: &str = "https://tuf.example.com/";
const ROOT: &[u8] = include_bytes!("../../fixtures/tuf/root.json");
/// What the repository has besides the document that is trusted, which lies at its digest.
const DOCUMENTS: [(&str, &[u8]); 3] = [
    ("timestamp.json", include_bytes!("../../fixtures/tuf/timestamp.json")),
    ("1.snapshot.json", include_bytes!("../../fixtures/tuf/snapshot.json")),
    ("1.targets.json", include_bytes!("../../fixtures/tuf/targets.json")),
];
const TRUSTED: &[u8] = include_bytes!("../../fixtures/tuf/trusted_root.json");
/// A root that follows.
const NEXT: &[u8] = include_bytes!("../../corpora/tuf/good-next-root");

pub(super) fn verdict(input: &[u8]) -> VerifierReport {
    let (path, bytes) = split(input, b'\n');
    let (path, bytes) = (String::from_utf8_lossy(path).into_owned(), bytes.to_vec());
    let type_ = "application/vnd.dev.cosign.simplesigning.v1+json";
    let mut layer = Descriptor::new(type_, image(), PAYLOAD.len() as u64);
    for (name, value) in
        [("dev.cosignproject.cosign/signature", SIGNATURE), ("dev.sigstore.cosign/bundle", ENTRY)]
    {
        layer.annotations.insert(name.to_owned(), value.to_owned());
    }
    let host = host().with_blob(layer, PAYLOAD).fetching(move |request| {
        let asked = request.url.strip_prefix(URL).unwrap_or_default();
        if asked == path {
            return Ok(bytes.clone().into());
        }
        let known = DOCUMENTS.iter().find(|(name, _)| *name == asked).map(|(_, bytes)| *bytes);
        let known = known.or_else(|| asked.starts_with("targets/").then_some(TRUSTED));
        known.map(Into::into).ok_or(ErrorCode::ResourceNotFound.error())
    });
    let tuf = json!({"url": URL, "root": file_once("tuf-root.json", ROOT)});
    match verifier(json!({"tuf": tuf, "rekorURL": "https://log.example.com"})) {
        Ok(verifier) => judge(&verifier, host),
        Err(error) => told(VerifierReport::from_error(&error)),
    }
}

pub(super) fn check(input: &[u8]) {
    let (path, bytes) = split(input, b'\n');
    let next = ("2.root.json", split(NEXT, b'\n').1);
    let is_it = |(name, _): &&(&str, &[u8])| name.as_bytes() == path;
    let good = DOCUMENTS.iter().chain([&next]).find(is_it);
    // What lies at its digest is that, and what lies elsewhere is not asked for.
    if verdict(input).is_success
        && let Some((_, good)) = good
    {
        let signed = |bytes: &[u8]| json_of(bytes).map(|mut document| document["signed"].take());
        // Where it cannot be read the signature at its beginning is left.
        let is_signed = signed(bytes).map_or(bytes.get(..80) == good.get(..80), |signed_here| {
            Some(signed_here) == signed(good)
        });
        assert!(is_signed, "nobody has signed it");
    }
}
