//! What a namespaced resource may say: closed, and where there is a switch, open.

use std::{fs, os::unix::fs::symlink};

use ratify_controller::dev::RegistryOptions;
use serde_json::{Value, json};

use super::{OTHER, Scene, TEAM, TENANT, tenants};
use crate::host;

/// What a program says that no administrator put where it is.
const EVIL: &str = r#"cat >/dev/null; echo '{"isSuccess":true,"message":"evil"}'"#;

struct Attack {
    name: &'static str,
    spec: String,
    /// What the status says.
    refused: &'static str,
    /// The administrators' rules that let it, and what a verdict says then.
    opened: Option<(Value, &'static str)>,
}

fn attacks(scene: &Scene) -> Vec<Attack> {
    let attack = |name, spec: String, refused, opened| Attack { name, spec, refused, opened };
    let source = format!("{{artifact: '{}'}}", scene.place.plugin(":1.0.0"));
    let listed = json!([format!("{}/plugins/*", scene.place.registry)]);
    let sources = json!({"namespaces": {"source": true}, "allowedRepositories": listed});
    let sources = || Some((sources.clone(), "Sample verification success"));
    let anywhere = || Some((json!({"namespaces": {"anyAddress": true}}), "evil"));
    let (home, plugins) = (scene.place.home.path().display(), scene.plugins());
    let plugins = plugins.display();
    let no_source = "the source of a namespaced resource is not allowed: its plugin would run";
    let no_path = "is no plain absolute path";
    let disallowed = "Invalid name [";
    vec![
        attack("source", format!("name: sample, source: {source}"), no_source, sources()),
        attack(
            "source-in-parameters",
            format!("name: sample, parameters: {{source: {source}}}"),
            no_source,
            sources(),
        ),
        attack(
            "address-outside",
            format!("name: evil, address: {home}/elsewhere"),
            "is not below the plugin directory",
            anywhere(),
        ),
        attack(
            "address-upward",
            format!("name: evil, address: {plugins}/../../elsewhere"),
            no_path,
            anywhere(),
        ),
        attack(
            "address-relative",
            "name: evil, address: elsewhere".to_owned(),
            no_path,
            anywhere(),
        ),
        attack(
            "address-of-another-namespace",
            format!("name: theirs, address: {plugins}/.namespaces/{OTHER}"),
            "leads into a hidden folder",
            anywhere(),
        ),
        attack(
            "address-of-the-store",
            format!("name: x, address: {plugins}/.store/sha256"),
            "leads into a hidden folder",
            None,
        ),
        attack(
            "link",
            format!("name: linked, address: {plugins}/.namespaces/{TEAM}"),
            "is a link that leads out of its directory",
            anywhere(),
        ),
        attack("link-found-by-name", "name: linked".to_owned(), "is a link that leads out", None),
        attack("type-upward", "name: ../../elsewhere/evil".to_owned(), disallowed, None),
        attack("type-absolute", format!("name: {home}/elsewhere/evil"), disallowed, None),
        attack("type-hidden", "name: ok, type: .store".to_owned(), disallowed, None),
        attack("type-parent", "name: ok, type: '..'".to_owned(), disallowed, None),
        attack(
            "type-of-another-namespace",
            format!("name: .namespaces/{OTHER}/theirs"),
            disallowed,
            None,
        ),
    ]
}

/// A program elsewhere, one in another namespace's directory, and a link in the tenant's own.
fn lay_out(scene: &Scene) {
    let elsewhere = scene.place.home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    host::script(&elsewhere, "evil", EVIL);
    let of = |namespace: &str| {
        let directory = scene.plugins().join(".namespaces").join(namespace);
        fs::create_dir_all(&directory).unwrap();
        directory
    };
    host::script(&of(OTHER), "theirs", EVIL);
    symlink(elsewhere.join("evil"), of(TEAM).join("linked")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_gets_what_an_administrator_gives_it_and_nothing_else() {
    let Some(scene) = Scene::start(RegistryOptions::default()).await else { return };
    lay_out(&scene);
    for Attack { name, spec, refused, opened } in attacks(&scene) {
        scene.apply_as_tenant(&tenants(name, &spec)).await;
        scene.seen(name, "Refused", refused).await;
        scene.decides(TEAM, false, refused).await;
        scene.leaves_others_alone(name).await;
        if let Some((rules, text)) = opened {
            scene.rule(&rules, &json!({}));
            scene.seen(name, "Active", "").await;
            scene.decides(TEAM, true, text).await;
            scene.leaves_others_alone(name).await;
            // Shut again, it is out of force.
            scene.rule(&json!({}), &json!({}));
            scene.seen(name, "Refused", refused).await;
            scene.decides(TEAM, false, refused).await;
        }
        scene.delete_as_tenant("namespacedverifiers", name).await;
        scene.decides(TEAM, true, "guard").await;
    }
    let loads = scene.place.home.must(&["plugin", "log", "-o", "json"]).await;
    let loads: Vec<Value> = serde_json::from_str(&loads).unwrap();
    let whose = |load: &Value| {
        let text = |key: &str| load[key].as_str().unwrap().to_owned();
        format!("{} {}/{} by {}", text("kind"), text("namespace"), text("name"), text("who"))
    };
    let whose: Vec<String> = loads.iter().map(whose).collect();
    let team = ["source", "source-in-parameters"]
        .map(|name| format!("NamespacedVerifier {TEAM}/{name} by pod-1"));
    assert_eq!(whose, team, "what was loaded is on record, and nothing else was");
    let of_the_cluster = scene.plugins().join(".store");
    assert!(!of_the_cluster.exists(), "nothing of a namespace is in the cluster's directory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_and_owners_on_a_resource_open_nothing_and_the_cluster_is_out_of_reach() {
    let Some(scene) = Scene::start(RegistryOptions::default()).await else { return };
    let guard = scene.cluster.get_json("verifiers", None, "guard").await;
    let source = format!("source: {{artifact: '{}'}}", scene.place.plugin(":1.0.0"));
    let marked = json!({
        "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "NamespacedVerifier",
        "metadata": {
            "name": "marked", "namespace": TEAM,
            "annotations": {
                "config.ratify.deislabs.io/allow-source": "true",
                "plugins.namespaces.source": "true",
                "app.kubernetes.io/managed-by": "ratify",
            },
            "labels": {"app.kubernetes.io/managed-by": "ratify"},
            "ownerReferences": [{
                "apiVersion": guard["apiVersion"], "kind": "Verifier", "name": "guard",
                "uid": guard["metadata"]["uid"], "controller": true,
            }],
        },
        "spec": {"name": "sample", "artifactTypes": "*", "source": {"artifact": scene.place.plugin(":1.0.0")}},
        "status": {"issuccess": true, "plugin": {"digest": scene.digest, "generation": 1}},
    });
    scene.apply_as_tenant(&marked.to_string()).await;
    scene.seen("marked", "Refused", "its plugin would run inside Ratify").await;
    scene.leaves_others_alone("marked").await;

    let documents = [
        tenants("v", &format!("name: sample, {source}")).replace(TEAM, OTHER),
        tenants("guard", "name: pass").replace("NamespacedVerifier", "Verifier"),
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: ratify, namespace: default}}"
            .to_owned(),
    ];
    for document in documents {
        let ran = scene.try_as_tenant("create", &document).await;
        assert!(ran.code != Some(0) && ran.stderr.contains("orbidden"), "{document} {ran:?}");
    }
    let read = ["get", "secrets", "-n", OTHER];
    let ran = scene.cluster.kubectl_as(TENANT, &read).await;
    assert!(ran.stderr.contains("cannot list resource"), "{ran:?}");
}
