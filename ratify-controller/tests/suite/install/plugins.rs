//! What is accepted, and what is asked of a registry for it.

use ratify_controller::plugin::install::Outcome;

use super::*;

/// Digests, ports and paths differ from run to run.
fn settings(fixture: &Fixture) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&regex_escape(&fixture.directory().display().to_string()), "<plugins>");
    settings.add_filter(&regex_escape(&fixture.registry.host()), "<registry>");
    settings.add_filter("sha256:[0-9a-f]{64}", "<digest>");
    settings.add_filter("sha256/[0-9a-f]{64}", "sha256/<hex>");
    settings.add_filter("documents/[0-9a-f]{64}", "documents/<hex>");
    settings.add_filter("[0-9-]{10}T[0-9:]{8}Z", "<time>");
    settings
}

fn regex_escape(text: &str) -> String {
    text.replace('.', "\\.")
}

#[tokio::test]
async fn v1s_layout_is_installed_and_said_in_v1s_words() {
    let fixture = Fixture::new().await;
    let program = program("v1");
    fixture.push_as_v1("1", &program);
    let log = Log::start();
    let installed = fixture.install(&fixture.by_tag("1")).await.unwrap();
    assert!(matches!(installed.outcome, Outcome::Downloaded));
    let view = fixture.directory().join("sample");
    assert_eq!((fs::read(&view).unwrap(), mode(&view)), (program.clone(), 0o500));
    assert_eq!(installed.plugin.digest(), &sha256(&program));
    settings(&fixture).bind(|| {
        insta::assert_snapshot!(log.lines(), @"
        DEBUG Resolved plugin manifest: application/vnd.oci.image.manifest.v1+json <digest> 450
        DEBUG Downloading blob <digest>
        DEBUG writing plugin bytes to <plugins>/sample
        DEBUG marking <plugins>/sample as executable
        INFO the load of sample is on record as <digest>
        INFO downloaded verifier plugin sample from <registry>/plugins/sample:1 to <plugins>/sample
        ");
        insta::assert_snapshot!(fixture.files().join("\n"), @"
        .store/documents/<hex>
        .store/loads/loads.jsonl
        .store/sha256/<hex>
        .store/sources/verifier-sample.json
        sample
        ");
    });
}

#[tokio::test]
async fn our_index_is_followed_to_this_platform_and_recorded() {
    let fixture = Fixture::new().await;
    let program = program("ours");
    let pushed = fixture.push_as_ours("1.0.0", &program).await;
    let installed = fixture.install(&fixture.by_tag("1.0.0")).await.unwrap();
    let record = installed.plugin.record();
    assert_eq!(
        (&record.root.digest, &record.manifest),
        (&pushed.index, &pushed.manifests[0].digest)
    );
    assert_eq!(
        (record.version.as_deref(), &record.protocols[..]),
        (Some("1.0.0"), &["exec".to_owned()][..])
    );
    assert_eq!(fs::read(installed.plugin.path()).unwrap(), program);
    settings(&fixture).bind(|| {
        insta::assert_snapshot!(serde_json::to_string_pretty(record).unwrap().replace(&record.platform, "<platform>"), @r#"
        {
          "name": "sample",
          "kind": "verifier",
          "type": "sample",
          "artifact": "<registry>/plugins/sample:1.0.0",
          "root": {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": "<digest>",
            "size": 490
          },
          "manifest": "<digest>",
          "digest": "<digest>",
          "size": 124,
          "mediaType": "application/vnd.ratify.plugin.layer.v1+binary",
          "platform": "<platform>",
          "version": "1.0.0",
          "protocols": [
            "exec"
          ],
          "documents": [
            "<digest>",
            "<digest>",
            "<digest>"
          ],
          "installedAt": "<time>"
        }
        "#);
    });
}

#[tokio::test]
async fn each_platforms_manifest_has_a_tag_of_its_own_for_v1() {
    let fixture = Fixture::new().await;
    let program = program("ours");
    let pushed = fixture.push_as_ours("1.0.0", &program).await;
    let tag = format!(
        "1.0.0-{}",
        this_platform()
            .architecture
            .replace("amd64", "linux-amd64")
            .replace("arm64", "linux-arm64")
    );
    let (descriptor, bytes) = fixture.registry.manifest(REPOSITORY, &tag).unwrap();
    assert_eq!(descriptor.digest, pushed.manifests[0].digest);
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(document["layers"].as_array().unwrap().len(), 1, "v1 takes the first layer");
    let installed = fixture.install(&fixture.by_tag(&tag)).await.unwrap();
    assert_eq!(fs::read(installed.plugin.path()).unwrap(), program);
}

#[tokio::test]
async fn an_oci_artifact_manifest_is_installed() {
    let fixture = Fixture::new().await;
    let program = program("artifact");
    let blob = fixture.blob("application/octet-stream", &program);
    fixture.manifest(
        "1",
        media_type::OCI_ARTIFACT,
        &json!({
            "mediaType": media_type::OCI_ARTIFACT, "artifactType": "a/b", "blobs": [blob],
        }),
    );
    let installed = fixture.install(&fixture.by_tag("1")).await.unwrap();
    assert_eq!(installed.plugin.digest(), &sha256(&program));
}

#[tokio::test]
async fn what_is_known_is_not_fetched_again() {
    let fixture = Fixture::new().await;
    let pushed = fixture.push_as_ours("1", &program("a")).await;
    fixture.install(&fixture.by_tag("1")).await.unwrap();
    fixture.registry.forget_requests();
    let again = fixture.install(&fixture.by_tag("1")).await.unwrap();
    assert!(matches!(again.outcome, Outcome::AlreadyPresent));
    let resolves: Vec<String> = fixture
        .requests()
        .into_iter()
        .filter(|line| line.contains("manifests") || line.contains("blobs"))
        .collect();
    assert_eq!(resolves, ["HEAD manifests/1"]);
    fixture.registry.forget_requests();
    let pinned = fixture.install(&fixture.by_digest(&pushed.index)).await.unwrap();
    assert!(matches!(pinned.outcome, Outcome::AlreadyPresent));
    assert_eq!(fixture.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_tag_starts_with_the_registry_down_and_says_since_when_it_is_there() {
    let fixture = Fixture::new().await;
    let program = program("a");
    fixture.push_as_v1("1", &program);
    let artifact = fixture.by_tag("1");
    fixture.install(&artifact).await.unwrap();
    let directory = fixture.directory();
    fixture.registry.shutdown().await;
    let log = Log::start();
    let kept = install_into(&directory, &artifact).await.unwrap();
    assert!(matches!(kept.outcome, Outcome::KeptLastGood(_)));
    assert_eq!(fs::read(kept.plugin.open_for_run().unwrap().path).unwrap(), program);
    let lines = log.lines();
    assert!(
        lines.contains("WARN verifier plugin sample is kept as it was installed at "),
        "{lines}"
    );
    assert!(lines.contains("DOWNLOAD_PLUGIN_FAILURE: "), "{lines}");
}

#[tokio::test]
async fn the_last_good_one_of_another_reference_is_not_taken() {
    let fixture = Fixture::new().await;
    fixture.push_as_v1("1", &program("a"));
    fixture.install(&fixture.by_tag("1")).await.unwrap();
    let error = fixture.install(&fixture.by_tag("2")).await.unwrap_err().to_string();
    let host = fixture.registry.host();
    assert_eq!(
        error,
        format!(
            "DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: {host}/plugins/sample:2: not found"
        )
    );
}

#[tokio::test]
async fn a_moved_tag_is_followed_and_a_bad_one_is_not() {
    let fixture = Fixture::new().await;
    fixture.push_as_v1("1", &program("a"));
    let first = fixture.install(&fixture.by_tag("1")).await.unwrap();
    fixture.push_as_v1("1", &program("b"));
    let second = fixture.install(&fixture.by_tag("1")).await.unwrap();
    assert_eq!(second.plugin.digest(), &sha256(&program("b")));
    assert_eq!(fs::read(first.plugin.open_for_run().unwrap().path).unwrap(), program("a"));
    for bad in [&b"\x1f\x8b\x08\x00 an image's layer"[..], b"<html>", b"x"] {
        fixture.push_as_v1("1", bad);
        let kept = fixture.install(&fixture.by_tag("1")).await.unwrap();
        let Outcome::KeptLastGood(cause) = kept.outcome else { panic!("it must be refused") };
        assert!(cause.to_string().contains("the file is refused: no program"), "{cause}");
        assert_eq!(kept.plugin.digest(), &sha256(&program("b")));
    }
}

#[tokio::test]
async fn a_program_of_another_processor_is_refused_before_it_has_a_name() {
    let fixture = Fixture::new().await;
    let other = if this_platform().architecture == "arm64" { "amd64" } else { "arm64" };
    fixture.push_as_v1("1", &program_for(other, "x"));
    let error = fixture.install(&fixture.by_tag("1")).await.unwrap_err().to_string();
    assert!(error.contains("the file is refused: built for "), "{error}");
    assert!(!fixture.files().iter().any(|name| name.contains("sha256/")), "{:?}", fixture.files());
}

#[tokio::test]
async fn references_and_names_that_are_none_are_refused_without_a_request() {
    let fixture = Fixture::new().await;
    let host = fixture.registry.host();
    let cases = [
        "",
        "sample",
        &format!("{host}/plugins/sample"),
        &format!("{host}/a b:1"),
        "\u{1b}[31m/x:1",
    ];
    for artifact in cases {
        let error = fixture.install(artifact).await.unwrap_err().to_string();
        assert!(error.starts_with("DOWNLOAD_PLUGIN_FAILURE: "), "{artifact:?}: {error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
    for type_ in ["", ".", "..", ".store", "a/b", "a\0b"] {
        let source = source(&fixture.by_tag("1"));
        let directory = fixture.directory();
        let request = InstallRequest {
            kind: Kind::Store,
            name: "n",
            type_,
            source: &source,
            directory: &directory,
            pin: None,
            ran: None,
        };
        let options = InstallOptions::default();
        let result =
            install(&request, &options, &|_| client().map(Into::into), &mut |_, _| {}).await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains("the plugin type"), "{type_:?}: {error}");
    }
    assert_eq!(fixture.registry.connections(), 0);
    assert_eq!(fixture.files(), Vec::<String>::new());
}

#[tokio::test]
async fn progress_is_told_up_to_the_whole_size() {
    let fixture = Fixture::new().await;
    let program = program(&"x".repeat(300_000));
    fixture.push_as_v1("1", &program);
    let (source, directory) = (source(&fixture.by_tag("1")), fixture.directory());
    let request = InstallRequest {
        kind: Kind::Verifier,
        name: "sample",
        type_: "sample",
        source: &source,
        directory: &directory,
        pin: None,
        ran: None,
    };
    let mut told = Vec::new();
    let mut progress = |received, total| told.push((received, total));
    install(&request, &InstallOptions::default(), &|_| client().map(Into::into), &mut progress)
        .await
        .unwrap();
    let size = program.len() as u64;
    assert_eq!(told.last(), Some(&(size, size)));
    assert!(told.is_sorted());
}

#[tokio::test]
async fn many_at_once_in_one_directory_all_have_it() {
    let fixture = Fixture::new().await;
    let program = program(&"x".repeat(2_000_000));
    fixture.push_as_v1("1", &program);
    let artifact = fixture.by_tag("1");
    let installs = (0..8).map(|_| fixture.install(&artifact));
    for installed in futures_util::future::join_all(installs).await {
        let run = installed.unwrap().plugin.open_for_run().unwrap();
        assert_eq!(sha256(&fs::read(run.path).unwrap()), sha256(&program));
    }
    assert!(
        !fixture.files().iter().any(|name| name.contains(".incoming")),
        "{:?}",
        fixture.files()
    );
}

#[tokio::test]
async fn a_rewritten_file_is_refused_and_the_next_installation_mends_it() {
    let fixture = Fixture::new().await;
    let program = program("a");
    let manifest = fixture.push_as_v1("1", &program);
    let installed = fixture.install(&fixture.by_digest(&manifest.digest)).await.unwrap();
    let path = installed.plugin.path();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(path, b"poison").unwrap();
    let error = installed.plugin.open_for_run().unwrap_err().to_string();
    assert!(error.contains("was changed since it was installed"), "{error}");
    let mended = fixture.install(&fixture.by_digest(&manifest.digest)).await.unwrap();
    assert!(matches!(mended.outcome, Outcome::Downloaded));
    assert_eq!(fs::read(path).unwrap(), program);
    installed.plugin.open_for_run().unwrap();
}
