//! What skopeo reads of the image, and what umoci unpacks.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Image, NONROOT};

/// Every path below a folder, links not followed.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_symlink() && path.is_dir() {
            found.extend(all_below(&path));
        }
        found.push(path);
    }
    found
}

#[tokio::test]
async fn skopeo_reads_both_images_and_how_they_run() {
    let Some(image) = Image::find() else { return };
    let server = image.config(&image.layout).await;
    let mut runs = server["config"].clone();
    for label in ["created", "revision"] {
        runs["Labels"][format!("org.opencontainers.image.{label}")] = format!("<{label}>").into();
    }
    insta::assert_json_snapshot!(runs, @r#"
    {
      "Cmd": [
        "serve",
        "--http",
        ":6001"
      ],
      "Entrypoint": [
        "/app/ratify"
      ],
      "Env": [
        "PATH=/app:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "RATIFY_CONFIG=/.ratify/"
      ],
      "ExposedPorts": {
        "6001/tcp": {},
        "8888/tcp": {}
      },
      "Labels": {
        "org.opencontainers.image.created": "<created>",
        "org.opencontainers.image.description": "Verifies what proves that a container image may be trusted",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.revision": "<revision>",
        "org.opencontainers.image.title": "ratify",
        "org.opencontainers.image.version": "0.1.0"
      },
      "User": "65532:65532",
      "WorkingDir": "/"
    }
    "#);
    let hook = image.config(&image.crds()).await;
    assert_eq!(hook["config"]["Entrypoint"], json!(["/app/ratify", "crds"]));
    assert_eq!(hook["config"].get("Cmd"), None);
    assert_eq!(hook["config"]["User"], server["config"]["User"]);
    assert_eq!(hook["rootfs"], server["rootfs"], "the layers are shared");
    assert_eq!((&server["os"], &server["architecture"]), (&json!("linux"), &json!("amd64")));
    let time = &server["config"]["Labels"]["org.opencontainers.image.created"];
    assert_eq!(&server["created"], time);
}

#[tokio::test]
async fn skopeo_finds_each_platform_in_the_index() {
    let Some(image) = Image::find() else { return };
    let name = format!("oci:{}", image.layout.display());
    let index = image.tool("skopeo", &["inspect", "--raw", &name]).await;
    let index: Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let manifests = index["manifests"].as_array().unwrap();
    assert!(!manifests.is_empty());
    for manifest in manifests {
        let architecture = manifest["platform"]["architecture"].as_str().unwrap();
        let arguments = ["--override-arch", architecture, "inspect", &name];
        let seen: Value = serde_json::from_str(&image.tool("skopeo", &arguments).await).unwrap();
        assert_eq!(seen["Architecture"], architecture);
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn umoci_unpacks_what_programs_expect_of_a_system_and_nothing_that_can_be_changed() {
    let Some(image) = Image::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = image.unpack(&image.layout, folder.path()).await;
    let about = |name: &str| {
        let metadata = fs::symlink_metadata(root.join(name)).unwrap();
        (format!("{:o}", metadata.mode() & 0o7777), metadata.uid(), metadata.gid())
    };
    assert_eq!(about("tmp"), ("1777".to_owned(), 0, 0));
    for name in [".ratify", ".ratify/plugins"] {
        assert_eq!(about(name), ("755".to_owned(), NONROOT, NONROOT), "{name}");
    }
    assert_eq!(about("home/nonroot"), ("700".to_owned(), NONROOT, NONROOT));
    for name in ["app/ratify", "app/ratify-launch", "app/plugins", "app/plugins/sample"] {
        assert_eq!(about(name), ("755".to_owned(), 0, 0), "{name}");
    }
    // They are built in.
    for name in ["app/plugins/verify-notation", "app/plugins/verify-cosign"] {
        assert!(!root.join(name).exists(), "{name}");
    }
    for path in all_below(&root) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(&root).unwrap();
        let (mode, writable) = (metadata.permissions().mode() & 0o7777, Path::new("tmp"));
        assert!(mode & 0o6000 == 0, "{} is setuid or setgid", name.display());
        let is_open = mode & 0o022 != 0 && !metadata.is_symlink();
        assert!(!is_open || name == writable, "others may write {}", name.display());
        let runs = metadata.is_file() && mode & 0o111 != 0;
        assert!(!runs || name.starts_with("app"), "{} can be executed", name.display());
        if metadata.is_symlink() {
            assert!(fs::metadata(&path).is_ok(), "{} leads nowhere", name.display());
        }
    }
    let zone = fs::read(root.join("usr/share/zoneinfo/Europe/Berlin")).unwrap();
    assert!(zone.starts_with(b"TZif"));
    let authorities = root.join("etc/ssl/certs/ca-certificates.crt");
    let read = ["storeutl", "-noout", "-certs", authorities.to_str().unwrap()];
    let found = image.tool("openssl", &read).await;
    let count = found.trim().rsplit(' ').next().unwrap();
    assert!(count.parse::<usize>().unwrap() > 100, "{found}");
    assert_eq!(fs::read_dir(root.join("crds")).unwrap().count(), 9);
}
