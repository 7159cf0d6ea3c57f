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
    insta::assert_snapshot!(text, @"");
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
    insta::assert_snapshot!(text, @"");
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
    insta::assert_snapshot!(ran.shown(home), @"");
}

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
        ("a verifier that is not built in here", with("/verifier/plugins/0/type", json!("notation"))),
        ("artifact types that are a number", with("/verifier/plugins/0/artifactTypes", json!(1))),
        ("no policy", with("/policy/plugin", json!({}))),
        ("a policy whose name is a number", with("/policy/plugin/name", json!(1))),
        ("an unknown policy", with("/policy/plugin/name", json!("nosuch"))),
        ("a policy that is not built in here", with("/policy/plugin/name", json!("regopolicy"))),
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
    insta::assert_snapshot!(text, @"");
}
