//! The commands, as a person types them, and several processes on one directory.

use std::process::{Command, Output};

use super::*;

/// A verifier that any node with a shell can run.
const SCRIPT: &[u8] = b"#!/bin/sh
cat >/dev/null
echo 'a line for the log' >&2
echo '{\"isSuccess\":true,\"message\":\"judged\"}'
";

/// `ratify plugin` with a home of its own.
fn ratify(fixture: &Fixture, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratify"));
    command.arg("plugin").args(arguments).env_clear();
    command.env("HOME", fixture.folder.path()).env("PATH", "/usr/bin:/bin");
    command
}

/// Runs to the end beside the registry, which needs this runtime.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Exit code, stdout, and the error line of stderr.
async fn said(fixture: &Fixture, arguments: &[&str]) -> String {
    let output = output(ratify(fixture, arguments)).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("Error: ")).collect();
    let (stdout, errors) = (String::from_utf8(output.stdout).unwrap(), errors.join("\n"));
    settle(fixture, &format!("[{}]\n{stdout}{errors}", output.status.code().unwrap()))
}

/// Takes out what differs from run to run.
fn settle(fixture: &Fixture, text: &str) -> String {
    let home = fixture.folder.path().display().to_string();
    let platform = format!("linux/{}", this_platform().architecture);
    let mut settled = text
        .replace(&home, "<home>")
        .replace(&fixture.registry.host(), "<registry>")
        .replace(&platform, "<platform>")
        .replace(&platform.replace('/', "-"), "<platform-tag>");
    while let Some(at) = settled.find("sha256:") {
        let hex = settled[at + 7..].bytes().take_while(u8::is_ascii_hexdigit).count();
        settled.replace_range(at..at + 7 + hex, "<digest>");
    }
    settled.trim_end().to_owned()
}

