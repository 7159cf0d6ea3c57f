//! One store that reads three registries with three passwords: of docker's file, of a credential
//! helper and of a program of the kubelet's contract; and that a provider which fails is the end,
//! without a request.

use std::{fs, path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};

use super::{Home, STATEMENT, YES, config, put_app, skipped, sourced, verifier};
use crate::parity::machines::{Machines, PASSWORD, USER};

/// The page that shows the configuration of such programs.
const PAGE: &str = include_str!("../../../../docs/registries.md");

/// What the page shows under `credentialProvider`: the section of the configuration and the kubelet's
/// own file, for one registry and with these places.
fn as_on_the_page(host: &str, home: &Home, bin: &Path) -> Value {
    let (_, section) = PAGE.split_once("\n### credentialProvider\n").unwrap();
    let block = |language: &str| {
        let (_, rest) = section.split_once(&format!("\n```{language}\n")).unwrap();
        rest.split_once("\n```\n").unwrap().0.to_owned()
    };
    let file = block("yaml").replace("*.gcr.io", host);
    let file = format!("{file}\n    env: [{{name: PROVIDER_USER, value: user}}]\n");
    assert!(file.contains(host), "{file}");
    let mut config: Value = serde_json::from_str(&block("json")).unwrap();
    let places = &mut config["registries"]["credentialProviders"];
    places["configPath"] = json!(home.write("providers.yaml", file));
    places["binDir"] = json!(bin);
    config["registries"].take()
}

async fn registry(password: &str) -> RunningRegistry {
    let credentials = Some(("user".to_owned(), password.to_owned()));
    let options = RegistryOptions { credentials, ..RegistryOptions::default() };
    RunningRegistry::start(options).await.unwrap()
}

/// Builds the program, and puts it where a helper and a provider are.
async fn install(bin: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/cli/credentials/program.go");
    let helper = bin.join("docker-credential-test");
    let mut go = Command::new("go");
    go.args(["build", "-o", helper.to_str().unwrap(), source]).env("CGO_ENABLED", "0");
    assert!(go.env("GO111MODULE", "off").status().await.unwrap().success());
    fs::copy(&helper, bin.join("gcp-credential-provider")).unwrap();
}

