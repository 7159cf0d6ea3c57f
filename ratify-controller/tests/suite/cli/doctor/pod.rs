//! The doctor where the document says to ask: in the pod, beside the server, as its user, in a root that
//! cannot be written to, by the token that its account has, with the rights that the chart gives. What
//! is found from a desk with an administrator's rights is found there too, or it is said what for it is
//! not looked at, and what to type about it.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{
    super::skipped,
    Expected, Found, Home, Ran,
    cluster::{CONSTRAINTS, constraint, deployment, webhook},
    found_in,
};
use crate::{
    chart::{
        helm::{Helm, NAMESPACE},
        role::{POD, until_ready},
        site::{ARTIFACT_TYPE, NAME, Site, words},
    },
    cluster::server::{ADMIN, Cluster},
    host,
    parity::machines::free_address,
    tls::parts::Authority,
};

/// The user of the chart's pod.
const NONROOT: u32 = 65532;
const ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";
/// How often a state is looked for before a test gives up, and how soon again.
const LOOKS: usize = 200;
const INTERVAL: Duration = Duration::from_millis(100);

/// Becomes a container, whose first process is what is run: `/proc`, `/dev`, the volume's folders, the
/// programs, and the libraries that this machine's build of them wants. Nothing else can be written to.
const ENTER: &str = r#"
set -e
root=$1 volume=$2 programs=$3
shift 3
mount --bind "$root" "$root"
for folder in lib lib64 usr/lib; do
  if [ -d "/$folder" ]; then mount --bind "/$folder" "$root/$folder"; fi
done
for program in ratify ratify-launch; do
  mount --bind "$programs/$program" "$root/app/$program"
done
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$volume/plugins" "$root/.ratify/plugins"
mount --bind "$volume/home" "$root/home/nonroot"
mount --bind "$volume/tmp" "$root/tmp"
exec chroot --userspec=65532:65532 --groups=65532 "$root" "$@"
"#;

/// The container of the Deployment's pod, with the server in it; it ends with the test.
struct Container {
    process: Child,
    pod: Value,
    /// Its environment, which whoever is let in has too.
    variables: Vec<(String, String)>,
    root: PathBuf,
    volume: PathBuf,
    health: String,
    log: PathBuf,
}

impl Container {
    /// What a node does for a pod of the chart's Deployment. Its ports are free ones.
    async fn start(site: &Site) -> Self {
        let folder = site.helm.folder();
        let deployment = site.cluster.get_json("deployment", Some(NAMESPACE), "ratify").await;
        let pod = deployment["spec"]["template"]["spec"].clone();
        let container = &pod["containers"][0];
        let [root, volume] = ["pod", "data"].map(|name| folder.join(name));
        fill(&root);
        for name in ["plugins", "home", "tmp"] {
            fs::create_dir_all(volume.join(name)).unwrap();
            chown(volume.join(name), Some(NONROOT), Some(NONROOT)).unwrap();
        }
        site.mount(&pod, &root).await;
        let account = pod["serviceAccountName"].as_str().unwrap();
        log_in(&site.cluster, account, &root.join(ACCOUNT)).await;
        let role = site.cluster.get_json("clusterrole", None, "ratify-manager-cluster-role").await;
        site.cluster.until_in_force(POD, &[&role], NAMESPACE).await;
        let [address, health] = [(); 2].map(|()| free_address());
        let programs = Path::new(env!("CARGO_BIN_EXE_ratify")).parent().unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "-p", "-f", "sh", "-c", ENTER, "sh"]);
        command.arg(&root).arg(&volume).arg(programs).args(words(&container["command"]));
        for word in words(&container["args"]) {
            let word = word.replace(":6001", &address).replace(":9099", &health);
            command.arg(word.replace("metrics-port=8888", "metrics-port=0"));
        }
        let variables = variables(&site.cluster, container);
        command.env_clear().envs(variables.clone()).kill_on_drop(true);
        let log = folder.join("pod.log");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&log).unwrap());
        let process = command.spawn().unwrap();
        Self { process, pod, variables, root, volume, health, log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    async fn until_ready(&self) {
        until_ready(&self.health, || self.said()).await;
    }

    /// The first process in it, as others see it.
    fn first(&self) -> Option<Pid> {
        let outer = self.process.id()?;
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
        Pid::from_raw(children.trim().parse().ok()?)
    }

    /// What `kubectl exec` does: runs a command beside the server.
    async fn exec(&self, line: &[&str]) -> Ran {
        let first = self.first().unwrap().as_raw_nonzero().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &first, "-m", "-p", "--root", "--wd=/"]);
        command.args([format!("-S{NONROOT}"), format!("-G{NONROOT}")]).args(line);
        command.env_clear().envs(self.variables.clone()).stdin(Stdio::null());
        let output = command.kill_on_drop(true).output().await.unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The report of the doctor in it.
    async fn examine(&self) -> Ran {
        self.exec(&["ratify", "doctor", "--output", "json"]).await
    }

    /// Looks until just that is found besides what was found before: an API server learns of rights, and
    /// a disk of files, a moment later.
    async fn until_found(&self, what: &str, before: &Found, expected: Expected) {
        let mut said = String::new();
        for _ in 0..LOOKS {
            let ran = self.examine().await;
            let found = found_in(&ran);
            let is_new = |one: &&(String, String)| !before.contains(one);
            let new: Vec<_> =
                found.iter().filter(is_new).map(|(id, state)| (&**id, &**state)).collect();
            if new == expected {
                return;
            }
            said = format!("{new:?} {}", ran.stdout);
        }
        panic!("{what}: {said}");
    }
}

