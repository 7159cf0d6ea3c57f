//! [`Manifest`]: what an artifact is made of, in the one form v1 gives to its plugins, read from
//! the two kinds of OCI manifest an artifact can have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::Value;

use crate::{Descriptor, descriptor::null_is_default, go_json, media_type, strict_json};

/// An artifact's manifest: the layers of an image manifest, or the blobs of an artifact manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Manifest {
    /// The media type of the manifest.
    #[serde(default)]
    pub media_type: String,
    /// The artifact's type: the manifest's own, or the media type of its configuration.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub artifact_type: String,
    /// Its blobs, in order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub blobs: Vec<Descriptor>,
    /// What it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free annotations.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The artifact type that the manifest names itself, where it does.
    #[serde(skip)]
    declared_type: String,
}

/// Why bytes are no manifest that Ratify takes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not JSON, ambiguous JSON, or of the wrong shape.
    #[error("the manifest is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Something that can be read as a manifest and as an index (CVE-2021-41190).
    #[error(
        "the document is ambiguous: it has the fields {0} and {1}, of a manifest and of an index"
    )]
    Ambiguous(&'static str, &'static str),
    /// A manifest that was served as an index, or an index as a manifest.
    #[error("the document has the field {field}, but it was served as {outside:?}, which has none")]
    Kind {
        /// The field.
        field: &'static str,
        /// The media type from the descriptor or the response.
        outside: String,
    },
    /// A key in another spelling, which some readers take for the known one and others do not.
    #[error("the document is ambiguous: it spells the key {0} in another way")]
    Spelling(&'static str),
    /// Its `mediaType` is not the one it was served or listed with.
    #[error("the document says it is {inside:?}, but it was served as {outside:?}")]
    MediaType {
        /// The media type within the document.
        inside: String,
        /// The media type from the descriptor or the response.
        outside: String,
    },
    /// A media type that holds no artifact.
    #[error("Unsupported artifact metadata of media type {0}")]
    Unsupported(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageManifest {
    config: Descriptor,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default")]
    artifact_type: String,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// A manifest of nothing but its types, to be filled by a store or a test.
    pub fn new(media_type: impl Into<String>, artifact_type: impl Into<String>) -> Self {
        Self {
            media_type: media_type.into(),
            artifact_type: artifact_type.into(),
            ..Self::default()
        }
    }

    /// The type a registry must list the artifact with: the one the manifest names, or else the
    /// media type of its configuration (OCI distribution specification 1.1, "Listing Referrers").
    /// [`Manifest::artifact_type`] is v1's older rule, which plugins see.
    pub fn listed_type(&self) -> &str {
        if self.declared_type.is_empty() { &self.artifact_type } else { &self.declared_type }
    }

    /// Reads the bytes of a manifest whose digest the caller has proven. `served_as` is the media
    /// type of the descriptor or the response.
    ///
    /// # Errors
    /// When the document is malformed, ambiguous, of another type than it was served as, or of a
    /// type that holds no artifact.
    pub fn from_bytes(served_as: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        let document = unambiguous(served_as, bytes)?;
        match served_as {
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => {
                Ok(ImageManifest::deserialize(document)?.into_manifest(served_as))
            }
            media_type::OCI_ARTIFACT => Ok(Self::deserialize(document)?),
            other => Err(ManifestError::Unsupported(other.to_owned())),
        }
    }
}

impl ImageManifest {
    fn into_manifest(self, media_type: &str) -> Manifest {
        // v1 takes the configuration's media type unless the configuration is the empty one. A
        // manifest that names its type itself and has a real configuration keeps v1's rule.
        let declared_type = self.artifact_type.clone();
        let artifact_type = if self.config.media_type == media_type::OCI_EMPTY {
            self.artifact_type
        } else {
            self.config.media_type
        };
        Manifest {
            media_type: media_type.to_owned(),
            artifact_type,
            blobs: self.layers,
            subject: self.subject,
            annotations: self.annotations,
            declared_type,
        }
    }
}

/// An index of manifests, or the list of an image's referrers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Index {
    /// The type of what the index describes as a whole.
    #[serde(default, deserialize_with = "null_is_default")]
    pub artifact_type: String,
    /// Its entries, in order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// What the index is attached to.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Free annotations.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// Reads the bytes of an index whose digest the caller has proven (or of a referrers list).
    ///
    /// # Errors
    /// As [`Manifest::from_bytes`].
    pub fn from_bytes(served_as: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        match served_as {
            media_type::OCI_INDEX | media_type::DOCKER_LIST => {
                Ok(Self::deserialize(unambiguous(served_as, bytes)?)?)
            }
            other => Err(ManifestError::Unsupported(other.to_owned())),
        }
    }
}

/// The keys of a manifest or an index that mean something.
const KNOWN_KEYS: [&str; 9] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "subject",
    "annotations",
];

/// Those of a descriptor.
const DESCRIPTOR_KEYS: [&str; 8] =
    ["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"];

