//! T26: a plugin proves who signed it before it runs, by the real `notation` and `cosign`: on the command line, and
//! by custom resources on a real API server, where the keys are resources too.

mod at_once;
pub(super) mod cosign;
mod in_file;
pub(crate) mod notary;
mod revoked;
mod signing;

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{
    Home,
    cluster::{Controller, apply_store_and_policy, define, until, verifier},
    config,
    main_job::Place,
    sample,
    server::Server,
    sourced, this_platform,
};
use crate::cluster::server::{Cluster, ClusterOptions};
use cosign::Cosign;
use notary::{Notary, policy};

/// A registry with the sample plugin and an image, and a home.
async fn place(options: RegistryOptions) -> (RunningRegistry, Place, String) {
    let registry = RunningRegistry::start(options).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    let place = Place { home, registry: registry.host().to_string(), is_tls: false };
    let digest = place.fill().await;
    (registry, place, digest)
}

/// A configuration whose plugins have to be signed.
fn signed(place: &Place, policy: &Value) -> Value {
    let mut config = config(&sourced("sample", &place.plugin(":1.0.0")));
    config["plugins"] = json!({"trustPolicy": policy});
    config
}

fn trusting(notary: &Notary, mode: &str, key: &str) -> Value {
    policy(mode, json!({"verificationCerts": [notary.root(key)]}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_runs_once_somebody_who_is_trusted_signed_it() {
    let notary = Notary::new(&["release", "other"]);
    for referrers_api in [true, false] {
        let options = RegistryOptions { referrers_api, ..RegistryOptions::default() };
        let (registry, place, digest) = place(options).await;
        let enforced = signed(&place, &trusting(&notary, "enforce", "release"));
        place.home.configure(&enforced);
        let refused = async |why: &str| {
            let (image, file) = (place.image(), place.home.path().join(".ratify/config.json"));
            let install = ["plugin", "install", "--config", file.to_str().unwrap()];
            for arguments in [&["verify", "-s", &image][..], &install] {
                let ran = place.home.run(arguments).await;
                assert_eq!(ran.code, Some(1), "{arguments:?} {}", ran.stdout);
                let denial = format!("no signature of {digest} is trusted: ");
                assert!(ran.error().contains(&denial), "{arguments:?} {}", ran.error());
                assert!(ran.error().contains(why), "{arguments:?} {}", ran.error());
            }
            assert!(!place.home.plugins().join("sample").exists());
        };
        refused("plugins.trustPolicy").await;
        let file = place.home.path().join(".ratify/config.json");
        let asked = ["plugin", "verify", "--config", file.to_str().unwrap()];
        let untrusted = place.home.run(&asked).await;
        let refusal =
            format!("{}  the plugin is denied: no signature of {digest} is", this_platform());
        assert!(untrusted.code == Some(1) && untrusted.stdout.contains(&refusal), "{untrusted:?}");
        notary.sign(&place.plugin(":1.0.0"), "other", !referrers_api).await;
        refused("signature is not produced by a trusted signer").await;

        // It runs where the policy warns only, and says so.
        place.home.configure(&signed(&place, &trusting(&notary, "warn", "release")));
        let warned = place.home.verify(&place.image()).await;
        assert!(warned.is_success(), "{}", warned.stderr);
        assert!(warned.stderr.contains("it runs, for the mode is warn: "), "{}", warned.stderr);
        place.home.configure(&signed(&place, &json!({"mode": "none"})));
        let unasked = place.home.verify(&place.image()).await;
        assert!(unasked.stderr.contains("the mode of plugins.trustPolicy is none"));

        place.home.configure(&enforced);
        let denied = place.home.verify(&place.image()).await;
        assert_eq!(denied.code, Some(1), "what ran before does not any more: {}", denied.stdout);
        notary.sign(&place.plugin(":1.0.0"), "release", !referrers_api).await;
        let ran = place.home.verify(&place.image()).await;
        assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
        let signer = "notation CN=release,O=Plugins,ST=WA,C=US";
        let told = format!("verifier plugin sample is signed by {signer}");
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        let loads: Value =
            serde_json::from_str(&place.home.must(&["plugin", "log", "-o", "json"]).await).unwrap();
        let last = loads.as_array().unwrap().last().unwrap();
        assert_eq!(last["signers"], json!([signer]), "{loads}");

        let plugin = place.plugin(":1.0.0");
        let named = [&asked[..], &[&plugin, "-o", "json"]].concat();
        let verified: Value = serde_json::from_str(&place.home.must(&named).await).unwrap();
        let platform = &verified[0]["platforms"][0];
        assert_eq!(verified[0]["digest"], digest.as_str(), "{verified}");
        assert_eq!(platform["platform"], this_platform(), "{verified}");
        assert_eq!(platform["isAdmitted"], true, "{verified}");
        assert_eq!(platform["signers"], json!([signer]), "{verified}");
        let printed = place.home.must(&asked).await;
        assert!(printed.contains(&format!("{}  signed by {signer}", this_platform())), "{printed}");

        // The registry is away: what was admitted by this policy runs, and by no other.
        registry.shutdown().await;
        let file = place.home.path().join(".ratify/config.json");
        let install = ["plugin", "install", "--config", file.to_str().unwrap()];
        let kept = place.home.run(&install).await;
        assert!(kept.error().contains("is kept ("), "{}", kept.error());
        place.home.configure(&signed(&place, &trusting(&notary, "enforce", "other")));
        let other = place.home.run(&install).await;
        assert!(!other.error().contains("is kept ("), "{}", other.error());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signed_a_plugin_is_asked_when_it_is_loaded_and_by_no_verification() {
    let notary = Notary::new(&["release"]);
    let (registry, place, _) = place(RegistryOptions::default()).await;
    place.home.configure(&signed(&place, &trusting(&notary, "enforce", "release")));
    notary.sign(&place.plugin(":1.0.0"), "release", false).await;
    let images: Vec<String> = (0..20)
        .map(|number| {
            let repository = format!("apps/{number}");
            let image = registry.put_image(&repository, "v1", repository.clone()).unwrap();
            registry.put_artifact(&repository, &image, "a/b", &[]).unwrap();
            format!("{}/{repository}:v1", place.registry)
        })
        .collect();
    let server = Server::start(&place.home).await;
    let of_plugin = || {
        let requests = registry.requests().into_iter().map(|request| request.path);
        requests.filter(|path| path.contains("/plugins/sample/")).count()
    };
    let loaded = of_plugin();
    assert!(loaded > 0 && server.log().contains("is signed by notation "), "{}", server.log());
    for image in &images {
        let item = server.ask(image).await;
        assert_eq!(item["value"]["isSuccess"], true, "{item} {}", server.log());
    }
    assert_eq!(of_plugin(), loaded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cosign_admits_plugins_as_well_by_a_key_under_its_tag() {
    let (_registry, place, digest) = place(RegistryOptions::default()).await;
    let cosign = Cosign::new();
    let trusting = async |key: &str| {
        let keys = json!([{"file": cosign.public(key).await}]);
        let policy = json!({"name": "plugins", "scopes": ["*"], "keys": keys, "tLogVerify": false});
        let verifier = json!({"name": "cosign", "trustPolicies": [policy]});
        signed(&place, &json!({"verifiers": [verifier]}))
    };
    place.home.configure(&trusting("release").await);
    let plugin = place.plugin(&format!("@{digest}"));
    let refused = async || {
        let ran = place.home.verify(&place.image()).await;
        assert_eq!(ran.code, Some(1), "{}", ran.stdout);
        let denial = format!("no signature of {digest} is trusted: ");
        assert!(ran.error().contains(&denial), "{}", ran.error());
    };
    refused().await;
    cosign.sign("cosign", &plugin, "other").await;
    refused().await;
    cosign.sign("cosign", &plugin, "release").await;
    let ran = place.home.verify(&place.image()).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    let file = cosign.public("release").await;
    let told = format!("verifier plugin sample is signed by cosign file/{}", file.display());
    assert!(ran.stderr.contains(&told), "{}", ran.stderr);
}

pub(super) fn inline(notary: &Notary, key: &str) -> String {
    let value = std::fs::read_to_string(notary.root(key)).unwrap();
    json!({
        "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "KeyManagementProvider",
        "metadata": {"name": "plugin-ca"},
        "spec": {"type": "inline", "parameters": {"contentType": "certificate", "value": value}},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_the_keys_are_resources_and_one_that_is_taken_away_takes_the_plugin_with_it() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let notary = Notary::new(&["release", "other"]);
    let (_registry, place, digest) = place(RegistryOptions::default()).await;
    let policy =
        policy("enforce", json!({"verificationCertStores": {"ca": {"certs": ["plugin-ca"]}}}));
    place.home.configure(&json!({"plugins": {"trustPolicy": policy}}));
    define(&place.home, &cluster).await;
    let controller = Controller::start_configured(&place.home, &cluster).await;
    apply_store_and_policy(&cluster, &controller).await;
    cluster.apply(&inline(&notary, "release")).await;
    cluster.apply(&verifier(&place.plugin(":1.0.0"))).await;
    let verifier_is = async |reason: &str| {
        let is_so = |status: &Value| status["conditions"][0]["reason"] == reason;
        until(&cluster, &controller, "verifiers", "verifier-dynamic", is_so).await
    };
    let image = place.image();
    let decides =
        async |is_success: bool, why: &str| controller.until_judged(&image, is_success, why).await;
    let object = verifier_is("Refused").await;
    let error = object["status"]["error"].as_str().unwrap();
    assert!(error.contains(&format!("no signature of {digest} is trusted: ")), "{error}");
    decides(false, "is not in force").await;

    // A signature that comes later is seen.
    notary.sign(&place.plugin(":1.0.0"), "release", false).await;
    let object = verifier_is("Active").await;
    let signers = &object["status"]["plugin"]["signers"];
    assert_eq!(*signers, json!(["notation CN=release,O=Plugins,ST=WA,C=US"]), "{object}");
    decides(true, "").await;

    // The key is trusted no more: what it signed ends, for those who ask next.
    cluster.apply(&inline(&notary, "other")).await;
    let object = verifier_is("Refused").await;
    assert!(object["status"]["error"].as_str().unwrap().contains("trusted signer"), "{object}");
    decides(false, "is not in force").await;
    cluster.apply(&inline(&notary, "release")).await;
    verifier_is("Active").await;
    decides(true, "").await;
}

/// Pushes the sample as a version under the tag `stable`, signed.
async fn release(place: &Place, notary: &Notary, version: &str) {
    let (plugin, program) = (place.plugin(":stable"), sample());
    let program = format!("{}={}", this_platform(), program.display());
    let push = ["plugin", "push", &plugin, "--type", "sample", "--version", version];
    place.home.must(&[&push[..], &["--platform", &program]].concat()).await;
    notary.sign(&plugin, "release", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_version_that_is_signed_is_refused_also_where_the_volume_is_lost() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let notary = Notary::new(&["release"]);
    let (_registry, place, _) = place(RegistryOptions::default()).await;
    let config = json!({"plugins": {"trustPolicy": trusting(&notary, "enforce", "release")}});
    place.home.configure(&config);
    define(&place.home, &cluster).await;
    let controller = Controller::start_configured(&place.home, &cluster).await;
    apply_store_and_policy(&cluster, &controller).await;
    let apply = async |types: &str, more: &str| {
        let artifact = place.plugin(":stable");
        let document = format!(
            "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata: {{name: verifier-dynamic}}
spec: {{name: sample, artifactTypes: '{types}', source: {{artifact: '{artifact}'{more}}}}}
"
        );
        cluster.apply(&document).await;
    };
    release(&place, &notary, "2.0.0").await;
    apply("*", "").await;
    let runs = |version: &'static str| {
        move |status: &Value| status["issuccess"] == true && status["plugin"]["version"] == version
    };
    until(&cluster, &controller, "verifiers", "verifier-dynamic", runs("2.0.0")).await;

    // Another pod, whose volume is empty, and a change of the resource: the tag is asked for anew.
    release(&place, &notary, "1.0.0").await;
    drop(controller);
    let mut other = Home::new();
    other.allow_sources();
    other.configure(&config);
    let controller = Controller::start_configured(&other, &cluster).await;
    apply("a,b", "").await;
    let is_refused = |status: &Value| status["conditions"][0]["reason"] == "Refused";
    let object = until(&cluster, &controller, "verifiers", "verifier-dynamic", is_refused).await;
    let error = object["status"]["error"].as_str().unwrap();
    assert!(error.contains("is version 1.0.0 now, and 2.0.0 was there before"), "{error}");

    apply("a,b", ", allowDowngrade: true").await;
    until(&cluster, &controller, "verifiers", "verifier-dynamic", runs("1.0.0")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_command_line_the_volume_knows_what_ran() {
    let notary = Notary::new(&["release"]);
    let (_registry, place, _) = place(RegistryOptions::default()).await;
    let mut config = signed(&place, &trusting(&notary, "enforce", "release"));
    config["verifier"]["plugins"][0]["source"]["artifact"] = place.plugin(":stable").into();
    place.home.configure(&config);
    release(&place, &notary, "1.2.0").await;
    assert!(place.home.verify(&place.image()).await.is_success());
    release(&place, &notary, "1.1.9").await;
    let ran = place.home.verify(&place.image()).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.error().contains("is version 1.1.9 now, and 1.2.0 was there"), "{}", ran.error());
    release(&place, &notary, "1.3.0").await;
    assert!(place.home.verify(&place.image()).await.is_success());
}
