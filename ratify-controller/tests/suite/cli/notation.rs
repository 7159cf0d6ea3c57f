//! Plugins of Notation, by signatures of the real `notation` that name them: brought by an entry or a
//! resource that v1 takes for a verifier, by the entry of the verifier itself, or put there as a file; and
//! plugins that never end. What they are asked, and what follows, is compared with v1 in `parity`.

mod tenants;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{
    Home, Server,
    cluster::{Controller, LOOKS, apply_store_and_policy, define, until},
    config, sample,
    signed::{
        inline,
        notary::{Notary, policy},
    },
    this_platform,
};
use crate::{
    cluster::server::{Cluster, ClusterOptions},
    parity::machines::Machines,
};

const PLUGIN: &str = "notation-both-yes";
/// What a signature says whose plugin is missing.
const MISSING: &str =
    "make sure the plugin is installed successfully before verifying the signature";

struct Place {
    home: Home,
    registry: RunningRegistry,
    notary: Notary,
    machines: Machines,
}

impl Place {
    async fn new() -> Option<Self> {
        let machines = Machines::find()?;
        let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        let mut home = Home::new();
        home.allow_sources();
        Some(Self { home, registry, notary: Notary::new(&["signer", "other"]), machines })
    }

    /// An image, by digest, whose signature names a plugin.
    async fn image(&self, plugin: &str) -> String {
        let name = plugin.replace(['.', '/'], "-");
        self.image_in(name.trim_matches('-'), plugin).await
    }

    async fn image_in(&self, repository: &str, plugin: &str) -> String {
        let image = self.registry.put_image(repository, "v1", "layer").unwrap();
        let name = format!("{}/{repository}@{}", self.registry.host(), image.digest);
        self.notary.sign_naming(&name, "signer", plugin).await;
        name
    }

    /// Pushes a program as the plugin; the reference is returned.
    async fn push(&self, tag: &str, program: &Path) -> String {
        let reference = format!("{}/plugins/both-yes:{tag}", self.registry.host());
        let program = format!("{}={}", this_platform(), program.display());
        let push = ["plugin", "push", &reference, "--type", PLUGIN, "--version", "1.0.0"];
        self.home.must(&[&push[..], &["--platform", &program]].concat()).await;
        reference
    }

    fn program(&self) -> std::path::PathBuf {
        self.machines.tool("notation-plugin")
    }