/// A configuration whose store and whose registries are these.
fn with(rules: &Value, registries: &Value) -> Value {
    let mut config = config(&verifier("yes"));
    config["store"]["plugins"][0]["authProviders"] = rules.clone();
    config["registries"] = registries.clone();
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_registry_gets_the_password_that_its_rule_says_and_programs_give_out_theirs() {
    if Command::new("go").arg("version").output().await.is_err() {
        return skipped("credential programs", "there is no go");
    }
    let mut home = Home::new();
    home.script_plugin("yes", YES);
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    install(&bin).await;
    home.set("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let (of_file, of_helper) = (registry("of the file").await, registry("of the helper").await);
    let (of_cloud, open) = (registry("of the cloud").await, registry("nobody knows").await);
    home.log_in(&of_file.host(), "user", "of the file");
    let helpers = json!({"credHelpers": {of_helper.host(): "test"}});
    let helpers = home.write("helpers.json", helpers.to_string());
    let registries = as_on_the_page(&of_cloud.host(), &home, &bin);
    let rules = json!([
        {"match": [of_file.host()], "provider": {"name": "dockerConfig"}},
        {"match": [format!("{}/app", of_helper.host())],
            "provider": {"name": "dockerConfig", "configPath": helpers}},
        {"match": [of_cloud.host()], "provider": {"name": "credentialProvider"}},
        {"match": [open.host()], "anonymous": true},
    ]);
    home.configure(&with(&rules, &registries));
    for registry in [&of_file, &of_helper, &of_cloud] {
        let ran = home.verify(&put_app(registry)).await;
        assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
        for password in ["of the file", "of the helper", "of the cloud"] {
            assert!(!ran.stderr.contains(password), "{}", ran.stderr);
        }
    }
    let ran = home.verify(&put_app(&open)).await;
    assert!(!ran.is_success() && !open.requests().is_empty(), "{}", ran.reason());
    let asked = fs::read_to_string(home.path().join("asked")).unwrap();
    let asked = asked.replace(&of_helper.host(), "<helper>").replace(&of_cloud.host(), "<cloud>");
    insta::assert_snapshot!(asked.trim_end(), @r#"
    docker-credential-test get < <helper>
    gcp-credential-provider get-credentials < {"apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"<cloud>/app","kind":"CredentialProviderRequest"}
    "#);
}

/// A helper by docker's own library keeps what it is given as docker gives it; what it says opens
/// distribution's registry, to a push and to a store, beside another registry with another password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_by_dockers_library_opens_distributions_registry() {
    let Some(machines) = Machines::find() else { return };
    let mut home = Home::new();
    home.script_plugin("yes", YES);
    let helper = machines.tool("docker-credential-file");
    home.set("PATH", format!("{}:/usr/bin:/bin", helper.parent().unwrap().display()));
    let server = machines.registry_with_tags(&home.path().join("registry")).await;
    let other = registry("of the file").await;
    let tell = async |command: &str, told: String| {
        let mut helper = Command::new(&helper);
        helper.arg(command).env("HOME", home.path()).stdin(Stdio::piped());
        let mut process = helper.spawn().unwrap();
        process.stdin.take().unwrap().write_all(told.as_bytes()).await.unwrap();
        assert!(process.wait().await.unwrap().success(), "{command}");
    };
    let (address, host) = (&server.address, other.host());
    let known = json!({"ServerURL": address, "Username": USER, "Secret": PASSWORD});
    tell("store", known.to_string()).await;
    fs::create_dir(home.path().join(".docker")).unwrap();
    let file = json!({
        "auths": {address: {}, host.clone(): {"username": "user", "password": "of the file"}},
        "credsStore": "file",
    });
    home.write(".docker/config.json", file.to_string());
    let docker = json!({"name": "dockerConfig"});
    home.configure(&with(
        &json!([{"match": ["127.0.0.1"], "anonymous": true},
            {"match": [address, host], "provider": docker}]),
        &json!({}),
    ));
    let statement = home.write("statement.json", "{}");
    let attach = format!("{STATEMENT}={}", statement.display());
    let image = format!("{address}/app:v1");
    home.must(&["dev", "image", &image, "--attach", &attach]).await;
    for image in [&image, &put_app(&other)] {
        let ran = home.verify(image).await;
        assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains(PASSWORD), "{}", ran.stderr);
    }
    tell("erase", address.clone()).await;
    let ran = home.verify(&image).await;
    let expected = format!("the auth provider dockerConfig, which covers {address}/app, has no");
    assert!(!ran.is_success() && ran.stderr.contains(&expected), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_fails_is_the_end_and_its_registry_is_not_asked() {
    let mut home = Home::new();
    home.script_plugin("yes", YES);
    let registry = registry("word").await;
    let image = put_app(&registry);
    let nowhere = json!({"credentialProviders": {"configPath": "/nowhere.yaml", "binDir": "/bin"}});
    let helpers = home.write("helpers.json", r#"{"credsStore": "not-there"}"#);
    let docker = json!({"name": "dockerConfig", "configPath": helpers});
    let by = |host: &str, provider: &Value| json!([{"match": [host], "provider": provider}]);
    for (rules, expected) in [
        (
            by(&registry.host(), &docker),
            "no program docker-credential-not-there in the directories",
        ),
        (by("registry.example.com", &docker), "no rule of authProviders covers "),
    ] {
        home.configure(&with(&rules, &json!({})));
        let ran = home.verify(&image).await;
        assert!(!ran.is_success() && ran.stderr.contains(expected), "{}", ran.stderr);
    }
    let mut texts = Vec::new();
    let kubelet = by(&registry.host(), &json!({"name": "credentialProvider"}));
    home.configure(&with(&kubelet, &nowhere));
    texts.push(home.verify(&image).await.shown(&home));
    let mut both = with(&by(&registry.host(), &docker), &json!({}));
    both["store"]["plugins"][0]["authProvider"] = docker.clone();
    home.configure(&both);
    texts.push(home.verify(&image).await.shown(&home));
    assert_eq!(registry.requests().len(), 0);
    let mut plugin = sourced("judge", &format!("{}/judge:v1", registry.host()));
    plugin["source"]["authProviders"] = by(&registry.host(), &docker);
    home.configure(&config(&plugin));
    home.allow_sources();
    texts.push(home.verify(&image).await.shown(&home));
    insta::assert_snapshot!(texts.join("\n"), @r"
    [1] Error: CONFIG_INVALID: failed to create auth provider from configuration: authProviders[0]: registries.credentialProviders: /nowhere.yaml: No such file or directory (os error 2)
    [1] Error: CONFIG_INVALID: failed to create auth provider from configuration: authProviders: authProvider is given, too: one of the two counts
    [1] Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: auth provider failed with err, AUTH_DENIED: a credential helper of docker's configuration failed: there is no program docker-credential-not-there in the directories of PATH
    ");
    // Of a source on loopback it is found out whether it speaks TLS, and no more.
    assert!(registry.requests().iter().all(|request| !request.path.contains("judge")));
}