impl Drop for Container {
    /// With its first process all of it ends. Another user's is not ended with its parent.
    fn drop(&mut self) {
        let _ = self.first().map(|first| kill_process(first, Signal::KILL));
    }
}

/// The folders and files that the image has, and the places where something is mounted.
fn fill(root: &Path) {
    let folders =
        ["app", "etc", "proc", "dev", "lib", "lib64", "usr/lib", ".ratify/plugins", "home/nonroot"];
    for folder in folders.iter().chain(&["tmp", ACCOUNT]) {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for program in ["ratify", "ratify-launch"] {
        fs::write(root.join("app").join(program), "").unwrap();
    }
    let user = format!("nonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n");
    fs::write(root.join("etc/passwd"), user).unwrap();
}

/// Does the kubelet's part: a token of the account, as long as the API server makes them.
async fn log_in(cluster: &Cluster, account: &str, folder: &Path) {
    let token = cluster.must(&["create", "token", account, "-n", NAMESPACE]).await;
    fs::write(folder.join("token"), token.trim()).unwrap();
    fs::copy(cluster.ca_path(), folder.join("ca.crt")).unwrap();
    fs::write(folder.join("namespace"), NAMESPACE).unwrap();
}

/// What the image, the Deployment and the kubelet put into the environment.
fn variables(cluster: &Cluster, container: &Value) -> Vec<(String, String)> {
    let url = cluster.url();
    let (host, port) = url.trim_start_matches("https://").split_once(':').unwrap();
    let path = "/app:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut variables: Vec<(String, String)> = [
        ("PATH", path),
        ("HOSTNAME", "ratify-1"),
        ("KUBERNETES_SERVICE_HOST", host),
        ("KUBERNETES_SERVICE_PORT", port),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for variable in container["env"].as_array().unwrap() {
        let value = variable["value"].as_str().unwrap_or(NAMESPACE);
        variables.push((variable["name"].as_str().unwrap().to_owned(), value.to_owned()));
    }
    variables
}

/// Gatekeeper in front, as its chart makes it; and what its controllers, and the cluster's, would say.
async fn put_gatekeeper(site: &Site) {
    let cluster = &site.cluster;
    let definitions = site.helm.tool("gatekeeper-module").join("charts/gatekeeper/crds");
    cluster.must(&["apply", "--server-side", "-f", definitions.to_str().unwrap()]).await;
    cluster.apply(CONSTRAINTS).await;
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gatekeeper/verification.yaml");
    cluster.must(&["apply", "-f", template]).await;
    let objects = [
        webhook("Validating", "validation", 7),
        webhook("Mutating", "mutation", 3),
        constraint(),
        deployment("gatekeeper-controller-manager", &["/manager"], &[]),
    ];
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).await;
    let ready = r#"{"status":{"replicas":1,"readyReplicas":1,"updatedReplicas":1}}"#;
    let made = r#"{"status":{"created":true}}"#;
    for (kind, name, status) in
        [("deployment", "ratify", ready), ("constrainttemplate", "ratifyverification", made)]
    {
        let patch = ["patch", kind, name, "--subresource=status", "--type=merge", "-p", status];
        cluster.must(&[&patch[..], &["-n", NAMESPACE]].concat()).await;
    }
}

