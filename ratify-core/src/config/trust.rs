//! [`TrustPolicy`]: what a plugin has to prove before it may run. An addition to v1: the key
//! `plugins.trustPolicy`, and `trustPolicy` of a `source`.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{duration, go_json, media_type};

use super::{ConfigError, PluginSource, Section, VerifierPluginConfig};

/// The built-in verifiers, which alone admit plugins: one that is a plugin would have to be admitted
/// itself.
const BUILT_IN: [(&str, &str); 2] = [
    ("notation", "application/vnd.cncf.notary.signature"),
    ("cosign", media_type::COSIGN_SIGNATURE),
];
/// The version of entries, which for built-in verifiers means nothing.
const VERSION: &str = "1.0.0";
/// How often a plugin that runs is asked about again, where nobody says how often.
const RECHECK_INTERVAL: Duration = Duration::from_secs(4 * 60 * 60);
/// The shortest and the longest that may be said.
const RECHECK_INTERVALS: [Duration; 2] =
    [Duration::from_secs(5), Duration::from_secs(24 * 60 * 60)];

/// What becomes of a plugin that is signed by nobody who is trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustMode {
    /// It does not run.
    #[default]
    Enforce,
    /// It runs, and a warning says why it should not.
    Warn,
    /// It runs: no signature is asked for.
    None,
}

/// What a plugin has to prove.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TrustPolicy {
    /// What becomes of one that does not.
    pub mode: TrustMode,
    /// Who judges its signatures; one that accepts is enough.
    pub verifiers: Vec<VerifierPluginConfig>,
    /// How often it is asked about again while it runs.
    pub recheck_interval: Duration,
}

impl TrustMode {
    /// As configurations spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::None => "none",
        }
    }
}

impl TrustPolicy {
    /// Reads a policy that stands at a place. It is read strictly: a key that is misspelt would open
    /// what was meant to be shut.
    ///
    /// # Errors
    /// A mode that there is not, no verifier where one is needed, or one that may not admit plugins.
    pub(super) fn from_value(at: String, value: Value) -> Result<Self, ConfigError> {
        let mut section = Section::from_value(at, value)?;
        section.refuse_null()?;
        let mode = match section.string("mode")?.as_deref() {
            None | Some("enforce") => TrustMode::Enforce,
            Some("warn") => TrustMode::Warn,
            Some("none") => TrustMode::None,
            Some(other) => {
                let other = crate::capped_line(other, 100);
                return wrong(&section, "mode", format!("{other:?} is not enforce, warn or none"));
            }
        };
        let entries = section.objects("verifiers")?;
        let mut verifiers = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let key = format!("verifiers[{index}]");
            match verifier(entry) {
                Ok(verifier) => verifiers.push(verifier),
                Err(why) => return wrong(&section, &key, why),
            }
        }
        if verifiers.is_empty() && mode != TrustMode::None {
            return wrong(&section, "verifiers", "nobody could trust a plugin".to_owned());
        }
        let recheck_interval = match section.string("recheckInterval")? {
            None => RECHECK_INTERVAL,
            Some(text) => match recheck_interval(&text) {
                Ok(interval) => interval,
                Err(why) => return wrong(&section, "recheckInterval", why),
            },
        };
        section.refuse_rest()?;
        Ok(Self { mode, verifiers, recheck_interval })
    }
}

impl PluginSource {
    /// The policies that a plugin has to fulfil, all of them: its source's own in the place of the
    /// cluster's, which an administrator wrote; a namespace's own only besides.
    pub fn trust_policies<'a>(
        &'a self,
        of_cluster: Option<&'a TrustPolicy>,
        is_namespaced: bool,
    ) -> Vec<&'a TrustPolicy> {
        match &self.trust_policy {
            Some(own) if is_namespaced => of_cluster.into_iter().chain([own]).collect(),
            Some(own) => vec![own],
            None => of_cluster.into_iter().collect(),
        }
    }
}

fn recheck_interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    let [shortest, longest] = RECHECK_INTERVALS;
    if (shortest..=longest).contains(&interval) {
        return Ok(interval);
    }
    Err(format!("{text:?} is not between 5s and 24h"))
}

