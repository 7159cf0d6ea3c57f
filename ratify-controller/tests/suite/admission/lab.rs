//! [`Lab`]: a cluster in which Gatekeeper and Ratify are installed, a registry, and its images.

use std::time::Duration;

use bytes::Bytes;
use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
use serde_json::{Value, json};

use super::{gatekeeper::Gatekeeper, page::Page};
use crate::{
    chart::{
        helm::Helm,
        site::{ARTIFACT_TYPE, NAME, Pod, Site, placed},
    },
    cli::signed::notary::Notary,
    cluster::kubectl::Ran,
    host,
    tls::parts::Authority,
};

/// What the plugin that refuses judges.
pub(super) const FORBIDDEN: &str = "application/vnd.example.forbidden.v1+json";
/// What it says.
pub(super) const WHY: &str = "this was recalled";
/// What is said where somebody was late: Ratify, Gatekeeper, or who calls it.
const LATE: [&str; 4] = [
    "ask again",
    "operation timed out after duration",
    "context deadline exceeded",
    "failed calling webhook",
];
/// How often a command is typed again.
const TYPED_AGAIN: usize = 10;
/// How often a state is looked for before a test gives up.
const LOOKS: usize = 600;

/// All that an admission needs, running.
pub(super) struct Lab {
    pub(super) site: Site,
    pub(super) gatekeeper: Gatekeeper,
    pub(super) pod: Pod,
    /// Who signs images.
    pub(super) notary: Notary,
    /// Who signs the server's certificate.
    pub(super) authority: Authority,
    /// Who signs Gatekeeper's.
    pub(super) of_gatekeeper: Authority,
}

impl Lab {
    /// Everything, with the plugins and the constraint of the document; `None`, said aloud, where the
    /// programs were not brought.
    pub(super) async fn start(other_hosts: Vec<String>) -> Option<Self> {
        let helm = Helm::find()?;
        let [authority, of_gatekeeper] = ["ratify", "gatekeeper"].map(Authority::new);
        let mut site = Site::new(helm, &of_gatekeeper).await;
        site.other_hosts = other_hosts;
        let notary = Notary::new(&["release", "other"]);
        site.signers = Some(std::fs::read_to_string(notary.root("release")).unwrap());
        let gatekeeper = Gatekeeper::install(&site, &of_gatekeeper).await;
        site.push_plugin().await;
        let server = authority.issue_for_names(&[NAME, "localhost"], vec![ServerAuth]);
        site.install(&server, &authority).await;
        let pod = site.run_pod().await;
        let lab = Self { site, gatekeeper, pod, notary, authority, of_gatekeeper };
        lab.add_refusing_plugin();
        lab.pod.controller.until_ready().await;
        lab.lead_providers_here().await;
        Some(lab)
    }

    /// A plugin beside those of the image, and who uses it.
    fn add_refusing_plugin(&self) {
        let plugins = placed(&self.pod.root, "/.ratify/plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        let answer = json!({"isSuccess": false, "message": WHY});
        host::script(&plugins, "recall", &format!("cat >/dev/null; echo '{answer}'"));
    }

    /// The service's address is the pod's.
    async fn lead_providers_here(&self) {
        let port = self.pod.address.rsplit_once(':').unwrap().1;
        for name in ["ratify-provider", "ratify-mutation-provider"] {
            let provider = self.site.cluster.get_json("provider", None, name).await;
            let url = provider["spec"]["url"].as_str().unwrap();
            let url = url.replace(&format!("{NAME}:6001"), &format!("localhost:{port}"));
            self.patch("provider", name, &json!({"spec": {"url": url}})).await;
        }
    }

    pub(super) async fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let patch = patch.to_string();
        let arguments = ["patch", kind, name, "--type=merge", "-p", &patch];
        self.site.cluster.must(&arguments).await;
    }

    /// The document, about this registry.
    pub(super) fn page<'a>(&'a self, names: &[(&'a str, &'a str)]) -> Page<'a> {
        Page::new(&self.site, names)
    }

    /// Pushes an image to which something of this type is attached; where it is, by tag and by digest.
    pub(super) fn push(&self, repository: &str, artifact_type: &str) -> [String; 2] {
        let registry = &self.site.registry;
        let image = registry.put_image(repository, "v1", repository.to_owned()).unwrap();
        let statement = ("application/json", Bytes::from_static(br#"{"says":"built here"}"#));
        registry.put_artifact(repository, &image, artifact_type, &[statement]).unwrap();
        let path = format!("{}/{repository}", registry.host());
        [format!("{path}:v1"), format!("{path}@{}", image.digest)]
    }

    /// Pushes one that is good.
    pub(super) fn push_good(&self, repository: &str) -> [String; 2] {
        self.push(repository, ARTIFACT_TYPE)
    }

    /// Runs a pod of one container, to whatever end.
    pub(super) async fn run_once(&self, namespace: &str, name: &str, image: &str) -> Ran {
        let image = format!("--image={image}");
        self.site.cluster.kubectl(&["run", name, &image, "-n", namespace]).await
    }

    /// The same, once more where somebody was late.
    pub(super) async fn run(&self, namespace: &str, name: &str, image: &str) -> Ran {
        in_time(async || self.run_once(namespace, name, image).await, |ran| &ran.stderr).await
    }

    /// Creates or changes an object, to whatever end.
    pub(super) async fn try_apply_once(&self, object: &Value) -> Ran {
        self.site.cluster.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await
    }

    /// The same, once more where somebody was late.
    pub(super) async fn try_apply(&self, object: &Value) -> Ran {
        in_time(async || self.try_apply_once(object).await, |ran| &ran.stderr).await
    }

    /// Waits until it is so.
    pub(super) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        for _ in 0..LOOKS {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never {what}: {} {}", self.pod.controller.said(), self.gatekeeper.said());
    }
}

/// What comes of a command that is typed again, as a person would, while a refusal says that something was
/// late: a machine may be so busy. Gatekeeper keeps no such answer.
pub(super) async fn in_time<T>(command: impl AsyncFn() -> T, refusal: impl Fn(&T) -> &str) -> T {
    let mut ran = command().await;
    for _ in 0..TYPED_AGAIN {
        if !LATE.iter().any(|words| refusal(&ran).contains(words)) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        ran = command().await;
    }
    ran
}

/// What has to be refused, for this reason.
pub(super) fn assert_refused(ran: &Ran, reason: &str) {
    assert!(ran.code != Some(0) && ran.stderr.contains(reason), "not {reason:?}: {ran:?}");
}

/// What has to be done.
pub(super) fn assert_done(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}
