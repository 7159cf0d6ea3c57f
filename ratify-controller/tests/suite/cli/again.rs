//! Who asks again after an answer that came too late gets what was found out meanwhile; and never what
//! was found out by a configuration, a rule, a program or a file that something else has replaced.

use std::{fs, time::Duration};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{
    Home, STATEMENT, Server,
    cluster::{Controller, LOOKS, POLICY, STORE, define, documents, until},
    config, put_app,
    signed::notary::{Notary, policy},
    verifier,
};
use crate::{
    cluster::server::{Cluster, ClusterOptions},
    host,
};

/// What the log says of an outcome that is kept for who asks again.
const KEPT: &str = "came too late; it is kept for who asks again";
const LOOK: Duration = Duration::from_millis(50);

/// What is changed while an outcome is kept.
struct Change {
    what: &'static str,
    make: fn(&Home, &RunningRegistry),
    /// Whether the log tells when it is in force. A file that a snapshot rests on counts within a
    /// second, and nobody tells.
    is_told: bool,
}

const CHANGES: [Change; 5] = [
    Change { what: "another verifier", make: other_verifier, is_told: true },
    Change { what: "another policy", make: other_policy, is_told: true },
    Change { what: "a rule", make: rule, is_told: true },
    Change { what: "another program", make: other_program, is_told: false },
    Change { what: "another place of the registry", make: other_place, is_told: false },
];

fn other_verifier(home: &Home, _: &RunningRegistry) {
    let mut file = file(home);
    file["verifier"]["plugins"][0]["artifactTypes"] = json!("application/vnd.example.other");
    home.configure(&file);
}

fn other_policy(home: &Home, _: &RunningRegistry) {
    let mut file = file(home);
    let rules = json!({"default": "all", "application/vnd.example.missing": "all"});
    file["policy"]["plugin"]["artifactVerificationPolicies"] = rules;
    home.configure(&file);
}

fn rule(home: &Home, _: &RunningRegistry) {
    let mut file = file(home);
    file["plugins"] = json!({"maxSizeBytes": 1});
    home.configure(&file);
}

/// As a package does it, so that what runs reads on in the old one.
fn other_program(home: &Home, _: &RunningRegistry) {
    let body = r#"cat >/dev/null; echo '{"isSuccess":false,"message":"revoked"}'"#;
    let other = host::script(home.path(), "other", body);
    fs::rename(other, home.plugins().join("judge")).unwrap();
}

fn other_place(home: &Home, registry: &RunningRegistry) {
    let folder = home.path().join("hosts").join(registry.host());
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("hosts.toml"), "server = \"http://127.0.0.1:1\"\n").unwrap();
}

fn file(home: &Home) -> Value {
    let mut file = config(&verifier("judge"));
    file["executor"] = json!({"verificationRequestTimeout": 700});
    let hosts = home.path().join("hosts");
    file["registries"] = json!({"allowedAddresses": ["127.0.0.0/8"], "hostsPath": hosts});
    file
}

/// Its verifier says yes once a file is gone, and leaves a line behind for each call.
fn home() -> Home {
    let home = Home::new();
    let [calls, hold] = ["calls", "hold"].map(|name| home.path().join(name).display().to_string());
    let waits = format!("while [ -e {hold} ]; do sleep 0.05; done");
    let yes = r#"echo '{"isSuccess":true,"message":"yes"}'"#;
    home.script_plugin("judge", &format!("cat >/dev/null; echo x >> {calls}; {waits}; {yes}"));
    home.write("hold", "");
    fs::create_dir(home.path().join("hosts")).unwrap();
    home.configure(&file(&home));
    home
}

fn let_go(home: &Home) {
    fs::remove_file(home.path().join("hold")).unwrap();
}

