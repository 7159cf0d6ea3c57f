//! What the source of a namespace may reach where an administrator lets namespaces have any, and
//! whom it may pretend to be.

use std::time::Duration;

use ratify_controller::dev::RegistryOptions;
use serde_json::{Value, json};

use super::{Scene, TEAM, TENANT, Trap, tenants};
use crate::{cli::this_platform, host};

fn listed(scene: &Scene) -> Value {
    json!([format!("{}/*", scene.place.registry)])
}

fn source(artifact: &str) -> String {
    format!("name: sample, source: {{artifact: '{artifact}'}}")
}

/// Pushes another program under the tag of the sample; the digest of its index is returned.
async fn move_the_tag(scene: &Scene) -> String {
    let program = format!("{}={}", this_platform(), host::stress().display());
    let plugin = scene.place.plugin(":1.0.0");
    let push = ["plugin", "push", &plugin, "--type", "sample", "--version", "1.0.1"];
    let said = scene.place.home.must(&[&push[..], &["--platform", &program]].concat()).await;
    said.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_reaches_no_address_of_the_node_unless_an_administrator_names_it() {
    let Some(scene) = Scene::start(RegistryOptions::default()).await else { return };
    let trap = Trap::start().await;
    let port = trap.address.rsplit(':').next().unwrap();
    scene.rule(&json!({"namespaces": {"source": true}}), &json!({}));
    let hosts = [
        trap.address.clone(),
        format!("127.1:{port}"),
        format!("2130706433:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("0.0.0.0:{port}"),
        "169.254.169.254".to_owned(),
        "169.254.169.254:80".to_owned(),
    ];
    for host in &hosts {
        scene.apply_as_tenant(&tenants("probe", &source(&format!("{host}/p:1")))).await;
        let generation = scene.cluster.get_json("namespacedverifiers", Some(TEAM), "probe").await
            ["metadata"]["generation"]
            .clone();
        let mut status = Value::Null;
        for _ in 0..300 {
            let probe = scene.cluster.get_json("namespacedverifiers", Some(TEAM), "probe").await;
            status = probe["status"].clone();
            // Before the rules are read, it is refused for having a source at all.
            let error = status["error"].as_str().unwrap_or_default();
            if status["observedGeneration"] == generation && !error.contains("would run inside") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let error = status["error"].as_str().unwrap_or_default();
        let is_said = error.contains("is an address of the node or of the cloud's metadata");
        // Not all of them are references.
        assert!(is_said || error.contains("nvalid reference"), "{host}: {status}");
    }
    assert_eq!(trap.connections(), 0);
    scene.leaves_others_alone("addresses").await;
    // Named by an administrator, it is asked: the trap never answers.
    let named = json!([format!("{}/p", trap.address)]);
    let rules = json!({"namespaces": {"source": true}, "allowedRepositories": named});
    scene.apply_as_tenant(&tenants("probe", &source(&format!("{}/p:1", trap.address)))).await;
    scene.rule(&rules, &json!({}));
    scene.controller.until(|| trap.connections() > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_has_the_credentials_of_its_namespace_and_never_ratifys_own() {
    let credentials = Some(("user".to_owned(), "word".to_owned()));
    let options = RegistryOptions { credentials, ..RegistryOptions::default() };
    let Some(scene) = Scene::start(options).await else { return };
    let rules = json!({"namespaces": {"source": true}, "allowedRepositories": listed(&scene)});
    scene.rule(&rules, &json!({}));
    let artifact = scene.place.plugin(":1.0.0");
    let with = |provider: &str| {
        format!("name: sample, source: {{artifact: '{artifact}', authProvider: {provider}}}")
    };
    // Ratify itself may pull from there: docker's configuration has the password.
    let of_the_cluster = tenants("borrowed", &source(&artifact))
        .replace("NamespacedVerifier", "Verifier")
        .replace(", namespace: team", "")
        .replace("artifactTypes: '*'", "artifactTypes: none");
    scene.cluster.apply(&of_the_cluster).await;
    let is_active = |status: &Value| status["issuccess"] == true;
    super::until(&scene.cluster, &scene.controller, "verifiers", "borrowed", is_active).await;

    let own = "Use k8Secrets with a secret of the namespace, or none";
    for (provider, text) in [
        ("{name: dockerConfig}", own),
        ("{name: azureWorkloadIdentity}", own),
        ("{}", own),
        ("{name: k8Secrets, secrets: [{secretName: pull, namespace: default}]}", "may not read"),
        ("null", "401"),
    ] {
        scene.apply_as_tenant(&tenants("borrowed", &with(provider))).await;
        let error = scene.seen("borrowed", "Refused", text).await["error"].to_string();
        assert!(!error.contains("word"), "{error}");
    }
    let server = format!("--docker-server={}", scene.place.registry);
    let create = ["create", "secret", "docker-registry", "pull", "-n", TEAM];
    let login = ["--docker-username=user", "--docker-password=word", &server];
    let ran = scene.cluster.kubectl_as(TENANT, &[&create[..], &login].concat()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let own = "{name: k8Secrets, secrets: [{secretName: pull}]}";
    scene.apply_as_tenant(&tenants("borrowed", &with(own))).await;
    scene.seen("borrowed", "Active", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_status_gets_past_no_rule_and_past_no_digest_of_the_spec() {
    let Some(scene) = Scene::start(RegistryOptions::default()).await else { return };
    let (old, by_tag) = (scene.digest.clone(), scene.place.plugin(":1.0.0"));
    let by_digest = scene.place.plugin(&format!("@{old}"));
    let new = move_the_tag(&scene).await;
    assert_ne!(old, new);
    let with = |rules: &[(&str, Value)]| {
        let mut all =
            json!({"namespaces": {"source": true}, "allowedRepositories": listed(&scene)});
        for (key, value) in rules {
            all[*key] = value.clone();
        }
        all
    };
    let pin =
        |digest: &str| json!({"issuccess": true, "plugin": {"digest": digest, "generation": 1}});

    // The spec's own digest counts, whatever the status says.
    scene.rule(&with(&[]), &json!({}));
    scene.apply_as_tenant(&tenants("exact", &source(&by_digest))).await;
    scene.seen("exact", "Active", "").await;
    scene.decides(TEAM, true, "Sample verification success").await;
    scene.forge_status("exact", &pin(&new)).await;
    let is_mended = |status: &Value| status["plugin"]["digest"] == old.as_str();
    let (cluster, controller) = (&scene.cluster, &scene.controller);
    let kind = "namespacedverifiers";
    super::until_in(cluster, controller, kind, Some(TEAM), "exact", is_mended).await;
    scene.decides(TEAM, true, "Sample verification success").await;
    scene.delete_as_tenant("namespacedverifiers", "exact").await;

    // A tag is no digest because a status says so.
    scene.rule(&with(&[("requireDigest", true.into())]), &json!({}));
    scene.apply_as_tenant(&tenants("tagged", &source(&by_tag))).await;
    scene.seen("tagged", "Refused", "plugins.requireDigest is set").await;
    scene.forge_status("tagged", &pin(&old)).await;
    scene.seen("tagged", "Refused", "plugins.requireDigest is set").await;
    // A pin that was forged to what is denied is denied.
    scene.rule(&with(&[("deniedDigests", json!([old]))]), &json!({}));
    scene.seen("tagged", "Refused", "plugins.deniedDigests").await;
    scene.decides(TEAM, false, "deniedDigests").await;
    // Without a rule against it, it is what the tenant may have in any case.
    scene.rule(&with(&[]), &json!({}));
    scene.seen("tagged", "Active", "").await;
    scene.leaves_others_alone("forged").await;

    // One that is deleted and made again inherits nothing: the tag means something else now.
    scene.delete_as_tenant("namespacedverifiers", "tagged").await;
    let again = format!("{}\nstatus: {}", tenants("tagged", &source(&by_tag)), pin(&old));
    scene.apply_as_tenant(&again).await;
    let status = scene.seen("tagged", "Active", "").await;
    assert_eq!(status["plugin"]["digest"], new.as_str(), "{status}");
    scene.decides(TEAM, true, "stress did").await;
    drop(scene.registry);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_resources_of_one_type_from_two_sources_each_run_their_own() {
    let Some(scene) = Scene::start(RegistryOptions::default()).await else { return };
    let old = scene.place.plugin(&format!("@{}", scene.digest));
    let new = scene.place.plugin(&format!("@{}", move_the_tag(&scene).await));
    let rules = json!({"namespaces": {"source": true}, "allowedRepositories": listed(&scene)});
    scene.rule(&rules, &json!({}));
    let cluster = |name: &str, artifact: &str| {
        let verifier = tenants(name, &source(artifact)).replace("NamespacedVerifier", "Verifier");
        verifier.replace(", namespace: team", "")
    };
    let other = |name: &str, artifact: &str| {
        tenants(name, &source(artifact)).replace("namespace: team", "namespace: other")
    };
    // The same name and the same type, in the cluster and in two namespaces.
    scene.cluster.apply(&cluster("guard", &new)).await;
    scene.apply_as_tenant(&tenants("guard", &source(&old))).await;
    scene.cluster.apply(&other("guard", &new)).await;
    scene.decides("", true, "stress did").await;
    scene.decides(TEAM, true, "Sample verification success").await;
    scene.decides(super::OTHER, true, "stress did").await;
    // The same type twice in one namespace: the first by name judges, each by its own program.
    scene.apply_as_tenant(&tenants("a-first", &source(&new))).await;
    scene.decides(TEAM, true, "stress did").await;
    scene.delete_as_tenant("namespacedverifiers", "a-first").await;
    scene.decides(TEAM, true, "Sample verification success").await;
    for namespace in [TEAM, super::OTHER] {
        let own = scene.plugins().join(".namespaces").join(namespace).join("sample");
        assert!(own.is_symlink(), "{}", own.display());
    }
}
