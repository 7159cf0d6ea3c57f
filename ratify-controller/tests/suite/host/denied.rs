//! T14: what the administrators' rules deny is not started, ends where it runs, and its answer
//! counts for nothing; and the other way round where they do not.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use ratify_controller::plugin::{
    exec::{Environment, ExecRunner, Program},
    inventory::Inventory,
    rules::{Rules, RulesInForce},
    verifier::ExecVerifier,
};
use ratify_core::{
    Algorithm, Verifier as _,
    config::{Config, VerifierPluginConfig},
};
use ratify_store_oras::digest_of;
use serde_json::json;

use super::{
    host, lives, script,
    verifier::{install, object, request},
};

/// A plugin directory, and rules that hold for what is in it.
struct Place {
    folder: tempfile::TempDir,
    rules: RulesInForce,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), rules: RulesInForce::default() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn rule(&self, plugins: &serde_json::Value) {
        let config = json!({"plugins": plugins}).to_string();
        self.rules.put(Rules::of(&Config::from_json(config.as_bytes()).unwrap()));
    }

    fn running(&self, program: Program) -> ExecVerifier {
        let entry = json!({"name": "configured", "type": "p"});
        let config = VerifierPluginConfig::from_entry(&object(entry), "1.0.0").unwrap();
        let environment = Environment::new([("PATH".into(), "/usr/bin:/bin".into())]);
        let runner = ExecRunner::new(host(), environment).with_rules(self.rules.clone(), false);
        ExecVerifier::new(config, program, Arc::new(runner), self.path().to_owned())
    }

    fn search(&self, dirs: &[PathBuf]) -> ExecVerifier {
        self.running(Program::Search { name: "p".into(), dirs: dirs.to_vec() })
    }
}

fn digest_of_file(path: &Path) -> String {
    digest_of(Algorithm::Sha256, &fs::read(path).unwrap()).to_string()
}

/// The report's reason, or the error.
async fn said(verifier: &ExecVerifier) -> String {
    said_with(verifier, false).await
}

/// The same, for a store that may not use the credentials of this process where that is so.
async fn said_with(verifier: &ExecVerifier, is_borrowers: bool) -> String {
    let mut asked = request(None);
    asked.store = asked.store.of_borrower(is_borrowers);
    match verifier.verify(&asked).await {
        Ok(report) if report.is_success => "yes".to_owned(),
        Ok(report) => report.error_reason,
        Err(error) => error.to_string(),
    }
}

const YES: &str = r#"cat >/dev/null; echo '{"isSuccess":true}'"#;

#[tokio::test]
async fn a_program_that_was_put_into_the_directory_is_denied_by_its_digest_and_its_size() {
    let place = Place::new();
    let program = script(place.path(), "p", YES);
    let verifier = place.search(&[place.path().to_owned()]);
    let sha512 = digest_of(Algorithm::Sha512, &fs::read(&program).unwrap()).to_string();
    let denials = [
        (json!({"deniedDigests": [digest_of_file(&program)]}), "is in plugins.deniedDigests"),
        (json!({"deniedDigests": [sha512]}), "is in plugins.deniedDigests"),
        (json!({"maxSizeBytes": 5}), "bytes, and plugins.maxSizeBytes is 5"),
    ];
    for (rules, text) in denials {
        assert_eq!(said(&verifier).await, "yes");
        place.rule(&rules);
        let denied = said(&verifier).await;
        assert!(denied.contains(text), "{denied}");
        // Others are of no concern to it, and a repository it has none of.
        place.rule(&json!({"deniedDigests": [format!("sha256:{}", "0".repeat(64))],
            "maxSizeBytes": 4096, "allowedRepositories": [], "requireDigest": true}));
    }
    place.rule(&json!({"deniedDigests": [digest_of_file(&program)]}));
    assert!(said(&verifier).await.contains("deniedDigests"));
    script(place.path(), "p", &format!("{YES} # other"));
    assert_eq!(said(&verifier).await, "yes", "another file of that name");
}

