//! Which parts a request of which namespace sees.

use ratify_core::{
    ErrorCode,
    config::Config,
    executor::{
        VerifyParameters,
        testing::{FunctionVerifier, MemoryStore},
    },
};
use serde_json::json;

use super::*;

fn composition(tighten_only: bool) -> Composition {
    Composition { tighten_only, ..Composition::default() }
}

fn policy(default: &str) -> Policy {
    let plugin =
        json!({"name": "configpolicy", "artifactVerificationPolicies": {"default": default}});
    let file = json!({"policy": {"plugin": plugin}}).to_string();
    let config = Config::from_json(file.as_bytes()).unwrap();
    Policy::from_config(&config.policy.unwrap()).unwrap()
}

fn passing(name: &str) -> Part {
    Part::Verifier(Arc::new(FunctionVerifier::passing(name, "*")), None)
}

fn failing(name: &str) -> Part {
    Part::Verifier(Arc::new(FunctionVerifier::failing(name, "*")), None)
}

fn store() -> Part {
    let store = MemoryStore::new("memory").image("docker.io/library/a:1", 1).artifact(1, 2, "t");
    Part::Store(Arc::new(store), None)
}

/// A store, a passing verifier and a strict policy for the whole cluster.
fn cluster() -> Parts {
    let mut parts = Parts::default();
    parts.insert("", "s", store());
    parts.insert("", "v", passing("v"));
    parts.insert("", POLICY_NAME, Part::Policy(Ok(policy("all"))));
    parts
}

fn names(view: &View) -> Vec<String> {
    view.executor.verifiers.iter().map(|verifier| verifier.name().to_owned()).collect()
}

/// Whether the one image may run in a namespace; `None` for an error.
fn verdict(snapshot: &Snapshot, namespace: &str) -> Option<bool> {
    let threads = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let parameters = VerifyParameters::new("a:1");
    let verdict = threads.block_on(snapshot.view(namespace).verify(&parameters, &|_| ()));
    verdict.ok().map(|result| result.is_success)
}

#[test]
fn each_kind_falls_back_to_the_clusters_on_its_own() {
    let mut parts = cluster();
    parts.insert("team", "own", failing("own"));
    let snapshot = parts.snapshot(composition(false));
    assert_eq!(names(snapshot.view("team")), ["own"]);
    assert_eq!(snapshot.view("team").executor.stores.len(), 1);
    assert_eq!(verdict(&snapshot, "team"), Some(false));
    assert_eq!(verdict(&snapshot, "other"), Some(true));
    assert_eq!(verdict(&snapshot, ""), Some(true));
    parts.remove_verifier("team", "own");
    let snapshot = parts.snapshot_after(&snapshot, "team", composition(false));
    assert_eq!(names(snapshot.view("team")), ["v"]);
}

#[test]
fn verifiers_are_in_the_order_of_their_names() {
    let mut parts = cluster();
    for name in ["z", "a", "m"] {
        parts.insert("", name, passing(name));
    }
    assert_eq!(names(parts.snapshot(composition(false)).view("")), ["a", "m", "v", "z"]);
}

#[test]
fn a_change_of_the_cluster_reaches_every_namespace() {
    let mut parts = cluster();
    parts.insert("team", "s", store());
    let before = parts.snapshot(composition(false));
    parts.insert("", "w", passing("w"));
    let after = parts.snapshot_after(&before, "", composition(false));
    assert_eq!(names(after.view("team")), ["v", "w"]);
}

#[test]
fn a_tenants_weaker_policy_replaces_the_clusters_unless_namespaces_may_only_add() {
    let mut parts = cluster();
    parts.insert("", "strict", failing("strict"));
    parts.insert("team", "own", passing("own"));
    parts.insert("team", POLICY_NAME, Part::Policy(Ok(policy("any"))));
    assert_eq!(verdict(&parts.snapshot(composition(false)), "team"), Some(true));
    // The first fitting verifier by name judges: `strict` comes before `v`.
    let tightened = parts.snapshot(composition(true));
    assert_eq!(verdict(&tightened, "team"), Some(false));
    parts.remove_verifier("", "strict");
    assert_eq!(verdict(&parts.snapshot(composition(true)), "team"), Some(true));
}

