//! What makes two fingerprints the same, and what makes another one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use ratify_core::{
    ReferrerStore, Verifier,
    config::{Config, StorePluginConfig, VerifierPluginConfig},
    executor::{
        Executor,
        testing::{FunctionVerifier, MemoryStore},
    },
    policy::Policy,
};
use ratify_store_oras::{OrasStore, OrasStoreOptions};
use serde_json::{Value, json};

use super::*;
use crate::plugin::{
    exec::{Environment, ExecRunner, Program},
    process::{HostOptions, Orphans, PluginHost},
    sandbox::MemoryBudget,
    verifier::ExecVerifier,
};

/// A configuration of which each part can be another.
struct Parts {
    stores: Vec<Arc<dyn ReferrerStore>>,
    verifiers: Vec<Arc<dyn Verifier>>,
    policy: Value,
    nesting: usize,
    cluster_rule: bool,
    policy_error: Option<String>,
    rules: Value,
}

/// Makes another configuration of one.
type Change = fn(&mut Parts);

fn store(name: &str, basis: &str) -> Arc<dyn ReferrerStore> {
    Arc::new(MemoryStore::new(name).resting_on(basis))
}

fn verifier(name: &str, basis: &str) -> Arc<dyn Verifier> {
    Arc::new(FunctionVerifier::passing(name, "*").resting_on(basis))
}

fn parts() -> Parts {
    Parts {
        stores: vec![store("oras", "1")],
        verifiers: vec![verifier("a", "1"), verifier("b", "1")],
        policy: json!({"default": "all"}),
        nesting: 8,
        cluster_rule: false,
        policy_error: None,
        rules: json!({}),
    }
}

fn fingerprint(parts: &Parts) -> Option<Fingerprint> {
    let mut file = parts.rules.clone();
    file["policy"] =
        json!({"plugin": {"name": "configPolicy", "artifactVerificationPolicies": parts.policy}});
    let config = Config::from_json(file.to_string().as_bytes()).unwrap();
    let policy = Policy::from_config(config.policy.as_ref().unwrap()).unwrap();
    let mut executor = Executor::new(parts.stores.clone(), parts.verifiers.clone(), Some(policy));
    executor.limits.nesting = parts.nesting;
    let mut view = View::new(executor);
    view.cluster_rule = parts.cluster_rule.then(|| view.executor.clone());
    view.policy_error.clone_from(&parts.policy_error);
    Fingerprint::of(&view, &Arc::new(Rules::of(&config)))
}

#[test]
fn it_is_the_same_wherever_the_same_decides_and_another_as_soon_as_anything_else_does() {
    let changes: [(&str, Change); 15] = [
        ("the store", |parts| parts.stores = vec![store("oras", "2")]),
        ("the name of a store", |parts| parts.stores = vec![store("other", "1")]),
        ("one more store", |parts| parts.stores.push(store("more", "1"))),
        ("a verifier", |parts| parts.verifiers[1] = verifier("b", "2")),
        ("the name of a verifier", |parts| parts.verifiers[1] = verifier("c", "1")),
        ("the order of verifiers", |parts| parts.verifiers.reverse()),
        ("one verifier less", |parts| drop(parts.verifiers.pop())),
        ("the policy", |parts| parts.policy = json!({"default": "any"})),
        ("a type of the policy", |parts| parts.policy = json!({"default": "all", "t": "any"})),
        ("how deep one looks", |parts| parts.nesting = 7),
        ("the cluster's rule", |parts| parts.cluster_rule = true),
        ("an error of the policy", |parts| parts.policy_error = Some("no".into())),
        ("a denied plugin", |parts| {
            parts.rules =
                json!({"plugins": {"deniedDigests": [format!("sha256:{}", "1".repeat(64))]}});
        }),
        ("who may bring plugins", |parts| {
            parts.rules = json!({"namespaces": {"tightenOnly": true}});
        }),
        ("which addresses registries may have", |parts| {
            parts.rules = json!({"registries": {"allowedAddresses": ["10.0.0.0/8"]}});
        }),
    ];
    let mut seen = vec![("nothing", fingerprint(&parts()).unwrap())];
    assert_eq!(fingerprint(&parts()), Some(seen[0].1));
    for (what, change) in changes {
        let (mut here, mut there) = (parts(), parts());
        change(&mut here);
        change(&mut there);
        let changed = fingerprint(&here).unwrap();
        assert_eq!(fingerprint(&there), Some(changed), "two replicas differ: {what}");
        let same = seen.iter().find(|(_, fingerprint)| *fingerprint == changed);
        assert_eq!(same, None, "{what}");
        seen.push((what, changed));
    }
}

