//! A manifest or an index. What is read of it is what any other reader reads, also one in Go, which
//! takes keys in any case and the last of several; and no document is both a manifest and an index.

use ratify_core::{Descriptor, Index, Manifest, media_type};
use serde_json::{Map, Value};

pub(super) fn check(input: &[u8]) {
    let manifests =
        [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST, media_type::OCI_ARTIFACT];
    let indexes = [media_type::OCI_INDEX, media_type::DOCKER_LIST];
    let (mut is_manifest, mut is_index) = (false, false);
    for served_as in manifests {
        if let Ok(manifest) = Manifest::from_bytes(served_as, input) {
            is_manifest |= !manifest.blobs.is_empty();
            is_what_is_there(served_as, &manifest, input);
        }
    }
    for served_as in indexes {
        if let Ok(index) = Index::from_bytes(served_as, input) {
            is_index |= !index.manifests.is_empty();
            let document = document(served_as, input);
            are(&index.manifests, only(&document, "manifests"));
            is(index.subject.as_ref(), only(&document, "subject"));
            for key in ["config", "layers", "blobs"] {
                assert_eq!(only(&document, key), &Value::Null, "it is a manifest");
            }
        }
    }
    assert!(!(is_manifest && is_index), "it is both");
    assert!(Manifest::from_bytes("text/html", input).is_err());
    assert!(Manifest::from_bytes(media_type::OCI_INDEX, input).is_err());
}

fn is_what_is_there(served_as: &str, manifest: &Manifest, input: &[u8]) {
    let document = document(served_as, input);
    let blobs = if served_as == media_type::OCI_ARTIFACT { "blobs" } else { "layers" };
    are(&manifest.blobs, only(&document, blobs));
    is(manifest.subject.as_ref(), only(&document, "subject"));
    assert_eq!(only(&document, "manifests"), &Value::Null);
    let own = only(&document, "artifactType").as_str().unwrap_or_default();
    let config = only(&document, "config").as_object();
    let config = config.map_or(&Value::Null, |config| only(config, "mediaType"));
    let is_image = served_as != media_type::OCI_ARTIFACT;
    let by_config = if is_image { config.as_str().unwrap_or_default() } else { "" };
    // What has no configuration and names no type is of none.
    let by_config = if by_config == media_type::OCI_EMPTY { "" } else { by_config };
    let listed = if own.is_empty() { by_config } else { own };
    assert_eq!(manifest.listed_type(), listed);
    // As a plugin gets it.
    let written = serde_json::to_vec(manifest).unwrap();
    let read: Manifest = serde_json::from_slice(&written).unwrap();
    assert_eq!(serde_json::to_vec(&read).unwrap(), written);
}

fn document(served_as: &str, input: &[u8]) -> Map<String, Value> {
    let document: Map<String, Value> = serde_json::from_slice(input).unwrap();
    let says = only(&document, "mediaType").as_str().unwrap_or_default();
    assert!(says.is_empty() || says == served_as, "{says}");
    document
}

fn are(read: &[Descriptor], written: &Value) {
    let written = written.as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(read.len(), written.len());
    read.iter().zip(written).for_each(|(read, written)| is(Some(read), written));
}

fn is(read: Option<&Descriptor>, written: &Value) {
    let Some(read) = read else { return assert_eq!(written, &Value::Null) };
    let written = written.as_object().unwrap();
    assert_eq!(Some(read.digest.as_str()), only(written, "digest").as_str());
    assert_eq!(read.size, only(written, "size").as_u64().unwrap_or_default());
    assert_eq!(read.media_type, only(written, "mediaType").as_str().unwrap_or_default());
    assert_eq!(read.artifact_type, only(written, "artifactType").as_str().unwrap_or_default());
}

/// The value of a key that a reader in Go takes for this one, if any; there must not be two.
pub(super) fn only<'a>(object: &'a Map<String, Value>, key: &str) -> &'a Value {
    let mut found = object.iter().filter(|(name, _)| is_same_in_go(name, key));
    let first = found.next();
    assert_eq!(found.next(), None, "a reader in Go takes another {key}");
    let (name, value) = first.unzip();
    assert!(name.is_none_or(|name| name == key), "only a reader in Go takes {name:?} for {key}");
    value.unwrap_or(&Value::Null)
}

/// Go's `strings.EqualFold` of an ASCII word.
fn is_same_in_go(name: &str, key: &str) -> bool {
    name.replace('\u{17f}', "s").replace('\u{212a}', "k").eq_ignore_ascii_case(key)
}
