//! The image as it runs: its own user, a root that cannot be written to, nothing else of this
//! machine. A volume over `/.ratify` hides whatever the image has there.

use std::fs;

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::json;

use super::{Image, NONROOT};
use crate::{
    cli::{Home, Server, YES, config, put_app, sample, sourced, this_platform, verifier},
    host,
};

/// A registry that holds an image with a statement, and the image's name.
async fn registry() -> (RunningRegistry, String) {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let app = put_app(&registry);
    (registry, app)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_its_version_and_prints_its_definitions() {
    let Some(image) = Image::find() else { return };
    let Some(home) = image.container().await else { return };
    let version = home.must(&["version"]).await;
    assert!(version.contains("Replaces:     Ratify v1.4.0"), "{version}");
    let printed = home.must(&["crds", "print"]).await;
    assert_eq!(printed.matches("kind: CustomResourceDefinition").count(), 9);
    // Only the volume and /tmp can be written to.
    let refused = home.run(&["crds", "print", "-o", "/crds"]).await;
    assert!(refused.error().contains("Read-only file system"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_of_the_image_decides_though_a_volume_hides_the_default_directory() {
    let Some(image) = Image::find() else { return };
    let Some(mut home) = image.container().await else { return };
    let (_registry, app) = registry().await;
    home.configure(&config(&verifier("sample")));
    // The home of the password file cannot be written to, and that is said.
    let ran = home.verify(&app).await;
    let cache = "cache at path: /home/nonroot/.ratify/local_oras_cache: Read-only file system";
    assert!(ran.code == Some(1) && ran.error().contains(cache), "{ran:?}");

    home.set("HOME", "/.ratify");
    let ran = home.verify(&app).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    assert_eq!(ran.reason(), "Sample verification success");
    assert!(!ran.stderr.contains("ratify-launch is not beside"), "{}", ran.stderr);

    let server = Server::start(&home).await;
    let item = server.ask(&app).await;
    assert_eq!(item["value"]["isSuccess"], true, "{item} {}", server.log());
    drop(server);

    // What is on the volume comes first, as what an administrator put there.
    host::script(&home.plugins(), "sample", "exit 1");
    let ran = home.verify(&app).await;
    assert!(ran.code == Some(0) && !ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    fs::remove_file(home.plugins().join("sample")).unwrap();

    // A directory that the configuration names is the only one that is searched, as in v1.
    let mut elsewhere = config(&verifier("sample"));
    elsewhere["verifier"]["pluginBinDirs"] = json!(["/crds"]);
    home.configure(&elsewhere);
    let ran = home.verify(&app).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.error().contains("in paths [/crds]"), "{}", ran.error());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dynamic_plugin_is_installed_on_the_volume_and_one_that_needs_an_interpreter_is_refused()
{
    let Some(image) = Image::find() else { return };
    let Some(mut home) = image.container().await else { return };
    home.set("HOME", "/.ratify");
    home.allow_sources();
    let (registry, app) = registry().await;
    let outside = Home::new();
    let script = host::script(outside.path(), "asks", YES);
    for (type_, program) in [("judge", sample()), ("asks", script)] {
        let artifact = format!("{}/plugins/{type_}:1.0.0", registry.host());
        let program = format!("{}={}", this_platform(), program.display());
        let push = ["plugin", "push", &artifact, "--type", type_, "--version", "1.0.0"];
        outside.must(&[&push[..], &["--platform", &program]].concat()).await;
    }
    let source = |type_: &str| format!("{}/plugins/{type_}:1.0.0", registry.host());

    home.configure(&config(&sourced("judge", &source("judge"))));
    let ran = home.verify(&app).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    let store = fs::metadata(home.plugins().join(".store/sha256")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&store), NONROOT);

    home.configure(&config(&sourced("asks", &source("asks"))));
    let ran = home.verify(&app).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    let reason = "a script for /bin/sh, which is not on this node";
    assert!(ran.error().contains(reason), "{}", ran.error());
    assert!(!home.plugins().join("asks").exists());
}