/// Parses strictly and refuses a document that could be read in two ways.
fn unambiguous(served_as: &str, bytes: &[u8]) -> Result<Value, ManifestError> {
    let document: Value = strict_json::read(bytes)?;
    are_spelt_one_way(&document, &KNOWN_KEYS)?;
    for key in ["config", "subject", "layers", "blobs", "manifests"] {
        match document.get(key) {
            Some(Value::Array(descriptors)) => descriptors
                .iter()
                .try_for_each(|descriptor| are_spelt_one_way(descriptor, &DESCRIPTOR_KEYS))?,
            None | Some(Value::Null) => {}
            Some(descriptor) => are_spelt_one_way(descriptor, &DESCRIPTOR_KEYS)?,
        }
    }
    let has = |key: &str| document.get(key).is_some();
    let of_manifest = ["config", "layers", "blobs"].into_iter().find(|key| has(key));
    let of_index = ["manifests"].into_iter().find(|key| has(key));
    if let (Some(manifest), Some(index)) = (of_manifest, of_index) {
        return Err(ManifestError::Ambiguous(manifest, index));
    }
    // Read as the other it would be an empty one.
    let is_index = matches!(served_as, media_type::OCI_INDEX | media_type::DOCKER_LIST);
    if let Some(field) = if is_index { of_manifest } else { of_index } {
        let outside = crate::capped_line(served_as, 100);
        return Err(ManifestError::Kind { field, outside });
    }
    match document.get("mediaType") {
        Some(Value::String(inside)) if !inside.is_empty() && inside != served_as => {
            Err(ManifestError::MediaType {
                inside: crate::capped_line(inside, 100),
                outside: crate::capped_line(served_as, 100),
            })
        }
        _ => Ok(document),
    }
}

/// Readers in Go match keys in any case, others do not: both must see the same object. It must be one:
/// serde takes an array of values for it, in their order, and an empty one for an empty list.
fn are_spelt_one_way(value: &Value, known_keys: &[&'static str]) -> Result<(), ManifestError> {
    let Value::Object(object) = value else {
        return Err(serde_json::Error::custom("expected an object").into());
    };
    for key in object.keys() {
        if let Some(known) = known_keys.iter().find(|known| go_json::is_misspelt(key, known)) {
            return Err(ManifestError::Spelling(known));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str, byte: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{}","size":2}}"#, byte.repeat(32))
    }

    fn image_manifest(config_type: &str, extra: &str) -> Vec<u8> {
        format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]{extra}}}"#,
            descriptor(config_type, "aa"),
            descriptor("text/plain", "bb")
        )
        .into_bytes()
    }

    #[test]
    fn an_image_manifest_is_typed_by_its_configuration_or_by_itself() {
        let bytes = image_manifest("application/x", r#","artifactType":"own""#);
        let manifest = Manifest::from_bytes(media_type::OCI_MANIFEST, &bytes).unwrap();
        assert_eq!(
            (manifest.artifact_type.as_str(), manifest.listed_type()),
            ("application/x", "own")
        );
        let bytes = image_manifest(media_type::OCI_EMPTY, r#","artifactType":"own""#);
        let manifest = Manifest::from_bytes(media_type::OCI_MANIFEST, &bytes).unwrap();
        assert_eq!((manifest.artifact_type.as_str(), manifest.blobs.len()), ("own", 1));
    }

    #[test]
    fn an_artifact_manifest_is_taken_as_it_is() {
        let bytes = format!(
            r#"{{"mediaType":"{}","artifactType":"a/b","blobs":[{}],"subject":{}}}"#,
            media_type::OCI_ARTIFACT,
            descriptor("x", "aa"),
            descriptor("y", "bb")
        );
        let manifest = Manifest::from_bytes(media_type::OCI_ARTIFACT, bytes.as_bytes()).unwrap();
        assert_eq!(manifest.artifact_type, "a/b");
        assert!(manifest.subject.is_some());
    }

    #[test]
    fn refuses_what_is_ambiguous_mislabelled_or_no_artifact() {
        let both = image_manifest("x", r#","manifests":[]"#);
        let twice = image_manifest("x", r#","layers":[]"#);
        let labelled =
            image_manifest("x", r#","mediaType":"application/vnd.oci.image.index.v1+json""#);
        let spelled = image_manifest("x", r#","Subject":null"#);
        let long_s = image_manifest("x", ",\"\u{17f}ubject\":null");
        let within = String::from_utf8(image_manifest("x", "")).unwrap();
        let within = within.replace("\"size\":2", "\"size\":2,\"Digest\":\"\"").into_bytes();
        for bytes in
            [&both[..], &twice, &labelled, &spelled, &long_s, &within, b"<html>", b"[]", b"{}"]
        {
            assert!(Manifest::from_bytes(media_type::OCI_MANIFEST, bytes).is_err());
        }
        let manifest = image_manifest("x", "");
        for (served_as, bytes) in [
            (media_type::OCI_INDEX, &manifest[..]),
            (media_type::OCI_INDEX, br#"{"blobs":[]}"#),
            (media_type::OCI_ARTIFACT, br#"{"manifests":[]}"#),
        ] {
            let read = unambiguous(served_as, bytes);
            assert!(matches!(read, Err(ManifestError::Kind { .. })), "{read:?}");
        }
        let place = format!(r#"["x","sha256:{}",2]"#, "aa".repeat(32));
        let by_place = [
            "[]".to_owned(),
            format!(r#"["sbom",[{place}]]"#),
            format!(r#"{{"manifests":[{place}]}}"#),
            format!(r#"{{"manifests":{{"0":{place}}}}}"#),
            format!(r#"{{"subject":{place}}}"#),
        ];
        for text in by_place {
            assert!(Index::from_bytes(media_type::OCI_INDEX, text.as_bytes()).is_err(), "{text}");
        }
        assert!(matches!(
            Manifest::from_bytes("text/html", b"{}"),
            Err(ManifestError::Unsupported(_))
        ));
        assert!(matches!(
            Index::from_bytes(media_type::OCI_INDEX, &both),
            Err(ManifestError::Ambiguous("config", "manifests"))
        ));
    }

    #[test]
    fn writes_blobs_even_when_there_are_none() {
        let json = serde_json::to_string(&Manifest::new("m", "")).unwrap();
        assert_eq!(json, r#"{"mediaType":"m","blobs":[]}"#);
        let read: Manifest = serde_json::from_str(r#"{"mediaType":"m","blobs":null}"#).unwrap();
        assert_eq!(read, Manifest::new("m", ""));
    }
}