#[test]
fn a_tenant_can_add_to_the_clusters_rule() {
    let mut parts = cluster();
    parts.insert("team", "own", failing("own"));
    assert_eq!(verdict(&parts.snapshot(composition(true)), "team"), Some(false));
    assert_eq!(verdict(&parts.snapshot(composition(true)), "other"), Some(true));
}

#[test]
fn a_tenants_verifier_is_no_verdict_where_the_cluster_has_no_policy() {
    let mut parts = cluster();
    parts.remove_policy("", POLICY_NAME);
    parts.insert("team", "own", passing("own"));
    parts.insert("team", POLICY_NAME, Part::Policy(Ok(policy("any"))));
    assert_eq!(verdict(&parts.snapshot(composition(true)), "team"), None);
    assert_eq!(verdict(&parts.snapshot(composition(false)), "team"), Some(true));
}

#[test]
fn a_tenants_store_hides_nothing_from_the_clusters_rule() {
    let image = || MemoryStore::new("memory").image("docker.io/library/a:1", 1);
    let all = image().artifact(1, 2, "t").artifact(1, 3, "revoked");
    let mut parts = cluster();
    parts.insert("", "s", Part::Store(Arc::new(all), None));
    let revoked = FunctionVerifier::failing("revoked", "revoked");
    parts.insert("", "a", Part::Verifier(Arc::new(revoked), None));
    assert_eq!(verdict(&parts.snapshot(composition(true)), "team"), Some(false));
    parts.insert("team", "s", Part::Store(Arc::new(image().artifact(1, 2, "t")), None));
    assert_eq!(verdict(&parts.snapshot(composition(false)), "team"), Some(true));
    assert_eq!(verdict(&parts.snapshot(composition(true)), "team"), Some(false));
}

#[test]
fn a_broken_policy_is_no_reason_to_fall_back_to_the_clusters() {
    let mut parts = cluster();
    let broken = ErrorCode::ConfigInvalid.detail("no such rule");
    parts.insert("team", POLICY_NAME, Part::Policy(Err(broken)));
    let snapshot = parts.snapshot(composition(false));
    assert!(snapshot.view("team").executor.policy.is_none());
    assert_eq!(snapshot.view("team").policy_error.as_deref(), Some("CONFIG_INVALID: no such rule"));
    assert_eq!(verdict(&snapshot, "team"), None);
}

#[test]
fn v1s_policy_name_wins_over_v1alpha1s() {
    let mut parts = Parts::default();
    parts.insert("", "configpolicy", Part::Policy(Ok(policy("any"))));
    let of = |parts: &Parts| parts.snapshot(composition(false)).view("").executor.policy.clone();
    assert_eq!(of(&parts), Some(policy("any")));
    parts.insert("", POLICY_NAME, Part::Policy(Ok(policy("all"))));
    assert_eq!(of(&parts), Some(policy("all")));
}

#[test]
fn who_takes_the_clusters_place_says_so_unless_both_count() {
    use crate::k8s::kind::{Kind, Role};
    let both = Composition { tighten_only: true, ..Composition::default() };
    for role in [Role::Verifier, Role::Policy, Role::Store] {
        let of = |namespaced, composition: Composition| {
            composition.remark(Kind { role, namespaced }, None).unwrap_or_default()
        };
        assert!(of(true, Composition::default()).contains("takes the place of"), "{role:?}");
        assert_eq!((of(false, Composition::default()), of(true, both)), ("", ""));
        let open = both.remark(Kind { role, namespaced: false }, Some("open"));
        assert_eq!(open.is_some(), role == Role::Policy, "{role:?}");
    }
}
