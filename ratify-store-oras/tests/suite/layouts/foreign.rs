//! Layouts written by `oras` and `skopeo` from real registries, and by [`LayoutWriter`].

use std::{path::Path, process::Command};

use ratify_core::Reference;
use ratify_store_oras::{Layout, LayoutWriter, Limits, Transport};

use super::{read, store};
use crate::{
    fake::{basic, client_over},
    layouts::open,
    real::{Registry, fill, image, tool, with_api, with_tag_schema},
};

fn run(command: &mut Command) {
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A store over a layout of the registry's image.
fn store_of(registry: &Registry, path: &Path) -> ratify_store_oras::LayoutStore {
    let repository = image(registry).path().to_owned();
    let entry = serde_json::json!({"name": "oci-layout", "path": path, "repository": repository});
    open(&entry).unwrap()
}

#[tokio::test]
async fn what_oras_copies_from_either_registry_is_read_with_all_that_is_attached() {
    let Some(oras) = tool("oras") else { return };
    let (Some(api), Some(tags)) = (with_api(false), with_tag_schema(false)) else { return };
    for registry in [api, tags] {
        let client = client_over(Transport::PlainHttp, basic());
        let image = image(&registry);
        let (subject, _) = fill(&client, &image, 0).await;
        let folder = registry.directory.path();
        let credentials = ["--username", "user", "--password", "hunter2"];
        for number in 0..3 {
            std::fs::write(folder.join("sbom"), format!("sbom {number}")).unwrap();
            run(Command::new(&oras)
                .args(["attach", "--plain-http"])
                .args(credentials)
                .args(["--artifact-type", "application/x", image.as_str(), "sbom:text/plain"])
                .current_dir(folder)
                .env("HOME", folder));
        }
        let layout = folder.join("layout");
        let from = ["--from-plain-http", "--from-username", "user", "--from-password", "hunter2"];
        run(Command::new(&oras)
            .args(["copy", "-r", "--to-oci-layout"])
            .args(from)
            .args([image.as_str(), &format!("{}:1", layout.display())])
            .env("HOME", folder));
        let store = store_of(&registry, &layout);
        let (found, texts) = read(&store, image.as_str()).await.unwrap();
        assert_eq!(found.digest, subject.digest);
        let expected = [0, 1, 2].map(|number| format!("application/x sbom {number}"));
        assert_eq!(texts, expected);
        let pinned = image.sibling(&subject.digest);
        assert_eq!(read(&store, pinned.as_str()).await.unwrap().1.len(), 3);
    }
}

#[tokio::test]
async fn what_skopeo_copies_is_read_from_a_directory_and_from_an_archive() {
    let Some(skopeo) = tool("skopeo") else { return };
    let Some(registry) = with_tag_schema(false) else { return };
    let image = image(&registry);
    let client = client_over(Transport::PlainHttp, basic());
    let (subject, _) = fill(&client, &image, 0).await;
    for form in ["oci", "oci-archive"] {
        for name in ["1", image.as_str()] {
            let layout = registry.directory.path().join(form).join(name.replace(['/', ':'], "-"));
            std::fs::create_dir_all(layout.parent().unwrap()).unwrap();
            run(Command::new(&skopeo).args(["copy", "--insecure-policy"]).args([
                "--src-tls-verify=false",
                "--src-creds=user:hunter2",
                &format!("docker://{image}"),
                &format!("{form}:{}:{name}", layout.display()),
            ]));
            let found = read(&store_of(&registry, &layout), image.as_str()).await;
            let (found, texts) = found.unwrap_or_else(|error| panic!("{form} {name}: {error}"));
            assert_eq!((found.digest, texts.len()), (subject.digest.clone(), 0));
        }
    }
}

#[tokio::test]
async fn what_is_written_here_is_read_here_and_by_skopeo() {
    let written = super::Written::new();
    let layout = Layout::open(written.path(), None, Limits::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/layout");
    let mut writer = LayoutWriter::open(&path).unwrap();
    for directory in std::fs::read_dir(written.path().join("blobs/sha256")).unwrap() {
        let bytes = std::fs::read(directory.unwrap().path()).unwrap();
        let digest = ratify_store_oras::digest_of(ratify_core::Algorithm::Sha256, &bytes);
        writer.put_bytes(&digest, &bytes).unwrap();
    }
    let entries = layout.entries().unwrap();
    writer.name(&entries[1], "signature").unwrap();
    writer.name(&entries[1], "v1").unwrap();
    writer.name(&entries[0], "v1").unwrap();
    drop(writer);
    // What had a name loses it, and who opens the layout again adds to it.
    let mut writer = LayoutWriter::open(&path).unwrap();
    writer.name(&entries[0], "v2").unwrap();
    let (found, texts) = read(&store(&path).unwrap(), &super::tagged()).await.unwrap();
    assert_eq!(found.digest, entries[0].digest);
    assert_eq!(texts, ["application/x signed"]);
    let again = Reference::parse(&format!("{}:v2", super::REPOSITORY)).unwrap();
    assert_eq!(read(&store(&path).unwrap(), again.as_str()).await.unwrap().0, found);
    let Some(skopeo) = tool("skopeo") else { return };
    run(Command::new(&skopeo).args(["inspect", "--raw"]).arg(format!("oci:{}:v1", path.display())));
    std::fs::write(folder.path().join("file"), "x").unwrap();
    assert!(LayoutWriter::open(&folder.path().join("file")).is_err());
    assert!(LayoutWriter::open(folder.path()).is_err(), "a directory of something else");
}
