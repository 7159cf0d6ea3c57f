//! [`Metadata`]: what a plugin says of itself when it is asked `get-plugin-metadata`.

use semver::Version;
use serde_json::{Value, json};

use super::{CONTRACT, Fields, PluginCall, VerificationPlugin, ask, cut, malformed};
use crate::{
    go,
    refusal::{Refusal, Result},
};
use ratify_core::{Context, capped_line};

const COMMAND: &str = "get-plugin-metadata";

/// What counts of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) version: String,
    /// Those to verify, in the plugin's own order.
    pub(crate) capabilities: Vec<Capability>,
}

/// What a plugin can judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capability {
    /// Whether the signer is one of those who are trusted.
    TrustedIdentity,
    /// Whether a certificate was revoked.
    RevocationCheck,
}

impl Capability {
    /// The name in the contract.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TrustedIdentity => "SIGNATURE_VERIFIER.TRUSTED_IDENTITY",
            Self::RevocationCheck => "SIGNATURE_VERIFIER.REVOCATION_CHECK",
        }
    }

    fn of(name: &str) -> Option<Self> {
        let all = [Self::TrustedIdentity, Self::RevocationCheck];
        all.into_iter().find(|capability| capability.name() == name)
    }
}

impl Metadata {
    /// Asks a plugin, which has to be called as the signature calls it.
    pub(crate) async fn of(
        plugin: &dyn VerificationPlugin,
        name: &str,
        config: &Value,
        context: &Context,
    ) -> Result<Self> {
        let mut request = json!({});
        if !config.is_null() {
            request["pluginConfig"] = config.clone();
        }
        let call = PluginCall { command: COMMAND, stdin: request.to_string(), context };
        let fields = ask(plugin, name, call).await?;
        Self::read(name, &fields)
    }

    fn read(name: &str, fields: &Fields) -> Result<Self> {
        let malformed = || malformed(name, COMMAND);
        let text = |key| fields.text(key).ok_or_else(malformed);
        let own_name = text("name")?;
        let named = [
            ("name", own_name),
            ("description", text("description")?),
            ("version", text("version")?),
            ("url", text("url")?),
        ];
        let capabilities = fields.texts("capabilities").ok_or_else(malformed)?;
        let contracts = fields.texts("supportedContractVersions").ok_or_else(malformed)?;
        let missing = named.into_iter().find(|(_, text)| text.is_empty());
        let wrong = match missing {
            Some((key, _)) => Some(format!("empty {key}")),
            None if capabilities.is_empty() => Some("empty capabilities".to_owned()),
            None => check_contracts(&contracts),
        };
        let shown = capped_line(name, 200);
        if let Some(wrong) = wrong {
            let text = format!("metadata validation failed for plugin {shown}: {wrong}");
            return Err(Refusal::from(text).unknown());
        }
        if own_name != name {
            let [own, asked] =
                [own_name, name].map(|name| go::quoted(cut(&format!("notation-{name}"))));
            let text = format!("plugin executable file name must be {own} instead of {asked}");
            return Err(Refusal::from(text).unknown());
        }
        let capabilities = capabilities.iter().filter_map(|name| Capability::of(name));
        Ok(Self { version: text("version")?.to_owned(), capabilities: capabilities.collect() })
    }

    /// Whether it is of the version that a signature needs at least, and can judge anything.
    pub(crate) fn check(&self, name: &str, least: Option<&Version>) -> Result<()> {
        let shown = capped_line(name, 200);
        let version = capped_line(&self.version, 200);
        let refused = |text: String| Err(Refusal::from(text).unknown());
        let Ok(own) = Version::parse(&self.version) else {
            return refused(format!(
                "plugin {shown} has pluginVersion {version} which is not in valid semver format"
            ));
        };
        if let Some(least) = least.filter(|least| own.cmp_precedence(least).is_lt()) {
            return refused(format!(
                "found plugin {shown} with version {version} but signature verification needs plugin version greater than or equal to {least}"
            ));
        }
        if self.capabilities.is_empty() {
            let [identity, revocation] =
                [Capability::TrustedIdentity, Capability::RevocationCheck].map(Capability::name);
            return refused(format!(
                "digital signature requires plugin {} with signature verification capabilities ({identity:?} and/or {revocation:?}) installed",
                go::quoted(&shown)
            ));
        }
        Ok(())
    }
}

