//! The name of an image. What is read is written as it is read again, and means the same place; a
//! digest is never lost or changed.

use ratify_core::{Digest, Reference};

pub(super) fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(reference) = Reference::parse(text) {
        is_whole(&reference, text);
        let again = Reference::parse(reference.as_str()).unwrap();
        assert_eq!(again, reference);
        // What a plugin's source takes is what a subject is written as.
        assert_eq!(Reference::parse_exact(reference.as_str()).unwrap(), reference);
    }
    if let Ok(reference) = Reference::parse_exact(text) {
        is_whole(&reference, text);
        assert_eq!(Reference::parse_exact(reference.as_str()).unwrap(), reference);
        assert!(text.starts_with(reference.path()), "nothing is added to it");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!((digest.as_str(), digest.to_string().as_str()), (text, text));
        assert_eq!(Digest::new(digest.algorithm(), digest.hex()).unwrap(), digest);
    }
}

fn is_whole(reference: &Reference, asked: &str) {
    let (registry, repository) = (reference.registry(), reference.repository());
    assert_eq!(reference.path(), format!("{registry}/{repository}"));
    assert!(!registry.is_empty() && !repository.is_empty() && repository.len() <= 255);
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(is_plain(reference.as_str()), "{reference:?}");
    assert!(!repository.bytes().any(|byte| byte.is_ascii_uppercase()));
    // No step out of the repository in a URL.
    assert!(!repository.split('/').any(|part| matches!(part, "" | "." | "..")), "{reference:?}");
    assert!(!registry.contains(['/', '@', '?', '#', '\\', '%']), "{reference:?}");
    assert!(reference.tag().is_some() != reference.digest().is_some());
    let given = asked.split_once('@').map(|(_, digest)| digest);
    assert_eq!(reference.digest().map(Digest::as_str), given, "{asked:?}");
    let end = reference.tag_or_digest();
    assert!(reference.as_str().ends_with(end));
    if let Some(digest) = reference.digest() {
        assert_eq!(reference.sibling(digest).as_str(), reference.as_str());
    }
    if let Some(tag) = reference.tag() {
        assert_eq!(reference.sibling_tag(tag).unwrap(), *reference);
        assert!(asked.ends_with(tag) || tag == "latest", "{asked:?}");
    }
}
