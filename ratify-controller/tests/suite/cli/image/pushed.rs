//! The image in registries: pushed by our own command to registries that are not ours, and copied
//! by skopeo to ours. Whoever reads it there finds the same digest.

use std::path::Path;

use ratify_controller::dev::{RegistryOptions, RunningRegistry};

use super::{Home, Image};
use crate::parity::machines::{NAME, PASSWORD, USER};

/// Pushes both images, and lets skopeo read the digest of one.
async fn goes_to(image: &Image, home: &Home, registry: &str, skopeo: &[&str]) {
    for (layout, name) in [(&image.layout, "ratify"), (&image.crds(), "ratify-crds")] {
        let place = format!("{registry}/ratify/{name}:v1");
        let said = home.must(&["dev", "push-layout", layout.to_str().unwrap(), &place]).await;
        assert_eq!(said.trim_end(), format!("pushed {place} {}", Image::digest(layout)));
        let name = format!("docker://{place}").replace(NAME, "127.0.0.1");
        let arguments = [&["--override-arch", "amd64", "inspect"], skopeo, &[&name]].concat();
        let raw = image.tool("skopeo", &[&arguments[..], &["--raw"]].concat()).await;
        let digest = ratify_store_oras::digest_of(ratify_core::Algorithm::Sha256, raw.as_bytes());
        assert_eq!(digest.to_string(), Image::digest(layout));
        image.tool("skopeo", &[&arguments[..], &["--config"]].concat()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_distributions_with_a_password_in_clear() {
    let Some(image) = Image::find() else { return };
    let home = Home::new();
    let server = image.machines.registry_with_tags(&home.path().join("registry")).await;
    let push = ["dev", "push-layout", image.layout.to_str().unwrap()];
    let place = format!("{}/ratify/ratify:v1", server.address);
    let denied = home.run(&[&push[..], &[&place]].concat()).await;
    assert_eq!(denied.code, Some(1), "{}", denied.stdout);
    home.log_in(&server.address, USER, PASSWORD);
    let credentials = format!("{USER}:{PASSWORD}");
    let skopeo = ["--creds", &credentials, "--tls-verify=false"];
    goes_to(&image, &home, &server.address, &skopeo).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_go_containerregistrys_over_tls() {
    let Some(image) = Image::find() else { return };
    let mut home = Home::new();
    let folder = home.path().join("registry");
    let server = image.machines.registry_with_api(Some(&folder)).await;
    home.set("SSL_CERT_FILE", folder.join("ca.pem").display().to_string());
    if let Err(why) = home.know_by_name().await {
        return super::skipped("a registry over TLS", &why);
    }
    let registry = server.address.replace("127.0.0.1", NAME);
    goes_to(&image, &home, &registry, &["--tls-verify=false"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_registry_has_already_is_not_sent_again_and_what_is_broken_never_is() {
    let Some(image) = Image::find() else { return };
    let home = Home::new();
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let place = format!("{}/ratify/ratify:v1", registry.host());
    let push =
        |layout: &Path| ["dev", "push-layout", layout.to_str().unwrap(), &place].map(str::to_owned);
    let run = async |layout: &Path| {
        let words = push(layout);
        home.run(&words.each_ref().map(String::as_str)).await
    };
    let uploads = || registry.requests().iter().filter(|seen| seen.method == "POST").count();

    let broken = home.path().join("broken");
    copy(&image.layout, &broken);
    let blobs = broken.join("blobs/sha256");
    let largest = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path());
    let largest = largest.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let refused = run(&broken).await;
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.error().contains("mismatched digest of blobs/sha256/"), "{}", refused.error());
    assert_eq!(uploads(), 0, "nothing of a broken image is sent");

    assert_eq!(run(&image.layout).await.code, Some(0));
    let first = uploads();
    assert!(first > 0);
    assert_eq!(run(&image.layout).await.code, Some(0));
    assert_eq!(uploads(), first, "the second time nothing is uploaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_copies_it_to_the_embedded_registry() {
    let Some(image) = Image::find() else { return };
    let home = Home::new();
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let from = format!("oci:{}", image.layout.display());
    let to = format!("docker://{}/ratify/ratify:v1", registry.host());
    let copy = ["--insecure-policy", "copy", "--all", "--dest-tls-verify=false", &from, &to];
    image.tool("skopeo", &copy).await;
    let subject = format!("{}/ratify/ratify:v1", registry.host());
    home.configure(&serde_json::json!({
        "store": {"version": "1.0.0", "plugins": [{"name": "oras", "useHttp": true}]},
    }));
    let resolved = home.must(&["resolve", "-s", &subject]).await;
    assert!(resolved.contains(&Image::digest(&image.layout)), "{resolved}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &name);
        } else {
            std::fs::copy(&path, &name).unwrap();
        }
    }
}