fn check_contracts(contracts: &[String]) -> Option<String> {
    if contracts.is_empty() {
        return Some("supported contract versions not specified".to_owned());
    }
    if contracts.iter().any(|version| version == CONTRACT) {
        return None;
    }
    let shown = capped_line(&go::list(contracts.iter().map(String::as_str)), 200);
    Some(format!(
        "contract version \"{CONTRACT}\" is not in the list of the plugin supported versions {shown}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(changes: &Value) -> Result<Metadata, String> {
        let mut metadata = json!({
            "name": "p", "description": "d", "version": "1.2.3", "url": "u",
            "supportedContractVersions": ["2.0", "1.0"],
            "capabilities": ["SIGNATURE_GENERATOR.RAW", "SIGNATURE_VERIFIER.REVOCATION_CHECK", "x"],
        });
        for (key, value) in changes.as_object().unwrap() {
            metadata[key] = value.clone();
        }
        let fields = Fields::read(metadata.to_string().as_bytes()).unwrap();
        Metadata::read("p", &fields).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn of_the_capabilities_those_to_verify_count() {
        let metadata = read(&json!({})).unwrap();
        assert_eq!(metadata.capabilities, [Capability::RevocationCheck]);
        assert!(metadata.check("p", None).is_ok());
        let signs = read(&json!({"capabilities": ["SIGNATURE_GENERATOR.RAW"]})).unwrap();
        insta::assert_snapshot!(signs.check("p", None).unwrap_err(), @r#"digital signature requires plugin "p" with signature verification capabilities ("SIGNATURE_VERIFIER.TRUSTED_IDENTITY" and/or "SIGNATURE_VERIFIER.REVOCATION_CHECK") installed"#);
    }

    #[test]
    fn what_is_missing_is_said_by_name() {
        for key in ["name", "description", "version", "url"] {
            let refusal = read(&json!({key: null})).unwrap_err();
            assert_eq!(refusal, format!("metadata validation failed for plugin p: empty {key}"));
        }
        let of = |key: &str, value: Value| read(&json!({key: value})).unwrap_err();
        insta::assert_snapshot!(of("capabilities", json!([])), @"metadata validation failed for plugin p: empty capabilities");
        insta::assert_snapshot!(of("supportedContractVersions", Value::Null), @"metadata validation failed for plugin p: supported contract versions not specified");
        insta::assert_snapshot!(of("supportedContractVersions", json!(["2.0", "3"])), @r#"metadata validation failed for plugin p: contract version "1.0" is not in the list of the plugin supported versions [2.0 3]"#);
        insta::assert_snapshot!(of("name", json!("q")), @r#"plugin executable file name must be "notation-q" instead of "notation-p""#);
        for (key, value) in [("name", json!(1)), ("capabilities", json!("x")), ("NAME", json!("p"))]
        {
            insta::allow_duplicates! {
                insta::assert_snapshot!(of(key, value), @"failed to unmarshal the response of get-plugin-metadata command for plugin p");
            }
        }
    }

    #[test]
    fn versions_are_compared_by_what_counts_of_them() {
        let check = |own: &str, least: Option<&str>| {
            let metadata = read(&json!({"version": own})).unwrap();
            let least = least.map(|least| Version::parse(least).unwrap());
            metadata.check("p", least.as_ref()).map_err(|refusal| refusal.to_string())
        };
        for (own, least) in [("1.2.3", None), ("1.2.3", Some("1.2.3")), ("1.10.0", Some("1.9.9"))] {
            assert_eq!(check(own, least), Ok(()), "{own} {least:?}");
        }
        assert_eq!(check("1.0.0+a", Some("1.0.0+b")), Ok(()), "builds have no order");
        insta::assert_snapshot!(check("1.0.0-rc.1", Some("1.0.0")).unwrap_err(), @"found plugin p with version 1.0.0-rc.1 but signature verification needs plugin version greater than or equal to 1.0.0");
        insta::assert_snapshot!(check("v1.0.0", None).unwrap_err(), @"plugin p has pluginVersion v1.0.0 which is not in valid semver format");
        assert!(check("1.0", None).is_err() && check("01.0.0", None).is_err());
    }
}
