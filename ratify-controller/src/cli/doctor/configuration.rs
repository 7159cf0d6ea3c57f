//! What is to be said of a configuration file. Pure: its bytes go in.

use ratify_core::{
    capped_line,
    config::{Config, StorePluginConfig, VerifierPluginConfig},
    policy::Policy,
};
use ratify_store_oras::LAYOUT_STORE;
use serde_json::Value;

use super::finding::{Finding, shown};
use crate::{built_in, cli::migrate, env::Environment, policy_file};

const FILE: &str = "configuration.file";
const KEYS: &str = "configuration.keys";
const STORE: &str = "configuration.store";
const VERIFIER: &str = "configuration.verifier";
const POLICY: &str = "configuration.policy";
const RULES: &str = "configuration.rules";

/// Where a configuration comes from, and who decides beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    /// What it is called: a path, or a ConfigMap.
    pub(super) name: &'a str,
    /// Whether custom resources decide, so that the file need name no store, verifier or policy.
    pub(super) is_of_resources: bool,
    /// What the environment of its server says.
    pub(super) environment: &'a Environment,
}

/// Reads a configuration and says what there is to say of it.
pub(super) fn judge(bytes: &[u8], origin: Origin<'_>) -> (Option<Config>, Vec<Finding>) {
    let config = match Config::from_json(bytes) {
        Ok(config) => config,
        Err(error) => {
            let finding = Finding::failure(FILE, origin.name, shown(&error.to_string()))
                .why("the file is refused as a whole: `ratify serve` does not start with it, and goes on with the one before where it runs")
                .fix(format!("mend the key that is named, in {}", shown(origin.name)));
            return (None, vec![finding]);
        }
    };
    let mut findings = vec![Finding::ok(FILE, origin.name, "it is a configuration")];
    findings.push(keys(bytes, origin));
    if !origin.is_of_resources {
        findings.extend(stores(&config));
        findings.extend(verifiers(&config, origin));
        findings.push(policy(&config));
    }
    findings.extend(rules(&config));
    (Some(config), findings)
}

/// The file could not be read at all.
pub(super) fn unreadable(name: &str, why: &str) -> Finding {
    Finding::failure(FILE, name, shown(why))
        .why("without it nothing is known of stores, verifiers and timeouts")
        .fix("name the file: ratify doctor -c FILE")
}

fn keys(bytes: &[u8], origin: Origin<'_>) -> Finding {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let unread = migrate::unread_keys(&document);
    if unread.is_empty() {
        return Finding::ok(KEYS, "", "every key is read");
    }
    let listed = capped_line(&unread.join(", "), 300);
    Finding::warning(KEYS, "", format!("nobody reads {listed}"))
        .why("a key that is misspelt has no effect, and nothing else says so")
        .fix(format!("take them away or mend their spelling, in {}", shown(origin.name)))
}

