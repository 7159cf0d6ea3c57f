//! [`Rules`]: several providers at once (`authProviders`), each for some registries and
//! repositories. The most specific rule decides, alone: nothing stands in for a provider that fails
//! or has nothing, and nobody is asked without credentials but where a rule says so.

use std::{sync::Arc, time::Instant};

use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result, capped_line};
use serde_json::{Map, Value};

use super::{
    Asked, AuthProvider, Credential, Environment, Granted, RegistryHost, from_config,
    scope::{Scope, most_specific},
};
use crate::Connections;

/// The key of stores and sources.
const KEY: &str = "authProviders";
/// More than this is no configuration that a person wrote.
const MAX_RULES: usize = 256;
const MAX_SCOPES: usize = 256;

/// Providers by scope.
pub(super) struct Rules(Vec<Rule>);

struct Rule {
    scopes: Vec<Scope>,
    /// `None` where nothing is to be shown.
    provider: Option<Arc<dyn AuthProvider>>,
}

impl Rules {
    /// Reads `[{match: [..], provider: {name: ..}} | {match: [..], anonymous: true}]`.
    ///
    /// # Errors
    /// When it is something else, with the place; a key that is misspelt is one, too.
    pub(super) fn from_config(
        list: &Value,
        environment: &Environment,
        connections: &Connections,
    ) -> Result<Self> {
        let list = list.as_array().filter(|list| (1..=MAX_RULES).contains(&list.len()));
        let list = list
            .ok_or_else(|| invalid(KEY, format!("expected an array of 1 to {MAX_RULES} rules")))?;
        let numbered = list.iter().enumerate();
        let rules = numbered.map(|(number, rule)| {
            Rule::from_config(rule, &format!("{KEY}[{number}]"), environment, connections)
        });
        Ok(Self(rules.collect::<Result<_>>()?))
    }

    fn rule(&self, host: &RegistryHost, repository: &str) -> Option<&Rule> {
        let scopes = self.0.iter().flat_map(|rule| rule.scopes.iter().map(move |s| (s, rule)));
        most_specific(scopes, host, repository)
    }

    async fn find(&self, asked: &Asked<'_>) -> Result<Granted> {
        let place = || capped_line(&format!("{}/{}", asked.host, asked.repository), 300);
        let Some(rule) = self.rule(asked.host, asked.repository) else {
            return Err(denied(format!("no rule of {KEY} covers {}", place())));
        };
        let Some(provider) = &rule.provider else {
            return Ok(Granted { credential: Credential::Anonymous, good_until: None });
        };
        let granted = provider.credential(asked).await?;
        if granted.credential == Credential::Anonymous {
            let name = provider.name();
            return Err(denied(format!(
                "the auth provider {name}, which covers {}, has no credentials for it",
                place()
            )));
        }
        Ok(granted)
    }
}

impl Rule {
    fn from_config(
        rule: &Value,
        at: &str,
        environment: &Environment,
        connections: &Connections,
    ) -> Result<Self> {
        let rule = rule.as_object().ok_or_else(|| invalid(at, "expected an object"))?;
        let is_known = |key: &str| matches!(key, "match" | "provider" | "anonymous");
        if let Some(unknown) = rule.keys().find(|key| !is_known(key)) {
            let unknown = capped_line(unknown, 100);
            return Err(invalid(at, format!("unknown key {unknown}")));
        }
        let provider = match (rule.get("provider"), rule.get("anonymous")) {
            (Some(Value::Object(provider)), None) => {
                let made = from_config(Some(provider), environment, connections);
                Some(made.map_err(|error| within(at, error))?)
            }
            (None, Some(Value::Bool(true))) => None,
            _ => {
                return Err(invalid(
                    at,
                    "expected one of provider, an object, and anonymous: true",
                ));
            }
        };
        Ok(Self { scopes: scopes(rule, at)?, provider })
    }
}