#[test]
fn who_does_not_say_what_it_decides_by_leaves_none() {
    let mut unknown = parts();
    unknown.verifiers.push(Arc::new(FunctionVerifier::passing("silent", "*")));
    assert_eq!(fingerprint(&unknown), None);
    let mut unknown = parts();
    unknown.stores.push(Arc::new(MemoryStore::new("silent")));
    assert_eq!(fingerprint(&unknown), None);
}

/// A plugin in a directory, as v1 finds it.
fn plugin(directory: &Path, bytes: &str) -> PathBuf {
    let path = directory.join("p");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn exec(dirs: &[&Path], entry: &Value, variables: &[(&str, &str)]) -> Arc<dyn Verifier> {
    Arc::new(exec_of(dirs, entry, variables))
}

fn exec_of(dirs: &[&Path], entry: &Value, variables: &[(&str, &str)]) -> ExecVerifier {
    let budget = MemoryBudget { per_plugin: 1 << 28, total: 1 << 30 };
    let host = PluginHost::new(HostOptions::new(None, budget, Orphans::LetGo)).unwrap();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let runner = ExecRunner::new(Arc::new(host), Environment::new(variables));
    let config = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
    let dirs = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    let program = Program::Search { name: "p".into(), dirs };
    ExecVerifier::new(config, program, Arc::new(runner), std::env::temp_dir())
}

fn of_verifier(verifier: Arc<dyn Verifier>) -> Option<Fingerprint> {
    fingerprint(&Parts { verifiers: vec![verifier], ..parts() })
}

#[test]
fn a_plugin_counts_by_its_bytes_its_entry_and_what_it_sees() {
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (first, second) = (first.path(), second.path());
    plugin(first, "judge");
    let entry = json!({"name": "p", "artifactTypes": "*"});
    let verifier = exec(&[first], &entry, &[("HOSTNAME", "a"), ("MODE", "strict")]);
    let now = || of_verifier(Arc::clone(&verifier));
    let before = now().unwrap();
    plugin(second, "judge");
    let there = exec(&[second], &entry, &[("HOSTNAME", "b"), ("MODE", "strict")]);
    assert_eq!(of_verifier(there), Some(before), "the same on another replica");
    let other = json!({"name": "p", "artifactTypes": "*", "level": 1});
    for (other, mode) in [(&other, "strict"), (&entry, "lax")] {
        let other = exec(&[first], other, &[("MODE", mode)]);
        assert_ne!(of_verifier(other), Some(before));
    }
    let namespaces = exec_of(&[first], &entry, &[("MODE", "strict")]).of_namespace(true);
    assert_ne!(of_verifier(Arc::new(namespaces)), Some(before), "it reads no files");
    plugin(first, "admit");
    let after = now().unwrap();
    assert_ne!(after, before, "the file was written to");
    fs::rename(plugin(second, "judge"), first.join("p")).unwrap();
    assert_eq!(now(), Some(before), "and another took its place");
    let both = exec(&[second, first], &entry, &[("MODE", "strict")]);
    let of_both = || of_verifier(Arc::clone(&both));
    assert_eq!(of_both(), Some(before));
    plugin(second, "admit");
    assert_eq!(of_both(), Some(after), "a file came into a directory that is searched before");
    fs::remove_file(second.join("p")).unwrap();
    fs::remove_file(first.join("p")).unwrap();
    assert_eq!(of_both(), None, "what is not there decides nothing");
}

#[test]
fn a_built_in_store_counts_by_its_entry_and_for_whom_it_asks() {
    let home = tempfile::tempdir().unwrap();
    let of = |entry: Value, namespace: Option<&str>| {
        let config = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
        let mut options = OrasStoreOptions::default();
        options.environment.home = Some(home.path().to_owned());
        if let Some(namespace) = namespace {
            options.environment.scope =
                ratify_store_oras::auth::SecretScope::Namespace(namespace.into());
        }
        let store = OrasStore::new(&config, options).unwrap();
        fingerprint(&Parts { stores: vec![Arc::new(store)], ..parts() }).unwrap()
    };
    let entry = || json!({"name": "oras"});
    let all = [
        of(entry(), None),
        of(entry(), Some("team")),
        of(json!({"name": "oras", "cosignEnabled": true}), None),
        of(json!({"name": "oras", "useHttp": true}), None),
    ];
    assert_eq!(of(entry(), None), all[0]);
    for (index, one) in all.iter().enumerate() {
        assert!(!all[index + 1..].contains(one));
    }
}