/// Waits until the log has one of these.
async fn until_said(said: impl Fn() -> String, texts: &[&str]) {
    for _ in 0..LOOKS {
        if texts.iter().any(|text| said().contains(text)) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("{texts:?} is not said: {}", said());
}

/// A server that was asked and told that there is no answer yet.
async fn asked_in_vain(home: &Home, image: &str) -> Server {
    let server = Server::start(home).await;
    let late = server.ask(image).await;
    assert!(late["error"].as_str().unwrap().contains("ask again for "), "{late}");
    server
}

fn is_allowed(item: &Value) -> bool {
    item["value"]["isSuccess"] == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_again_gets_what_was_found_out_where_nothing_has_changed() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (home, image) = (home(), put_app(&registry));
    let server = asked_in_vain(&home, &image).await;
    let_go(&home);
    until_said(|| server.log(), &[KEPT]).await;
    for _ in 0..3 {
        let item = server.ask(&image).await;
        assert!(is_allowed(&item), "{item} {}", server.log());
    }
    assert_eq!(fs::read_to_string(home.path().join("calls")).unwrap(), "x\n", "it was asked once");
}

/// Most signatures count until their certificate ends, so that what rests on them has an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_again_about_what_is_signed_gets_what_was_found_out() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (home, image, notary) = (home(), put_app(&registry), Notary::new(&["release"]));
    notary.sign(&image, "release", false).await;
    let mut file = file(&home);
    let stores = json!({"verificationCerts": [notary.root("release")]});
    let mut notation = policy("enforce", stores)["verifiers"][0].clone();
    notation["artifactTypes"] = json!("application/vnd.cncf.notary.signature");
    file["verifier"]["plugins"][0]["artifactTypes"] = json!(STATEMENT);
    file["verifier"]["plugins"].as_array_mut().unwrap().push(notation);
    home.configure(&file);
    let server = asked_in_vain(&home, &image).await;
    let_go(&home);
    until_said(|| server.log(), &[KEPT]).await;
    let item = server.ask(&image).await;
    assert!(is_allowed(&item), "{item} {}", server.log());
    let reports = item["value"]["verifierReports"].as_array().unwrap();
    assert!(reports.iter().any(|report| report["verifierName"] == "notation"), "{item}");
    assert_eq!(fs::read_to_string(home.path().join("calls")).unwrap(), "x\n", "it was asked once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_what_was_found_out_by_what_is_in_force_no_more() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let image = put_app(&registry);
    for Change { what, make, is_told } in CHANGES {
        for is_kept in [true, false] {
            let (what, home) = (format!("{what}, kept: {is_kept}"), home());
            let server = asked_in_vain(&home, &image).await;
            if is_kept {
                let_go(&home);
                until_said(|| server.log(), &[KEPT]).await;
            }
            make(&home, &registry);
            if is_told {
                let told = ["reloading executor succeeded", "no updates loaded"];
                until_said(|| server.log(), &told).await;
            }
            if !is_kept {
                let_go(&home);
            }
            // It takes less than half of the time for which an outcome is kept.
            let mut allowed = 0;
            while is_allowed(&server.ask(&image).await) {
                allowed += 1;
                assert!(!is_told && allowed < LOOKS, "{what}: {}", server.log());
                tokio::time::sleep(LOOK).await;
            }
            for _ in 0..5 {
                let item = server.ask(&image).await;
                assert!(!is_allowed(&item), "{what}: {item} {}", server.log());
            }
        }
    }
}

const JUDGE: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata: {name: judge}
spec: {name: judge, artifactTypes: '*'}
";

/// What the cluster's resources are changed to, and which of them says when it is in force.
fn resources() -> [(&'static str, String, [&'static str; 2]); 2] {
    let verifier = JUDGE.replace("'*'", "application/vnd.example.other");
    let policy = POLICY.replace("default: all", "application/vnd.example.missing: all");
    [
        ("another Verifier", verifier, ["verifiers", "judge"]),
        ("another Policy", policy, ["policies", "ratify-policy"]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_what_was_found_out_by_resources_that_were_changed() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (home, image) = (home(), put_app(&registry));
    define(&home, &cluster).await;
    let controller = Controller::start_configured(&home, &cluster).await;
    let all = documents(&[STORE, POLICY, JUDGE]);
    let in_force = async |text: &str, resources: &[[&str; 2]]| {
        cluster.apply(text).await;
        for [kind, name] in resources {
            let generation =
                cluster.get_json(kind, None, name).await["metadata"]["generation"].clone();
            until(&cluster, &controller, kind, name, |status| {
                status["issuccess"] == true && status["observedGeneration"] == generation
            })
            .await;
        }
    };
    let of_all = [["stores", "store-oras"], ["policies", "ratify-policy"], ["verifiers", "judge"]];
    for (what, changed, resource) in resources() {
        in_force(&all, &of_all).await;
        // Each time another key, for which nothing is kept.
        let key = format!("[{}]{image}", resource[0]);
        home.write("hold", "");
        assert_eq!(controller.ask(&key).await, Value::Null, "{}", controller.said());
        let kept = || controller.said().matches(KEPT).count();
        let before = kept();
        let_go(&home);
        controller.until(|| kept() > before).await;
        let item = controller.ask(&key).await;
        assert!(is_allowed(&item), "{what}: {item} {}", controller.said());
        in_force(&changed, &[resource]).await;
        let item = controller.ask(&key).await;
        assert!(!is_allowed(&item), "{what}: {item} {}", controller.said());
    }
}
