//! Whole images on their way: from a registry into a layout, and from a layout to a registry.

use std::{fs, path::Path};

use ratify_core::{Algorithm, Descriptor, Reference, media_type};
use ratify_store_oras::{
    Layout, LayoutWriter, Limits, OrasError, Origin, Transport, Tree, digest_of,
};
use serde_json::{Value, json};

use crate::{
    fake::{Fake, Reply, Seen, basic, client, client_over},
    real::{image, with_api, with_tag_schema},
};

/// A layout of one image for one platform, under an index.
struct Image(tempfile::TempDir);

impl Image {
    fn new() -> Self {
        let image = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(image.path().join("blobs/sha256")).unwrap();
        fs::write(image.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let (config, layer) = (image.blob("c", b"{}"), image.blob("l", b"layer"));
        let manifest = image.document(
            media_type::OCI_MANIFEST,
            &json!({"schemaVersion": 2, "config": config, "layers": [layer, layer]}),
        );
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        image.top(&image.document(media_type::OCI_INDEX, &index));
        image
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest_of(Algorithm::Sha256, bytes);
        fs::write(self.path().join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    fn top(&self, root: &Value) {
        let index = json!({"schemaVersion": 2, "manifests": [root]});
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    fn layout(&self) -> Layout {
        Layout::open(self.path(), None, Limits::default()).unwrap()
    }

    fn root(&self) -> Descriptor {
        self.layout().entries().unwrap().remove(0)
    }

    async fn tree(&self) -> Result<Tree, OrasError> {
        let place = Reference::parse("registry.example.com/app:1").unwrap();
        Tree::read(&self.layout().into(), &place, &self.root(), None).await
    }
}

#[tokio::test]
async fn what_is_named_is_sent_before_what_names_it_and_once() {
    let fake = Fake::start(|seen: &Seen| match seen.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).with("location", "/u"),
        _ => Reply::new(201),
    })
    .await;
    let image = Image::new();
    let tree = image.tree().await.unwrap();
    tree.push(&image.layout(), &client(), &fake.reference("app:1")).await.unwrap();
    let puts: Vec<String> =
        fake.lines().into_iter().filter(|line| line.starts_with("PUT")).collect();
    assert_eq!(puts.len(), 4, "{puts:?}");
    assert!(puts[..2].iter().all(|line| line.starts_with("PUT /u?digest=")), "{puts:?}");
    assert!(puts[2].starts_with("PUT /v2/app/manifests/sha256:"), "{puts:?}");
    assert_eq!(puts[3], "PUT /v2/app/manifests/1");
}

#[tokio::test]
async fn nothing_of_a_broken_image_is_sent() {
    let fake = Fake::start(|_: &Seen| Reply::new(500)).await;
    for part in 0..4 {
        let image = Image::new();
        let mut parts: Vec<_> = fs::read_dir(image.path().join("blobs/sha256")).unwrap().collect();
        let path = parts.remove(part).unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let done = match image.tree().await {
            Err(error) => Err(error),
            Ok(tree) => tree.push(&image.layout(), &client(), &fake.reference("app:1")).await,
        };
        assert!(matches!(done, Err(OrasError::Digest { .. })), "{done:?}");
    }
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn an_index_in_an_index_and_an_entry_that_is_not_there_are_refused() {
    let image = Image::new();
    let inner = json!({"schemaVersion": 2, "manifests": [image.root()]});
    image.top(&image.document(media_type::OCI_INDEX, &inner));
    let nested = image.tree().await.unwrap_err().to_string();
    assert!(nested.contains("is an index in an index"), "{nested}");
    let missing = json!({"mediaType": media_type::OCI_MANIFEST, "size": 2,
        "digest": crate::fake::digest("0e")});
    let inner = json!({"schemaVersion": 2, "manifests": [missing]});
    image.top(&image.document(media_type::OCI_INDEX, &inner));
    assert!(image.tree().await.unwrap_err().is_not_found());
}

/// From our layout to a registry, from there into a layout, and from that to the other registry.
#[tokio::test]
async fn an_image_goes_to_either_registry_and_back_and_stays_the_same() {
    let (Some(api), Some(tags)) = (with_api(false), with_tag_schema(false)) else { return };
    let client = client_over(Transport::PlainHttp, basic());
    let source = Image::new();
    let (mut layout, mut tree) = (source.layout(), source.tree().await.unwrap());
    for registry in [&tags, &api] {
        let place = image(registry);
        tree.push(&layout, &client, &place).await.unwrap();
        let origin = Origin::from(client.clone());
        let root = origin.resolve(&place, None).await.unwrap();
        assert_eq!(root.digest, source.root().digest);
        tree = Tree::read(&origin, &place, &root, None).await.unwrap();
        let path = registry.directory.path().join("layout");
        let mut writer = LayoutWriter::open(&path).unwrap();
        tree.save(&origin, &place, &mut writer, place.as_str(), None).await.unwrap();
        for entry in fs::read_dir(path.join("blobs/sha256")).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            let digest = digest_of(Algorithm::Sha256, &bytes);
            assert!(path.join("blobs/sha256").join(digest.hex()).is_file(), "nothing unfinished");
        }
        layout = Layout::open(&path, None, Limits::default()).unwrap();
        let found = layout.resolve(&place).unwrap();
        assert_eq!((found.digest, found.size), (root.digest, root.size));
    }
}

#[tokio::test]
async fn a_copy_that_fails_leaves_no_name_and_nothing_unfinished() {
    let source = Image::new();
    let tree = source.tree().await.unwrap();
    let layer = digest_of(Algorithm::Sha256, b"layer");
    fs::write(source.path().join("blobs/sha256").join(layer.hex()), "other").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LayoutWriter::open(folder.path()).unwrap();
    let place = Reference::parse("registry.example.com/app:1").unwrap();
    let origin = Origin::from(source.layout());
    let failed = tree.save(&origin, &place, &mut writer, place.as_str(), None).await;
    assert!(matches!(failed, Err(OrasError::Digest { .. })), "{failed:?}");
    let left = Layout::open(folder.path(), None, Limits::default()).unwrap();
    assert!(left.entries().unwrap().is_empty());
    assert_eq!(fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count(), 0);
}
