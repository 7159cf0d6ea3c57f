//! A `hosts.toml`. What it leads to is a server and nothing else, and no error tells what a header
//! of it says.

use ratify_store_oras::fuzzing;
use url::Url;

/// What stands at the end of each file that is read, and must stay there.
const SECRET: &str = "swordfish-of-the-fuzz-target";

pub(super) fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(endpoints) = fuzzing::hosts(text) {
        assert!(!endpoints.is_empty(), "the registry itself is the last");
        let (own, others) = endpoints.split_last().unwrap();
        assert!(others.iter().all(|endpoint| endpoint.base.is_some()), "{own:?}");
        for base in endpoints.iter().filter_map(|endpoint| endpoint.base.as_deref()) {
            let url = Url::parse(base).unwrap();
            assert!(["http", "https"].contains(&url.scheme()) && url.host().is_some(), "{base}");
            assert!(url.username().is_empty() && url.password().is_none(), "{base}");
            assert!(url.query().is_none() && url.fragment().is_none(), "{base}");
        }
        let words = text.to_ascii_lowercase();
        let is_list = |line: &str| line.trim_start().starts_with("capabilities");
        let has_list = text.lines().any(is_list);
        if has_list && !words.contains("resolve") && !text.contains('\\') {
            // At most those that have no list of their own may be asked what a tag means.
            assert!(endpoints.iter().any(|endpoint| !endpoint.resolves) || is_comment(text));
        }
    }
    let secret =
        format!("{text}\n[host.\"https://mirror.example.com\".header]\nx-key = \"{SECRET}\"\n");
    if let Err(error) = fuzzing::hosts(&secret) {
        assert!(!error.contains(SECRET) || text.contains(SECRET), "{error}");
        assert!(error.len() < 2000, "{error}");
    }
}

/// Whether the word may stand where it means nothing.
fn is_comment(text: &str) -> bool {
    text.contains(['#', '\'']) || text.matches('"').count() > 2
}
