//! Exec verifiers as the executor sees them: what a plugin is told, and what is made of what it
//! says, whatever it says.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use bytes::Bytes;
use ratify_controller::plugin::{
    exec::Program,
    inventory::{Inventory, Record},
    verifier::ExecVerifier,
};
use ratify_core::{
    Algorithm, Binding, BoxFuture, Context, Descriptor, ErrorCode, Host, Manifest, Reference,
    Referrer, Request, Result, StoreConfig, Verifier, VerifierReport, config::VerifierPluginConfig,
    media_type,
};
use ratify_store_oras::digest_of;
use serde_json::{Map, Value, json};

use super::{in_ms, runner, script, watch_log};

/// A plugin directory and a runtime directory.
struct Place {
    plugins: tempfile::TempDir,
    runtime: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { plugins: tempfile::tempdir().unwrap(), runtime: tempfile::tempdir().unwrap() }
    }

    fn with(body: &str) -> Self {
        let place = Self::new();
        script(place.plugins.path(), "p", body);
        place
    }

    /// A verifier of type `p` with more keys in its entry.
    fn verifier(&self, more: Value) -> ExecVerifier {
        let dirs = vec![self.plugins.path().to_owned()];
        self.running(Program::Search { name: "p".into(), dirs }, more)
    }

    fn running(&self, program: Program, more: Value) -> ExecVerifier {
        let mut entry = object(json!({"name": "configured", "type": "p"}));
        entry.extend(object(more));
        let config = VerifierPluginConfig::from_entry(&entry, "1.0.0").unwrap();
        ExecVerifier::new(config, program, runner(), self.runtime.path().to_owned())
    }

    async fn judge(&self) -> VerifierReport {
        self.verifier(json!({})).verify(&request(None)).await.unwrap()
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.plugins.path().join(name)).unwrap()
    }

    /// Texts without what differs from run to run.
    fn plain(&self, text: &str) -> String {
        text.replace(self.plugins.path().to_str().unwrap(), "PLUGINS")
    }
}

/// An exec verifier reads nothing itself.
pub(super) struct NoHost;

impl Host for NoHost {
    fn manifest<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Manifest>> {
        nothing()
    }

    fn blob<'a>(&'a self, _: &'a Reference, _: &'a Descriptor) -> BoxFuture<'a, Result<Bytes>> {
        nothing()
    }
}

fn nothing<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T>> {
    Box::pin(async { Err(ErrorCode::Unknown.detail("an exec verifier reads nothing itself")) })
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(super) fn request(bin_dirs: Option<Vec<String>>) -> Request {
    let digest = digest_of(Algorithm::Sha256, b"artifact");
    let artifact = Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), 8);
    let referrer = Referrer::new(artifact.with_artifact_type("a/b"), Binding::Manifest);
    let entry = object(json!({"name": "oras", "useHttp": true, "localCachePath": "/shared"}));
    let store = StoreConfig::new("1.0.0", bin_dirs, entry);
    let subject = Reference::parse("registry.example.com/app:v1").unwrap().with_digest(digest);
    asked(subject, Arc::new(referrer), store)
}

/// What an exec verifier is asked: its process finds out for itself what the subject is.
pub(super) fn asked(subject: Reference, referrer: Arc<Referrer>, store: StoreConfig) -> Request {
    let digest = subject.digest().unwrap().clone();
    let resolved = Arc::new(Descriptor::new(media_type::OCI_MANIFEST, digest, 8));
    Request::new(subject, resolved, referrer, Context::default(), store, Arc::new(NoHost))
}

