//! What a namespace may bring, where an administrator lets it bring anything: a program from a
//! registry that is not the node's own, with credentials that are not Ratify's.

use std::{net::IpAddr, time::Duration};

use ratify_core::{
    Reference, capped_line,
    config::{Candidate, Denial, PluginRules, PluginSource},
};
use ratify_store_oras::AddressKind;
use serde_json::Value;
use url::{Host, Url};

use crate::plugin::confined::Confinement;

/// How long a name may take to be looked up.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(10);
/// The one provider whose credentials are the namespace's.
const OWN_CREDENTIALS: &str = "k8Secrets";

/// Whether a source of a namespaced resource is allowed, apart from what is so for any source. A
/// registry by name is looked up; that its name means something else a moment later is not seen
/// here.
///
/// # Errors
/// Which rule forbids it.
pub(super) async fn check_source(
    rules: &PluginRules,
    source: &PluginSource,
    own: Option<&Confinement>,
) -> Result<(), Denial> {
    if !rules.namespaced_source {
        return Err(Denial::NamespacedSource);
    }
    if own.is_some_and(|own| !own.is_own()) {
        let why = "a plugin with a source is installed in the directory of its namespace only";
        return Err(Denial::NamespacedAddress { why: why.to_owned() });
    }
    check_credentials(source)?;
    let Ok(reference) = Reference::parse_exact(&source.artifact) else {
        // Nothing is asked of it; what is wrong with it is said when it is pulled.
        return Ok(());
    };
    // Who names a registry on a list means it.
    let is_listed =
        rules.allowed_repositories.is_some() && rules.check_repository(&reference).is_ok();
    if is_listed {
        return Ok(());
    }
    check_host(reference.registry()).await
}

/// Whether any source may read so: where it leads, and by what. What is pinned is by digest in any
/// case, so this is asked of the spec's own words.
///
/// # Errors
/// Which rule forbids it.
pub(super) fn check_words(rules: &PluginRules, source: &PluginSource) -> Result<(), Denial> {
    match Reference::parse_exact(&source.artifact) {
        Ok(reference) => {
            rules.check(&Candidate { source: Some(&reference), ..Candidate::default() })
        }
        // What is wrong with it is said when it is pulled.
        Err(_) => Ok(()),
    }
}

fn check_credentials(source: &PluginSource) -> Result<(), Denial> {
    let single = source.auth_provider.as_ref().map(|provider| provider.get("name"));
    // Whatever is not a list of rules is refused where it is read.
    let rules = source.auth_providers.as_ref().and_then(Value::as_array).into_iter().flatten();
    let several = rules.filter_map(|rule| Some(rule.get("provider")?.get("name")));
    for name in single.into_iter().chain(several) {
        let name = name.and_then(Value::as_str).unwrap_or_default();
        if name != OWN_CREDENTIALS {
            return Err(Denial::NamespacedCredentials { provider: capped_line(name, 100) });
        }
    }
    Ok(())
}

async fn check_host(registry: &str) -> Result<(), Denial> {
    let denial = || Denial::NamespacedHost { host: capped_line(registry, 200) };
    // As the HTTP client reads it: 2130706433 is 127.0.0.1.
    let url = Url::parse(&format!("https://{registry}/")).map_err(|_| denial())?;
    match url.host() {
        Some(Host::Ipv4(address)) if !is_local(address.into()) => Ok(()),
        Some(Host::Ipv6(address)) if !is_local(address.into()) => Ok(()),
        Some(Host::Domain(name)) if AddressKind::of_name(name).is_none() => {
            let port = url.port_or_known_default().unwrap_or(443);
            let lookup = tokio::net::lookup_host((name, port));
            // A name that cannot be looked up is no way to anywhere.
            let Ok(Ok(mut found)) = tokio::time::timeout(LOOKUP_PATIENCE, lookup).await else {
                return Ok(());
            };
            if found.any(|address| is_local(address.ip())) { Err(denial()) } else { Ok(()) }
        }
        _ => Err(denial()),
    }
}

/// Whether an address is of this machine, of its link, or of the cloud's metadata.
fn is_local(address: IpAddr) -> bool {
    AddressKind::of(address).is_some()
}

#[cfg(test)]
mod tests {
    use ratify_core::config::Config;

    use super::*;

    async fn said(rules: &str, source: &str) -> Result<(), Denial> {
        let config = format!(r#"{{"plugins":{{"namespaces":{{"source":true}}{rules}}}}}"#);
        let rules = Config::from_json(config.as_bytes()).unwrap().plugins;
        let entry: Value = serde_json::from_str(&format!(r#"{{"source":{source}}}"#)).unwrap();
        let source = PluginSource::from_entry(entry.as_object().unwrap()).unwrap().unwrap();
        check_source(&rules, &source, None).await
    }

    #[tokio::test]
    async fn no_spelling_of_this_machine_or_of_the_metadata_gets_past() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:5000",
            "127.1:5000",
            "2130706433",
            "0x7f000001:80",
            "0177.0.0.1",
            "0.0.0.0",
            "localhost",
            "localhost:5000",
            "LOCALHOST:5000",
            "a.localhost",
            "169.254.169.254",
            "169.254.0.1:80",
            "100.100.100.200",
            "[::1]:5000",
            "[::ffff:127.0.0.1]:5000",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[fe80::1]:80",
            "[fd00:ec2::254]:80",
        ] {
            let denial = check_host(host).await;
            assert_eq!(denial, Err(Denial::NamespacedHost { host: host.into() }), "{host}");
        }
        for host in ["192.0.2.1:5000", "10.0.0.7", "[2001:db8::1]:443"] {
            assert_eq!(check_host(host).await, Ok(()), "{host}");
        }
    }

    #[tokio::test]
    async fn a_registry_on_the_administrators_list_is_meant() {
        let source = r#"{"artifact":"127.0.0.1:5000/team/p:1"}"#;
        let listed = r#","allowedRepositories":["127.0.0.1:5000/team/*"]"#;
        assert!(said("", source).await.is_err());
        assert_eq!(said(listed, source).await, Ok(()));
        let elsewhere = r#"{"artifact":"127.0.0.1:5000/other/p:1"}"#;
        assert!(said(listed, elsewhere).await.is_err());
    }

    #[tokio::test]
    async fn only_the_secrets_of_the_namespace_are_used() {
        let with =
            |provider: &str| format!(r#"{{"artifact":"192.0.2.1/p:1","authProvider":{provider}}}"#);
        assert_eq!(said("", &with(r#"{"name":"k8Secrets"}"#)).await, Ok(()));
        assert_eq!(said("", &with("null")).await, Ok(()));
        for provider in [
            r#"{"name":"dockerConfig"}"#,
            r#"{"name":"azureWorkloadIdentity"}"#,
            r#"{"name":7}"#,
            "{}",
        ] {
            let denial = said("", &with(provider)).await;
            assert!(matches!(denial, Err(Denial::NamespacedCredentials { .. })), "{provider}");
        }
    }
}