#[tokio::test]
async fn an_installed_program_is_denied_by_each_digest_and_by_where_it_is_from() {
    let place = Place::new();
    let inventory = Inventory::of(place.path().join("installed"));
    let bytes = b"#!/bin/sh\ncat >/dev/null; echo '{\"isSuccess\":true}'\n";
    let installed = Arc::new(install(&inventory, bytes).await);
    let mut record = installed.record().clone();
    inventory.publish(&record).unwrap();
    // By its record, and by the view of it, which nobody has in force.
    let by_view = place.search(&[place.path().join("installed")]);
    let by_record = place.running(Program::Installed(installed));
    let denials = [
        (json!({"deniedDigests": [record.root.digest]}), "deniedDigests"),
        (json!({"deniedDigests": [record.digest]}), "deniedDigests"),
        (json!({"allowedRepositories": ["example.com/q", "example.com/p/*"]}), "allowedRep"),
        (json!({"maxSizeBytes": 7}), "maxSizeBytes"),
    ];
    assert!(said(&by_view).await.ends_with("was installed for a resource that is not in force"));
    record.by_command = true;
    inventory.publish(&record).unwrap();
    for verifier in [&by_record, &by_view] {
        for (rules, text) in &denials {
            place.rule(&json!({"allowedRepositories": ["example.com/p"]}));
            assert_eq!(said(verifier).await, "yes");
            place.rule(rules);
            let denied = said(verifier).await;
            assert!(denied.contains(text), "{denied}");
        }
    }
    place.rule(&json!({"requireDigest": true}));
    for verifier in [&by_record, &by_view] {
        assert!(said(verifier).await.contains("requireDigest"), "it was named by tag");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_denied_while_it_runs_is_ended() {
    let place = Place::new();
    let body = r#"echo $$ > ${0%/*}/pid; echo '{"isSuccess":true}'; sleep 60"#;
    let program = script(place.path(), "p", body);
    let verifier = place.search(&[place.path().to_owned()]);
    let pid_file = place.path().join("pid");
    let start = Instant::now();
    let deny = async {
        while !fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A change that is not about it leaves it alone.
        place.rule(&json!({"maxSizeBytes": 100_000}));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(lives(&fs::read_to_string(&pid_file).unwrap()));
        place.rule(&json!({"deniedDigests": [digest_of_file(&program)]}));
    };
    let (said, ()) = tokio::join!(said(&verifier), deny);
    assert!(
        said.contains("its answer does not count: the plugin is denied: the digest "),
        "{said}"
    );
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let pid = fs::read_to_string(&pid_file).unwrap();
    super::soon("the plugin ends", || !lives(&pid));
}

#[tokio::test]
async fn a_plugin_is_told_the_rules_about_registries_that_are_in_force_when_it_starts() {
    let place = Place::new();
    let body = format!("env | grep ^RATIFY_REG > ${{0%/*}}/told; {YES}");
    script(place.path(), "p", &body);
    for (are_anybodys, is_borrowers, is_of_namespace, registries, told) in [
        (false, false, false, json!({}), ""),
        (
            false,
            false,
            true,
            json!({}),
            "RATIFY_REGISTRY_RULES={\"entry\":\"namespace\",\"references\":\"operator\",\"registries\":{}}\n",
        ),
        (
            false,
            true,
            false,
            json!({}),
            "RATIFY_REGISTRY_RULES={\"credentials\":\"none\",\"references\":\"operator\",\"registries\":{}}\n",
        ),
        (
            true,
            false,
            false,
            json!({}),
            "RATIFY_REGISTRY_RULES={\"references\":\"anybody\",\"registries\":{}}\n",
        ),
        (
            false,
            false,
            false,
            json!({"hostsPath": "/certs.d"}),
            "RATIFY_REGISTRY_RULES={\"references\":\"operator\",\"registries\":{\"hostsPath\":\"/certs.d\"}}\n",
        ),
    ] {
        let config = json!({"registries": registries}).to_string();
        let runner = ExecRunner::new(host(), Environment::new([]))
            .with_rules(place.rules.clone(), are_anybodys);
        let entry = json!({"name": "configured", "type": "p", "pluginEnv": "minimal"});
        let entry = VerifierPluginConfig::from_entry(&object(entry), "1.0.0").unwrap();
        let program = Program::Search { name: "p".into(), dirs: vec![place.path().to_owned()] };
        let place_of_calls = place.path().to_owned();
        let verifier = ExecVerifier::new(entry, program, Arc::new(runner), place_of_calls)
            .of_namespace(is_of_namespace);
        // They are asked for at each call.
        place.rules.put(Rules::of(&Config::from_json(config.as_bytes()).unwrap()));
        assert_eq!(said_with(&verifier, is_borrowers).await, "yes");
        assert_eq!(fs::read_to_string(place.path().join("told")).unwrap(), told);
    }
}
