//! `Link` headers, one a line: a next page is on the same registry and in its API; and nothing that
//! stands before a link to one makes it the end of the list.

use ratify_store_oras::fuzzing;
use url::Url;

const PAGE: &str = "https://registry.example.com/v2/app/referrers/sha256:00";

pub(super) fn check(input: &[u8]) {
    let values: Vec<_> = input.split(|byte| *byte == b'\n').collect();
    if let Ok(found) = fuzzing::next_page("/v2", PAGE, &values) {
        let has_word = input.to_ascii_lowercase().windows(4).any(|word| word == b"next");
        let Some(next) = found else { return follows_what_stands_behind(input) };
        assert!(has_word, "{next}");
        let (next, current) = (Url::parse(&next).unwrap(), Url::parse(PAGE).unwrap());
        assert_eq!(next.origin(), current.origin());
        assert!(next.path().starts_with("/v2/"), "{next}");
    }
    follows_what_stands_behind(input);
}

fn follows_what_stands_behind(input: &[u8]) {
    const NEXT: &[u8] = b"<https://registry.example.com/v2/app/referrers/x?n=2>; rel=\"next\"";
    let one_line: Vec<u8> = input.iter().copied().filter(|byte| *byte != b'\n').collect();
    let joined = [&one_line, &b", "[..], NEXT].concat();
    assert_ne!(fuzzing::next_page("/v2", PAGE, &[&joined]), Ok(None), "the list ends here");
    let apart: Vec<_> = input.split(|byte| *byte == b'\n').chain([NEXT]).collect();
    assert_ne!(fuzzing::next_page("/v2", PAGE, &apart), Ok(None), "the list ends here");
}