    /// The verifier, for which who is trusted is a plugin's to say.
    fn verifier(&self) -> Value {
        let statement = json!({
            "name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:certs"], "trustedIdentities": ["arn:aws:signer:x"],
        });
        json!({
            "name": "notation", "artifactTypes": "application/vnd.cncf.notary.signature",
            "verificationCerts": [self.notary.root("signer")],
            "trustPolicyDoc": {"version": "1.0", "trustPolicies": [statement]},
        })
    }

    /// What a guide has one write so that the plugin is downloaded.
    fn fake(artifact: &str) -> Value {
        json!({
            "name": PLUGIN, "artifactTypes": "application/vnd.oci.image.manifest.v1+json",
            "source": {"artifact": artifact},
        })
    }

    fn configure(&self, verifiers: &[Value], rules: &Value) {
        let mut config = config(&Value::Null);
        config["verifier"]["plugins"] = verifiers.into();
        config["plugins"] = rules.clone();
        self.home.configure(&config);
    }

    async fn refused(&self, image: &str, why: &str) {
        let ran = self.home.verify(image).await;
        assert!(!ran.is_success() && ran.reason().contains(why), "{} {}", ran.stdout, ran.stderr);
    }

    async fn accepted(&self, image: &str) {
        let ran = self.home.verify(image).await;
        assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_brings_a_plugin_before_or_behind_the_verifier_or_is_the_verifiers_own() {
    let Some(mut place) = Place::new().await else { return };
    let image = place.image("both-yes").await;
    let artifact = place.push("1", &place.program()).await;
    let (verifier, fake, nothing) = (place.verifier(), Place::fake(&artifact), json!({}));
    place.configure(std::slice::from_ref(&verifier), &nothing);
    place.refused(&image, MISSING).await;
    place.configure(&[verifier.clone(), fake.clone()], &nothing);
    place.accepted(&image).await;
    fs::remove_dir_all(place.home.plugins()).unwrap();
    place.configure(&[fake.clone(), verifier.clone()], &nothing);
    place.accepted(&image).await;

    // It is never run as the verifier that it is called.
    let mut of_all = fake.clone();
    of_all["artifactTypes"] = "*".into();
    place.configure(&[of_all], &nothing);
    place.refused(&image, "is a plugin of Notation, which judges no artifacts by itself").await;

    // The rules for plugins are rules for these: as soon as they are there.
    let link = place.home.plugins().join(PLUGIN);
    let digest = fs::read_link(link).unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let denied = json!({"deniedDigests": [format!("sha256:{digest}")]});
    place.configure(&[verifier.clone(), fake.clone()], &denied);
    place.refused(&image, "is in plugins.deniedDigests").await;
    place.configure(std::slice::from_ref(&verifier), &denied);
    place.refused(&image, "is in plugins.deniedDigests").await;

    // What v1 downloads to a name of no plugin. It sees the environment of this process.
    fs::remove_dir_all(place.home.plugins()).unwrap();
    let mut own = verifier;
    own["source"] = json!({"artifact": artifact});
    place.configure(&[own], &nothing);
    place
        .refused(&image, r#"file name must be "notation-notation" instead of "notation-both-yes""#)
        .await;
    place.home.set("TEST_NOTATION_PLUGIN", "both-yes");
    place.accepted(&image).await;
    assert!(place.home.plugins().join("notation").is_symlink());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_never_ends_or_writes_without_end_is_ended() {
    let Some(place) = Place::new().await else { return };
    for name in ["both-floods", "both-hangs"] {
        place.home.link_plugin(&format!("notation-{name}"), &place.program());
    }
    place.configure(&[place.verifier()], &json!({}));
    let flooded = place.image("both-floods").await;
    place.refused(&flooded, "it wrote more than 4194304 bytes to standard output").await;

    let hung = place.image("both-hangs").await;
    let ran = place.home.run(&["verify", "--subject", &hung, "--timeout", "5s"]).await;
    assert!(!ran.is_success(), "{}", ran.stdout);
    let process = fs::read_to_string(place.home.path().join("hangs")).unwrap();
    for look in 0.. {
        let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        if !name.starts_with("notation") {
            break;
        }
        assert!(look < LOOKS, "{process} runs on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_leads_out_of_the_directory() {
    let Some(place) = Place::new().await else { return };
    let outside = place.home.path().join(".ratify/outside");
    std::os::unix::fs::symlink(place.program(), outside).unwrap();
    fs::create_dir(place.home.plugins().join("notation-")).unwrap();
    place.configure(&[place.verifier()], &json!({}));
    let image = place.image("/../../outside").await;
    place.refused(&image, "invalid plugin name").await;
}

/// A plugin as a script, which leaves a line behind for each signature.
fn script(home: &Home, reason: &str) {
    let capabilities = r#"["SIGNATURE_VERIFIER.TRUSTED_IDENTITY"]"#;
    let calls = home.path().join("calls").display().to_string();
    let body = format!(
        r#"cat >/dev/null
if [ "$1" = get-plugin-metadata ]; then
  echo '{{"name":"both-yes","description":"d","version":"1.0.0","url":"u","supportedContractVersions":["1.0"],"capabilities":{capabilities}}}'
else
  echo x >> {calls}
  echo '{{"verificationResults":{{"SIGNATURE_VERIFIER.TRUSTED_IDENTITY":{{"success":{},"reason":"{reason}"}}}}}}'
fi"#,
        reason.is_empty()
    );
    home.script_plugin(PLUGIN, &body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_replaced_ends_what_was_kept() {
    let Some(place) = Place::new().await else { return };
    let image = place.image("both-yes").await;
    place.configure(&[place.verifier()], &json!({}));
    let flags = ["serve", "--http", "127.0.0.1:0", "--cache-enabled", "--cache-ttl=24h"];
    let server = Server::run(place.home.command(&flags)).await;
    let until = async |is_success: bool, text: &str| {
        for _ in 0..LOOKS {
            let item = server.ask(&image).await;
            if item["value"]["isSuccess"] == is_success && item.to_string().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {is_success} {text}: {}", server.log());
    };
    until(false, MISSING).await;
    script(&place.home, "");
    until(true, "Notation signature verification success").await;
    let calls = || fs::read_to_string(place.home.path().join("calls")).unwrap().lines().count();
    for look in 0.. {
        let before = calls();
        assert_eq!(server.ask(&image).await["value"]["isSuccess"], true);
        if calls() == before {
            break;
        }
        // What was found while the plugin came is not kept.
        assert!(look < LOOKS, "nothing is kept: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    script(&place.home, "not any more");
    until(false, "not any more").await;
    fs::remove_file(place.home.plugins().join(PLUGIN)).unwrap();
    until(false, MISSING).await;
}

/// A verifier's resource.
fn resource(name: &str, entry: &Value) -> String {
    let mut parameters = entry.as_object().unwrap().clone();
    let mut spec = json!({"name": parameters.remove("name"), "artifactTypes": parameters.remove("artifactTypes")});
    if let Some(source) = parameters.remove("source") {
        spec["source"] = source;
    }
    spec["parameters"] = parameters.into();
    json!({
        "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "Verifier",
        "metadata": {"name": name}, "spec": spec,
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_resource_brings_the_plugin_in_any_order_and_takes_it_away() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let Some(place) = Place::new().await else { return };
    let image = place.image("both-yes").await;
    let good = place.push("1", &place.program()).await;
    let bad = place.push("2", &sample()).await;
    define(&place.home, &cluster).await;
    let controller = Controller::start(&place.home, &cluster).await;
    apply_store_and_policy(&cluster, &controller).await;
    let decides =
        async |is_success: bool, why: &str| controller.until_judged(&image, is_success, why).await;
    let is_active = |status: &Value| status["issuccess"] == true;
    let (verifier, fake) = (place.verifier(), Place::fake(&good));

    // The verifier first.
    cluster.apply(&resource("verifier-notation", &verifier)).await;
    until(&cluster, &controller, "verifiers", "verifier-notation", is_active).await;
    decides(false, MISSING).await;
    cluster.apply(&resource(PLUGIN, &fake)).await;
    decides(true, "Notation signature verification success").await;
    let object = until(&cluster, &controller, "verifiers", PLUGIN, is_active).await;
    let digest = object["status"]["plugin"]["digest"].as_str().unwrap_or_default();
    assert!(digest.starts_with("sha256:"), "{object}");

    // What takes its place judges from then on: here, it is no such plugin.
    cluster.apply(&resource(PLUGIN, &Place::fake(&bad))).await;
    decides(false, r#""errorReason":"exit status 1""#).await;
    cluster.apply(&resource(PLUGIN, &fake)).await;
    decides(true, "").await;

    // What is deleted judges no more, whatever is left of it on the volume, and although there is always
    // somebody who was asked about while it was there.
    let mut others = Vec::new();
    for name in ["one", "two", "three", "four"] {
        others.push(place.image_in(name, "both-yes").await);
    }
    let is_over = AtomicBool::new(false);
    let load = join_all(others.iter().map(|image| async {
        while !is_over.load(Ordering::Relaxed) {
            controller.ask(image).await;
        }
    }));
    let deletion = async {
        cluster.must(&["delete", "verifiers", PLUGIN]).await;
        decides(false, MISSING).await;
        for image in others.iter().chain([&image]) {
            let item = controller.ask(image).await;
            assert!(item.to_string().contains(MISSING), "{item}");
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, deletion);

    // The plugin first.
    cluster.must(&["delete", "verifiers", "verifier-notation"]).await;
    cluster.apply(&resource(PLUGIN, &fake)).await;
    until(&cluster, &controller, "verifiers", PLUGIN, is_active).await;
    cluster.apply(&resource("verifier-notation", &verifier)).await;
    decides(true, "Notation signature verification success").await;

    // It may be the verifier's own.
    cluster.must(&["delete", "verifiers", PLUGIN]).await;
    decides(false, MISSING).await;
    let mut own = verifier;
    own["source"] = json!({"artifact": good});
    cluster.apply(&resource("verifier-notation", &own)).await;
    let is_pinned = |status: &Value| !status["plugin"]["program"].is_null();
    until(&cluster, &controller, "verifiers", "verifier-notation", is_pinned).await;
    decides(false, r#"file name must be \"notation-notation\""#).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_whose_signer_is_trusted_no_more_judges_no_more() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let Some(place) = Place::new().await else { return };
    let image = place.image("both-yes").await;
    let artifact = place.push("1", &place.program()).await;
    let policy =
        policy("enforce", json!({"verificationCertStores": {"ca": {"certs": ["plugin-ca"]}}}));
    place.home.configure(&json!({"plugins": {"trustPolicy": policy}}));
    define(&place.home, &cluster).await;
    let controller = Controller::start_configured(&place.home, &cluster).await;
    apply_store_and_policy(&cluster, &controller).await;
    cluster.apply(&inline(&place.notary, "signer")).await;
    cluster.apply(&resource("verifier-notation", &place.verifier())).await;
    cluster.apply(&resource(PLUGIN, &Place::fake(&artifact))).await;
    let decides =
        async |is_success: bool, why: &str| controller.until_judged(&image, is_success, why).await;
    let is =
        |reason: &'static str| move |status: &Value| status["conditions"][0]["reason"] == reason;
    until(&cluster, &controller, "verifiers", PLUGIN, is("Refused")).await;
    decides(false, MISSING).await;
    place.notary.sign(&artifact, "signer", false).await;
    until(&cluster, &controller, "verifiers", PLUGIN, is("Active")).await;
    decides(true, "Notation signature verification success").await;

    // The program is there still.
    cluster.apply(&inline(&place.notary, "other")).await;
    until(&cluster, &controller, "verifiers", PLUGIN, is("Refused")).await;
    decides(false, "was installed for a resource that is not in force").await;
    assert!(place.home.plugins().join(PLUGIN).exists());
}
