//! Plugin directories that are not as they should be, as `verify` meets them: with a plugin to
//! download, and with one that is copied in.

use std::{fs, os::unix::fs::symlink, path::Path};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::json;

use super::{
    Home, YES, config, put_app, sample, set_mode, skipped, sourced, this_platform, verifier,
};

/// A registry with an image and the sample plugin, and a home that downloads it into `plugins`.
struct Scene {
    _registry: RunningRegistry,
    home: Home,
    image: String,
}

impl Scene {
    async fn new() -> Self {
        let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        let mut home = Home::new();
        home.allow_sources();
        let image = put_app(&registry);
        let plugin = format!("{}/plugins/sample:1", registry.host());
        let program = format!("{}={}", this_platform(), sample().display());
        let push = ["plugin", "push", &plugin, "--type", "sample", "--version", "1", "--platform"];
        home.must(&[&push[..], &[program.as_str()]].concat()).await;
        let mut config = config(&sourced("sample", &plugin));
        config["verifier"]["pluginBinDirs"] = json!([home.path().join("plugins")]);
        home.configure(&config);
        Self { _registry: registry, home, image }
    }

    fn directory(&self) -> std::path::PathBuf {
        self.home.path().join("plugins")
    }

    async fn is_success(&self) -> bool {
        let ran = self.home.verify(&self.image).await;
        assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
        true
    }

    /// Runs where the directory is a file system of its own, of so many MiB.
    async fn mounted(&mut self, at: &Path, mib: u32) -> bool {
        fs::create_dir_all(at).unwrap();
        let mount = format!("mount -t tmpfs -o size={mib}m,mode=0700 tmpfs {}", at.display());
        let mounted = self.home.prefix_mounting(&mount).await;
        mounted.inspect_err(|why| skipped("a plugin directory on another device", why)).is_ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_absent_is_made_and_one_that_is_a_link_is_followed() {
    let scene = Scene::new().await;
    assert!(scene.is_success().await);
    fs::remove_dir_all(scene.directory()).unwrap();
    let elsewhere = scene.home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, scene.directory()).unwrap();
    assert!(scene.is_success().await);
    assert!(elsewhere.join("sample").is_symlink());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_leads_nowhere_or_is_a_file_is_an_error() {
    let scene = Scene::new().await;
    symlink(scene.home.path().join("nowhere"), scene.directory()).unwrap();
    let nowhere = scene.home.verify(&scene.image).await.shown(&scene.home);
    fs::remove_file(scene.directory()).unwrap();
    fs::write(scene.directory(), "").unwrap();
    let file = scene.home.verify(&scene.image).await.shown(&scene.home);
    insta::assert_snapshot!(format!("{nowhere}\n{file}"), @"
    [1] Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: <home>/plugins is not a directory: move it away, or name another plugin directory
    [1] Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: <home>/plugins is not a directory: move it away, or name another plugin directory
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_read_only_runs_what_is_there_and_says_why_it_takes_nothing_new() {
    let mut scene = Scene::new().await;
    assert!(scene.is_success().await);
    let mount = format!("mount --bind -o ro {0} {0}", scene.directory().display());
    if let Err(why) = scene.home.prefix_mounting(&mount).await {
        return skipped("a read-only plugin directory", &why);
    }
    assert!(scene.is_success().await);
    scene.home.prefix.clear();
    fs::remove_dir_all(scene.directory()).unwrap();
    fs::create_dir(scene.directory()).unwrap();
    scene.home.prefix_mounting(&mount).await.unwrap();
    let ran = scene.home.verify(&scene.image).await;
    insta::assert_snapshot!(ran.shown(&scene.home), @"[1] Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin from the source: creating <home>/plugins/.store: Read-only file system (os error 30): mount a writable volume there, or name another plugin directory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_full_is_an_error_and_one_on_another_device_works() {
    let mut scene = Scene::new().await;
    let directory = scene.directory();
    if !scene.mounted(&directory, 64).await {
        return;
    }
    assert!(scene.is_success().await);
    scene.home.prefix.clear();
    // Its own content on another device than its view.
    let store = directory.join(".store");
    assert!(scene.mounted(&store, 64).await && scene.is_success().await);
    scene.home.prefix.clear();
    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    // A tmpfs of no blocks but the root's.
    let full = format!("mount -t tmpfs -o nr_blocks=1,mode=0700 tmpfs {}", directory.display());
    scene.home.prefix_mounting(&full).await.unwrap();
    let ran = scene.home.verify(&scene.image).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    for part in ["DOWNLOAD_PLUGIN_FAILURE", "No space left on device", "free some space"] {
        assert!(ran.error().contains(part), "{}", ran.error());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_was_copied_in_and_cannot_be_run_is_a_report_that_says_why() {
    let scene = Scene::new().await;
    let home = &scene.home;
    let program = |bytes: &[u8]| {
        let path = home.plugins().join("judge");
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        path
    };
    home.configure(&config(&verifier("judge")));
    let mut text = String::new();
    let cases: [(&str, Vec<u8>, u32); 4] = [
        ("not executable", format!("#!/bin/sh\n{YES}").into_bytes(), 0o644),
        ("empty", Vec::new(), 0o755),
        ("no program", b"\x7fELF and then nothing".to_vec(), 0o755),
        ("an interpreter that is missing", b"#!/nowhere/sh\n".to_vec(), 0o755),
    ];
    for (name, bytes, mode) in cases {
        set_mode(&program(&bytes), mode);
        let ran = home.verify(&scene.image).await;
        assert!(ran.code == Some(0) && !ran.is_success(), "{name}: {ran:?}");
        let reason = ran.reason().replace(&home.path().display().to_string(), "<home>");
        text.push_str(&format!("# {name}\n{reason}\n"));
    }
    fs::remove_file(home.plugins().join("judge")).unwrap();
    fs::create_dir(home.plugins().join("judge")).unwrap();
    let ran = home.verify(&scene.image).await;
    text.push_str(&format!("# a directory\n{}\n", ran.shown(home)));
    insta::assert_snapshot!(text, @r#"
    # not executable
    plugin failed with error: 'fork/exec <home>/.ratify/plugins/judge: permission denied: the file is not executable (mode 0644): set its executable bit, chmod a+x', msg from stError '', msg from stdOut ''
    # empty
    plugin failed with error: 'fork/exec <home>/.ratify/plugins/judge: exec format error', msg from stError '', msg from stdOut ''
    # no program
    plugin failed with error: 'fork/exec <home>/.ratify/plugins/judge: exec format error', msg from stError '', msg from stdOut ''
    # an interpreter that is missing
    plugin failed with error: 'fork/exec <home>/.ratify/plugins/judge: no such file or directory', msg from stError '', msg from stdOut ''
    # a directory
    [1] Error: PLUGIN_NOT_FOUND: Verifier plugin judge not found: failed to find plugin "judge" in paths [<home>/.ratify/plugins]: Please ensure that the correct type is specified for the built-in Verifier configuration or the custom Verifier plugin is configured.
    "#);
}