async fn push(fixture: &Fixture, tag: &str, program: &[u8], more: &[&str]) -> String {
    let file = fixture.folder.path().join("program");
    fs::write(&file, program).unwrap();
    let (reference, version) = (fixture.by_tag(tag), tag);
    let platform = format!("linux/{}={}", this_platform().architecture, file.display());
    let mut arguments = vec!["push", &reference, "--type", "sample", "--version", version];
    arguments.extend(["--platform", &platform]);
    arguments.extend(more);
    said(fixture, &arguments).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_pushed_inspected_installed_listed_and_run() {
    let fixture = Fixture::new().await;
    insta::assert_snapshot!(push(&fixture, "1.0.0", SCRIPT, &[]).await, @"
    [0]
    pushed <registry>/plugins/sample:1.0.0 <digest>
      <platform> <registry>/plugins/sample:1.0.0-<platform-tag> <digest> 100 B
    ");
    let reference = fixture.by_tag("1.0.0");
    insta::assert_snapshot!(said(&fixture, &["inspect", &reference]).await, @"
    [0]
    reference  <registry>/plugins/sample:1.0.0
    digest     <digest>
    type       application/vnd.oci.image.index.v1+json
    artifact   application/vnd.ratify.plugin.v1
    <platform>
      manifest <digest>
      file     sample 100 B <digest> application/vnd.ratify.plugin.layer.v1+binary
      plugin   verifier sample 1.0.0 (exec)
    ");
    insta::assert_snapshot!(said(&fixture, &["install", &reference]).await, @"
    [0]
    installed verifier sample 1.0.0 <platform> <digest> <home>/.ratify/plugins/sample
    ");
    insta::assert_snapshot!(said(&fixture, &["install", &reference]).await, @"
    [0]
    present verifier sample 1.0.0 <platform> <digest> <home>/.ratify/plugins/sample
    ");
    insta::assert_snapshot!(said(&fixture, &["list"]).await, @"
    [0]
    NAME    KIND      TYPE    VERSION  PLATFORM     SIZE   STATE  DIGEST                                                                   FROM
    sample  verifier  sample  1.0.0    <platform>  100 B  ok     <digest>  <registry>/plugins/sample:1.0.0
    ");
    let descriptor = serde_json::to_string(&fixture.blob("text/plain", b"x")).unwrap();
    let run = ["run", "sample", "--subject", "example.com/a:1", "--descriptor", &descriptor];
    let text = said(&fixture, &run).await;
    let (text, time) = text.rsplit_once(", ").unwrap();
    assert!(time.ends_with(" ms"), "{time}");
    let hex = fs::read_link(fixture.folder.path().join(".ratify/plugins/sample")).unwrap();
    let hex = hex.file_name().unwrap().to_str().unwrap();
    insta::assert_snapshot!(text.replace(hex, "<hex>"), @r#"
    [0]
    program: <home>/.ratify/plugins/.store/sha256/<hex>
    variables:
      RATIFY_VERIFIER_COMMAND=VERIFY
      RATIFY_VERIFIER_SUBJECT=example.com/a:1
      RATIFY_VERIFIER_VERSION=1.0.0
    request:
      {"config":{"name":"sample","type":"sample"},"storeConfig":{"version":"1.0.0","pluginBinDirs":null,"store":{"name":"oras"}},"referenceDesc":{"mediaType":"text/plain","digest":"<digest>","size":1}}
    answer:
      {"isSuccess":true,"message":"judged"}
    log:
      a line for the log
    end: exit status: 0
    "#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_says_which_file_is_not_what_was_installed() {
    let fixture = Fixture::new().await;
    insta::assert_snapshot!(said(&fixture, &["list"]).await, @"
    [0]
    no plugin is installed in <home>/.ratify/plugins: `ratify plugin install REF` does so
    ");
    let directory = fixture.directory().display().to_string();
    push(&fixture, "1", &program("a"), &[]).await;
    let installed = fixture.install(&fixture.by_tag("1")).await.unwrap();
    let list = ["list", "--dir", &directory, "--output", "json"];
    let rows = |text: &str| -> Value {
        serde_json::from_str(text.strip_prefix("[0]\n").unwrap()).unwrap()
    };
    assert_eq!(rows(&said(&fixture, &list).await)[0]["state"], "ok");
    fs::set_permissions(installed.plugin.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(installed.plugin.path(), b"poison").unwrap();
    assert_eq!(rows(&said(&fixture, &list).await)[0]["state"], "changed");
    fs::remove_file(installed.plugin.path()).unwrap();
    assert_eq!(rows(&said(&fixture, &list).await)[0]["state"], "missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_source_of_a_configuration_is_installed_and_each_failure_is_said() {
    let fixture = Fixture::new().await;
    push(&fixture, "v", SCRIPT, &[]).await;
    push(&fixture, "s", &[SCRIPT, b"# a store\n"].concat(), &["--kind", "store"]).await;
    let directory = fixture.directory();
    let write = |verifier: &str| {
        let config = json!({
            "store": {"plugins": [
                {"name": "oras"},
                {"name": "files", "source": {"artifact": fixture.by_tag("s")}},
            ]},
            "verifier": {"pluginBinDirs": [&directory], "plugins": [
                {"name": "mine", "type": "judge", "source": {"artifact": verifier}},
                {"name": "plain"},
            ]},
        });
        let file = fixture.folder.path().join("config.json");
        fs::write(&file, config.to_string()).unwrap();
        file.display().to_string()
    };
    let file = write(&fixture.by_tag("v"));
    insta::assert_snapshot!(said(&fixture, &["install", "--config", &file]).await, @"
    [0]
    installed store files s <platform> <digest> <home>/.ratify/plugins/files
    installed verifier judge v <platform> <digest> <home>/plugins/judge
    ");
    assert_eq!(fs::read(directory.join("judge")).unwrap(), SCRIPT);
    let file = write(&fixture.by_tag("gone"));
    insta::assert_snapshot!(said(&fixture, &["install", "--config", &file]).await, @"
    [1]
    present store files s <platform> <digest> <home>/.ratify/plugins/files
    Error: mine: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: <registry>/plugins/sample:gone: not found
    Error: 1 of 2 plugins were not installed
    ");
    assert_eq!(fs::read(directory.join("judge")).unwrap(), SCRIPT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_what_to_do_next() {
    let fixture = Fixture::new().await;
    let gone = fixture.by_tag("gone");
    push(&fixture, "store", SCRIPT, &["--kind", "store"]).await;
    let store = fixture.by_tag("store");
    let mut lines = Vec::new();
    for arguments in [
        &["install", "sample"][..],
        &["install", &gone],
        &["install", &store, "--kind", "verifier"],
        &["install", &store, "--type", ".hidden"],
        &["install", "--config", "/nowhere/config.json"],
        &["install"],
        &["inspect", &gone],
        &["run", "absent", "--subject", "x", "--descriptor", "{}"],
        &["run", "/etc/passwd", "--subject", "x", "--descriptor", "{}"],
        &["push", &gone, "--type", "t", "--version", "1", "--platform", "linux/amd64"],
        &["push", &gone, "--type", "t", "--version", "1", "--platform", "linux/amd64=/etc/passwd"],
        &["upgrade"],
    ] {
        lines.push(said(&fixture, arguments).await);
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    [1]
    Error: "sample" must be REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST: invalid reference: missing registry or repository
    [1]
    Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: <registry>/plugins/sample:gone: not found
    [1]
    Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: the artifact is a store plugin, a verifier plugin is wanted
    [1]
    Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: the plugin type ".hidden" must have 1 to 255 bytes, no separator and no leading dot
    [1]
    Error: unable to read config file at path /nowhere/config.json: open /nowhere/config.json: no such file or directory
    [1]
    Error: the following required arguments were not provided:
    [1]
    Error: <registry>/plugins/sample:gone: not found
    [1]
    Error: failed to find plugin "absent" in paths [<home>/.ratify/plugins]: install it with `ratify plugin install`, or give a path
    [1]
    Error: /etc/passwd cannot run here: no program: it starts with 726f6f743a783a30
    [1]
    Error: invalid value '<platform>' for '--platform <OS/ARCH=FILE>': write it as <platform>=FILE
    [1]
    Error: /etc/passwd is refused: no program: it starts with 726f6f743a783a30
    [1]
    Error: unrecognized subcommand 'upgrade'
    "#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_the_artifact_says_need_not_be_typed() {
    let fixture = Fixture::new().await;
    push(&fixture, "1", SCRIPT, &["--kind", "store"]).await;
    let text = said(&fixture, &["install", &fixture.by_tag("1")]).await;
    assert!(text.starts_with("[0]\ninstalled store sample 1 "), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_processes_at_once_on_one_directory_all_have_it() {
    let fixture = Fixture::new().await;
    let program = program(&"x".repeat(3_000_000));
    fixture.push_as_ours("1", &program).await;
    let reference = fixture.by_tag("1");
    let runs = (0..6).map(|_| output(ratify(&fixture, &["install", &reference])));
    for output in futures_util::future::join_all(runs).await {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let directory = fixture.folder.path().join(".ratify/plugins");
    assert_eq!(sha256(&fs::read(directory.join("sample")).unwrap()), sha256(&program));
    let names = files_below(&directory);
    assert!(!names.iter().any(|name| name.contains(".incoming")), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.contains("sha256/")).count(), 1, "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_installation_leaves_nothing_that_runs_and_its_rest_is_collected() {
    use ratify_controller::dev::{Fault, Lie, RequestKind};
    let fixture = Fixture::new().await;
    let pushed = fixture.push_as_ours("1", &program(&"x".repeat(100_000))).await;
    let drip = Lie::SlowDrip(Duration::from_millis(50));
    let hex = pushed.manifests[0].program.digest.hex().to_owned();
    fixture.registry.set_faults(vec![Fault::on(RequestKind::Blob, drip).at(hex)]);
    let directory = fixture.folder.path().join(".ratify/plugins");
    let mut child = ratify(&fixture, &["install", &fixture.by_tag("1")]).spawn().unwrap();
    let partial = || files_below(&directory).iter().any(|name| name.contains("sha256/.incoming"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !partial() {
        assert!(Instant::now() < deadline, "it never began");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let inventory = Inventory::of(&directory);
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    let collected = inventory.collect(later, Duration::ZERO).unwrap();
    assert_eq!(collected.temporaries, 0, "a living writer's file stays");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(partial() && !directory.join("sample").exists());
    assert_eq!(inventory.collect(later, Duration::ZERO).unwrap().temporaries, 1);
    assert!(!partial());
}