fn scopes(rule: &Map<String, Value>, at: &str) -> Result<Vec<Scope>> {
    let at = format!("{at}.match");
    let texts = rule.get("match").and_then(Value::as_array);
    let texts = texts.filter(|texts| (1..=MAX_SCOPES).contains(&texts.len()));
    let expected = || {
        invalid(&at, "expected an array of 1 to 256 texts: host, host/repository or host/folder/*")
    };
    let texts = texts.ok_or_else(expected)?;
    let scope = |text: &Value| {
        let text = text.as_str().ok_or_else(expected)?;
        Scope::of_rule(text).map_err(|why| invalid(&at, why))
    };
    texts.iter().map(scope).collect()
}

impl AuthProvider for Rules {
    fn name(&self) -> &str {
        KEY
    }

    fn credential<'a>(&'a self, asked: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(self.find(asked))
    }

    /// Any rule of that host may be the one for the repository.
    fn forget(&self, host: &RegistryHost, before: Instant) -> bool {
        let is_of = |rule: &&Rule| rule.scopes.iter().any(|scope| scope.is_of(host));
        let providers = self.0.iter().filter(is_of).filter_map(|rule| rule.provider.as_ref());
        // Each of them, so no `any`.
        providers.fold(false, |forgot, provider| provider.forget(host, before) | forgot)
    }
}

pub(super) fn invalid(at: &str, why: impl Into<String>) -> Error {
    ErrorCode::ConfigInvalid
        .detail(at)
        .with_source(why.into())
        .from_component(ComponentType::AuthProvider, "")
}

fn within(at: &str, error: Error) -> Error {
    ErrorCode::ConfigInvalid
        .detail(at)
        .with_source(error)
        .from_component(ComponentType::AuthProvider, "")
}

fn denied(why: String) -> Error {
    ErrorCode::AuthDenied.detail(why).from_component(ComponentType::AuthProvider, KEY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(list: &Value) -> Result<Rules> {
        Rules::from_config(list, &Environment::default(), &Connections::default())
    }

    #[test]
    fn a_rule_that_could_mean_something_else_is_refused_with_its_place() {
        let docker = json!({"name": "dockerConfig"});
        let text = |list: Value| rules(&list).map(drop).unwrap_err().to_string();
        insta::assert_snapshot!([
            text(json!([])),
            text(json!({})),
            text(json!([{"match": ["a.io"], "anonymous": true}, "x"])),
            text(json!([{"match": ["a.io"]}])),
            text(json!([{"match": ["a.io"], "anonymous": false}])),
            text(json!([{"match": ["a.io"], "anonymous": true, "provider": docker}])),
            text(json!([{"match": ["a.io"], "provider": null}])),
            text(json!([{"match": ["a.io"], "provider": docker, "matches": []}])),
            text(json!([{"match": "a.io", "provider": docker}])),
            text(json!([{"match": [], "provider": docker}])),
            text(json!([{"match": ["https://a.io"], "provider": docker}])),
            text(json!([{"match": ["a.io/*/x"], "provider": docker}])),
            text(json!([{"match": ["a.io"], "provider": {"name": "nobody"}}])),
        ].join("\n"), @r#"
        CONFIG_INVALID: authProviders: expected an array of 1 to 256 rules
        CONFIG_INVALID: authProviders: expected an array of 1 to 256 rules
        CONFIG_INVALID: authProviders[1]: expected an object
        CONFIG_INVALID: authProviders[0]: expected one of provider, an object, and anonymous: true
        CONFIG_INVALID: authProviders[0]: expected one of provider, an object, and anonymous: true
        CONFIG_INVALID: authProviders[0]: expected one of provider, an object, and anonymous: true
        CONFIG_INVALID: authProviders[0]: expected one of provider, an object, and anonymous: true
        CONFIG_INVALID: authProviders[0]: unknown key matches
        CONFIG_INVALID: authProviders[0].match: expected an array of 1 to 256 texts: host, host/repository or host/folder/*
        CONFIG_INVALID: authProviders[0].match: expected an array of 1 to 256 texts: host, host/repository or host/folder/*
        CONFIG_INVALID: authProviders[0].match: "https:" is no pattern of hosts: its port is none
        CONFIG_INVALID: authProviders[0].match: "a.io/*/x" names no repository: an asterisk may be the last part
        AUTH_DENIED: authProviders[0]: failed to find auth provider implementation with name nobody
        "#);
        assert!(rules(&json!([{"match": ["a.io", "*.b.io/team/*"], "provider": docker}])).is_ok());
    }
}
