//! A `WWW-Authenticate` header. Credentials follow it to nobody in clear, and for nothing but to read
//! this repository.

use ratify_store_oras::{Transport, fuzzing};
use url::Url;

pub(super) fn check(input: &[u8]) {
    let Ok(header) = str::from_utf8(input) else { return };
    for (registry, transport) in [
        ("https://registry.example.com/v2/", Transport::Https),
        ("https://registry.example.com/v2/", Transport::HttpsOrLoopbackHttp),
        ("http://127.0.0.1:5000/v2/", Transport::HttpsOrLoopbackHttp),
    ] {
        for bearer in fuzzing::bearer_challenges(header, "app", registry, transport) {
            let actions = bearer.scope.strip_prefix("repository:app:").unwrap();
            assert!(["metadata_read,pull", "pull"].contains(&actions), "{actions}");
            let Ok(realm) = bearer.realm else { continue };
            let url = Url::parse(&realm).unwrap();
            assert!(url.username().is_empty() && url.password().is_none(), "{realm}");
            let is_loopback = url.host_str().is_some_and(is_loopback);
            let may_be_clear = registry.starts_with("http://") && is_loopback;
            assert!(url.scheme() == "https" || may_be_clear && url.scheme() == "http", "{realm}");
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
