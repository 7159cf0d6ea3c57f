//! A plugin's certificate is revoked while the plugin runs: lists of `openssl ca`, behind a proxy that can be
//! away, asked for by a controller on a real API server.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    super::{
        cluster::LOOKS,
        proxy::{Fate, Proxy},
    },
    *,
};
use crate::parity::authority::Authority;
use rcgen::CrlDistributionPoint;

const NAME: &str = "verifier-dynamic";
/// For how long a list is the newest that ends while it is watched.
const SOON: u32 = 30;
const LATER: u32 = 86_400;
const LOOK: Duration = Duration::from_millis(100);

/// A plugin that is signed by one whom an authority may revoke.
pub(super) struct Revocable {
    pub(super) registry: RunningRegistry,
    pub(super) place: Place,
    pub(super) notary: Notary,
    lists: Proxy,
    /// How often somebody asked for a list.
    asked: Arc<Mutex<usize>>,
    _authority: Authority,
}

impl Revocable {
    pub(super) async fn new() -> Self {
        let (registry, place, _) = place(RegistryOptions::default()).await;
        let mut notary = Notary::without_keys();
        let authority = Authority::start(notary.folder().to_owned()).await;
        let lists = Proxy::plain(&authority.address).await;
        let uris = vec![format!("http://{}/crl/release", lists.address())];
        notary.issue("release", |leaf| {
            leaf.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        });
        notary.list_by_openssl("release", false, LATER);
        notary.sign(&place.plugin(":1.0.0"), "release", false).await;
        let (asked, _authority) = (Arc::default(), authority);
        let revocable = Self { registry, place, notary, lists, asked, _authority };
        revocable.answer(&Fate::Pass);
        revocable
    }

    /// Who has a certificate of this authority is trusted, and that is asked every few seconds.
    pub(super) fn policy(&self, mode: &str, authority: &str) -> Value {
        let mut policy = trusting(&self.notary, mode, authority);
        policy["recheckInterval"] = "5s".into();
        policy
    }

    /// From now on the certificate is revoked, or not.
    pub(super) fn revoke(&self, is_revoked: bool) {
        self.notary.list_by_openssl("release", is_revoked, LATER);
    }

    /// Whoever asks for a list is answered so from now on.
    pub(super) fn answer(&self, fate: &Fate) {
        let (asked, fate) = (Arc::clone(&self.asked), fate.clone());
        self.lists.rule(move |_| {
            *asked.lock().unwrap() += 1;
            fate.clone()
        });
    }

    /// How often somebody asked for a list.
    pub(super) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

/// A controller whose plugin is such a one.
struct Scene {
    controller: Controller,
    cluster: Cluster,
    of: Revocable,
}

impl std::ops::Deref for Scene {
    type Target = Revocable;

    fn deref(&self) -> &Revocable {
        &self.of
    }
}

impl Scene {
    async fn start(mode: &str) -> Option<Self> {
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        let of = Revocable::new().await;
        of.place.home.configure(&json!({"plugins": {"trustPolicy": of.policy(mode, "release")}}));
        define(&of.place.home, &cluster).await;
        let controller = Controller::start_configured(&of.place.home, &cluster).await;
        apply_store_and_policy(&cluster, &controller).await;
        let scene = Self { controller, cluster, of };
        scene.cluster.apply(&verifier(&scene.place.plugin(":1.0.0"))).await;
        scene.until("Active", "").await;
        Some(scene)
    }

    /// The same with another process, on the same volume.
    async fn restarted(self) -> Self {
        drop(self.controller);
        let controller = Controller::start_configured(&self.of.place.home, &self.cluster).await;
        let scene = Self { controller, ..self };
        // Nothing is judged before the first look.
        let is_listening = || scene.controller.said().contains("revocation status is unknown");
        scene.controller.until(is_listening).await;
        scene
    }

    /// Waits until a list was asked for so many times more.
    async fn until_asked(&self, times: usize) {
        let before = self.asked();
        self.controller.until(|| self.asked() >= before + times).await;
    }

