//! What becomes of a configuration file of v1. Pure.

use ratify_core::{
    config::{
        Config, ConfigError, StorePluginConfig, StoresConfig, VerifierPluginConfig, VerifiersConfig,
    },
    go_json,
};
use serde_json::Value;

use super::{
    entries::{self, Owner},
    finding::{Finding, shown},
    rows,
};
use crate::telemetry::Format;

/// The keys of each section that are read. Plugins' entries have keys of their own.
const KEYS: [(&str, &[&str]); 8] = [
    (
        "",
        &[
            "store",
            "policy",
            "verifier",
            "executor",
            "crl",
            "logger",
            "plugins",
            "namespaces",
            "registries",
        ],
    ),
    ("store", &["version", "pluginBinDirs", "plugins"]),
    ("verifier", &["version", "pluginBinDirs", "plugins"]),
    ("policy", &["version", "plugin"]),
    (
        "executor",
        &[
            "verificationRequestTimeout",
            "mutationRequestTimeout",
            "giveUpAfter",
            "mutationKeepsTag",
        ],
    ),
    ("logger", &["formatter", "requestHeaders"]),
    ("logger.requestHeaders", &["traceIDHeaderName"]),
    ("crl", &["cache"]),
];

/// What is found in a file.
///
/// # Errors
/// When it is no JSON.
pub(super) fn findings(bytes: &[u8]) -> Result<Vec<Finding>, serde_json::Error> {
    let document: Value = serde_json::from_slice(bytes)?;
    let config = match Config::from_json(bytes) {
        Ok(config) => config,
        Err(ConfigError::Json(error)) => return Err(error),
        Err(error) => return Ok(vec![refused(&error)]),
    };
    let mut findings = unknown_keys(&document);
    findings.extend(config.store.as_ref().map(stores).unwrap_or_default());
    findings.extend(config.verifier.as_ref().map(verifiers).unwrap_or_default());
    if let Some(section) = &config.policy {
        findings.push(entries::policy("policy.plugin", section, Owner::File));
    }
    if config.store.is_none() && config.verifier.is_none() && config.policy.is_none() {
        let what = "no store, verifier or policy: custom resources decide, as in v1";
        findings.push(Finding::same("the configuration", what));
    }
    findings.extend(timeouts(&config));
    findings.extend(logger(&config));
    if config.crl_cache_enabled {
        let what = "lists of revoked certificates are kept until their next update";
        findings.push(Finding::same("crl.cache.enabled", what).row(rows::CRL_CACHE));
    }
    Ok(findings)
}

fn refused(error: &ConfigError) -> Finding {
    let finding = |why: &str| {
        let what = format!("it is refused: {}", shown(&error.to_string()));
        let todo = "mend this key, and run the command again: nothing else was looked at";
        Finding::change("the configuration", what, why, todo)
    };
    match error {
        ConfigError::Spellings { .. } => {
            finding("which of two values is meant would be a guess").row(rows::SPELLINGS)
        }
        _ => finding("a value that cannot be read is a rule that would not be kept"),
    }
}

/// The keys of a configuration that nobody reads, with their sections. What is within a plugin's entry
/// is the plugin's.
pub(in crate::cli) fn unread_keys(document: &Value) -> Vec<String> {
    let mut unread = Vec::new();
    for (section, known) in KEYS {
        let Some(object) = section_of(document, section).and_then(Value::as_object) else {
            continue;
        };
        let is_known = |key: &str| known.iter().any(|known| go_json::is_key(key, known));
        for key in object.keys().filter(|key| !is_known(key)) {
            let at =
                if section.is_empty() { shown(key) } else { format!("{section}.{}", shown(key)) };
            unread.push(at);
        }
    }
    unread
}

fn unknown_keys(document: &Value) -> Vec<Finding> {
    let mut findings: Vec<Finding> = unread_keys(document).into_iter().map(unknown_key).collect();
    let rules = ["plugins", "namespaces"].into_iter();
    findings.extend(rules.filter(|key| section_of(document, key).is_some()).map(|key| {
        Finding::look(
            key,
            "these are rules for plugins and namespaces here",
            "v1 has no such section and ignores it",
            "see that it says what you mean",
        )
    }));
    findings
}

fn unknown_key(at: String) -> Finding {
    let todo = match at.as_str() {
        "logger.level" => "set the variable RATIFY_LOG_LEVEL",
        _ => "take it away, or mend its spelling",
    };
    Finding::look(at, "nobody reads this key", "v1 ignores it too", todo)
}