/// A plugin that the controller downloads; waited for until it is in force.
async fn put_verifier(site: &Site, container: &Container) {
    let source = json!({"artifact": site.artifact(), "authProvider": {"name": "dockerConfig"}});
    let verifier = json!({
        "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "Verifier",
        "metadata": {"name": "verifier-dynamic"},
        "spec": {"name": "sample", "artifactTypes": ARTIFACT_TYPE, "source": source},
    });
    site.cluster.apply(&verifier.to_string()).await;
    let in_force = "--for=jsonpath={.status.issuccess}=true";
    let wait = ["wait", "verifier/verifier-dynamic", in_force, "--timeout=60s"];
    let waited = site.cluster.kubectl(&wait).await;
    assert_eq!(waited.code, Some(0), "{} {}", waited.stderr, container.said());
}

/// The findings about the cluster, by their check and what they are on.
fn of_cluster(ran: &Ran) -> Vec<Value> {
    let report: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", ran.stdout, ran.stderr));
    let mut findings = report["findings"].as_array().unwrap().clone();
    findings.retain(|finding| {
        let area = finding["id"].as_str().unwrap().split('.').next().unwrap();
        ["cluster", "gatekeeper", "timeouts"].contains(&area)
    });
    findings
}

/// What the chart's role does not let the pod read, in the order of the report.
const UNREAD: [&str; 6] = [
    "cluster.definitions",
    "cluster.replicas",
    "gatekeeper.template",
    "gatekeeper.constraint",
    "gatekeeper.mutation",
    "gatekeeper.cache",
];

/// Whether a finding in the pod is the same as one from a desk, or says what for there is none.
fn assert_same_or_unread(inside: &[Value], outside: &[Value]) {
    let is_unread = |finding: &&Value| finding["state"] == "notChecked";
    let unread: Vec<&Value> = inside.iter().filter(is_unread).collect();
    for finding in &unread {
        let seen = finding["seen"].as_str().unwrap();
        assert!(seen.ends_with("the right to read it is missing"), "{finding}");
        let fix = finding["fix"].as_str().unwrap_or_default();
        assert!(fix.contains("rbac.doctor=true") && fix.contains("ratify doctor "), "{finding}");
    }
    for finding in outside {
        let is_said =
            inside.contains(finding) || unread.iter().any(|unread| unread["id"] == finding["id"]);
        assert!(is_said, "{finding} is not in {inside:#?}");
    }
}