    /// Waits until the verifier stands so, with these words in its status.
    async fn until(&self, reason: &str, why: &str) -> Value {
        // A minute between two tries is the longest.
        for look in 0.. {
            let object = self.cluster.get_json("verifiers", None, NAME).await;
            let status = &object["status"];
            if status["conditions"][0]["reason"] == reason && status.to_string().contains(why) {
                return object;
            }
            assert!(look < 4 * LOOKS, "never {reason} {why}: {object} {}", self.controller.said());
            tokio::time::sleep(LOOK).await;
        }
        unreachable!()
    }

    async fn decides(&self, is_success: bool, why: &str) {
        self.controller.until_judged(&self.place.image(), is_success, why).await;
    }

    async fn has_event(&self, reason: &str, why: &str) {
        let selector = format!("--field-selector=involvedObject.name={NAME}");
        let output = "jsonpath={range .items[*]}{.reason}: {.message}{'\\n'}{end}";
        let events = ["get", "events", "-n", "default", &selector, "-o", output];
        let events = self.cluster.must(&events).await;
        let is_told = |line: &str| line.starts_with(reason) && line.contains(why);
        assert!(events.lines().any(is_told), "{events}");
    }

    /// How many loads are on record.
    async fn loads(&self) -> usize {
        let loads = self.place.home.must(&["plugin", "log", "-o", "json"]).await;
        let loads: Value = serde_json::from_str(&loads).unwrap();
        loads.as_array().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_revoked_takes_the_plugin_that_runs_out_of_force() {
    let Some(scene) = Scene::start("enforce").await else { return };
    scene.decides(true, "").await;
    let object = scene.until("Active", "").await;
    let program = object["status"]["plugin"]["program"].as_str().unwrap().to_owned();

    // It is asked about again and again, and neither fetched nor loaded.
    let loads = scene.loads().await;
    scene.registry.forget_requests();
    scene.until_asked(2).await;
    let paths: Vec<_> = scene.registry.requests().into_iter().map(|asked| asked.path).collect();
    assert!(paths.iter().any(|path| path.contains("/referrers/")), "{paths:?}");
    assert!(!paths.iter().any(|path| path.contains(&program)), "{paths:?}");
    assert_eq!(scene.loads().await, loads);

    // That nobody answers is told, and ends nothing for as long as the last list counts.
    scene.answer(&Fate::Cut);
    scene.until("KeptLastGood", "revocation status is unknown").await;
    scene.until_asked(2).await;
    scene.decides(true, "").await;
    scene.answer(&Fate::Pass);
    scene.until("Active", "").await;

    scene.revoke(true);
    scene.until("Refused", "is revoked").await;
    scene.decides(false, "is revoked").await;
    scene.has_event("Refused: ", "is revoked").await;
    let said = scene.controller.said();
    assert!(said.contains("the plugin that runs may not run any more"), "{said}");

    // What is known does not get lost where nobody answers any more, nor by a restart.
    scene.answer(&Fate::Cut);
    scene.until_asked(1).await;
    scene.decides(false, "is not in force").await;
    let scene = scene.restarted().await;
    scene.until_asked(1).await;
    scene.decides(false, "revocation status is unknown").await;

    scene.answer(&Fate::Pass);
    scene.revoke(false);
    scene.until("Active", "").await;
    scene.decides(true, "").await;
}

/// A second verifier without a source runs what the first one brought, as with v1, and no longer than that
/// one is in force: not while it is refused, and not after a restart before anybody was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_names_no_source_runs_nothing_that_was_brought_for_somebody_else_and_is_revoked() {
    const WHY: &str = "was installed for a resource that is not in force";
    let Some(scene) = Scene::start("enforce").await else { return };
    let borrower = verifier("").replace("verifier-dynamic", "a-borrower");
    let borrower = borrower.replace(", source: {artifact: ''}", "");
    scene.cluster.apply(&borrower).await;
    let is_success = |status: &Value| status["issuccess"] == true;
    until(&scene.cluster, &scene.controller, "verifiers", "a-borrower", is_success).await;
    scene.decides(true, "\"verifierName\":\"a-borrower\"").await;

    scene.revoke(true);
    scene.until("Refused", "is revoked").await;
    assert!(scene.place.home.plugins().join("sample").exists(), "it is still there");
    scene.decides(false, WHY).await;
    scene.answer(&Fate::Cut);
    let scene = scene.restarted().await;
    scene.decides(false, WHY).await;

    scene.answer(&Fate::Pass);
    scene.revoke(false);
    scene.until("Active", "").await;
    scene.decides(true, "\"verifierName\":\"a-borrower\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_runs_no_longer_than_the_last_list_counts_and_a_registry_that_is_away_ends_none() {
    let Some(scene) = Scene::start("enforce").await else { return };
    scene.notary.list_by_openssl("release", false, SOON);
    scene.until_asked(1).await;
    scene.answer(&Fate::Cut);
    scene.until("Refused", "revocation status is unknown").await;
    scene.decides(false, "is not in force").await;
    scene.answer(&Fate::Pass);
    scene.revoke(false);
    scene.until("Active", "").await;

    let Scene { controller, cluster, of } = scene;
    of.registry.shutdown().await;
    let is_kept = |status: &Value| {
        let why = "whether it is signed was not found out";
        status["conditions"][0]["reason"] == "KeptLastGood" && status.to_string().contains(why)
    };
    until(&cluster, &controller, "verifiers", NAME, is_kept).await;
}

/// Whatever the newer spec lacks: what ran goes on as long as its signer is trusted, and no longer.
async fn is_ended_where_a_newer_spec_is_broken(newer: &str, why: &str) {
    let Some(scene) = Scene::start("enforce").await else { return };
    scene.cluster.apply(newer).await;
    scene.until("KeptLastGood", why).await;
    scene.registry.forget_requests();
    scene.until_asked(2).await;
    let is_signatures = |path: &str| path.contains("/referrers/");
    assert!(scene.registry.requests().iter().any(|asked| is_signatures(&asked.path)));
    scene.answer(&Fate::Cut);
    let runs_on = "runs on, though it was not found out who signed it";
    scene.controller.until(|| scene.controller.said().contains(runs_on)).await;
    scene.decides(true, "").await;
    scene.answer(&Fate::Pass);
    scene.revoke(true);
    let object = scene.until("Refused", "is revoked").await;
    assert!(object["status"]["error"].as_str().unwrap().contains(why), "{object}");
    scene.decides(false, "is revoked").await;
    scene.has_event("Refused: ", "is revoked").await;
    let said = scene.controller.said();
    assert!(said.contains("what ran of an older spec was ended: "), "{said}");

    // Not even a list that says otherwise brings it back, which nothing in the cluster names any more.
    scene.revoke(false);
    scene.decides(false, "is revoked").await;
    scene.cluster.apply(&verifier(&scene.place.plugin(":1.0.0"))).await;
    scene.until("Active", "").await;
    scene.decides(true, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_of_an_older_spec_is_asked_about_while_the_newer_one_cannot_be_read() {
    let newer =
        verifier("r.example.com/p:1").replace("source:", "parameters: {pluginEnv: x}, source:");
    is_ended_where_a_newer_spec_is_broken(&newer, "pluginEnv").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_of_an_older_spec_is_asked_about_while_the_newer_ones_plugin_cannot_be_had() {
    // Nobody listens there.
    let newer = verifier("127.0.0.1:1/plugins/sample:2.0.0");
    is_ended_where_a_newer_spec_is_broken(&newer, "127.0.0.1:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_policy_warns_a_revoked_certificate_is_told_and_the_plugin_runs_on() {
    let Some(scene) = Scene::start("warn").await else { return };
    scene.revoke(true);
    let is_told = || {
        let said = scene.controller.said();
        said.contains("it runs, for the mode is warn: ") && said.contains("is revoked")
    };
    scene.controller.until(is_told).await;
    let is_unsigned = |status: &Value| status["plugin"]["signers"].is_null();
    until(&scene.cluster, &scene.controller, "verifiers", NAME, is_unsigned).await;
    scene.decides(true, "").await;
}
