//! Configuration files that are none, or say something that cannot be.

use std::fs;

use serde_json::{Value, json};

use super::{Home, YES, config, set_mode, verifier};
use crate::host;

/// A subject that no registry is asked about before the configuration is read.
const SUBJECT: &str = "127.0.0.1:1/app:v1";

/// What `verify` and `serve` say to a configuration, in one line where they agree.
async fn said(home: &Home) -> String {
    let verify = home.run(&["verify", "-s", SUBJECT]).await.shown(home);
    let serve = home.run(&["serve"]).await.shown(home);
    format!("verify {verify}\nserve  {serve}\n")
}

#[tokio::test]
async fn a_file_that_is_no_configuration_is_an_error_that_says_where() {
    let home = Home::new();
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let cases: [(&str, Vec<u8>); 12] = [
        ("empty", Vec::new()),
        ("blank", b" \n ".to_vec()),
        ("not JSON", b"store: {}".to_vec()),
        ("cut off", br#"{"store": {"plugins": ["#.to_vec()),
        ("something behind it", b"{} {}".to_vec()),
        ("not UTF-8", b"{\"store\xff\": 1}".to_vec()),
        ("an array", b"[]".to_vec()),
        ("deep", deep(100_000).into_bytes()),
        ("deep where nobody looks", format!(r#"{{"future": {}}}"#, deep(1000)).into_bytes()),
        ("5 MiB of blanks", b" ".repeat(5 << 20)),
        ("a string for a section", br#"{"store": "oras"}"#.to_vec()),
        ("another kind", br#"{"executor": {"verificationRequestTimeout": "1s"}}"#.to_vec()),
    ];
    let mut text = String::new();
    for (name, bytes) in cases {
        home.write(".ratify/config.json", bytes);
        text.push_str(&format!("# {name}\n{}", said(&home).await));
    }
    insta::assert_snapshot!(text, @"
    # empty
    verify [1] Error: unable to unmarshal config body: EOF while parsing a value at line 1 column 0
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: EOF while parsing a value at line 1 column 0
    # blank
    verify [1] Error: unable to unmarshal config body: EOF while parsing a value at line 2 column 1
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: EOF while parsing a value at line 2 column 1
    # not JSON
    verify [1] Error: unable to unmarshal config body: expected value at line 1 column 1
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: expected value at line 1 column 1
    # cut off
    verify [1] Error: unable to unmarshal config body: EOF while parsing a list at line 1 column 23
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: EOF while parsing a list at line 1 column 23
    # something behind it
    verify [1] Error: unable to unmarshal config body: trailing characters at line 1 column 4
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: trailing characters at line 1 column 4
    # not UTF-8
    verify [1] Error: unable to unmarshal config body: invalid unicode code point at line 1 column 8
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: invalid unicode code point at line 1 column 8
    # an array
    verify [1] Error: unable to unmarshal config body: the configuration: expected an object, found an array
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: the configuration: expected an object, found an array
    # deep
    verify [1] Error: unable to unmarshal config body: recursion limit exceeded at line 1 column 128
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: recursion limit exceeded at line 1 column 128
    # deep where nobody looks
    verify [1] Error: unable to unmarshal config body: recursion limit exceeded at line 1 column 138
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: recursion limit exceeded at line 1 column 138
    # 5 MiB of blanks
    verify [1] Error: unable to read config file at path : read <home>/.ratify/config.json: it has more than 4194304 bytes
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to read config file at path : read <home>/.ratify/config.json: it has more than 4194304 bytes
    # a string for a section
    verify [1] Error: unable to unmarshal config body: store: expected an object, found a string
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: store: expected an object, found a string
    # another kind
    verify [1] Error: unable to unmarshal config body: executor.verificationRequestTimeout: expected a whole number, found a string
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: executor.verificationRequestTimeout: expected a whole number, found a string
    ");
}

#[tokio::test]
async fn a_path_that_leads_to_no_file_is_an_error_that_repeats_it() {
    let mut home = Home::new();
    let mut text = format!("# absent\n{}", said(&home).await);
    fs::create_dir(home.path().join(".ratify/config.json")).unwrap();
    text.push_str(&format!("# a directory\n{}", said(&home).await));
    home.set("RATIFY_CONFIG", home.path().join("elsewhere").display().to_string());
    text.push_str(&format!("# absent elsewhere\n{}", said(&home).await));
    for path in ["/nowhere/config.json", "/dev/null", "/dev/zero", ""] {
        let ran = home.run(&["verify", "-s", SUBJECT, "--config", path]).await;
        text.push_str(&format!("# {path}\n{}\n", ran.shown(&home)));
    }
    insta::assert_snapshot!(text, @"
    # absent
    verify [1] Error: unable to read config file at path : open <home>/.ratify/config.json: no such file or directory
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to read config file at path : open <home>/.ratify/config.json: no such file or directory
    # a directory
    verify [1] Error: unable to read config file at path : read <home>/.ratify/config.json: it is not a regular file
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to read config file at path : read <home>/.ratify/config.json: it is not a regular file
    # absent elsewhere
    verify [1] Error: unable to read config file at path : open <home>/elsewhere/config.json: no such file or directory
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to read config file at path : open <home>/elsewhere/config.json: no such file or directory
    # /nowhere/config.json
    [1] Error: unable to read config file at path /nowhere/config.json: open /nowhere/config.json: no such file or directory
    # /dev/null
    [1] Error: unable to read config file at path /dev/null: read /dev/null: it is not a regular file
    # /dev/zero
    [1] Error: unable to read config file at path /dev/zero: read /dev/zero: it is not a regular file
    # 
    [1] Error: unable to read config file at path : open <home>/elsewhere/config.json: no such file or directory
    ");
}

#[tokio::test]
async fn a_file_that_may_not_be_read_is_an_error() {
    if host::is_root() {
        let mut home = Home::new();
        set_mode(home.path(), 0o755);
        let path = home.write("config.json", "{}");
        set_mode(&path, 0o600);
        // The program may lie where only root can go.
        home.program = home.path().join("ratify");
        fs::copy(env!("CARGO_BIN_EXE_ratify"), &home.program).unwrap();
        home.prefix = ["setpriv", "--reuid", "65532", "--clear-groups"].map(str::to_owned).to_vec();
        return unreadable(&home).await;
    }
    let home = Home::new();
    let path = home.write("config.json", "{}");
    set_mode(&path, 0);
    unreadable(&home).await;
}

async fn unreadable(home: &Home) {
    let path = home.path().join("config.json").display().to_string();
    let ran = home.run(&["verify", "-s", SUBJECT, "--config", &path]).await;
    insta::assert_snapshot!(ran.shown(home), @"[1] Error: unable to read config file at path <home>/config.json: open <home>/config.json: permission denied");
}

// Long because: it is a table.
#[tokio::test]
async fn a_section_that_is_missing_or_wrong_is_named() {
    let home = Home::new();
    home.script_plugin("judge", YES);
    let whole = config(&verifier("judge"));
    let without = |section: &str| {
        let mut config = whole.clone();
        config.as_object_mut().unwrap().remove(section);
        config
    };
    let with = |pointer: &str, value: Value| {
        let mut config = whole.clone();
        *config.pointer_mut(pointer).unwrap() = value;
        config
    };
    let cases: [(&str, Value); 24] = [
        ("nothing at all", json!({})),
        ("no store section", without("store")),
        ("no verifier section", without("verifier")),
        ("no policy section", without("policy")),
        ("no stores", with("/store/plugins", json!([]))),
        ("no verifiers", with("/verifier/plugins", json!([]))),
        ("stores that are no list", with("/store/plugins", json!({}))),
        ("a store that is no object", with("/store/plugins/0", json!("oras"))),
        ("a store without a name", with("/store/plugins/0", json!({}))),
        ("a store whose name is a number", with("/store/plugins/0/name", json!(1))),
        ("an unknown store", with("/store/plugins/0/name", json!("nosuch"))),
        ("a verifier without a name", with("/verifier/plugins/0", json!({"type": "judge"}))),
        ("a verifier whose type is a number", with("/verifier/plugins/0/type", json!(1))),
        ("an unknown verifier", with("/verifier/plugins/0/type", json!("nosuch"))),
        (
            "a built-in verifier that is not configured",
            with("/verifier/plugins/0/type", json!("notation")),
        ),
        ("artifact types that are a number", with("/verifier/plugins/0/artifactTypes", json!(1))),
        ("no policy", with("/policy/plugin", json!({}))),
        ("a policy whose name is a number", with("/policy/plugin/name", json!(1))),
        ("an unknown policy", with("/policy/plugin/name", json!("nosuch"))),
        ("a Rego policy without a text", with("/policy/plugin/name", json!("regopolicy"))),
        ("a key of the store of the wrong kind", with("/store/plugins/0/useHttp", json!("yes"))),
        ("directories that are a string", {
            let mut config = whole.clone();
            config["verifier"]["pluginBinDirs"] = json!("/plugins");
            config
        }),
        ("an unknown log format", {
            let mut config = whole.clone();
            config["logger"] = json!({"formatter": "xml"});
            config
        }),
        ("a source that is a string", {
            let mut config = whole.clone();
            config["verifier"]["plugins"][0]["source"] = json!("registry.example.com/a:1");
            config
        }),
    ];
    let mut text = String::new();
    for (name, config) in cases {
        home.configure(&config);
        text.push_str(&format!("# {name}\n{}", said(&home).await));
    }
    insta::assert_snapshot!(text, @r#"
    # nothing at all
    verify [1] Error: CONFIG_INVALID: referrer store config should have at least one store
    serve  [1] Error: failed to load store from config: CONFIG_INVALID: referrer store config should have at least one store
    # no store section
    verify [1] Error: CONFIG_INVALID: referrer store config should have at least one store
    serve  [1] Error: failed to load store from config: CONFIG_INVALID: referrer store config should have at least one store
    # no verifier section
    verify [1] Error: CONFIG_INVALID: The configuration for verifier.plugins must include at least one plugin
    serve  [1] Error: failed to load verifiers from config: CONFIG_INVALID: The configuration for verifier.plugins must include at least one plugin
    # no policy section
    verify [1] Error: CONFIG_INVALID: policy provider config must be specified
    serve  [1] Error: failed to load policy provider from config: CONFIG_INVALID: policy provider config must be specified
    # no stores
    verify [1] Error: CONFIG_INVALID: referrer store config should have at least one store
    serve  [1] Error: failed to load store from config: CONFIG_INVALID: referrer store config should have at least one store
    # no verifiers
    verify [1] Error: CONFIG_INVALID: The configuration for verifier.plugins must include at least one plugin
    serve  [1] Error: failed to load verifiers from config: CONFIG_INVALID: The configuration for verifier.plugins must include at least one plugin
    # stores that are no list
    verify [1] Error: unable to unmarshal config body: store.plugins: expected an array of objects, found an object
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: store.plugins: expected an array of objects, found an object
    # a store that is no object
    verify [1] Error: unable to unmarshal config body: store.plugins[0]: expected an object, found a string
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: store.plugins[0]: expected an object, found a string
    # a store without a name
    verify [1] Error: CONFIG_INVALID: failed to find store name in the stores config with key name
    serve  [1] Error: failed to load store from config: CONFIG_INVALID: failed to find store name in the stores config with key name
    # a store whose name is a number
    verify [1] Error: CONFIG_INVALID: the name of a store must be a string
    serve  [1] Error: failed to load store from config: CONFIG_INVALID: the name of a store must be a string
    # an unknown store
    verify [1] Error: PLUGIN_NOT_FOUND: plugin not found: failed to find plugin "nosuch" in paths [<home>/.ratify/plugins]
    serve  [1] Error: failed to load store from config: PLUGIN_NOT_FOUND: plugin not found: failed to find plugin "nosuch" in paths [<home>/.ratify/plugins]
    # a verifier without a name
    verify [1] Error: CONFIG_INVALID: The name field is required in the Verifier configuration
    serve  [1] Error: failed to load verifiers from config: CONFIG_INVALID: The name field is required in the Verifier configuration
    # a verifier whose type is a number
    verify [1] Error: CONFIG_INVALID: type of a verifier must be a string
    serve  [1] Error: failed to load verifiers from config: CONFIG_INVALID: type of a verifier must be a string
    # an unknown verifier
    verify [1] Error: PLUGIN_NOT_FOUND: Verifier plugin nosuch not found: failed to find plugin "nosuch" in paths [<home>/.ratify/plugins]: Please ensure that the correct type is specified for the built-in Verifier configuration or the custom Verifier plugin is configured.
    serve  [1] Error: failed to load verifiers from config: PLUGIN_NOT_FOUND: Verifier plugin nosuch not found: failed to find plugin "nosuch" in paths [<home>/.ratify/plugins]: Please ensure that the correct type is specified for the built-in Verifier configuration or the custom Verifier plugin is configured.
    # a built-in verifier that is not configured
    verify [1] Error: PLUGIN_INIT_FAILURE: Failed to create the Notation Verifier: Failed to create the Notation Verifier: trust policy document has empty version, version must be specified
    serve  [1] Error: failed to load verifiers from config: PLUGIN_INIT_FAILURE: Failed to create the Notation Verifier: Failed to create the Notation Verifier: trust policy document has empty version, version must be specified
    # artifact types that are a number
    verify [1] Error: CONFIG_INVALID: artifactTypes of a verifier must be a string
    serve  [1] Error: failed to load verifiers from config: CONFIG_INVALID: artifactTypes of a verifier must be a string
    # no policy
    verify [1] Error: CONFIG_INVALID: failed to find policy provider name in the policy config with key: name
    serve  [1] Error: failed to load policy provider from config: CONFIG_INVALID: failed to find policy provider name in the policy config with key: name
    # a policy whose name is a number
    verify [1] Error: POLICY_PROVIDER_NOT_FOUND: policy type: 1 is not registered policy provider: https://ratify.dev/docs/reference/crds/policies
    serve  [1] Error: failed to load policy provider from config: POLICY_PROVIDER_NOT_FOUND: policy type: 1 is not registered policy provider: https://ratify.dev/docs/reference/crds/policies
    # an unknown policy
    verify [1] Error: POLICY_PROVIDER_NOT_FOUND: policy type: nosuch is not registered policy provider: https://ratify.dev/docs/reference/crds/policies
    serve  [1] Error: failed to load policy provider from config: POLICY_PROVIDER_NOT_FOUND: policy type: nosuch is not registered policy provider: https://ratify.dev/docs/reference/crds/policies
    # a Rego policy without a text
    verify [1] Error: CONFIG_INVALID: failed to create policy provider: unable to read rego policy file at path: : open : no such file or directory: https://ratify.dev/docs/reference/providers
    serve  [1] Error: failed to load policy provider from config: CONFIG_INVALID: failed to create policy provider: unable to read rego policy file at path: : open : no such file or directory: https://ratify.dev/docs/reference/providers
    # a key of the store of the wrong kind
    verify [1] Error: CONFIG_INVALID: failed to parse oras store configuration: useHttp must be true or false
    serve  [1] Error: failed to load store from config: CONFIG_INVALID: failed to parse oras store configuration: useHttp must be true or false
    # directories that are a string
    verify [1] Error: unable to unmarshal config body: verifier.pluginBinDirs: expected an array of strings, found a string
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: unable to unmarshal config body: verifier.pluginBinDirs: expected an array of strings, found a string
    # an unknown log format
    verify [1] Error: CONFIG_INVALID: unsupported logging formatter: xml
    serve  [1] Error: failed to retrieve logger configuration: unable to load config: CONFIG_INVALID: unsupported logging formatter: xml
    # a source that is a string
    verify [1] Error: CONFIG_INVALID: Failed to parse the plugin source: source: expected an object, found a string
    serve  [1] Error: failed to load verifiers from config: CONFIG_INVALID: Failed to parse the plugin source: source: expected an object, found a string
    "#);
}