/// A site with this in front, and what it takes to be a container.
async fn site() -> Option<Site> {
    let helm = Helm::find()?;
    if !host::is_root() {
        skipped("the doctor in a pod", "this is not root");
        return None;
    }
    Some(Site::new(helm, &Authority::new("gatekeeper")).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_pod_it_finds_what_is_found_from_a_desk_or_says_what_it_may_not_read() {
    let Some(site) = site().await else { return };
    let ours = Authority::new("ours");
    site.push_plugin().await;
    site.install(&ours.issue_named(NAME, vec![ServerAuth]), &ours).await;
    put_gatekeeper(&site).await;
    let container = Container::start(&site).await;
    container.until_ready().await;
    put_verifier(&site, &container).await;

    let (desk, cluster) = (Home::new(), &site.cluster);
    let admin = cluster.kubeconfig(ADMIN).display().to_string();
    let from_desk = ["doctor", "--output", "json", "--kubeconfig", &admin, "-n", NAMESPACE];
    let outside = of_cluster(&desk.run(&from_desk).await);
    let ran = container.examine().await;
    let inside = of_cluster(&ran);
    assert_same_or_unread(&inside, &outside);
    let unread = inside.iter().filter(|finding| finding["state"] == "notChecked");
    let unread: Vec<_> = unread.map(|finding| finding["id"].as_str().unwrap()).collect();
    assert_eq!(unread, UNREAD, "{}", ran.stdout);
    faults(&site, &container, &found_in(&ran)).await;

    let more = "helm upgrade ratify charts/ratify --namespace gatekeeper-system --reuse-values --no-hooks --set rbac.doctor=true";
    let ran = site.shell(more).await;
    assert!(ran.is_success, "{}", ran.stderr);
    let role = cluster.get_json("role", Some(NAMESPACE), "ratify-doctor").await;
    cluster.until_in_force(POD, &[&role], NAMESPACE).await;
    let ran = container.examine().await;
    assert_eq!(of_cluster(&ran), outside, "{}", ran.stdout);
}

/// Each fault has its finding: of what the pod may read, and of what it alone sees.
async fn faults(site: &Site, container: &Container, before: &Found) {
    let cluster = &site.cluster;
    let with = |key: &str, value: Value| {
        let mut object = webhook("Validating", "validation", 7);
        object["webhooks"][0][key] = value;
        object.to_string()
    };
    let good = with("timeoutSeconds", json!(7));
    cluster.apply(&with("failurePolicy", json!("Ignore"))).await;
    container.until_found("Ignore", before, &[("gatekeeper.webhook", "warning")]).await;
    cluster.apply(&with("timeoutSeconds", json!(5))).await;
    container.until_found("no time", before, &[("timeouts.verification", "warning")]).await;
    cluster.apply(&good).await;

    let provider = cluster.get_json("provider", None, "ratify-provider").await;
    let patch = |bundle: &Value| json!({"spec": {"caBundle": bundle}}).to_string();
    let other = patch(&STANDARD.encode(Authority::new("other").pem()).into());
    let line = ["patch", "provider", "ratify-provider", "--type=merge", "-p"];
    cluster.must(&[&line[..], &[&other]].concat()).await;
    container.until_found("another authority", before, &[("serve.trust", "failure")]).await;
    let own = patch(&provider["spec"]["caBundle"]);
    cluster.must(&[&line[..], &[&own]].concat()).await;

    let programs = container.volume.join("plugins/.store/sha256");
    let program = fs::read_dir(programs).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&program).unwrap();
    fs::write(&program, "something else").unwrap();
    container.until_found("another program", before, &[("plugin.digest", "failure")]).await;
    fs::write(&program, bytes).unwrap();
    container.until_found("as before", before, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_made_where_the_chart_is_installed_without_its_job() {
    let Some(site) = site().await else { return };
    site.type_block("helm template", "").await;
    let container = Container::start(&site).await;
    for look in 0.. {
        let secret = site.cluster.get_json("secret", Some(NAMESPACE), "ratify-tls").await;
        if secret["data"]["tls.crt"].is_string() {
            break;
        }
        assert!(look < LOOKS, "{}", container.said());
        tokio::time::sleep(INTERVAL).await;
    }
    site.mount(&container.pod, &container.root).await;
    container.until_ready().await;
    for name in ["ratify-provider", "ratify-mutation-provider"] {
        let provider = site.cluster.get_json("provider", None, name).await;
        let secret = site.cluster.get_json("secret", Some(NAMESPACE), "ratify-tls").await;
        assert_eq!(provider["spec"]["caBundle"], secret["data"]["ca.crt"], "{}", container.said());
    }
    let ran = container.examine().await;
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let states = |id: &str| {
        let findings = report["findings"].as_array().unwrap().iter();
        let states = findings.filter(|finding| finding["id"] == id);
        states.map(|finding| finding["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states("cluster.rotation"), ["ok", "ok"], "{}", ran.stdout);
    assert_eq!(states("serve.certificate"), ["ok"], "{}", ran.stdout);
    assert_eq!(states("serve.trust"), ["ok", "ok"], "{}", ran.stdout);
}