fn verifier(mut entry: Map<String, Value>) -> Result<VerifierPluginConfig, String> {
    let text = |entry: &Map<String, Value>, key: &str| {
        entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (name, type_) = (text(&entry, "name"), text(&entry, "type"));
    let type_ = if type_.is_empty() { name } else { type_ };
    let known = BUILT_IN.iter().find(|(name, _)| *name == type_);
    let Some((name, artifact_type)) = known else {
        let type_ = crate::capped_line(&type_, 100);
        return Err(format!("{type_:?} is not notation or cosign, which alone admit plugins"));
    };
    if entry.contains_key("source") {
        return Err("who admits plugins is built in, and has no source".to_owned());
    }
    if *name == "cosign" && !names_signers(&entry) {
        return Err("cosign with neither trustPolicies nor key accepts whoever has an identity of Sigstore's, which is anyone".to_owned());
    }
    entry.entry("name").or_insert_with(|| (*name).into());
    entry.entry("artifactTypes").or_insert_with(|| (*artifact_type).into());
    VerifierPluginConfig::from_entry(&entry, VERSION).map_err(|error| error.to_string())
}

/// Whether an entry of cosign's says who has to sign: v1's older form without a key does not. Keys are
/// read without regard to case, as by the verifier.
fn names_signers(entry: &Map<String, Value>) -> bool {
    entry.iter().any(|(key, value)| match value {
        Value::Array(policies) => go_json::is_key(key, "trustPolicies") && !policies.is_empty(),
        Value::String(path) => go_json::is_key(key, "key") && !path.is_empty(),
        _ => false,
    })
}

fn wrong<T>(section: &Section, key: &str, why: String) -> Result<T, ConfigError> {
    Err(ConfigError::Value { at: section.key_path(key), why })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<TrustPolicy, String> {
        TrustPolicy::from_value("p".into(), value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_is_enforced_unless_it_says_otherwise_and_knows_what_its_verifiers_judge() {
        let policy = read(json!({"verifiers": [{"type": "cosign", "Key": "/k.pub"}]})).unwrap();
        assert_eq!(policy.mode, TrustMode::Enforce);
        let verifier = &policy.verifiers[0];
        assert_eq!((verifier.name.as_str(), verifier.binary_name()), ("cosign", "cosign"));
        let types = verifier.artifact_types.as_ref().unwrap();
        assert!(types.cover(media_type::COSIGN_SIGNATURE) && !types.cover("other"));
        let notation =
            json!({"mode": "warn", "verifiers": [{"name": "notation", "artifactTypes": "x"}]});
        let policy = read(notation).unwrap();
        assert_eq!(policy.mode, TrustMode::Warn);
        assert!(policy.verifiers[0].artifact_types.as_ref().unwrap().cover("x"));
        assert_eq!(read(json!({"mode": "none"})).unwrap().mode, TrustMode::None);
    }

    #[test]
    fn what_runs_is_asked_about_again_every_four_hours_or_as_often_as_is_said_in_bounds() {
        let of = |interval: Value| read(json!({"mode": "none", "recheckInterval": interval}));
        let default = read(json!({"mode": "none"})).unwrap().recheck_interval;
        assert_eq!(default.as_secs(), 4 * 3600);
        assert_eq!(of(json!("1h30m")).unwrap().recheck_interval.as_secs(), 5400);
        insta::assert_snapshot!(of(json!("4s")).unwrap_err(), @r#"p.recheckInterval: "4s" is not between 5s and 24h"#);
        for wrong in [json!("0"), json!("25h"), json!(""), json!("soon"), json!(5), json!(null)] {
            assert!(of(wrong.clone()).unwrap_err().starts_with("p.recheckInterval: "), "{wrong}");
        }
    }

    #[test]
    fn what_would_open_is_refused() {
        let of = |value| read(value).unwrap_err();
        insta::assert_snapshot!(of(json!({})), @"p.verifiers: nobody could trust a plugin");
        insta::assert_snapshot!(of(json!({"mode": "Enforce"})), @r#"p.mode: "Enforce" is not enforce, warn or none"#);
        insta::assert_snapshot!(of(json!({"mode": null})), @"p.mode: expected a value, or no such key, found null");
        insta::assert_snapshot!(of(json!({"mode": "none", "verifier": []})), @"p: unknown key verifier: a rule that is misspelt would not be kept");
        insta::assert_snapshot!(of(json!({"verifiers": [{"name": "sbom"}]})), @r#"p.verifiers[0]: "sbom" is not notation or cosign, which alone admit plugins"#);
        insta::assert_snapshot!(of(json!({"verifiers": [{"name": "c", "type": "cosign", "source": {"artifact": "r/p:1"}}]})), @"p.verifiers[0]: who admits plugins is built in, and has no source");
        let anyone = "cosign with neither trustPolicies nor key accepts whoever";
        for entry in
            [json!({}), json!({"trustPolicies": []}), json!({"trustPolicy": [{}], "key": ""})]
        {
            let mut entry = entry;
            entry["name"] = "cosign".into();
            let error = of(json!({"verifiers": [entry]}));
            assert!(error.starts_with("p.verifiers[0]: ") && error.contains(anyone), "{error}");
        }
        insta::assert_snapshot!(of(json!({"verifiers": ["cosign"]})), @"p.verifiers[0]: expected an object, found a string");
    }

    #[test]
    fn a_namespace_adds_and_an_administrator_replaces() {
        let named =
            |mode: &str| read(json!({"mode": mode, "verifiers": [{"name": "notation"}]})).unwrap();
        let (of_cluster, own) = (named("enforce"), named("warn"));
        let source = |own: Option<&TrustPolicy>| {
            let entry = json!({"source": {"artifact": "r/p:1"}});
            let mut source = PluginSource::from_entry(entry.as_object().unwrap()).unwrap().unwrap();
            source.trust_policy = own.cloned();
            source
        };
        let modes = |own: Option<&TrustPolicy>, is_namespaced| {
            let source = source(own);
            let all = source.trust_policies(Some(&of_cluster), is_namespaced);
            all.iter().map(|policy| policy.mode.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(modes(None, false), "enforce");
        assert_eq!(modes(None, true), "enforce");
        assert_eq!(modes(Some(&own), false), "warn");
        assert_eq!(modes(Some(&own), true), "enforce warn");
        assert!(source(None).trust_policies(None, true).is_empty());
    }
}
