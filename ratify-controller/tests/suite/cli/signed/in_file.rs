//! Plugins that a configuration file names are asked about again while they run, by a server that watches the
//! file: a certificate is revoked, a list is away, a key is taken out of the file.

use std::time::Duration;

use super::{super::proxy::Fate, revoked::Revocable, *};

/// How often a state is looked for before a test gives up, and how soon again.
const LOOKS: usize = 1200;
const LOOK: Duration = Duration::from_millis(100);

struct Scene {
    server: Server,
    of: Revocable,
}

impl Scene {
    async fn start(mode: &str) -> Self {
        Self::start_with(mode, |_| ()).await
    }

    /// The same with other verifiers.
    async fn start_with(mode: &str, change: impl FnOnce(&mut Vec<Value>)) -> Self {
        let of = Revocable::new().await;
        let mut file = signed(&of.place, &of.policy(mode, "release"));
        change(file["verifier"]["plugins"].as_array_mut().unwrap());
        of.place.home.configure(&file);
        let flags = ["serve", "--http", "127.0.0.1:0", "--metrics-enabled", "--metrics-port", "0"];
        let server = Server::run(of.place.home.command(&flags)).await;
        let scene = Self { server, of };
        scene.decides(true, "").await;
        scene
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for look in 0.. {
            if is_so() {
                return;
            }
            assert!(look < LOOKS, "never {what}: {}", self.server.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn until_asked(&self, times: usize) {
        let before = self.of.asked();
        self.until("asked", || self.of.asked() >= before + times).await;
    }

    async fn until_said(&self, text: &str) {
        self.until(text, || self.server.log().contains(text)).await;
    }

    /// Waits until the image is answered so, with these words.
    async fn decides(&self, is_success: bool, why: &str) {
        for look in 0.. {
            let item = self.server.ask(&self.of.place.image()).await;
            if item["value"]["isSuccess"] == is_success && item.to_string().contains(why) {
                return;
            }
            assert!(look < LOOKS, "never {is_success} {why}: {item} {}", self.server.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many plugins may run, all signed by the same, and how many loads were denied.
    async fn measured(&self) -> (usize, String) {
        let log = self.server.log();
        let (_, address) = log.split_once("metrics backend: prometheus on ").unwrap();
        let address = address.split_whitespace().next().unwrap().trim_matches('"');
        let page = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        let page = page.text().await.unwrap();
        let runs: Vec<&str> =
            page.lines().filter(|line| line.starts_with("ratify_plugin_info{")).collect();
        let signer = "signer=\"notation CN=release,O=Plugins,ST=WA,C=US\"";
        assert!(runs.iter().all(|line| line.contains(signer)), "{runs:?}");
        let denied = "ratify_plugin_loads_total{outcome=\"denied\"} ";
        let denied = page.lines().find_map(|line| line.strip_prefix(denied));
        (runs.len(), denied.unwrap_or_default().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_revoked_ends_what_a_file_names_until_it_is_good_again() {
    let scene = Scene::start("enforce").await;
    let (of, program) = (&scene.of, sample());
    // It is asked about again and again, and nothing of the program is fetched.
    of.registry.forget_requests();
    scene.until_asked(2).await;
    let program = std::fs::metadata(program).unwrap().len();
    let asked = of.registry.requests();
    let of_plugin = |path: &str| path.contains("/plugins/sample/");
    assert!(asked.iter().any(|asked| asked.path.contains("/plugins/sample/referrers/")));
    let blobs =
        asked.iter().filter(|asked| of_plugin(&asked.path) && asked.path.contains("/blobs/"));
    let blobs: Vec<_> = blobs.map(|asked| asked.path.clone()).collect();
    for blob in &blobs {
        let (_, digest) = blob.rsplit_once('/').unwrap();
        let file = of.place.home.plugins().join(".store").join(digest.replace(':', "/"));
        assert!(!file.exists(), "a program of {program} bytes is fetched: {blobs:?}");
    }
    assert_eq!(scene.measured().await, (1, "0".to_owned()));

    // That nobody answers ends nothing for as long as the last list counts.
    of.answer(&Fate::Cut);
    scene
        .until_said("the verifier sample-1 runs on, though it was not found out who signed it")
        .await;
    scene.decides(true, "").await;

    of.answer(&Fate::Pass);
    of.revoke(true);
    scene.decides(false, "is revoked").await;
    scene.decides(false, "is not in force").await;
    scene.until_said("the verifier sample-1 is out of force: ").await;
    assert_eq!(scene.measured().await, (0, "1".to_owned()));

    // Nothing but an answer brings it back.
    of.answer(&Fate::Cut);
    scene.until_asked(2).await;
    scene.decides(false, "is revoked").await;
    of.answer(&Fate::Pass);
    of.revoke(false);
    scene.decides(true, "").await;
    scene.until_said("the verifier sample-1 is in force again").await;
    assert_eq!(scene.measured().await, (1, "1".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_names_no_source_runs_nothing_that_was_brought_for_another_entry_and_is_revoked() {
    let scene = Scene::start_with("enforce", |verifiers| {
        verifiers[0]["artifactTypes"] = json!("application/vnd.example.other");
        verifiers.push(json!({"name": "borrower", "type": "sample", "artifactTypes": "*"}));
    });
    let scene = scene.await;
    scene.decides(true, "\"verifierName\":\"borrower\"").await;
    scene.of.revoke(true);
    scene.decides(false, "was installed for a resource that is not in force").await;
    scene.of.revoke(false);
    scene.decides(true, "\"verifierName\":\"borrower\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_out_of_the_file_ends_what_it_signed_and_a_registry_that_is_away_nothing()
 {
    let mut scene = Scene::start("enforce").await;
    scene.of.notary.issue("other", |_| ());
    let place = &scene.of.place;
    place.home.configure(&signed(place, &scene.of.policy("enforce", "other")));
    scene.decides(false, "is not in force").await;
    scene.until_said("no updates loaded").await;
    place.home.configure(&signed(place, &scene.of.policy("enforce", "release")));
    scene.decides(true, "").await;

    let Scene { server, of } = scene;
    let Revocable { registry, .. } = of;
    registry.shutdown().await;
    let runs_on = "the verifier sample-1 runs on, though it was not found out who signed it";
    for look in 0.. {
        if server.log().contains(runs_on) {
            break;
        }
        assert!(look < LOOKS, "{}", server.log());
        tokio::time::sleep(LOOK).await;
    }
}