#[tokio::test]
async fn a_plugin_is_told_what_v1_tells_it_and_the_digest() {
    let place = Place::with(
        "cat > ${0%/*}/in; env | grep ^RATIFY_ | grep -v CALL= | sort > ${0%/*}/env; pwd > ${0%/*}/pwd; echo $# >> ${0%/*}/pwd; echo '{\"isSuccess\":true}'",
    );
    let more = json!({"artifactTypes": "a/b,c", "nestedReferences": "x", "limit": 1000.0, "big": 9_007_199_254_740_993_u64, "html": "<&>"});
    let report = place.verifier(more).verify(&request(Some(vec!["/opt/p".into()]))).await.unwrap();
    assert!(report.is_success);
    insta::assert_snapshot!(place.file("in"), @r#"{"config":{"artifactTypes":"a/b,c","big":9007199254740993,"html":"\u003c\u0026\u003e","limit":1000,"name":"configured","nestedReferences":"x","type":"p"},"storeConfig":{"version":"1.0.0","pluginBinDirs":["/opt/p"],"store":{"localCachePath":"/shared","name":"oras","useHttp":true}},"referenceDesc":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:c7c5c1d70c5dec4416ab6158afd0b223ef40c29b1dc1f97ed9428b94d4cadb1c","size":8,"artifactType":"a/b"}}"#);
    insta::assert_snapshot!(place.file("env"), @r"
    RATIFY_VERIFIER_COMMAND=VERIFY
    RATIFY_VERIFIER_SUBJECT=registry.example.com/app:v1
    RATIFY_VERIFIER_SUBJECT_DIGEST=sha256:c7c5c1d70c5dec4416ab6158afd0b223ef40c29b1dc1f97ed9428b94d4cadb1c
    RATIFY_VERIFIER_VERSION=1.0.0
    ");
    let own = std::env::current_dir().unwrap();
    assert_eq!(place.file("pwd"), format!("{}\n0\n", own.display()));
}

#[tokio::test]
async fn the_built_in_stores_cache_is_private_to_each_call_and_gone_after_it() {
    let place = Place::with(
        r#"cache=$(sed 's/.*"localCachePath":"\([^"]*\)".*/\1/'); touch $cache/blob; stat -c '%a %n' $cache >> ${0%/*}/seen; echo '{"isSuccess":true}'"#,
    );
    for _ in 0..2 {
        assert!(place.judge().await.is_success);
    }
    let seen = place.file("seen");
    let caches: Vec<_> = seen.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(caches.len(), 2);
    assert!(caches.iter().all(|(mode, _)| *mode == "700"), "{caches:?}");
    assert!(
        caches.iter().all(|(_, path)| path.starts_with(place.runtime.path().to_str().unwrap()))
    );
    assert_ne!(caches[0].1, caches[1].1);
    assert_eq!(fs::read_dir(place.runtime.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn without_a_place_for_its_cache_a_plugin_is_not_run() {
    let mut place = Place::with("touch ${0%/*}/ran; echo '{\"isSuccess\":true}'");
    place.runtime = tempfile::tempdir().unwrap();
    fs::remove_dir(place.runtime.path()).unwrap();
    let error = place.verifier(json!({})).verify(&request(None)).await.unwrap_err();
    assert!(
        error.to_string().starts_with(
            "VERIFY_PLUGIN_FAILURE: failed to create a directory for the plugin's cache: "
        ),
        "{error}"
    );
    assert!(!place.plugins.path().join("ran").exists());
}

/// T7.
#[tokio::test]
async fn a_plugin_cannot_pass_for_another_verifier() {
    let place = Place::with(
        r#"echo '{"isSuccess":true,"name":"notation","verifierName":"notation","type":"notation","verifierType":"notation","message":"m","errorReason":"kept","remediation":"kept too","extensions":{"a":1}}'"#,
    );
    let report = serde_json::to_string(&place.judge().await).unwrap();
    insta::assert_snapshot!(report, @r#"{"isSuccess":true,"name":"configured","verifierName":"configured","type":"p","verifierType":"p","message":"m","errorReason":"kept","remediation":"kept too","extensions":{"a":1}}"#);
}

#[tokio::test]
async fn a_plugins_error_reaches_the_report() {
    let place = Place::with(
        r#"echo 'INFO: about to fail' >&2; printf '{\n    "code": 8,\n    "msg": "plugin command VERIFY failed",\n    "details": "no such blob"\n}'; exit 1"#,
    );
    let report = serde_json::to_string(&place.judge().await).unwrap();
    insta::assert_snapshot!(report, @r#"{"isSuccess":false,"name":"configured","verifierName":"configured","type":"p","verifierType":"p","errorReason":"plugin failed with error: 'exit status 1', msg from stError 'INFO: about to fail', msg from stdOut '{ \"code\": 8, \"msg\": \"plugin command VERIFY failed\", \"details\": \"no such blob\" }'","extensions":{"pluginError":{"code":8,"details":"no such blob","msg":"plugin command VERIFY failed"}}}"#);
}

#[tokio::test]
async fn whatever_goes_wrong_is_a_failed_report_that_says_what() {
    let cases = [
        (
            "true",
            "unexpected end of JSON input: the plugin printed no JSON object on a line of its own",
        ),
        (
            "kill -9 $$",
            "plugin failed with error: 'signal: killed', msg from stError '', msg from stdOut ''",
        ),
        (
            "echo '{\"isSuccess\":true}'; exit 2",
            "plugin failed with error: 'exit status 2', msg from stError '', msg from stdOut '{\"isSuccess\":true}'",
        ),
        (
            "echo '{\"isSuccess\":true}'; echo '{\"isSuccess\":true}'",
            "the plugin printed 2 JSON objects where one answer is expected",
        ),
        (
            "exec yes '{\"isSuccess\":true}'",
            "signal: killed: it wrote more than 8388608 bytes to standard output, and the plugin was ended with all its processes",
        ),
    ];
    for (body, reason) in cases {
        let report = Place::with(body).judge().await;
        assert!(!report.is_success, "{body}");
        assert!(report.error_reason.contains(reason), "{body}: {}", report.error_reason);
        assert_eq!(report.name, "configured");
        assert!(report.error_reason.len() <= 16 * 1024);
    }
}

#[tokio::test]
async fn a_late_plugin_is_a_failed_report() {
    let place = Place::with("echo '{\"isSuccess\":true}'; sleep 60");
    let mut request = request(None);
    request.context.give_up_at = in_ms(200);
    let report = place.verifier(json!({})).verify(&request).await.unwrap();
    assert!(!report.is_success);
    insta::assert_snapshot!(report.error_reason, @r#"plugin failed with error: 'signal: killed: the deadline passed, and the plugin was ended with all its processes', msg from stError '', msg from stdOut '{"isSuccess":true}'"#);
}

#[tokio::test]
async fn a_missing_plugin_and_one_that_cannot_be_executed_say_so() {
    let place = Place::new();
    let missing = place.verifier(json!({})).verify(&request(None)).await.unwrap_err();
    insta::assert_snapshot!(place.plain(&missing.to_string()), @r#"PLUGIN_NOT_FOUND: failed to find plugin "p" in paths [PLUGINS]"#);
    let plugin = script(place.plugins.path(), "p", "true");
    fs::set_permissions(plugin, fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(place.plain(&place.judge().await.error_reason), @"plugin failed with error: 'fork/exec PLUGINS/p: permission denied: the file is not executable (mode 0644): set its executable bit, chmod a+x', msg from stError '', msg from stdOut ''");
}

#[tokio::test]
async fn the_environment_is_the_hosts_or_minimal() {
    let place = Place::with(
        "env | grep -v -e ^PWD= -e ^_= | sort > ${0%/*}/env; echo '{\"isSuccess\":true}'",
    );
    let judge = async |more| place.verifier(more).verify(&request(None)).await.unwrap();
    judge(json!({})).await;
    assert!(place.file("env").contains("AWS_SECRET=secret\n"));
    judge(json!({"pluginEnv": "minimal"})).await;
    insta::assert_snapshot!(place.file("env"), @r"
    HOME=/h
    PATH=/usr/bin:/bin
    RATIFY_VERIFIER_COMMAND=VERIFY
    RATIFY_VERIFIER_SUBJECT=registry.example.com/app:v1
    RATIFY_VERIFIER_SUBJECT_DIGEST=sha256:c7c5c1d70c5dec4416ab6158afd0b223ef40c29b1dc1f97ed9428b94d4cadb1c
    RATIFY_VERIFIER_VERSION=1.0.0
    ");
}

#[test]
fn artifact_types_are_matched_as_v1_does() {
    let place = Place::new();
    assert!(place.verifier(json!({})).can_verify("anything"));
    let some = place.verifier(json!({"artifactTypes": "a/b,c"}));
    assert!(some.can_verify("a/b") && some.can_verify("c") && !some.can_verify("d"));
    assert!(place.verifier(json!({"nestedReferences": ""})).verifies_nested());
}

/// T9.
#[tokio::test]
async fn what_a_plugin_prints_is_no_weapon() {
    let (log, _guard) = watch_log();
    let place = Place::with(
        r#"printf 'WARN: \033[2J\033]0;title\007 ok\rtime="x" level=fatal msg="host down"\nDEBUG: quiet\nplain \342\200\256 text\n' >&2
           printf '{"isSuccess":false,"message":"a\\u001b[31m\\nb","errorReason":"\\u202e","remediation":"\\r"}\nINFO: after\n'"#,
    );
    let report = place.judge().await;
    let texts = [&report.message, &report.error_reason, &report.remediation];
    assert_eq!(texts, ["a\u{fffd}[31m b", "\u{fffd}", ""]);
    let log: Vec<String> =
        log.lock().unwrap().iter().filter(|line| line.contains("[Plugin]")).cloned().collect();
    insta::assert_snapshot!(log.join("\n"), @r#"
    WARN [Plugin] �[2J�]0;title� ok�time="x" level=fatal msg="host down"
    DEBUG [Plugin] quiet
    INFO [Plugin] plain � text
    INFO [Plugin] after
    "#);
    let failing = Place::with(r"printf '\033[2J\nDENIED: \007' >&2; printf '\033[1A'; exit 1");
    let report = failing.judge().await;
    insta::assert_snapshot!(report.error_reason, @"plugin failed with error: 'exit status 1', msg from stError '�[2J DENIED: �', msg from stdOut '�[1A'");
}

/// T5.
#[tokio::test]
async fn an_installed_file_that_was_swapped_is_not_run() {
    let place = Place::new();
    let good = b"#!/bin/sh\necho '{\"isSuccess\":true,\"message\":\"'$0'\"}'\n";
    let inventory = Inventory::of(place.plugins.path().join("installed"));
    let installed = Arc::new(install(&inventory, good).await);
    let verifier = place.running(Program::Installed(Arc::clone(&installed)), json!({}));
    assert!(verifier.verify(&request(None)).await.unwrap().is_success);
    replace(installed.path(), b"#!/bin/sh\necho '{\"isSuccess\":true}'\n");
    let error = verifier.verify(&request(None)).await.unwrap_err().to_string();
    assert!(error.starts_with("VERIFY_PLUGIN_FAILURE: "), "{error}");
    assert!(error.contains("was changed since it was installed"), "{error}");
    replace(installed.path(), good);
    assert!(verifier.verify(&request(None)).await.unwrap().is_success);
}

pub(super) async fn install(
    inventory: &Inventory,
    bytes: &[u8],
) -> ratify_controller::plugin::inventory::InstalledPlugin {
    let (root, digest) = (digest_of(Algorithm::Sha256, b"m"), digest_of(Algorithm::Sha256, bytes));
    let record: Record = serde_json::from_value(json!({
        "name": "configured", "kind": "verifier", "type": "p", "artifact": "example.com/p:1",
        "root": Descriptor::new(media_type::OCI_MANIFEST, root.clone(), 1), "manifest": root,
        "digest": digest, "size": bytes.len(), "mediaType": "m", "platform": "linux/amd64",
        "installedAt": "2026-01-01T00:00:00Z",
    }))
    .unwrap();
    inventory.prepare("sha256").unwrap();
    let draft = inventory.draft(&digest).unwrap();
    std::io::Write::write_all(&mut draft.writer().unwrap(), bytes).unwrap();
    inventory.adopt(&record, draft.close().unwrap()).unwrap()
}

/// As a process of the same user would: another file in its place.
fn replace(path: &Path, bytes: &[u8]) {
    let other = path.with_extension("other");
    fs::write(&other, bytes).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o500)).unwrap();
    fs::rename(other, path).unwrap();
}