/// A section by its path, as the configuration's reader finds it.
fn section_of<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let mut found = document;
    for key in path.split('.').filter(|key| !key.is_empty()) {
        let mut entries = found.as_object()?.iter();
        found = entries.find(|(name, _)| go_json::is_key(name, key))?.1;
    }
    Some(found)
}

fn stores(section: &StoresConfig) -> Vec<Finding> {
    if section.plugins.is_empty() {
        return section
            .entries()
            .err()
            .map(|error| broken("store.plugins", &error))
            .into_iter()
            .collect();
    }
    let each = section.plugins.iter().enumerate().map(|(index, raw)| {
        let at = format!("store.plugins[{index}]");
        match StorePluginConfig::from_entry(raw, &section.version) {
            Ok(entry) => entries::store(&at, &entry, Owner::File),
            Err(error) => vec![broken(&at, &error)],
        }
    });
    each.flatten().collect()
}

fn verifiers(section: &VerifiersConfig) -> Vec<Finding> {
    if section.plugins.is_empty() {
        let error = section.entries().err();
        return error.map(|error| broken("verifier.plugins", &error)).into_iter().collect();
    }
    let each = section.plugins.iter().enumerate().map(|(index, raw)| {
        let at = format!("verifier.plugins[{index}]");
        match VerifierPluginConfig::from_entry(raw, &section.version) {
            Ok(entry) => entries::verifier(&at, &entry, Owner::File),
            Err(error) => vec![broken(&at, &error)],
        }
    });
    each.flatten().collect()
}

fn broken(at: &str, error: &ratify_core::Error) -> Finding {
    Finding::change(
        at,
        shown(&error.to_string()),
        "the configuration is refused as a whole",
        "mend this entry",
    )
}

fn timeouts(config: &Config) -> Vec<Finding> {
    let given = [
        ("verificationRequestTimeout", config.executor.verification_request_timeout_ms),
        ("mutationRequestTimeout", config.executor.mutation_request_timeout_ms),
    ];
    let found = |(key, given): (&str, Option<i64>)| {
        let (at, given) = (format!("executor.{key}"), given?);
        Some(if given > 0 {
            Finding::same(at, format!("{given} ms"))
        } else {
            let what = format!("{given} ms: every request is late");
            Finding::look(at, what, "it is as in v1", "take the key away for the default")
        })
    };
    given.into_iter().filter_map(found).collect()
}

fn logger(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(formatter) = config.logger.formatter.as_deref() {
        findings.push(log_format("logger.formatter", formatter));
    }
    let headers = &config.logger.trace_id_headers;
    if headers.iter().any(|header| !header.is_empty()) {
        findings.push(trace_id("logger.requestHeaders.traceIDHeaderName"));
    }
    findings
}

/// What becomes of a format of the log.
pub(super) fn log_format(at: &str, formatter: &str) -> Finding {
    match Format::parse(Some(formatter)) {
        Ok(_) => Finding::same(at, shown(formatter)),
        Err(error) => Finding::change(
            at,
            shown(&error.to_string()),
            "v1 refuses it too",
            "name text, json or logstash",
        ),
    }
}

