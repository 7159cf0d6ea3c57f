//! Which provider a configuration gives, and that no secret shows.

use serde_json::json;

use super::*;

fn select(config: &Value) -> Result<String> {
    from_config(config.as_object(), &Environment::default(), &Connections::default())
        .map(|p| p.name().to_owned())
}

#[test]
fn the_default_is_dockers_configuration() {
    assert_eq!(select(&Value::Null).unwrap(), "dockerConfig");
    assert_eq!(select(&json!({"name": "dockerConfig", "x": 1})).unwrap(), "dockerConfig");
}

#[test]
fn a_namespace_gets_dockers_configuration_only_where_it_is_lent() {
    let select = |config: &Value, lends_credentials: bool| {
        let environment = Environment { lends_credentials, ..Environment::default() };
        let environment = environment.for_namespace("team");
        from_config(config.as_object(), &environment, &Connections::default())
            .map_or_else(|error| error.to_string(), |provider| provider.name().to_owned())
    };
    let named = json!({"name": "dockerConfig", "configPath": "/etc/docker/config.json"});
    assert_eq!(select(&Value::Null, false), "none");
    assert_eq!(
        select(&named, false),
        "AUTH_DENIED: a namespace may not use dockerConfig, which has Ratify's own credentials, only k8Secrets of its own"
    );
    assert_eq!(
        select(&json!({"name": "awsEcrBasic"}), false),
        "AUTH_DENIED: a namespace may not use awsEcrBasic, which has Ratify's own credentials, only k8Secrets of its own"
    );
    assert_eq!(select(&Value::Null, true), "dockerConfig");
    assert_eq!(select(&named, true), "dockerConfig");
}

#[test]
fn an_unknown_provider_is_refused_with_v1s_text() {
    let text = |config: &Value| select(config).unwrap_err().to_string();
    assert_eq!(
        text(&json!({})),
        "AUTH_DENIED: failed to find auth provider name in the auth providers config with key name"
    );
    assert_eq!(
        text(&json!({"name": "dockerconfig"})),
        "AUTH_DENIED: failed to find auth provider implementation with name dockerconfig"
    );
    assert_eq!(
        text(&json!({"name": 1})),
        "AUTH_DENIED: the name of an auth provider must be a string"
    );
    assert!(text(&json!({"name": "dockerConfig", "configPath": 1})).starts_with(
        "CONFIG_INVALID: failed to parse auth provider configuration: configPath must be"
    ));
}

#[test]
fn what_is_available_is_what_can_be_made() {
    for (name, expected) in [
        ("dockerConfig", Availability::BuiltIn),
        ("k8Secrets", Availability::BuiltIn),
        #[cfg(feature = "aws")]
        ("awsEcrBasic", Availability::BuiltIn),
        #[cfg(not(feature = "aws"))]
        ("awsEcrBasic", Availability::NotInThisBuild),
        #[cfg(feature = "azure")]
        ("azureWorkloadIdentity", Availability::BuiltIn),
        #[cfg(feature = "azure")]
        ("azureManagedIdentity", Availability::BuiltIn),
        #[cfg(not(feature = "azure"))]
        ("azureWorkloadIdentity", Availability::NotInThisBuild),
        #[cfg(feature = "alibaba")]
        ("alibabacloudAcrBasic", Availability::BuiltIn),
        #[cfg(not(feature = "alibaba"))]
        ("alibabacloudAcrBasic", Availability::NotInThisBuild),
        ("dockerconfig", Availability::Unknown),
    ] {
        assert_eq!(availability(name), expected);
        let error = select(&json!({"name": name})).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        let is_refused_by_name = error.starts_with("AUTH_DENIED: ");
        assert_eq!(is_refused_by_name, expected != Availability::BuiltIn, "{error}");
    }
}

#[test]
fn a_secret_does_not_show() {
    let credential = Credential::Basic { username: "u".into(), password: Secret::new("hunter2") };
    assert_eq!(format!("{credential:?}"), r#"Basic { username: "u", password: <redacted> }"#);
}
