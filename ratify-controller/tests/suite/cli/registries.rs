//! The administrator's files about registries under a controller that runs: when a change of theirs
//! counts, as `docs/INSTALL.md` says.

use std::{fs, time::Duration};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{
    Home, YES,
    cluster::{Controller, LOOKS, POLICY, define, documents, until},
    put_app,
};
use crate::{
    cluster::server::{Cluster, ClusterOptions},
    host,
};

const JUDGE: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata: {name: judge}
spec: {name: pass, artifactTypes: '*'}
";

/// A name that leads nowhere unless a hosts file says where.
const NAME: &str = "app.example.com";

/// The program of the kubelet's contract, for that registry; its answer is not kept.
fn program(host: &str) -> String {
    let answer = json!({
        "kind": "CredentialProviderResponse",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "cacheKeyType": "Registry",
        "cacheDuration": "0s",
        "auth": {host: {"username": "user", "password": "of the cloud"}},
    });
    format!("cat >/dev/null; echo '{answer}'")
}

fn providers(host: &str) -> String {
    let provider = json!({
        "name": "cloud", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "matchImages": [host], "defaultCacheDuration": "0s",
    });
    json!({"kind": "CredentialProviderConfig", "apiVersion": "kubelet.config.k8s.io/v1",
        "providers": [provider]})
    .to_string()
}

fn store(host: &str) -> String {
    format!(
        "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Store
metadata: {{name: store-oras}}
spec:
  name: oras
  parameters:
    useHttp: true
    authProviders: [{{match: ['{host}'], provider: {{name: credentialProvider}}}}]
"
    )
}

/// Asks until the verdict is as wanted.
async fn decides(controller: &Controller, image: &str, wanted: bool) {
    let mut item = Value::Null;
    for _ in 0..LOOKS {
        item = controller.ask(image).await;
        if (item["value"]["isSuccess"] == true) == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{image} is never decided as {wanted}: {item} {}", controller.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_hosts_file_counts_at_once_and_a_changed_list_of_programs_with_the_next_store() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let credentials = Some(("user".to_owned(), "of the cloud".to_owned()));
    let options = RegistryOptions { credentials, ..RegistryOptions::default() };
    let registry = RunningRegistry::start(options).await.unwrap();
    let (image, address) = (put_app(&registry), registry.host());
    let home = Home::new();
    home.script_plugin("pass", YES);
    let folders = ["bin", "hosts"].map(|name| home.path().join(name));
    folders.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let [bin, hosts] = folders;
    host::script(&bin, "cloud", &program(&address));
    let list = home.write("providers.yaml", providers(&address));
    let configure = |allowed: &[&str]| {
        home.configure(&json!({"registries": {
            "allowedAddresses": allowed, "hostsPath": hosts,
            "credentialProviders": {"configPath": list, "binDir": bin},
        }}));
    };
    configure(&["127.0.0.1"]);
    define(&home, &cluster).await;
    let controller = Controller::start_configured(&home, &cluster).await;
    cluster.apply(&documents(&[&store(&address), POLICY, JUDGE])).await;
    let is_active = |status: &Value| status["issuccess"] == true;
    for (kind, name) in [("verifiers", "judge"), ("stores", "store-oras")] {
        until(&cluster, &controller, kind, name, is_active).await;
    }
    decides(&controller, &image, true).await;

    let by_name = format!("{NAME}/app:v1");
    decides(&controller, &by_name, false).await;
    fs::create_dir(hosts.join(NAME)).unwrap();
    let file = hosts.join(NAME).join("hosts.toml");
    fs::write(&file, format!("server = \"http://{address}\"\n")).unwrap();
    decides(&controller, &by_name, true).await;
    fs::write(&file, "server = \"http://127.0.0.1:1\"\n").unwrap();
    decides(&controller, &by_name, false).await;

    // Nobody reads the list again for a store that is there.
    fs::write(&list, providers("other.example.com")).unwrap();
    for _ in 0..30 {
        assert_eq!(controller.ask(&image).await["value"]["isSuccess"], true);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Another section makes the stores anew; so does a start.
    configure(&["127.0.0.1", "::1"]);
    decides(&controller, &image, false).await;
    let said = controller.said();
    assert!(
        said.contains("credentialProvider, which covers") && said.contains("no credentials"),
        "{said}"
    );
}