/// What becomes of the headers that a trace id is taken from.
pub(super) fn trace_id(at: &str) -> Finding {
    Finding::look(
        at,
        "the trace id is taken from these headers",
        "v1 drops the value when it decodes it",
        "nothing, unless what reads the log relies on ids of Ratify's own",
    )
    .row(rows::TRACE_ID)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::finding::Level, *};

    fn lines(document: &Value) -> String {
        let findings = findings(document.to_string().as_bytes()).unwrap();
        let line =
            |finding: &Finding| format!("{:?} {}: {}", finding.level, finding.at, finding.what);
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_part_of_a_file_is_judged() {
        let digest = format!("registry.example.com/p@sha256:{}", "a".repeat(64));
        insta::assert_snapshot!(lines(&json!({
            "Store": {"version": "1.0.0", "plugins": [
                {"name": "oras", "cacheEnabled": true, "source": {"artifact": "r/p:1"},
                 "authProvider": {"name": "awsEcrBasic"}},
                {"name": "own"}, {"name": ".."}, {"name": "oras", "authProvider": {"name": "x\u{1b}"}},
            ]},
            "verifier": {"extra": 1, "plugins": [
                {"name": "n", "type": "notation", "source": {"artifact": "r/p:1"}, "trustPolicyDoc": {"version": "1.0", "trustPolicies": [{"name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "skip"}}]}}, {"name": "cosign"}, {"name": "sbom"}, {"name": "own"},
                {"name": "a", "source": {"artifact": digest, "authProvider": {"name": "k8Secrets"}}},
                {"name": "b", "source": {"artifact": "registry.example.com/p"}},
                {"name": "c", "artifactTypes": null},
            ]},
            "policy": {"plugin": {"name": "rego-policy"}},
            "executor": {"verificationRequestTimeout": 0, "mutationRequestTimeout": 900},
            "logger": {"formatter": "xml", "level": "debug", "requestHeaders": {"traceIDHeaderName": ["x-id"]}},
            "crl": {"cache": {"enabled": true}}, "namespaces": {"tightenOnly": true}, "future": {},
        })), @r#"
        Look future: nobody reads this key
        Look verifier.extra: nobody reads this key
        Look logger.level: nobody reads this key
        Look namespaces: these are rules for plugins and namespaces here
        Same store.plugins[0]: the built-in store oras
        Look store.plugins[0].source: the source of the built-in store oras is not downloaded
        Same store.plugins[0].authProvider: the auth provider awsEcrBasic
        Look store.plugins[1]: the store plugin own is run from the plugin directory, as it is
        Change store.plugins[2]: CONFIG_INVALID: invalid plugin name for a store: ..
        Same store.plugins[3]: the built-in store oras
        Change store.plugins[3].authProvider: there is no auth provider "x�"
        Same verifier.plugins[0]: the built-in verifier notation
        Same verifier.plugins[0].source: r/p:1 is pulled and proven, where RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS is 1
        Change verifier.plugins[1]: CONFIG_INVALID: Failed to create the Cosign Verifier: missing artifactTypes in verifier config
        Change verifier.plugins[2]: v1's image has the plugin sbom, and this one has not
        Look verifier.plugins[3]: the verifier plugin own is run from the plugin directory, as it is
        Same verifier.plugins[4].source: registry.example.com/p@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is pulled and proven, where RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS is 1
        Same verifier.plugins[4].source.authProvider: the auth provider k8Secrets
        Change verifier.plugins[5].source: "registry.example.com/p" names no plugin: invalid reference: it needs a tag or a digest
        Change verifier.plugins[6]: CONFIG_INVALID: artifactTypes of a verifier must be a string
        Change policy.plugin: CONFIG_INVALID: failed to create policy provider: unable to read rego policy file at path: : open : no such file or directory: https://ratify.dev/docs/reference/providers
        Look executor.verificationRequestTimeout: 0 ms: every request is late
        Same executor.mutationRequestTimeout: 900 ms
        Change logger.formatter: CONFIG_INVALID: unsupported logging formatter: xml
        Look logger.requestHeaders.traceIDHeaderName: the trace id is taken from these headers
        Same crl.cache.enabled: lists of revoked certificates are kept until their next update
        "#);
    }

    #[test]
    fn what_the_chart_of_v1_renders_for_a_cluster_carries_over() {
        let of_chart = json!({
            "logger": {"formatter": "text", "requestHeaders": {"traceIDHeaderName": [""]}},
            "executor": {"verificationRequestTimeout": 4900, "mutationRequestTimeout": 1950},
            "crl": {"cache": {"enabled": true}},
        });
        let findings = findings(of_chart.to_string().as_bytes()).unwrap();
        assert!(findings.iter().all(|finding| finding.level == Level::Same), "{findings:?}");
    }

    #[test]
    fn a_key_that_is_read_in_another_spelling_is_known() {
        let document = json!({"\u{17f}tore": {"PLUGIN\u{17f}": [], "uses": 1}});
        assert_eq!(unread_keys(&document), ["store.uses"]);
    }

    #[test]
    fn a_file_that_is_refused_as_a_whole_is_one_finding_and_no_json_is_none() {
        insta::assert_snapshot!(lines(&json!({"store": {}, "Store": {}})), @"Change the configuration: it is refused: the configuration: the key store is given in two spellings");
        insta::assert_snapshot!(lines(&json!([])), @"Change the configuration: it is refused: the configuration: expected an object, found an array");
        assert!(findings(b"store:").is_err());
    }
}