fn stores(config: &Config) -> Vec<Finding> {
    let section = config.store.clone().unwrap_or_default();
    if section.plugins.is_empty() {
        let finding = Finding::failure(STORE, "", "no store is configured")
            .why("without one nothing is found about any image, and the configuration is refused")
            .fix(r#"add "store": {"version": "1.0.0", "plugins": [{"name": "oras"}]}"#);
        return vec![finding];
    }
    let each = section.plugins.iter().enumerate().map(|(number, raw)| {
        let at = format!("store.plugins[{number}]");
        match StorePluginConfig::from_entry(raw, &section.version) {
            Err(error) => refused(STORE, &at, &error),
            Ok(entry) => store(&entry),
        }
    });
    each.collect()
}

fn store(entry: &StorePluginConfig) -> Finding {
    let uses_http = entry.raw.get("useHttp") == Some(&Value::Bool(true));
    match entry.name.as_str() {
        "oras" if uses_http => {
            Finding::warning(STORE, &entry.name, "useHttp: registries are asked in clear")
                .why("whoever is on the way reads the credentials, and says what tags stand for")
                .fix("take useHttp away; for one registry in clear name it in a hosts.toml (registries.hostsPath)")
        }
        "oras" => Finding::ok(STORE, &entry.name, "the built-in store of registries"),
        LAYOUT_STORE => Finding::ok(STORE, &entry.name, "the built-in store of layouts"),
        name => Finding::ok(STORE, name, "a plugin"),
    }
}

fn verifiers(config: &Config, origin: Origin<'_>) -> Vec<Finding> {
    let section = config.verifier.clone().unwrap_or_default();
    if section.plugins.is_empty() {
        let finding = Finding::failure(VERIFIER, "", "no verifier is configured")
            .why("nobody judges, so that every image is refused, and the configuration with them")
            .fix("name who judges, in verifier.plugins of the configuration");
        return vec![finding];
    }
    let each = section.plugins.iter().enumerate().map(|(number, raw)| {
        let at = format!("verifier.plugins[{number}]");
        match VerifierPluginConfig::from_entry(raw, &section.version) {
            Err(error) => refused(VERIFIER, &at, &error),
            Ok(entry) => verifier(&entry, origin),
        }
    });
    each.collect()
}

/// What is to be said of a verifier but of its program.
pub(super) fn verifier(entry: &VerifierPluginConfig, origin: Origin<'_>) -> Finding {
    if let Some(error) = built_in::error(entry, false, origin.environment) {
        return refused(VERIFIER, &entry.name, &error);
    }
    if built_in::accepts_anyone(entry) {
        return Finding::warning(VERIFIER, &entry.name, "it accepts anyone's signature")
            .why("without trustPolicies and key it asks that somebody with an identity of Sigstore's signed, which anyone can have")
            .fix("name who has to sign, by keys or by certificateIdentity and certificateOIDCIssuer, in trustPolicies (docs/cosign.md)");
    }
    if built_in::is_built_in(entry) && entry.artifact_types.is_none() {
        return Finding::warning(VERIFIER, &entry.name, "it judges nothing")
            .why("artifactTypes is missing, and a built-in verifier judges the types that it is told")
            .fix(r#"name what it judges: "artifactTypes": "application/vnd.cncf.notary.signature""#);
    }
    if entry.source.is_some()
        && !origin.environment.dynamic_plugins()
        && built_in::takes_source(entry)
    {
        return Finding::failure(VERIFIER, &entry.name, "its source is not downloaded")
            .why("dynamic plugins are off, so that only a program in the plugin directory is run")
            .fix("set RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS=1 where `ratify serve` runs; with the chart: helm upgrade … --set featureFlags.RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS=true");
    }
    match &entry.artifact_types {
        None => Finding::note(VERIFIER, &entry.name, "it judges artifacts of every type")
            .why("artifactTypes is missing: it is also asked about what it knows nothing of, and fails the image then")
            .fix(r#"name what it judges: "artifactTypes": "application/spdx+json""#),
        Some(types) => {
            let types = types.named().map_or_else(|| "every type".to_owned(), |all| all.join(", "));
            Finding::ok(VERIFIER, &entry.name, format!("judges {}", shown(&types)))
        }
    }
}

fn policy(config: &Config) -> Finding {
    let section = config.policy.clone().unwrap_or_default();
    match Policy::from_config_and_files(&section, &policy_file::read) {
        Err(error) => refused(POLICY, "", &error),
        Ok(policy) if policy.is_passthrough() => {
            Finding::note(POLICY, policy.name(), "passthroughEnabled: it decides nothing")
                .why("only a constraint that looks at the reports refuses anything; under v1's default template everything passes")
                .fix("use the template docs/gatekeeper/reports.yaml, or take passthroughEnabled away")
        }
        Ok(policy) => Finding::ok(POLICY, policy.name(), "it decides"),
    }
}

fn rules(config: &Config) -> Vec<Finding> {
    let rules = &config.plugins;
    let mut findings = Vec::new();
    if rules.namespaced_source && rules.allowed_repositories.is_none() {
        let finding =
            Finding::warning(RULES, "plugins.namespaces.source", "namespaces may run any program")
                .why("whoever may write a NamespacedVerifier runs what they like in Ratify's pod")
                .fix(r#"name where plugins may be from: "plugins": {"allowedRepositories": ["registry.example.com/plugins/*"]}"#);
        findings.push(finding);
    }
    if rules.namespaced_any_address {
        let finding = Finding::warning(
            RULES,
            "plugins.namespaces.anyAddress",
            "namespaces may run any file of the pod as a plugin",
        )
        .why("their address leads anywhere, also to programs that were never meant to be plugins")
        .fix("take the key away, and let namespaces name a source");
        findings.push(finding);
    }
    findings
}

fn refused(id: &'static str, on: &str, error: &ratify_core::Error) -> Finding {
    Finding::failure(id, on, shown(&error.to_string()))
        .why("the configuration is refused as a whole")
        .fix("mend this entry")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(document: &Value) -> String {
        lines_in(document, &Environment::default())
    }

    fn lines_in(document: &Value, environment: &Environment) -> String {
        let origin = Origin { name: "config.json", is_of_resources: false, environment };
        let (_, findings) = judge(document.to_string().as_bytes(), origin);
        let line = |finding: &Finding| {
            let Finding { id, on, state, seen, .. } = finding;
            format!("{state:?} {id} {on}: {seen}")
        };
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_sigstore_that_was_chosen_elsewhere_is_said_of_who_needs_it() {
        let lookup = |name: &str| (name == "TUF_ROOT").then(|| "/s".into());
        let environment = Environment::from_lookup(lookup, || None);
        let policy = json!({"name": "p", "scopes": ["*"], "keys": [{"provider": "k"}]});
        let mut unlogged = policy.clone();
        unlogged["tLogVerify"] = false.into();
        let verifier = |name: &str, policy: Value| json!({"name": name, "type": "cosign", "artifactTypes": "a", "trustPolicies": [policy]});
        let said = lines_in(
            &json!({"verifier": {"plugins": [verifier("a", policy), verifier("b", unlogged)]}}),
            &environment,
        );
        let of_verifiers = said.lines().filter(|line| line.contains("configuration.verifier"));
        let of_verifiers: Vec<_> = of_verifiers.collect();
        assert!(of_verifiers[0].starts_with("Failure configuration.verifier a: "), "{said}");
        assert!(of_verifiers[0].contains("chosen with cosign initialize in /s"), "{said}");
        assert_eq!(of_verifiers[1], "Ok configuration.verifier b: judges a");
    }

    #[test]
    fn a_configuration_without_faults_has_no_finding_but_ok() {
        let said = lines(&json!({
            "store": {"plugins": [{"name": "oras"}]},
            "verifier": {"plugins": [{"name": "sample", "artifactTypes": "a/b"}]},
            "policy": {"plugin": {"name": "configPolicy"}},
            "registries": {"allowedAddresses": []},
        }));
        assert!(said.lines().all(|line| line.starts_with("Ok ")), "{said}");
    }

    #[test]
    fn each_fault_of_a_configuration_is_said() {
        insta::assert_snapshot!(lines(&json!({
            "store": {"plugins": [{"name": "oras", "useHttp": true}, {"name": ".."}]},
            "verifier": {"plugins": [
                {"name": "n", "type": "cosign", "artifactTypes": "a"}, {"name": "any"}, {},
                {"name": "notation", "artifactTypes": "a", "trustPolicyDoc": {"version": "1.0"}},
                {"name": "notation", "trustPolicyDoc": {"version": "1.0", "trustPolicies": [{"name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "skip"}}]}},
                {"name": "s", "artifactTypes": "*", "source": {"artifact": "r.example.com/p:1"}},
            ], "extra": 1},
            "policy": {"plugin": {"name": "rego-policy", "passthroughEnabled": true, "policy": "package ratify.policy\nvalid := true"}},
            "plugins": {"namespaces": {"source": true, "anyAddress": true}},
            "excutor": {},
        })), @r"
        Ok configuration.file config.json: it is a configuration
        Warning configuration.keys : nobody reads excutor, verifier.extra
        Warning configuration.store oras: useHttp: registries are asked in clear
        Failure configuration.store store.plugins[1]: CONFIG_INVALID: invalid plugin name for a store: ..
        Warning configuration.verifier n: it accepts anyone's signature
        Note configuration.verifier any: it judges artifacts of every type
        Failure configuration.verifier verifier.plugins[2]: CONFIG_INVALID: The name field is required in the Verifier configuration
        Failure configuration.verifier notation: PLUGIN_INIT_FAILURE: Failed to create the Notation Verifier: Failed to create the Notation Verifier: trust policy document can not have zero trust policy statements
        Warning configuration.verifier notation: it judges nothing
        Failure configuration.verifier s: its source is not downloaded
        Note configuration.policy regopolicy: passthroughEnabled: it decides nothing
        Warning configuration.rules plugins.namespaces.source: namespaces may run any program
        Warning configuration.rules plugins.namespaces.anyAddress: namespaces may run any file of the pod as a plugin
        ");
        insta::assert_snapshot!(lines(&json!({})), @r"
        Ok configuration.file config.json: it is a configuration
        Ok configuration.keys : every key is read
        Failure configuration.store : no store is configured
        Failure configuration.verifier : no verifier is configured
        Failure configuration.policy : CONFIG_INVALID: policy provider config must be specified
        ");
        insta::assert_snapshot!(lines(&json!({"store": []})), @"Failure configuration.file config.json: store: expected an object, found an array");
    }
}
