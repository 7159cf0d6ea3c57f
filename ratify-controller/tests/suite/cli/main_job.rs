//! The main job on the embedded registry, in clear, over TLS and with a password: a plugin is
//! pushed, named by tag and by digest, pulled, proven, run, and decides about an image.

use std::path::Path;

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{Home, STATEMENT, Server, config, sample, skipped, sourced, this_platform, verifier};
use crate::parity::machines::NAME;

/// A registry, and a home that can reach it.
pub(super) struct Place {
    pub(super) home: Home,
    pub(super) registry: String,
    pub(super) is_tls: bool,
}

impl Place {
    /// Pushes the sample plugin and an image with a statement, with our own commands; the digest of
    /// the plugin is returned.
    pub(super) async fn fill(&self) -> String {
        let file = self.home.write("statement.json", r#"{"says":"built here"}"#);
        let image = format!("{}/app:v1", self.registry);
        let attach = format!("{STATEMENT}={}", file.display());
        self.home.must(&["dev", "image", &image, "--attach", &attach]).await;
        let plugin = self.plugin(":1.0.0");
        let program = format!("{}={}", this_platform(), sample().display());
        let push = ["plugin", "push", &plugin, "--type", "sample", "--version", "1.0.0"];
        let said = self.home.must(&[&push[..], &["--platform", &program]].concat()).await;
        let digest = said.lines().next().unwrap().rsplit(' ').next().unwrap();
        assert!(digest.starts_with("sha256:"), "{said}");
        digest.to_owned()
    }

    /// Trusts an authority, and speaks to its registry by name. False, said loudly, where that
    /// cannot be done.
    pub(super) async fn trust(&mut self, authority: &Path) -> bool {
        self.home.set("SSL_CERT_FILE", authority.display().to_string());
        self.registry = self.registry.replace("127.0.0.1", NAME);
        let named = self.home.know_by_name().await;
        named.inspect_err(|why| skipped("a registry over TLS", why)).is_ok()
    }

    pub(super) fn plugin(&self, tag_or_digest: &str) -> String {
        format!("{}/plugins/sample{tag_or_digest}", self.registry)
    }

    pub(super) fn image(&self) -> String {
        format!("{}/app:v1", self.registry)
    }

    /// The sample from an artifact judges everything.
    pub(super) fn configure(&self, artifact: &str) {
        let mut config = config(&sourced("sample", artifact));
        config["store"]["plugins"][0]["useHttp"] = json!(!self.is_tls);
        self.home.configure(&config);
    }

    /// Named by tag, by digest, and by the tag that v1 needs, it decides; by `verify` in a fresh
    /// plugin directory each time, and by `serve`.
    pub(super) async fn every_name_decides(&self, digest: &str) {
        let platform = this_platform().replace('/', "-");
        let names = [":1.0.0".to_owned(), format!("@{digest}"), format!(":1.0.0-{platform}")];
        for name in names {
            std::fs::remove_dir_all(self.home.plugins()).unwrap();
            self.configure(&self.plugin(&name));
            let ran = self.home.verify(&self.image()).await;
            assert!(ran.is_success(), "{name}: {} {}", ran.stdout, ran.stderr);
            assert_eq!(ran.reason(), "Sample verification success", "{name}");
            let log = "downloaded verifier plugin sample from ";
            assert!(ran.stderr.contains(log), "{name}: {}", ran.stderr);
        }
        let server = Server::start(&self.home).await;
        let item = server.ask(&self.image()).await;
        assert_eq!(item["value"]["isSuccess"], true, "{item}");
        let report = &item["value"]["verifierReports"][0];
        assert_eq!(report["message"], "Sample verification success", "{item}");
        assert_eq!(report["artifactType"], STATEMENT, "{item}");
    }

    /// Installed once, by a command, it decides for an entry without a source, in a server too; and not
    /// where its bytes are others by then.
    async fn what_a_command_installed_decides(&self, digest: &str) {
        std::fs::remove_dir_all(self.home.plugins()).unwrap();
        let mut config = config(&verifier("sample"));
        config["store"]["plugins"][0]["useHttp"] = json!(!self.is_tls);
        self.home.configure(&config);
        self.home.must(&["plugin", "install", &self.plugin(&format!("@{digest}"))]).await;
        let server = Server::start(&self.home).await;
        let item = server.ask(&self.image()).await;
        assert_eq!(item["value"]["isSuccess"], true, "{item}");
        let program = self.home.plugins().join("sample").canonicalize().unwrap();
        std::fs::remove_file(&program).unwrap();
        std::fs::copy("/bin/true", &program).unwrap();
        let item = server.ask(&self.image()).await;
        assert_eq!(item["value"]["isSuccess"], false, "{item}");
        assert!(item.to_string().contains("was changed since it was installed"), "{item}");
    }
}

/// An embedded registry and a home that can reach it; over TLS by [`NAME`], and trusted. `None`,
/// said loudly, where there is no way to name it.
async fn embedded(options: RegistryOptions) -> Option<(RunningRegistry, Place)> {
    let is_tls = options.tls;
    let host_names = vec![NAME.to_owned()];
    let registry = RunningRegistry::start(RegistryOptions { host_names, ..options }).await.unwrap();
    let mut place = Place { home: Home::new(), registry: registry.host(), is_tls };
    place.home.allow_sources();
    if is_tls {
        let ca = place.home.path().join("ca.pem");
        registry.write_ca(&ca).unwrap();
        place.trust(&ca).await.then_some(())?;
    }
    Some((registry, place))
}

fn plain() -> RegistryOptions {
    RegistryOptions::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_clear_and_over_tls_with_and_without_the_referrers_api() {
    for (tls, referrers_api) in [(false, true), (true, true), (false, false)] {
        let options = RegistryOptions { tls, referrers_api, ..plain() };
        let Some((_registry, place)) = embedded(options).await else { return };
        let digest = place.fill().await;
        place.every_name_decides(&digest).await;
        place.what_a_command_installed_decides(&digest).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_to_registries_are_counted_in_the_result_where_somebody_asks() {
    let Some((registry, place)) = embedded(plain()).await else { return };
    place.fill().await;
    place.configure(&place.plugin(":1.0.0"));
    let image = place.image();
    let said = place.home.must(&["verify", "-s", &image]).await;
    assert!(!said.contains("registryRequests"), "{said}");
    registry.forget_requests();
    let said = place.home.must(&["verify", "-s", &image, "--count-requests"]).await;
    let result: Value = serde_json::from_str(&said).unwrap();
    // The digest of the plugin's tag is asked for when the configuration is read, not for this image.
    let of_image = registry.requests().into_iter().filter(|one| one.path.contains("/app/"));
    let expected = json!({place.registry: of_image.count()});
    assert_eq!(result["registryRequests"], expected, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_authority_that_is_not_trusted_is_an_error_for_plugins_and_images() {
    let options = RegistryOptions { tls: true, ..plain() };
    let Some((_registry, mut place)) = embedded(options).await else { return };
    place.fill().await;
    place.configure(&place.plugin(":1.0.0"));
    assert!(place.home.verify(&place.image()).await.is_success());
    place.home.variables.retain(|(name, _)| name != "SSL_CERT_FILE");
    let image = place.home.run(&["resolve", "-s", &place.image()]).await;
    assert_eq!(image.code, Some(1));
    assert!(image.stderr.contains("invalid peer certificate: UnknownIssuer"), "{}", image.stderr);
    std::fs::remove_dir_all(place.home.plugins()).unwrap();
    let plugin = place.home.verify(&place.image()).await;
    assert_eq!(plugin.code, Some(1));
    assert!(plugin.error().starts_with("Error: DOWNLOAD_PLUGIN_FAILURE: "), "{}", plugin.error());
    assert!(plugin.error().ends_with("invalid peer certificate: UnknownIssuer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_dockers_configuration_opens_the_registry_and_a_wrong_one_is_not_shown() {
    let credentials = Some(("user".to_owned(), "correct-horse".to_owned()));
    let options = RegistryOptions { credentials, ..plain() };
    let Some((_registry, place)) = embedded(options).await else { return };
    place.home.log_in(&place.registry, "user", "correct-horse");
    let digest = place.fill().await;
    place.every_name_decides(&digest).await;
    std::fs::remove_dir_all(place.home.plugins()).unwrap();
    place.home.log_in(&place.registry, "user", "battery-staple");
    let ran = place.home.verify(&place.image()).await;
    assert_eq!(ran.code, Some(1));
    let error = ran.error();
    assert!(error.contains("DOWNLOAD_PLUGIN_FAILURE") && error.contains("401"), "{error}");
    let encoded = "dXNlcjpiYXR0ZXJ5LXN0YXBsZQ";
    for secret in ["battery-staple", encoded] {
        assert!(!ran.stderr.contains(secret) && !ran.stdout.contains(secret), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_plugin_in_the_registry_there_is_no_verdict_or_the_last_good_one_judges() {
    let Some((registry, place)) = embedded(plain()).await else { return };
    place.fill().await;
    place.configure(&place.plugin(":1.0.0"));
    assert!(place.home.verify(&place.image()).await.is_success());
    let (index, _) = registry.manifest("plugins/sample", "1.0.0").unwrap();
    assert!(registry.delete_manifest("plugins/sample", &index.digest));

    let warm = place.home.verify(&place.image()).await;
    assert!(warm.is_success(), "{}", warm.stderr);
    let warnings: Vec<&str> =
        warm.stderr.lines().filter(|line| line.contains("level=warning")).collect();
    let told = warnings.iter().find(|line| line.contains("plugins/sample:1.0.0"));
    let told = told.unwrap_or_else(|| panic!("{}", warm.stderr));
    assert!(told.contains("not found"), "{told}");

    std::fs::remove_dir_all(place.home.plugins()).unwrap();
    let fresh = place.home.verify(&place.image()).await;
    insta::assert_snapshot!(fresh.shown(&place.home), @"[1] Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: 127.0.0.1:<port>/plugins/sample:1.0.0: not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_feature_flag_nothing_is_downloaded_and_v1s_words_are_said() {
    let Some((registry, mut place)) = embedded(plain()).await else { return };
    place.fill().await;
    place.configure(&place.plugin(":1.0.0"));
    for value in [None, Some("true"), Some("0")] {
        place.home.variables.clear();
        if let Some(value) = value {
            place.home.set("RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", value);
        }
        registry.forget_requests();
        let ran = place.home.verify(&place.image()).await;
        let warning = "source was specified for verifier plugin type sample, but dynamic plugins are currently disabled";
        assert!(ran.stderr.contains(warning), "{}", ran.stderr);
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.shown(&place.home), @r#"[1] Error: PLUGIN_NOT_FOUND: Verifier plugin sample not found: failed to find plugin "sample" in paths [<home>/.ratify/plugins]: Please ensure that the correct type is specified for the built-in Verifier configuration or the custom Verifier plugin is configured."#);
        }
        assert!(registry.requests().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_feature_flag_no_store_is_downloaded_either() {
    let Some((registry, place)) = embedded(plain()).await else { return };
    let mut config = config(&sourced("sample", &place.plugin(":1.0.0")));
    let store = json!({"name": "shelf", "source": {"artifact": place.plugin(":1.0.0")}});
    config["store"]["plugins"][0] = store;
    let mut home = Home::new();
    home.set("RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "yes");
    home.configure(&config);
    let ran = home.run(&["discover", "-s", &place.image()]).await;
    let warning =
        "source was specified for store plugin shelf, but dynamic plugins are currently disabled";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
    insta::assert_snapshot!(ran.shown(&home), @r#"[1] Error: PLUGIN_NOT_FOUND: plugin not found: failed to find plugin "shelf" in paths [<home>/.ratify/plugins]"#);
    assert!(registry.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_printed_is_v1s_verdict() {
    let Some((_registry, place)) = embedded(plain()).await else { return };
    place.fill().await;
    place.configure(&place.plugin(":1.0.0"));
    let verdict = place.home.verify(&place.image()).await.verdict();
    let keys: Vec<&String> = verdict.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["isSuccess", "verifierReports"]);
    let mut report = verdict["verifierReports"][0].clone();
    report["subject"] = Value::from("<subject>");
    insta::assert_snapshot!(report, @r#"{"artifactType":"application/vnd.example.statement.v1+json","isSuccess":true,"message":"Sample verification success","name":"sample-1","referenceDigest":"sha256:b610c6e90f2b46ca343b8c45fe1e08ff9f87feeed29d294ec959fdbb8a8a4117","subject":"<subject>","type":"sample","verifierName":"sample-1","verifierType":"sample"}"#);
    let image = place.image();
    let silent = place.home.must(&["verify", "-s", &image, "--silent"]).await;
    assert_eq!(silent, "");
}
