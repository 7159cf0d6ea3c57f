//! Programs that give out credentials, run by the host of plugins: those that hang, flood, fail or
//! are none.

use std::{fs, path::Path, sync::Arc, time::Instant};

use ratify_controller::plugin::credentials::{HostPrograms, read_providers};
use ratify_core::config::CredentialProviderFiles;
use ratify_store_oras::{
    Connections,
    auth::{self, Asked, Environment, RegistryHost},
};
use serde_json::json;

use super::{host, in_ms, script};

/// What docker's configuration says about a host, by helpers in a directory.
async fn found(bin: &Path, helper: &str, give_up_at: Option<Instant>) -> String {
    let path = format!("relative:{}:/usr/bin:/bin", bin.display());
    let variables = [("PATH", path.as_str()), ("A", "passed"), ("COSIGN_PASSWORD", "hunter2")];
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    let programs = HostPrograms::new(host(), variables);
    let environment = Environment { programs: Some(Arc::new(programs)), ..Environment::default() };
    let path = bin.join("config.json");
    fs::write(&path, json!({ "credsStore": helper }).to_string()).unwrap();
    let config = json!({"name": "dockerConfig", "configPath": path});
    let provider = auth::from_config(config.as_object(), &environment, &Connections::default());
    let host = RegistryHost::parse("registry.example.com").unwrap();
    let artifact = "registry.example.com/app";
    let asked = Asked { host: &host, repository: "app", artifact, give_up_at };
    match provider.unwrap().credential(&asked).await {
        Ok(granted) => format!("{:?}", granted.credential),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_that_hangs_floods_or_fails_is_a_failure_that_does_not_tell_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path();
    let helper = |name: &str, body: &str| script(bin, &format!("docker-credential-{name}"), body);
    helper(
        "good",
        r#"test "$#$1" = 1get && printf '{"Username":"%s","Secret":"hunter2"}' "$(cat)""#,
    );
    helper("none", "echo credentials not found in native keychain; exit 1");
    helper("fails", "echo hunter2; echo hunter2 >&2; exit 1");
    helper("floods", "yes hunter2");
    helper("hangs", "sleep 1000 & sleep 1000");
    fs::write(bin.join("docker-credential-plain"), "hunter2").unwrap();
    let mut texts = Vec::new();
    for name in ["good", "none", "fails", "floods", "plain", "absent", "good; x", "../good"] {
        texts.push(found(bin, name, in_ms(20_000)).await);
    }
    let begun = Instant::now();
    texts.push(found(bin, "hangs", in_ms(300)).await);
    assert!(begun.elapsed().as_secs() < 5);
    let texts = texts.join("\n");
    assert!(!texts.contains("hunter2"), "{texts}");
    insta::assert_snapshot!(texts, @r#"
    Basic { username: "registry.example.com", password: <redacted> }
    Anonymous
    AUTH_DENIED: a credential helper of docker's configuration failed: docker-credential-fails failed
    AUTH_DENIED: a credential helper of docker's configuration failed: docker-credential-floods wrote more than it may
    AUTH_DENIED: a credential helper of docker's configuration failed: there is no program docker-credential-plain in the directories of PATH
    AUTH_DENIED: a credential helper of docker's configuration failed: there is no program docker-credential-absent in the directories of PATH
    AUTH_DENIED: a credential helper of docker's configuration failed: "docker-credential-good; x" is no name of a program: letters, digits, dots, dashes, underscores
    AUTH_DENIED: a credential helper of docker's configuration failed: "docker-credential-../good" is no name of a program: letters, digits, dots, dashes, underscores
    AUTH_DENIED: a credential helper of docker's configuration failed: docker-credential-hangs did not end in time
    "#);
}

#[tokio::test]
async fn a_helper_has_the_environment_of_this_process_but_for_what_opens_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let body =
        r#"cat >/dev/null; printf '{"Username":"%s","Secret":"s"}' "$A ${COSIGN_PASSWORD-none}""#;
    script(folder.path(), "docker-credential-sees", body);
    let found = found(folder.path(), "sees", in_ms(20_000)).await;
    assert_eq!(found, r#"Basic { username: "passed none", password: <redacted> }"#);
}

/// What the page on registries shows is what is read.
#[test]
fn the_kubelets_configuration_of_the_documentation_is_one() {
    let page = include_str!("../../../../docs/registries.md");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let shown: Vec<&str> =
        blocks.filter(|block| block.contains("CredentialProviderConfig")).collect();
    assert!(!shown.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let config_path = folder.path().join("providers.yaml");
    for document in shown {
        fs::write(&config_path, document).unwrap();
        let files =
            CredentialProviderFiles { config_path: config_path.clone(), bin_dir: "/bin".into() };
        read_providers(&files).unwrap();
    }
    fs::write(&config_path, "kind: [").unwrap();
    let files = CredentialProviderFiles { config_path, bin_dir: "/bin".into() };
    let error = read_providers(&files).unwrap_err();
    assert!(error.contains("providers.yaml: "), "{error}");
}
